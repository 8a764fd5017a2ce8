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
    private let isKeptFlag = Atomic(false)
    private let putAt = Mutex<SharedLocation?>(nil)

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

    /// Where the bytes were put in a shared bucket; whether the database says so, too, is another question.
    var shared: SharedLocation? { putAt.withLock { $0 } }
    func wasPut(at location: SharedLocation) { putAt.withLock { $0 = location } }
    /// - Returns: whether this was the first time.
    func beginsKeeping() -> Bool { !isKeptFlag.exchange(true, ordering: .acquiringAndReleasing) }

    /// - Returns: whether this was the first time.
    func markCommitted() -> Bool { !isCommittedFlag.exchange(true, ordering: .acquiringAndReleasing) }
}

/// What the store hands out: bytes on disk or on their way there, leased until the object goes away.
final class StagedBlob: StagedBytes {
    let digests: [Digest]
    let placement: Placement
    private let session: SessionClaim?
    /// Where the store had the bytes: those that came, which a commit waits for as if it did not.
    private let inVain: WrittenInVain?
    private let store: BlobStore
    /// Its place in the bucket, where the store shares one.
    private let secured = Mutex<Secured?>(nil)

    /// Takes over one hold of the placement.
    init(_ placement: Placement, digests: [Digest], session: SessionClaim?, inVain: WrittenInVain? = nil, of store: BlobStore) {
        self.placement = placement
        self.digests = digests
        self.session = session
        self.inVain = inVain
        self.store = store
    }

    deinit { store.release(placement) }

    var id: BlobID { placement.id }
    var size: Int64 { placement.size }
    var unsynced: [any SyncableFile] { secured.withLock { $0 } == nil ? unsyncedHere : [] }
    var location: (key: [UInt8], value: [UInt8])? {
        guard let secured = secured.withLock({ $0 }) else { return locationHere.map { (id.bytes, $0.encoded) } }
        return secured.isKnown ? nil : (id.bytes, secured.location.encoded)
    }

    /// As the index of this node's files wants them, wherever else the bytes are.
    var unsyncedHere: [any SyncableFile] {
        let own = placement.isCommitted ? nil : placement.file
        return [own, inVain?.file].compactMap { $0 }
    }
    var locationHere: BlobLocation? { placement.isCommitted ? nil : placement.location }

    func didCommit() {
        guard secured.withLock({ $0 }) != nil else { return didCommitHere() }
        store.keep(self)
        // A session whose file the bytes lie in goes when they have a name.
        if placement.isCommitted || session !== placement.session { session?.committed() }
    }

    /// The row of this node's files is durable.
    func didCommitHere() {
        store.committed(placement)
        session?.committed()
    }

    /// Returns when the bytes are in the bucket that the store shares, if it shares one.
    func share() async throws(RegistryError) {
        guard let place = try await store.sharing?.secure(placement, of: store) else { return }
        secured.withLock { $0 = place }
    }

    func placeAgain() async throws(RegistryError) -> Bool {
        guard store.sharing != nil else { return false }
        try await share()
        return true
    }

    func content() throws(RegistryError) -> BlobContent { placement.content }
}
