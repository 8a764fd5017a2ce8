import Catalog
import Core
import Synchronization

/// Records and repositories in memory, with the catalog's rules about them. What the room under test never asks for is refused.
final class AccountCatalog: Catalog {
    private struct State {
        var records: [Record.Kind: [String: Record]] = [:]
        var repositories: [RepositoryID: Repository] = [:]
        var head = Revision.zero
    }

    private let state = Mutex(State())

    /// Everything stored, for looking for what must not be there.
    var everything: [UInt8] {
        state.withLock { state in
            state.records.values.flatMap { $0.values }.flatMap { Array($0.id.utf8) + Array(($0.unique ?? "").utf8) + $0.value }
        }
    }

    func apply(_ change: Change, staged: [any StagedBytes]) async throws(RegistryError) -> Revision {
        try state.withLock { state throws(RegistryError) in
            var next = state
            next.head = Revision(state.head.number + 1)
            for part in change.parts { try AccountCatalog.apply(part, to: &next) }
            state = next
            return next.head
        }
    }

    private static func apply(_ part: Change.Part, to state: inout State) throws(RegistryError) {
        func conflict(_ what: String) -> RegistryError { RegistryError(.conflict, subject: .store, reason: what) }
        switch part {
        case .putRecord(var record, let expected):
            let stored = state.records[record.kind]?[record.id]
            if let expected, (stored?.revision ?? .zero) != expected { throw conflict("revision") }
            if let unique = record.unique, let owner = state.records[record.kind]?.values.first(where: { $0.unique == unique }), owner.id != record.id
            {
                throw conflict("unique")
            }
            record.revision = state.head
            state.records[record.kind, default: [:]][record.id] = record
        case .deleteRecord(let kind, let id):
            state.records[kind]?[id] = nil
        case .putRepository(let repository): state.repositories[repository.id] = repository
        // What repositories hold is none of an account's.
        case .putQuota: break
        default: throw unused
        }
    }

    func repository(_ key: RepositoryKey) async throws(RegistryError) -> Repository? {
        state.withLock { $0.repositories.values.first { $0.key == key } }
    }
    func repository(id: RepositoryID) async throws(RegistryError) -> Repository? { state.withLock { $0.repositories[id] } }
    func record(_ kind: Record.Kind, id: String) async throws(RegistryError) -> Record? { state.withLock { $0.records[kind]?[id] } }
    func record(_ kind: Record.Kind, unique: String) async throws(RegistryError) -> Record? {
        state.withLock { $0.records[kind]?.values.first { $0.unique == unique } }
    }
    func records(_ kind: Record.Kind, after: String?, limit: Int) async throws(RegistryError) -> [Record] {
        state.withLock { state in
            let all = (state.records[kind] ?? [:]).values.sorted { $0.id.utf8.lexicographicallyPrecedes($1.id.utf8) }
            return Array(all.filter { record in after.map { $0.utf8.lexicographicallyPrecedes(record.id.utf8) } ?? true }.prefix(limit))
        }
    }
    func head() async throws(RegistryError) -> Revision { state.withLock { $0.head } }

    private static var unused: RegistryError { RegistryError(.unsupported, subject: .store, reason: "accounts need no such thing") }

    func repositories(after: RepositoryKey?, limit: Int) async throws(RegistryError) -> [Repository] { throw Self.unused }
    func usage(of repository: RepositoryID) async throws(RegistryError) -> Usage { throw Self.unused }
    func facts(in scope: Scope, of repository: RepositoryID, after: String?, limit: Int) async throws(RegistryError) -> Facts { throw Self.unused }
    func package(_ name: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Package? { throw Self.unused }
    func version(_ name: VersionName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Version? {
        throw Self.unused
    }
    func tag(_ name: TagName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Tag? { throw Self.unused }
    func asset(at path: AssetPath, in repository: RepositoryID) async throws(RegistryError) -> Asset? { throw Self.unused }
    func assets(in repository: RepositoryID, prefix: String, after: AssetPath?, limit: Int) async throws(RegistryError) -> [Asset] {
        throw Self.unused
    }
    func learned(_ view: String, in repository: RepositoryID) async throws(RegistryError) -> LearnedPage? { throw Self.unused }
    func lookup(_ id: EntityID) async throws(RegistryError) -> Coordinates? { throw Self.unused }
    func verdict(on blob: BlobID) async throws(RegistryError) -> Verdict? { throw Self.unused }
    func pins(after: Pin?, limit: Int) async throws(RegistryError) -> [Pin] { throw Self.unused }
    func pins(of blob: BlobID, limit: Int) async throws(RegistryError) -> [Pin] { throw Self.unused }
    func unpinned(among blobs: [BlobID]) async throws(RegistryError) -> [UnpinnedBlob] { throw Self.unused }
    func noteUnpinned(_ blobs: [BlobID], at time: Timestamp) async throws(RegistryError) { throw Self.unused }
    func forget(
        _ blobs: [BlobID], unpinnedBefore before: Timestamp, mayGo: @escaping @Sendable (BlobID) -> Bool
    ) async throws(RegistryError) -> [BlobID] { throw Self.unused }
    func trash(of repository: RepositoryID, before: Revision?, limit: Int) async throws(RegistryError) -> [Deletion] { throw Self.unused }
    func deletion(_ id: DeletionID) async throws(RegistryError) -> Deletion? { throw Self.unused }
    func deletionsOver(by time: Timestamp, limit: Int) async throws(RegistryError) -> [DeletionID] { throw Self.unused }
    func log(after: Revision, limit: Int) async throws(RegistryError) -> [LogEntry] { throw Self.unused }
    func awaitChange(after revision: Revision) async throws(RegistryError) { throw Self.unused }
}
