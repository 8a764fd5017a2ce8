import Core
import Synchronization

/// Descriptors of segments and own files that were read lately, kept open. One that falls out stays open while an answer still uses it.
final class OpenFiles: Sendable {
    enum Name: Hashable, Sendable {
        case segment(UInt64)
        case ownFile(BlobID)
    }

    private struct Slot {
        let file: OpenFile
        var lastUse: UInt64
    }
    private struct State {
        var slots: [Name: Slot] = [:]
        var clock: UInt64 = 0
        /// The clock when somebody last asked what was used.
        var askedAt: UInt64 = 0
        /// Used since, and dropped.
        var usedAndDropped: Set<Name> = []
    }

    private let filesMax: Int
    private let state = Mutex(State())

    init(filesMax: Int) { self.filesMax = max(1, filesMax) }

    /// At most that many, and at most a quarter of what the process may open: sockets need the rest.
    static func limit(_ wanted: Int) -> Int {
        Descriptors.limit.map { min(wanted, $0 / 4) } ?? wanted
    }

    var count: Int { state.withLock { $0.slots.count } }

    func cached(_ name: Name) -> OpenFile? {
        state.withLock { state in
            state.clock += 1
            guard let index = state.slots.index(forKey: name) else { return nil }
            state.slots.values[index].lastUse = state.clock
            return state.slots.values[index].file
        }
    }

    /// nil when there is no such file.
    func open(_ name: Name, at path: String) throws(RegistryError) -> OpenFile? {
        if let file = cached(name) { return file }
        guard let file = try Disk.openExisting(path) else { return nil }
        let dropped: OpenFile? = state.withLock { state in
            var dropped: OpenFile?
            if state.slots.count >= filesMax, let oldest = state.slots.min(by: { $0.value.lastUse < $1.value.lastUse }) {
                dropped = state.slots.removeValue(forKey: oldest.key)?.file
                if oldest.value.lastUse > state.askedAt { state.usedAndDropped.insert(oldest.key) }
            }
            state.slots[name] = Slot(file: file, lastUse: state.clock)
            return dropped
        }
        _ = dropped  // closed after the lock
        // Removed by the sweep between opening and keeping it, so that nobody else would let it go.
        if try Disk.status(of: file).links == 0 { forget(name) }
        return file
    }

    /// The file of that name is another one now, or gone: told after it was.
    func forget(_ name: Name) {
        let dropped = state.withLock { $0.slots.removeValue(forKey: name)?.file }
        _ = dropped
    }

    /// What was asked for since the last call.
    func takeUsed() -> Set<Name> {
        state.withLock { state in
            defer {
                state.usedAndDropped = []
                state.askedAt = state.clock
                state.clock += 1
            }
            let used = state.slots.filter { $0.value.lastUse > state.askedAt }.map(\.key)
            return state.usedAndDropped.union(used)
        }
    }

    func removeAll() {
        let dropped = state.withLock { state in
            defer { state.slots = [:] }
            return state.slots
        }
        _ = dropped
    }
}
