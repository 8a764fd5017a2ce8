import Core
import Logging
import NIOCore
import Synchronization

/// Where a staged blob's bytes were put. Shared by everyone who stages the same bytes at the same time, so that they are stored once.
final class Placement: Sendable {
    enum Home: Sendable {
        /// Committed by an earlier change.
        case stored(BlobContent)
        /// In a segment; with the bytes while they may still wait in memory.
        case segment(Segment, offset: Int64, ByteBuffer?)
        case ownFile(OwnFile)
    }

    let id: BlobID
    let size: Int64
    let home: Home
    /// The upload session whose file this is.
    let session: SessionClaim?
    private let isCommittedFlag: Atomic<Bool>
    private let isSecuredFlag = Atomic(false)

    init(_ id: BlobID, size: Int64, in home: Home, session: SessionClaim? = nil) {
        self.id = id
        self.size = size
        self.home = home
        self.session = session
        if case .stored = home { isCommittedFlag = Atomic(true) } else { isCommittedFlag = Atomic(false) }
    }

    var isCommitted: Bool { isCommittedFlag.load(ordering: .acquiring) }

    var file: (any SyncableFile)? {
        switch home {
        case .stored: nil
        case .segment(let segment, _, _): segment
        case .ownFile(let file): file
        }
    }

    var location: BlobLocation? {
        switch home {
        case .stored: nil
        case .segment(let segment, let offset, _): BlobLocation(.segment(segment.number, offset: offset), length: size)
        case .ownFile: BlobLocation(.ownFile, length: size)
        }
    }

    var content: BlobContent {
        switch home {
        case .stored(let content): content
        case .segment(_, _, let bytes?): BlobContent(.memory(bytes))
        case .segment(let segment, let offset, nil):
            BlobContent(.extents([Extent(file: segment.file, offset: offset + Int64(RecordHeader.bytes), length: size)]))
        case .ownFile(let own): BlobContent(.extents([Extent(file: own.file, offset: 0, length: size)]))
        }
    }

    /// Whether the tier has it, where that is asked for (`Tiering.secure`).
    var isSecured: Bool { isSecuredFlag.load(ordering: .acquiring) }
    func markSecured() { isSecuredFlag.store(true, ordering: .releasing) }

    /// - Returns: whether this was the first time.
    func markCommitted() -> Bool { !isCommittedFlag.exchange(true, ordering: .acquiringAndReleasing) }
}

/// What the store hands out: bytes on disk or on their way there, leased until the object goes away.
final class StagedBlob: StagedBytes {
    let digests: [Digest]
    private let placement: Placement
    private let session: SessionClaim?
    private let store: BlobStore

    /// Takes over one hold of the placement.
    init(_ placement: Placement, digests: [Digest], session: SessionClaim?, of store: BlobStore) {
        self.placement = placement
        self.digests = digests
        self.session = session
        self.store = store
    }

    deinit { store.release(placement) }

    var id: BlobID { placement.id }
    var size: Int64 { placement.size }
    var unsynced: [any SyncableFile] { placement.isCommitted ? [] : placement.file.map { [$0] } ?? [] }
    var location: (key: [UInt8], value: [UInt8])? {
        guard !placement.isCommitted, let location = placement.location else { return nil }
        return (id.bytes, location.encoded)
    }

    func didCommit() {
        store.committed(placement)
        session?.committed()
    }

    func content() throws(RegistryError) -> BlobContent { placement.content }
}
