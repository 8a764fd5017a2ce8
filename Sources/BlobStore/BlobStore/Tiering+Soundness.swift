import Core
import Logging
import Synchronization
import OrderedStore

// What was found damaged, short or missing in the tier. What can be read of it still is; it is no copy, so the disk's does not leave; and while there
// is one on the disk, that is checked and copied again.

extension Tiering {
    /// Durable, so that a restart does not take it for a copy.
    func noteUnsound(_ name: Name) async throws(RegistryError) {
        let length: Int64? = state.withLock { state in
            guard state.isSound(name) else { return nil }
            state.unsound.insert(name)
            return state.present[name]
        }
        guard let length else { return }
        log.error("what the tier has is damaged", metadata: ["file": "\(TierName(name))", "tier": "\(tier.place)"])
        try await writeRow(name, .unsound, length: length)
    }

    /// It was read again, and is whole.
    func noteSound(_ name: Name) async throws(RegistryError) {
        guard let length = state.withLock({ $0.unsound.contains(name) ? $0.present[name] : nil }) else { return }
        try await writeRow(name, .present, length: length)
        state.withLock { _ = $0.unsound.remove(name) }
        log.notice("what the tier has is whole again", metadata: ["file": "\(TierName(name))"])
    }

    /// Puts the disk's copy, once that has been checked, in place of what is damaged in the tier.
    /// - Returns: whether the tier has it whole now.
    func mend(_ name: Name) async throws(RegistryError) -> Bool {
        await claimInTurn(name)
        defer { release(name) }
        guard state.withLock({ $0.present[name] != nil && !$0.refused.contains(name) }) else { return false }
        let path = path(name)
        guard try await pool.run({ () throws(RegistryError) in try Disk.openExisting(path) != nil }) else { return false }
        try await copyClaimed(name)
        let isSound = state.withLock { $0.isSound(name) }
        if isSound { log.notice("what was damaged in the tier was copied there again", metadata: ["file": "\(TierName(name))"]) }
        return isSound
    }

    /// Files known to be damaged in the tier, by the names of their objects.
    var unsoundFiles: [String] { state.withLock { $0.unsound.map { "\(TierName($0))" } }.sorted() }
}
