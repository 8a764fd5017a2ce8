import Core
import Synchronization

/// What the store has done since it was opened, and how it is now.
public struct BlobStatistics: Sendable, Hashable {
    /// Blobs committed that were not stored before.
    public var blobsWritten: UInt64
    /// Their bytes.
    public var bytesWritten: UInt64
    public var uploadsOpen: Int
    /// Held in memory on the way to the disk.
    public var bytesInFlight: Int64
    /// Blobs that staged bytes hold.
    public var leases: Int
    /// nil when the file system does not tell.
    public var freeBytes: Int64?
}

final class Counters: Sendable {
    private let blobs = Atomic<UInt64>(0)
    private let bytes = Atomic<UInt64>(0)

    private let healed = Atomic<UInt64>(0)

    func blobHealed() { healed.wrappingAdd(1, ordering: .relaxed) }
    var blobsHealed: UInt64 { healed.load(ordering: .relaxed) }

    func blobCommitted(bytes count: Int64) {
        blobs.wrappingAdd(1, ordering: .relaxed)
        bytes.wrappingAdd(UInt64(count), ordering: .relaxed)
    }

    var values: (blobs: UInt64, bytes: UInt64) { (blobs.load(ordering: .relaxed), bytes.load(ordering: .relaxed)) }
}

extension BlobStore {
    public var statistics: BlobStatistics {
        let written = counters.values
        return BlobStatistics(
            blobsWritten: written.blobs, bytesWritten: written.bytes, uploadsOpen: uploads.count, bytesInFlight: gauge.bytes, leases: leases.count,
            freeBytes: try? Disk.freeBytes(at: directory))
    }
}
