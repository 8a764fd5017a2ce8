import BlobStore
public import Core

extension Sweeper {
    /// What the sweep has done since the start, read when somebody asks.
    public func publish(_ metrics: Metrics) {
        metrics.gauge("granary_sweep_runs_total", help: "Sweeps since the start.") { [self] in Double(totals.runs) }
        metrics.gauge("granary_sweep_running", help: "1 while a sweep runs.") { [self] in isRunning ? 1 : 0 }
        metrics.gauge("granary_sweep_removed_blobs_total", help: "Blobs the sweep removed.") { [self] in Double(totals.tally.removedBlobs) }
        metrics.gauge("granary_sweep_removed_chunks_total", help: "Chunks the sweep freed that no blob is made of any more.") { [self] in
            Double(totals.tally.removedChunks)
        }
        metrics.gauge("granary_sweep_freed_bytes_total", help: "Bytes on disk the sweep gave back.") { [self] in Double(totals.tally.freedBytes) }
        metrics.gauge("granary_sweep_moved_bytes_total", help: "Bytes compaction moved.") { [self] in Double(totals.tally.movedBytes) }
        metrics.gauge("granary_sweep_waiting_blobs", help: "Blobs without a pin, in their time of grace at the last sweep.") { [self] in
            Double(last?.tally.waitingBlobs ?? 0)
        }
        metrics.gauge("granary_sweep_damaged_blobs", help: "Damaged blobs the last sweep met.") { [self] in Double(last?.tally.damagedBlobs ?? 0) }
    }
}
