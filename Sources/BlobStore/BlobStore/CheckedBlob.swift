import Core
import NIOCore
import Synchronization

/// A large blob in strict mode: no slice leaves that does not match its checksum, and the last slice of a whole read leaves only when everything
/// read has the SHA-256 that the blob is named after. A range is checked by its slices alone.
final class CheckedBlob: StreamedBytes {
    let id: BlobID
    let size: Int64
    private let extent: Extent
    private let checksums: [UInt32]
    private let store: BlobStore
    /// For who reads here and there, in pieces smaller than a slice.
    private let latest = Mutex<(index: Int, bytes: [UInt8])?>(nil)

    /// - Parameter table: the slice checksums, themselves checked.
    init(_ id: BlobID, in extent: Extent, table: [UInt8], of store: BlobStore) throws(RegistryError) {
        self.id = id
        self.extent = extent
        self.store = store
        size = extent.length
        var reader = BinaryReader(table)
        var checksums: [UInt32] = []
        while reader.remaining > 0 { checksums.append(try reader.readUInt32()) }
        guard Int64(table.count) == SliceChecksums.tableBytes(length: size) else { throw BlobStore.corrupt(id, "its checksums are damaged") }
        self.checksums = checksums
    }

    func body(of range: Range<Int64>) -> Body { Body(length: range.upperBound - range.lowerBound, source: Slices(of: self, range, on: store.pool)) }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        guard offset >= 0 else { return 0 }
        var done = 0
        while done < buffer.count, offset + Int64(done) < size {
            let (index, within) = (offset + Int64(done)).quotientAndRemainder(dividingBy: Int64(SliceChecksums.sliceBytes))
            let slice = try remembered(Int(index))
            let count = min(buffer.count - done, slice.count - Int(within))
            slice.withUnsafeBytes { source in
                unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[Int(within)..<Int(within) + count]))
            }
            done += count
        }
        return done
    }

    private func remembered(_ index: Int) throws(RegistryError) -> [UInt8] {
        if let latest = latest.withLock({ $0 }), latest.index == index { return latest.bytes }
        let bytes = try slice(index)
        latest.withLock { $0 = (index, bytes) }
        return bytes
    }

    /// One slice, checked. Blocks.
    fileprivate func slice(_ index: Int) throws(RegistryError) -> [UInt8] {
        let start = Int64(index) * Int64(SliceChecksums.sliceBytes)
        let count = Int(min(Int64(SliceChecksums.sliceBytes), size - start))
        let bytes = try Disk.read(extent.file, at: extent.offset + start, count: count)
        guard bytes.count == count, CRC32C.of(bytes) == checksums[index] else {
            throw damage("its bytes are damaged from \(start) to \(start + Int64(count))")
        }
        return bytes
    }

    /// Found while it leaves: the next reader gets it healed, or none of it.
    fileprivate func damage(_ what: String) -> RegistryError {
        let error = BlobStore.corrupt(id, what)
        store.noteDamage(id, error)
        return error
    }

    /// One reader's way through a range.
    private final class Slices: BodySource {
        private struct State {
            var position: Int64
            /// Of a whole read.
            var hasher: MultiHasher?
        }

        private let blob: CheckedBlob
        private let end: Int64
        private let pool: BlockingPool
        private let state: Mutex<State>

        init(of blob: CheckedBlob, _ range: Range<Int64>, on pool: BlockingPool) {
            self.blob = blob
            self.pool = pool
            end = range.upperBound
            state = Mutex(State(position: range.lowerBound, hasher: range == 0..<blob.size ? MultiHasher(.sha256) : nil))
        }

        func next() async throws(RegistryError) -> ByteBuffer? {
            try await pool.run { [self] () throws(RegistryError) in
                try state.withLock { state throws(RegistryError) in try next(&state) }
            }
        }

        private func next(_ state: inout State) throws(RegistryError) -> ByteBuffer? {
            guard state.position < end else { return nil }
            let (index, within) = state.position.quotientAndRemainder(dividingBy: Int64(SliceChecksums.sliceBytes))
            let slice = try blob.slice(Int(index))
            let count = Int(min(Int64(slice.count) - within, end - state.position))
            state.position += Int64(count)
            if var hasher = state.hasher {
                state.hasher = nil
                slice.withUnsafeBytes { unsafe hasher.update($0) }
                if state.position < end {
                    state.hasher = hasher
                } else if hasher.finish().first != blob.id.digest {
                    throw blob.damage("its bytes are not the ones it is named after")
                }
            }
            return ByteBuffer(bytes: slice[Int(within)..<Int(within) + count])
        }
    }
}
