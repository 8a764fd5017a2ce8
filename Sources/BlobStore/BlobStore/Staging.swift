public import Core
public import NIOCore
import Synchronization

/// A blob's bytes while they arrive: hashed and, beyond a few, written, on the thread that brings them.
///
/// Bodies up to `stagedInMemoryBytesMax` stay in memory until they are complete. Above that, a body of known length below `ownFileBytesMin` gets
/// space in a segment; every other body goes to an unnamed file. Nothing is left on disk of one that is not finished.
public final class Staging: ByteSink {
    private enum Target {
        case memory(ByteBuffer)
        case segment(Reservation)
        case file(TemporaryFile, EarlyWriting)
        /// Finished, cancelled or failed.
        case gone
    }

    private struct State {
        var target: Target
        var received: Int64 = 0
        var hasher: MultiHasher
        var checksums = SliceChecksums()
        /// When the free space is looked at again.
        var nextSpaceCheck: Int64 = 0
    }

    private static let spaceCheckStepBytes: Int64 = 1 << 20
    /// Several digests of one piece while it is in the processor's cache.
    private static let hashPieceBytes = 64 << 10

    private let store: BlobStore
    private let expectedLength: Int64?
    private let state: Mutex<State>

    init(in store: BlobStore, expectedLength: Int64?, digests: DigestSet) {
        self.store = store
        self.expectedLength = expectedLength
        var buffer = ByteBuffer()
        if let expectedLength, expectedLength <= Int64(store.options.stagedInMemoryBytesMax) {
            buffer.reserveCapacity(minimumWritableBytes: Int(expectedLength))
        }
        state = Mutex(State(target: .memory(buffer), hasher: MultiHasher(digests)))
    }

    deinit { cancel() }

    /// Takes the next bytes. Blocks only for a write to the page cache.
    /// - Throws: `invalid` for more bytes than were announced, `noSpace`, `conflict` after the end. The staging is over then.
    public func write(_ slice: ByteBuffer) throws(RegistryError) {
        try state.withLock { state throws(RegistryError) in
            do throws(RegistryError) {
                try slice.withBytes { bytes throws(RegistryError) in try unsafe take(bytes, &state) }
            } catch {
                abandon(&state)
                throw error
            }
        }
    }

    /// A copy of what has arrived from `offset` on, for those who read along: at most `count` bytes, fewer where they end. Blocks only for a
    /// read of what was just written.
    /// - Returns: nil once the staging is over.
    public func arrived(at offset: Int64, upTo count: Int) throws(RegistryError) -> ByteBuffer? {
        enum Place {
            case memory(ByteBuffer)
            case file(OpenFile, at: Int64, count: Int, keeping: AnyObject?)
        }
        let place: Place? = state.withLock { state in
            let available = Int(max(0, min(Int64(count), state.received - offset)))
            switch state.target {
            case .gone: return nil
            // Copied: a slice would make the next write copy all that is there.
            case .memory(let buffer):
                return .memory(ByteBuffer(bytes: buffer.viewBytes(at: buffer.readerIndex + Int(offset), length: available) ?? ByteBufferView()))
            case .segment(let reservation):
                return .file(
                    reservation.segment.file, at: reservation.offset + Int64(RecordHeader.bytes) + offset, count: available, keeping: reservation)
            case .file(let temporary, _): return .file(temporary.file, at: offset, count: available, keeping: temporary)
            }
        }
        switch place {
        case nil: return nil
        case .memory(let copy)?: return copy
        case .file(let file, let position, let wanted, let owner)?:
            defer { withExtendedLifetime(owner) {} }
            return try BlobContent(.extents([Extent(file: file, offset: position, length: Int64(wanted))])).buffer(at: 0, count: wanted)
        }
    }

    /// The bytes are complete: hashed, compared with what is stored, and given their place.
    /// - Throws: `invalid` when fewer bytes came than were announced.
    public func finish() async throws(RegistryError) -> any StagedBytes {
        try await store.place(try complete())
    }

    /// As `finish`, for a copy of what another node stores: nothing goes to the bucket that is shared, and the disk keeps it when
    /// `BlobStore.keepCopy` says so.
    public func finishCopy() async throws(RegistryError) -> any StagedBytes { try await finishHere() }

    /// As `finish`, for bytes of a blob that a shared bucket has, if one is shared.
    func finishHere() async throws(RegistryError) -> StagedBlob { try await store.place(try complete(), isHereAlone: true) }

    /// Gives up. May be called at any time, also after `finish`, when it does nothing.
    public func cancel() { state.withLock { abandon(&$0) } }

    private func complete() throws(RegistryError) -> Arrival {
        try state.withLock { state throws(RegistryError) in
            if let expectedLength, state.received != expectedLength {
                let received = state.received
                abandon(&state)
                throw RegistryError(
                    .invalid, subject: .request, reason: "the body ended after \(received) of \(expectedLength) bytes; send it again")
            }
            let bytes: Arrival.Bytes
            switch state.target {
            case .memory(let buffer): bytes = .memory(buffer)
            case .segment(let reservation): bytes = .segment(reservation)
            case .file(let temporary, _): bytes = .file(temporary.file, temporary)
            case .gone: throw Staging.isOver
            }
            // From here on the arrival owns the bytes.
            abandon(&state)
            return Arrival(
                digests: state.hasher.finish(), size: state.received, table: state.checksums.table, bytes: bytes, session: nil)
        }
    }

    private func abandon(_ state: inout State) {
        if case .memory(let buffer) = state.target { store.gauge.subtract(Int64(buffer.readableBytes)) }
        state.target = .gone
    }

    private func take(_ bytes: UnsafeRawBufferPointer, _ state: inout State) throws(RegistryError) {
        guard !bytes.isEmpty else { return }
        // Both are lengths of things that exist; their sum stays far below 2^63.
        let end = state.received + Int64(bytes.count)
        if let expectedLength, end > expectedLength {
            throw RegistryError(.invalid, subject: .request, reason: "the body has more than the announced \(expectedLength) bytes")
        }
        try makeRoom(for: bytes.count, upTo: end, &state)
        switch state.target {
        case .memory(var buffer):
            state.target = .gone  // the buffer has one owner while it grows
            unsafe buffer.writeBytes(bytes)
            store.gauge.add(Int64(bytes.count))
            state.target = .memory(buffer)
        case .segment(let reservation):
            try unsafe reservation.write(bytes, at: state.received)
        case .file(let temporary, var early):
            try unsafe Disk.write(bytes, to: temporary.file, at: state.received)
            early.wrote(upTo: end, of: temporary.file)
            state.target = .file(temporary, early)
        case .gone:
            throw Staging.isOver
        }
        unsafe Staging.hash(bytes, into: &state.hasher, &state.checksums)
        state.received = end
    }

    static func hash(_ bytes: UnsafeRawBufferPointer, into hasher: inout MultiHasher, _ checksums: inout SliceChecksums) {
        var rest = unsafe bytes
        while !rest.isEmpty {
            let piece = unsafe UnsafeRawBufferPointer(rebasing: rest.prefix(hashPieceBytes))
            unsafe hasher.update(piece)
            unsafe checksums.update(piece)
            unsafe rest = UnsafeRawBufferPointer(rebasing: rest[piece.count...])
        }
    }

    /// Moves the body out of memory when it outgrows its share, and watches the free space of one of unknown length.
    private func makeRoom(for count: Int, upTo end: Int64, _ state: inout State) throws(RegistryError) {
        if expectedLength == nil, end > state.nextSpaceCheck {
            try store.checkSpace(for: Int64(count))
            state.nextSpaceCheck = end + Staging.spaceCheckStepBytes
        }
        guard case .memory(let buffer) = state.target else { return }
        let fits = end <= Int64(store.options.stagedInMemoryBytesMax)
        if fits, store.gauge.bytes + Int64(count) <= store.options.bytesInFlightMax { return }
        let target = try spill()
        let received = state.received
        let result = buffer.withUnsafeReadableBytes { held in
            Result { () throws(RegistryError) in
                switch target {
                case .segment(let reservation): try unsafe reservation.write(held, at: 0)
                case .file(let temporary, _): try unsafe Disk.write(held, to: temporary.file, at: 0)
                case .memory, .gone: break
                }
            }
        }
        try result.get()
        store.gauge.subtract(received)
        state.target = target
    }

    private func spill() throws(RegistryError) -> Target {
        if let expectedLength, expectedLength < Int64(store.options.ownFileBytesMin) {
            return .segment(try store.segments.reserve(length: expectedLength))
        }
        let temporary = try store.newTemporaryFile()
        if let expectedLength { try Disk.allocate(temporary.file, at: 0, count: OwnFile.fileBytes(length: expectedLength)) }
        return .file(temporary, EarlyWriting())
    }

    private static var isOver: RegistryError {
        RegistryError(.conflict, subject: .request, reason: "the body has ended already")
    }
}

/// Complete bytes on their way to their place.
struct Arrival: Sendable {
    enum Bytes: Sendable {
        case memory(ByteBuffer)
        case segment(Reservation)
        /// With the object that keeps the file's temporary name, if any.
        case file(OpenFile, TemporaryFile?)
    }

    let digests: [Digest]
    let size: Int64
    /// Slice checksums, as stored.
    let table: [UInt8]
    let bytes: Bytes
    /// The upload session the file belongs to.
    let session: SessionClaim?
}
