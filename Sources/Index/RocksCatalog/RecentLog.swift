import Catalog
import Core
import Synchronization

/// The newest entries of the log, in memory: followers hear of a change without reading it back.
final class RecentLog: Sendable {
    private let entriesMax: Int

    private struct State {
        /// Without a gap, in order; twice as many as are kept at most.
        var entries: [LogEntry] = []
        /// Everything after this is in `entries`.
        var after: Revision
    }
    private let state: Mutex<State>

    /// - Parameter logEntriesMax: what the log on disk keeps at least; memory never reaches back further.
    init(after head: Revision, logEntriesMax: UInt64) {
        entriesMax = Int(min(2048, logEntriesMax / 2))
        state = Mutex(State(after: head))
    }

    /// The next one, in the order of revisions.
    func append(_ entry: LogEntry) {
        state.withLock { state in
            state.entries.append(entry)
            guard state.entries.count > 2 * entriesMax else { return }
            state.entries.removeFirst(state.entries.count - entriesMax)
            state.after = Revision(entry.revision.number - UInt64(entriesMax))
        }
    }

    /// nil: memory does not reach back that far.
    func entries(after revision: Revision, limit: Int) -> [LogEntry]? {
        state.withLock { state in
            guard revision >= state.after else { return nil }
            let start = state.entries.partitioningIndex { $0.revision > revision }
            return Array(state.entries[start...].prefix(max(0, limit)))
        }
    }
}

extension Array {
    /// Of the first element for which `predicate` holds, in an array where it holds from one element on.
    fileprivate func partitioningIndex(_ predicate: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = low + (high - low) / 2
            if predicate(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
