import Access
import Catalog
public import Core
import Synchronization

/// Where several nodes change one catalog, a request begins here: what this node remembers is brought up to the newest change that any of them had
/// acknowledged when the request came. So a revoked token is refused at the next request, wherever it was revoked, and nothing expires by time.
///
/// All who wait at the same moment share one question, and only one that was sent after they came: an answer may be older than a question that was
/// asked while it was on its way.
final class CatchUp: Sendable {
    private typealias Waiter = UnsafeContinuation<Result<Void, RegistryError>, Never>

    private struct State {
        /// Of the newest change that memory knows of; nil before the first.
        var position: Revision?
        var isAsking = false
        /// For the next question.
        var waiting: [Waiter] = []
    }

    private static let pageLength = 1_000

    private let catalog: any Catalog
    private let hot: (any HotCatalog)?
    private let access: Access
    private let waits: Histogram?
    private let world: World
    /// What else is remembered of a fact is to be forgotten.
    private let forget: @Sendable (LogEntry.Touched) -> Void
    private let state = Mutex(State())

    init(
        catalog: any Catalog, access: Access, waits: Histogram?, world: World, forget: @escaping @Sendable (LogEntry.Touched) -> Void
    ) {
        self.catalog = catalog
        hot = catalog as? any HotCatalog
        self.access = access
        self.waits = waits
        self.world = world
        self.forget = forget
    }

    /// Returns when memory is as new as the catalog was at the call, or newer.
    /// - Throws: what the catalog says when it cannot be asked.
    func wait() async throws(RegistryError) {
        let start = world.monotonicNanoseconds()
        let result = await withUnsafeContinuation { (waiter: Waiter) in
            let isFirst = state.withLock { state in
                state.waiting.append(waiter)
                defer { state.isAsking = true }
                return !state.isAsking
            }
            // Unstructured on purpose: the question belongs to all who wait, and outlives the one who came first. It ends when nobody waits.
            if isFirst { Task { await answer() } }
        }
        waits?.observe(Double(world.monotonicNanoseconds() &- start) / 1e9)
        try result.get()
    }

    private func answer() async {
        while true {
            let waiting = state.withLock { state in
                defer { state.waiting = [] }
                state.isAsking = !state.waiting.isEmpty
                return state.waiting
            }
            guard !waiting.isEmpty else { return }
            let result: Result<Void, RegistryError>
            do throws(RegistryError) { result = .success(try await learn()) } catch { result = .failure(error) }
            for waiter in waiting { waiter.resume(returning: result) }
        }
    }

    /// One at a time.
    private func learn() async throws(RegistryError) {
        let head = try await catalog.head()
        guard var position = state.withLock({ $0.position }) else { return try await startOver(at: head) }
        while position < head {
            let entries: [LogEntry]
            do throws(RegistryError) { entries = try await catalog.log(after: position, limit: CatchUp.pageLength) } catch {
                guard error.code == .gone else { throw error }
                return try await startOver(at: head)
            }
            guard let last = entries.last else { return }
            let touched = Set(entries.flatMap(\.touched))
            try await access.forget(touched)
            for fact in touched {
                hot?.forget(fact)
                forget(fact)
            }
            position = last.revision
            state.withLock { $0.position = position }
        }
    }

    /// What happened between then and now is not known in detail.
    private func startOver(at head: Revision) async throws(RegistryError) {
        try await access.forgetAll()
        hot?.forgetAll()
        state.withLock { $0.position = head }
    }
}

extension Registry {
    /// Once this returns, what this node remembers is as new as anything that was acknowledged, here or on another node, before the call. Every
    /// request begins with it. It costs nothing where no other node changes the catalog.
    public func catchUp() async throws(RegistryError) { try await newest?.wait() }
}
