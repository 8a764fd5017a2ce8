package import Catalog
package import Core
import Synchronization

/// All repositories in memory (some thousands at most), so that every request finds its own without a read. Changed only as commits complete.
package final class RepositoryMap: Sendable {
    private struct State {
        var byID: [RepositoryID: Held] = [:]
        var byKey: [RepositoryKey: RepositoryID] = [:]
    }
    private let state = Mutex(State())

    package init() {}

    package func find(_ key: RepositoryKey) -> Repository? {
        // What is not there is looked up twice, too: the time that it takes would tell.
        state.withLock { state in state.byID[state.byKey[key] ?? RepositoryID(high: 0, low: 0)]?.repository }
    }

    package func find(_ id: RepositoryID) -> Held? { state.withLock { $0.byID[id] } }

    package func list(after: RepositoryKey?, limit: Int) -> [Repository] {
        let all = state.withLock { state in state.byID.values.map(\.repository) }
        let later = after.map { after in all.filter { $0.key > after } } ?? all
        return Array(later.sorted { $0.key < $1.key }.prefix(max(0, limit)))
    }

    /// nil removes.
    package func update(_ changes: [RepositoryID: Held?]) {
        guard !changes.isEmpty else { return }
        state.withLock { state in
            for (id, held) in changes {
                if let old = state.byID[id], state.byKey[old.repository.key] == id { state.byKey[old.repository.key] = nil }
                state.byID[id] = held
                if let held { state.byKey[held.repository.key] = id }
            }
        }
    }
}
