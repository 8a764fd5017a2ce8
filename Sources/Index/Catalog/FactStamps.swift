public import Core

/// Whether facts are still what they were, without reading them again: for what is remembered of repositories' rows, packages, assets and verdicts.
public struct FactStamps: Sendable {
    public enum Fact: Sendable, Hashable {
        /// The repository itself: its settings, and that it exists.
        case repository(RepositoryID)
        case asset(RepositoryID, AssetPath)
        /// The package with all that is in it.
        case package(RepositoryID, PackageName)
        case verdict(BlobID)
    }

    private let stamps = Stamps(count: 8192)

    public init() {}

    public func mark(_ fact: Fact) -> Stamps.Mark { stamps.mark(fact) }
    public func holds(_ mark: Stamps.Mark) -> Bool { stamps.holds(mark) }

    public func advanceAll() { stamps.advanceAll() }

    public func advance(_ touched: LogEntry.Touched) {
        switch touched {
        case .repository(let id): stamps.advance(Fact.repository(id))
        case .asset(let repository, let path, _, deltaBytes: _): stamps.advance(Fact.asset(repository, path))
        case .verdict(let blob): stamps.advance(Fact.verdict(blob))
        case .package(let repository, let name): stamps.advance(Fact.package(repository, name))
        case .tag, .record, .learned, .trash: break
        }
    }
}
