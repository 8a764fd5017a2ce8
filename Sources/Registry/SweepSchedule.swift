import BlobStore
public import Core
import Logging

// When the sweep runs, and where: alone, on this node; of several, each looks after its own cache, and one at a time after what they share.

extension Registry {
    private static let conflictPause = 60

    /// Sweeps what names decide about: this node's store, or the bucket and the rows that nodes share.
    /// - Throws: `conflict` while another such sweep is running, here or on another node.
    public func sweep(_ options: SweepOptions) async throws(RegistryError) -> SweepReport {
        guard blobs.isShared else { return try await sweeper.sweep(options) }
        let report = try await leases.holding("sweep") { [sweeper] () async throws(RegistryError) in try await sweeper.sweepShared(options) }
        guard let report else {
            throw RegistryError(
                .conflict, subject: .store, reason: "what all nodes share is being swept already", retryAfterSeconds: Registry.conflictPause)
        }
        return report
    }

    /// By the schedule, until the task is cancelled.
    public func sweepOnSchedule() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.sweeper.runOnSchedule() }
            guard blobs.isShared, sweeper.options.intervalSeconds > 0 else { return }
            group.addTask { await self.leases.keeping("sweep-schedule") { await self.sweepSharedOnSchedule() } }
        }
    }

    private func sweepSharedOnSchedule() async {
        let interval = sweeper.options.intervalSeconds
        var pause = interval
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(pause))
            if Task.isCancelled { return }
            pause = interval
            do throws(RegistryError) { _ = try await sweep(sweeper.options) } catch {
                // This node's look at its own cache, as a rule: it is over soon.
                if error.code == .conflict { pause = min(interval, Int64(Registry.conflictPause)) }
                log.log(
                    level: error.code == .conflict ? .debug : .error, "what nodes share was not swept to the end; the next sweep goes on",
                    metadata: ["error": "\(error)"])
            }
        }
    }
}
