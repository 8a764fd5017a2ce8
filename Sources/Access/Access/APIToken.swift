import Catalog
public import Core

/// A long-lived credential for machines. Its text is shown once; we keep its SHA-256.
public struct APIToken: Sendable, Hashable {
    public var id: EntityID
    public var account: EntityID
    public var name: String
    public var description: String?
    /// The first characters of the text, to recognise it by.
    public var prefix: String
    /// nil: everything its owner may do.
    public var scopes: Set<TokenScope>?
    /// nil: every repository its owner may see.
    public var repositories: Set<RepositoryID>?
    public var created: Timestamp
    /// nil: never.
    public var expires: Timestamp?
    /// The token it was made with; nil: somebody logged in for it. It is void without it.
    var parent: Place?
    /// As far as it was written down; `Access.tokens` knows better.
    public internal(set) var lastUsed: Timestamp?

    /// Where a token is found.
    struct Place: Sendable, Hashable {
        var account: EntityID
        var token: EntityID
        var recordID: String { APIToken.recordID(account, token) }
    }
    var place: Place { Place(account: account, token: id) }

    public func isExpired(at now: Timestamp) -> Bool { expires.map { now >= $0 } ?? false }
}

/// `Record(.token, id: <account>/<token>, unique: <hex of the text's SHA-256>)`
extension APIToken {
    static let format: UInt8 = 2

    static func recordID(_ account: EntityID, _ token: EntityID) -> String { "\(account)/\(token)" }

    /// 256 random bits need no salt and no slow hash: they cannot be guessed.
    static func fingerprint(of text: Secret) -> String { Digest.of(.sha256, text.revealed.utf8).hex }

    func record(fingerprint: String?) -> Record {
        var writer = BinaryWriter(reserving: 128)
        writer.write(APIToken.format)
        writer.write(name)
        writer.write(description) { $0.write($1) }
        writer.write(prefix)
        writer.write(scopes) { writer, scopes in writer.write(each: scopes.map(\.rawValue).sorted()) { $0.write($1) } }
        writer.write(repositories) { writer, ids in writer.write(each: ids.sorted()) { $0.write($1) } }
        writer.write(created)
        writer.write(expires) { $0.write($1) }
        writer.write(parent) { writer, parent in
            writer.write(parent.account)
            writer.write(parent.token)
        }
        writer.write(lastUsed) { $0.write($1) }
        return Record(kind: .token, id: APIToken.recordID(account, id), unique: fingerprint, value: writer.bytes)
    }

    init(_ record: Record) throws(RegistryError) {
        var (format, reader) = try Rows.reader(record, formats: 1...APIToken.format)
        (account, id) = try Rows.pair(record.id[...])
        name = try reader.readString()
        description = try reader.readOptional { (reader) throws(RegistryError) in try reader.readString() }
        prefix = try reader.readString()
        scopes = try reader.readOptional { (reader) throws(RegistryError) in
            // A scope that is not known any more gives nothing.
            Set(try reader.readEach { (reader) throws(RegistryError) in try reader.readString() }.compactMap(TokenScope.init(rawValue:)))
        }
        repositories = try reader.readOptional { (reader) throws(RegistryError) in
            Set(try reader.readEach { (reader) throws(RegistryError) in try reader.readEntityID() })
        }
        created = try reader.readTimestamp()
        expires = try reader.readOptional { (reader) throws(RegistryError) in try reader.readTimestamp() }
        guard format >= 2 else { return }
        parent = try reader.readOptional { (reader) throws(RegistryError) in
            Place(account: try reader.readEntityID(), token: try reader.readEntityID())
        }
        lastUsed = try reader.readOptional { (reader) throws(RegistryError) in try reader.readTimestamp() }
    }
}
