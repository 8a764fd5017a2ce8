/// What a sweep did; of a dry run, what it would do.
public struct SweepTally: Sendable, Hashable {
    /// Looked at.
    public var blobs: Int64 = 0
    /// Nothing pins them, but their time of grace is not over.
    public var waitingBlobs: Int64 = 0
    public var removedBlobs: Int64 = 0
    /// Lengths of the removed blobs. Space is freed by files and segments.
    public var removedBytes: Int64 = 0
    /// Chunks that no recipe names any more.
    public var removedChunks: Int64 = 0
    /// Files of the blob store that no row names.
    public var orphans: Int64 = 0
    public var segmentsRemoved: Int64 = 0
    /// Of those removed, the ones that still held something.
    public var segmentsCompacted: Int64 = 0
    public var movedBlobs: Int64 = 0
    public var movedBytes: Int64 = 0
    /// Lengths of the files that are gone, less what was written in their place.
    public var freedBytes: Int64 = 0
    /// Blobs found damaged: named in the log, kept as they are.
    public var damagedBlobs: Int64 = 0
    public init() {}

    public static func += (a: inout SweepTally, b: SweepTally) {
        a.blobs += b.blobs
        a.waitingBlobs += b.waitingBlobs
        a.removedBlobs += b.removedBlobs
        a.removedBytes += b.removedBytes
        a.removedChunks += b.removedChunks
        a.orphans += b.orphans
        a.segmentsRemoved += b.segmentsRemoved
        a.segmentsCompacted += b.segmentsCompacted
        a.movedBlobs += b.movedBlobs
        a.movedBytes += b.movedBytes
        a.freedBytes += b.freedBytes
        a.damagedBlobs += b.damagedBlobs
    }
}
