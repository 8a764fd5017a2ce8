public import Catalog
public import Core
import Synchronization

/// Rows that were read lately, for downloads: each counts as long as nobody is known to have touched what it is about. Nothing here hears of other
/// nodes by itself. Who asks has brought it up to the log before (`HotCatalog.forget`); so nothing expires by time.
///
/// A mark is taken before its row is read: a row that was changed meanwhile is remembered beside a mark that holds no more.
final class NearRows: Sendable {
    enum Name: Hashable, Sendable {
        case repository(RepositoryKey)
        case asset(RepositoryID, AssetPath)
        case package(RepositoryID, PackageName)
        case verdict(BlobID)
    }

    enum Row: Sendable {
        case repository(Repository)
        case asset(Asset)
        case package(Package)
        /// nil: none.
        case verdict(Verdict?)
    }

    private struct Entry: Sendable {
        let row: Row
        let mark: Stamps.Mark
    }

    private static let entriesMax = 16_384

    let stamps = FactStamps()
    /// Which repository has a key is known only after its row was read: a change to any of them counts for all.
    private let repositories = Stamps(count: 1)
    private let entries = Mutex(Generations<Name, Entry>(entriesMax: NearRows.entriesMax))

    func mark(_ name: Name) -> Stamps.Mark {
        switch name {
        case .repository: repositories.mark(0)
        case .asset(let repository, let path): stamps.mark(.asset(repository, path))
        case .package(let repository, let package): stamps.mark(.package(repository, package))
        case .verdict(let blob): stamps.mark(.verdict(blob))
        }
    }

    /// nil when it is not known.
    func row(_ name: Name) -> Row? {
        guard let entry = entries.withLock({ $0[name] }) else { return nil }
        if case .repository = name { return repositories.holds(entry.mark) ? entry.row : nil }
        return stamps.holds(entry.mark) ? entry.row : nil
    }

    func keep(_ row: Row?, as name: Name, since mark: Stamps.Mark) {
        guard let row else { return }
        entries.withLock { $0[name] = Entry(row: row, mark: mark) }
    }

    func forget(_ touched: LogEntry.Touched) {
        if case .repository = touched { repositories.advance(0) }
        stamps.advance(touched)
    }

    func forgetAll() {
        repositories.advanceAll()
        stamps.advanceAll()
    }
}

// What the read path asks without waiting, once this node has caught up with the log.
extension PostgresCatalog: HotCatalog {
    public var stamps: FactStamps { near.stamps }

    public func cachedRepository(_ key: RepositoryKey) -> CachedRead<Repository> {
        guard case .repository(let repository)? = near.row(.repository(key)) else { return .unknown }
        return .found(repository)
    }

    public func cachedAsset(at path: AssetPath, in repository: RepositoryID) -> CachedRead<Asset> {
        guard case .asset(let asset)? = near.row(.asset(repository, path)) else { return .unknown }
        return .found(asset)
    }

    public func cachedPackage(_ name: PackageName, in repository: RepositoryID) -> CachedRead<Package> {
        guard case .package(let package)? = near.row(.package(repository, name)) else { return .unknown }
        return .found(package)
    }

    public func cachedVerdict(on blob: BlobID) -> CachedRead<Verdict> {
        guard case .verdict(let verdict)? = near.row(.verdict(blob)) else { return .unknown }
        return verdict.map { .found($0) } ?? .absent
    }

    public func forget(_ touched: LogEntry.Touched) { near.forget(touched) }
    public func forgetAll() { near.forgetAll() }
}
