import Catalog
import Core
import NamedBytes

/// One change and what it stands for: beside what it does it leaves a record of its id, so that it is known whether it happened, and whether in
/// whole.
struct Act {
    enum Kind: String {
        /// The record alone.
        case note
        /// A version of the writer's package, with an asset, bytes that were not there before and a tag that moves.
        case publish
        /// The asset and version of an earlier one are deleted.
        case remove
        /// One more on a counter that everybody counts on.
        case count
    }

    static let repository = EntityID(high: 0x7003, low: 1)
    static let counter = "counter"

    let id: String
    let kind: Kind
    private let writer: Int
    private let number: Int

    init(_ node: String, writer: Int, number: Int) {
        id = "\(node)-\(writer)-\(number)"
        self.writer = writer
        self.number = number
        kind = number % 12 == 11 ? .remove : number % 4 == 1 ? .publish : number % 4 == 2 ? .count : .note
    }

    /// What the record says; of a removal with the publication that it removes.
    var value: String { kind == .remove ? "remove \(removed.id)" : kind.rawValue }
    private var node: String { String(id.prefix { $0 != "-" }) }
    /// The one before the last.
    private var removed: Act { Act(node, writer: writer, number: number - 6) }

    /// - Parameter counter: of a counting one, the counter as it was read.
    func change(counter: Record?) throws(RegistryError) -> (Change, [any StagedBytes]) {
        var parts: [Change.Part] = [.putRecord(Record(kind: .cursor, id: id, value: Array(value.utf8)), ifRevision: .zero)]
        var staged: [any StagedBytes] = []
        switch kind {
        case .note: break
        case .publish:
            let bytes = NamedBytes(id)
            staged = [bytes]
            let draft = AssetDraft(
                path: try Act.parsed(AssetPath(id)), blob: bytes.id, size: bytes.size, contentType: "text/plain", package: try package,
                version: try version)
            parts.append(
                .edit(
                    Act.repository,
                    Edit(mutations: [
                        .putVersion(try package, try version, manifest: .inline(Array(id.utf8), mediaType: "text/plain"), attributes: [:]),
                        .putAsset(draft, overwrite: .never), .putTag(try package, try Act.parsed(TagName("latest")), try version),
                    ])))
        case .remove:
            parts.append(.edit(Act.repository, Edit(mutations: [.deleteVersion(try removed.package, try removed.version)])))
        case .count:
            let count = (counter.flatMap { Int(String(decoding: $0.value, as: UTF8.self)) } ?? 0) + 1
            let record = Record(kind: .setting, id: Act.counter, value: Array(String(count).utf8))
            parts.append(.putRecord(record, ifRevision: counter?.revision ?? .zero))
        }
        return (Change(actor: .system, at: World.real.now(), requestID: id, parts: parts), staged)
    }

    private var package: PackageName { get throws(RegistryError) { try Act.parsed(PackageName("\(node)-\(writer)")) } }
    private var version: VersionName { get throws(RegistryError) { try Act.parsed(VersionName(String(number))) } }

    private static func parsed<Name>(_ name: Name?) throws(RegistryError) -> Name {
        guard let name else { throw RegistryError(.internal, subject: .request, reason: "a name is none") }
        return name
    }

    static var beginning: Change {
        get throws(RegistryError) {
            let key = try parsed(RepositoryKey("torture"))
            let repository = Repository(
                id: repository, key: key, name: "torture", format: "generic", kind: .local, created: Timestamp(seconds: 1))
            return Change(actor: .system, at: World.real.now(), requestID: "beginning", parts: [.putRepository(repository)])
        }
    }
}
