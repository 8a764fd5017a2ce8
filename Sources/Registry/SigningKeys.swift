public import Access
public import Catalog
public import Core
public import FrontendKit
import Logging

// The keys that sign repositories' documents: made when first needed, kept sealed in the catalog, rotated with an overlap in which the old
// and the new key both sign. See docs/internals/signing-keys.md.

/// One key of a repository, as far as it may be shown.
public struct SigningKey: Sendable, Hashable {
    public enum State: UInt8, Sendable {
        /// Signs, and is the one that stays.
        case active = 0
        /// Signs too, until it is revoked or the next rotation.
        case retiring
        /// Signs no more and is no longer handed out.
        case revoked
    }
    public let id: EntityID
    public let repository: RepositoryID
    public let fingerprint: String
    public let userID: String
    public let created: Timestamp
    public var state: State
    /// The secret half, sealed for `<repository>/<id>`.
    let sealed: String
}

/// What keys are made of and used by: a library that the composition root knows.
public struct SigningLibrary: Sendable {
    /// A key pair as the library takes it again.
    public struct Pair: Sendable {
        public let secret: [UInt8]
        public let fingerprint: String
        public init(secret: [UInt8], fingerprint: String) {
            self.secret = secret
            self.fingerprint = fingerprint
        }
    }

    public let make: @Sendable (_ userID: String, Timestamp) throws(RegistryError) -> Pair
    public let sign: @Sendable ([UInt8], SignatureForm, [Pair], Timestamp) throws(RegistryError) -> [UInt8]
    public let publicKeys: @Sendable ([Pair]) throws(RegistryError) -> [UInt8]

    public init(
        make: @escaping @Sendable (_ userID: String, Timestamp) throws(RegistryError) -> Pair,
        sign: @escaping @Sendable ([UInt8], SignatureForm, [Pair], Timestamp) throws(RegistryError) -> [UInt8],
        publicKeys: @escaping @Sendable ([Pair]) throws(RegistryError) -> [UInt8]
    ) {
        self.make = make
        self.sign = sign
        self.publicKeys = publicKeys
    }
}

public final class SigningKeys: Sendable {
    private static let formatNumber: UInt8 = 1

    private let catalog: any Catalog
    private let sealer: Sealer
    private let library: SigningLibrary
    private let world: World

    public init(catalog: any Catalog, sealer: Sealer, library: SigningLibrary, world: World) {
        self.catalog = catalog
        self.sealer = sealer
        self.library = library
        self.world = world
    }

    /// What the engine signs with. A remote repository has no key: its documents carry the upstream's signatures.
    public var signing: Signing {
        Signing(
            key: { repository async throws(RegistryError) -> String? in
                guard repository.kind != .remote else { return nil }
                return try await self.signers(of: repository).map(\.fingerprint).joined(separator: "+")
            },
            sign: { bytes, form, repository async throws(RegistryError) -> [UInt8] in
                try self.library.sign(bytes, form, try self.open(try await self.signers(of: repository)), self.world.now())
            },
            publicKey: { repository async throws(RegistryError) -> [UInt8]? in
                guard repository.kind != .remote else { return nil }
                return try self.library.publicKeys(try self.open(try await self.signers(of: repository)))
            })
    }

    /// Every key the repository had, newest first.
    public func keys(of repository: RepositoryID) async throws(RegistryError) -> [SigningKey] { try await stored(repository).keys }

    /// nil when no repository has such a key.
    public func key(_ id: EntityID) async throws(RegistryError) -> SigningKey? {
        var last: String?
        while true {
            let page = try await catalog.records(.signing, after: last, limit: 256)
            for record in page {
                guard let repository = RepositoryID(record.id) else { continue }
                if let key = try await stored(repository).keys.first(where: { $0.id == id }) { return key }
            }
            guard page.count == 256, let end = page.last else { return nil }
            last = end.id
        }
    }

    /// The public half in ASCII armour, of a revoked key too.
    public func publicKey(of key: SigningKey) throws(RegistryError) -> [UInt8] { try library.publicKeys(try open([key])) }

    /// Those that sign now; the first one is made when there is none.
    private func signers(of repository: Repository) async throws(RegistryError) -> [SigningKey] {
        var keys = try await stored(repository.id).keys.filter { $0.state != .revoked }
        if keys.isEmpty {
            do throws(RegistryError) { _ = try await rotate(repository, by: .system, requestID: "signing key") } catch {
                // Somebody else made one at the same time.
                guard error.code == .conflict else { throw error }
            }
            keys = try await stored(repository.id).keys.filter { $0.state != .revoked }
        }
        return keys
    }

    /// A new key becomes the active one; the one before it signs beside it, older ones no more.
    @discardableResult
    public func rotate(_ repository: Repository, by actor: Actor, requestID: String) async throws(RegistryError) -> SigningKey {
        let (known, revision) = try await stored(repository.id)
        let now = world.now()
        let userID = "\(repository.key) (granary)"
        let pair = try library.make(userID, now)
        let id = world.newID()
        let made = SigningKey(
            id: id, repository: repository.id, fingerprint: pair.fingerprint, userID: userID, created: now, state: .active,
            sealed: try sealer.seal(Secret(Hex.encode(pair.secret)), for: "\(repository.id)/\(id)"))
        let before = known.map { key in
            var key = key
            key.state = key.state == .active ? .retiring : .revoked
            return key
        }
        try await keep([made] + before, of: repository.id, ifRevision: revision, by: actor, requestID)
        return made
    }

    /// The key signs no more. Of the active key with no other, the next document is signed by a new one.
    /// - Throws: `notFound` when the repository has no such key.
    public func revoke(_ id: EntityID, of repository: RepositoryID, by actor: Actor, requestID: String) async throws(RegistryError) {
        var (keys, revision) = try await stored(repository)
        guard let index = keys.firstIndex(where: { $0.id == id }) else {
            throw RegistryError(.notFound, subject: .field("key_id"), reason: "there is no such signing key")
        }
        keys[index].state = .revoked
        // Somebody must stay: of two signers, the other one.
        if let other = keys.firstIndex(where: { $0.state == .retiring }), !keys.contains(where: { $0.state == .active }) {
            keys[other].state = .active
        }
        try await keep(keys, of: repository, ifRevision: revision, by: actor, requestID)
    }

    private func open(_ keys: [SigningKey]) throws(RegistryError) -> [SigningLibrary.Pair] {
        var pairs: [SigningLibrary.Pair] = []
        for key in keys {
            guard let secret = Hex.decode(try sealer.open(key.sealed, for: "\(key.repository)/\(key.id)").revealed) else {
                throw RegistryError(.corrupt, subject: .configuration("signing key"), reason: "a signing key does not open")
            }
            pairs.append(SigningLibrary.Pair(secret: secret, fingerprint: key.fingerprint))
        }
        return pairs
    }

    private func keep(
        _ keys: [SigningKey], of repository: RepositoryID, ifRevision revision: Revision, by actor: Actor, _ requestID: String
    ) async throws(RegistryError) {
        var writer = BinaryWriter()
        writer.write(SigningKeys.formatNumber)
        writer.write(each: keys) { writer, key in
            writer.write(key.id)
            writer.write(key.fingerprint)
            writer.write(key.userID)
            writer.write(key.created)
            writer.write(key.state.rawValue)
            writer.write(key.sealed)
        }
        let record = Record(kind: .signing, id: repository.description, value: writer.bytes)
        try await catalog.apply(
            Change(actor: actor, at: world.now(), requestID: requestID, parts: [.putRecord(record, ifRevision: revision)]))
    }

    private func stored(_ repository: RepositoryID) async throws(RegistryError) -> (keys: [SigningKey], revision: Revision) {
        guard let record = try await catalog.record(.signing, id: repository.description) else { return ([], .zero) }
        let damaged = RegistryError(.corrupt, subject: .configuration("signing key"), reason: "the repository's keys cannot be read")
        var reader = BinaryReader(record.value)
        guard try reader.readUInt8() == SigningKeys.formatNumber else { throw damaged }
        var keys: [SigningKey] = []
        for _ in 0..<(try reader.readCount()) {
            let id = try reader.readEntityID()
            let fingerprint = try reader.readString()
            let userID = try reader.readString()
            let created = try reader.readTimestamp()
            guard let state = SigningKey.State(rawValue: try reader.readUInt8()) else { throw damaged }
            keys.append(
                SigningKey(
                    id: id, repository: repository, fingerprint: fingerprint, userID: userID, created: created, state: state,
                    sealed: try reader.readString()))
        }
        return (keys, record.revision)
    }
}
