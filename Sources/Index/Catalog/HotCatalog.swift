public import Core

/// What memory alone knows.
public enum CachedRead<Value: Sendable>: Sendable {
    case found(Value)
    case absent
    /// Only the disk can tell: ask again with the asynchronous call.
    case unknown
}

/// A catalog that can answer the hot questions of the read path without waiting, on an event loop.
public protocol HotCatalog: Catalog {
    func cachedRepository(_ key: RepositoryKey) -> CachedRead<Repository>
    func cachedAsset(at path: AssetPath, in repository: RepositoryID) throws(RegistryError) -> CachedRead<Asset>
    func cachedPackage(_ name: PackageName, in repository: RepositoryID) throws(RegistryError) -> CachedRead<Package>
    func cachedVerdict(on blob: BlobID) throws(RegistryError) -> CachedRead<Verdict>

    /// Advanced for every fact a change touched, once it can be read and before it is acknowledged.
    var stamps: FactStamps { get }

    /// Told of every fact in the log, in its order, where others change the catalog, too (`isShared`): before anybody asks memory who has to know of
    /// that change.
    func forget(_ touched: LogEntry.Touched)
    /// What happened in between is not known in detail.
    func forgetAll()
}

// Where nobody else changes it, memory follows by itself.
extension HotCatalog {
    public func forget(_ touched: LogEntry.Touched) {}
    public func forgetAll() {}
}
