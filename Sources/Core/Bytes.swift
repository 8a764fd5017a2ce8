#if canImport(Glibc)
    import Glibc
#endif
public import NIOCore

/// An open file, closed when the last extent into it is gone: a descriptor never outlives or underlives its users.
public final class OpenFile: Sendable {
    public let descriptor: Int32
    private let onClose: (@Sendable () -> Void)?

    /// Takes ownership of the descriptor. `onClose` runs just after it is closed.
    public init(owning descriptor: Int32, onClose: (@Sendable () -> Void)? = nil) {
        self.descriptor = descriptor
        self.onClose = onClose
    }

    deinit {
        _ = close(descriptor)
        onClose?()
    }

    /// Fills `buffer` from `offset`.
    /// - Returns: bytes read, less than asked only at the end of the file.
    public func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = unsafe pread(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
            if count == 0 { break }
            if count < 0 {
                if errno == EINTR { continue }
                throw RegistryError(.corrupt, subject: .store, reason: "stored bytes cannot be read", cause: "pread: errno \(errno)")
            }
            done += count
        }
        return done
    }
}

/// A contiguous range of a file.
public struct Extent: Sendable {
    public let file: OpenFile
    public let offset: Int64
    public let length: Int64
    public init(file: OpenFile, offset: Int64, length: Int64) {
        self.file = file
        self.offset = offset
        self.length = length
    }
}

/// A blob's bytes, ready to leave: in memory when small and at hand, else as extents for sendfile or pread, or as a stream when they are checked
/// or put together while they leave.
public struct BlobContent: Sendable {
    public enum Storage: Sendable {
        case memory(ByteBuffer)
        case extents([Extent])
        case streamed(any StreamedBytes)
    }

    public let storage: Storage
    public let length: Int64
    public init(_ storage: Storage) {
        self.storage = storage
        switch storage {
        case .memory(let buffer): length = Int64(buffer.readableBytes)
        case .extents(let extents): length = extents.reduce(0) { $0 + $1.length }
        case .streamed(let bytes): length = bytes.size
        }
    }
}

/// A blob whose bytes cannot leave as they lie on disk.
public protocol StreamedBytes: RandomAccessBytes {
    /// The bytes of a range within `0..<size`, in slices of at most 1 MiB, each of them right.
    /// - Throws: (the stream does) `corrupt` where bytes are damaged; it never ends early instead.
    func body(of range: Range<Int64>) -> Body
}

extension BlobContent: RandomAccessBytes {
    public var size: Int64 { length }

    public func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        guard offset >= 0, offset < length, buffer.count > 0 else { return 0 }
        switch storage {
        case .memory(let bytes):
            let count = min(buffer.count, bytes.readableBytes - Int(offset))
            bytes.withUnsafeReadableBytes { source in
                unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[Int(offset)..<Int(offset) + count]))
            }
            return count
        case .streamed(let bytes): return try unsafe bytes.read(at: offset, into: buffer)
        case .extents(let extents):
            var done = 0
            var start: Int64 = 0
            for extent in extents {
                defer { start += extent.length }
                let position = offset + Int64(done)
                guard position >= start, position < start + extent.length, done < buffer.count else { continue }
                let wanted = min(Int64(buffer.count - done), start + extent.length - position)
                let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + Int(wanted)])
                let count = try unsafe extent.file.read(at: extent.offset + position - start, into: target)
                done += count
                if count < Int(wanted) { break }
            }
            return done
        }
    }
}

/// Bytes that can be read anywhere, blocking: what archive readers take. Used on a worker thread, never on an event loop.
public protocol RandomAccessBytes: Sendable {
    var size: Int64 { get }
    /// - Returns: bytes read into `buffer`, less than asked only at the end.
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int
}

extension RandomAccessBytes {
    /// `count` bytes from `offset`, fewer only at the end. The caller bounds `count`.
    public func bytes(at offset: Int64, count: Int) throws(RegistryError) -> [UInt8] {
        guard count > 0 else { return [] }
        var result = [UInt8](repeating: 0, count: count)
        var failure: RegistryError?
        var read = 0
        result.withUnsafeMutableBytes { buffer in
            do throws(RegistryError) { read = try unsafe self.read(at: offset, into: buffer) } catch { failure = error }
        }
        if let failure { throw failure }
        result.removeLast(count - read)
        return result
    }
}

extension RandomAccessBytes {
    /// The same, ready to leave.
    public func buffer(at offset: Int64, count: Int) throws(RegistryError) -> ByteBuffer {
        guard count > 0 else { return ByteBuffer() }
        var buffer = ByteBufferAllocator().buffer(capacity: count)
        var failure: RegistryError?
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
            let target = unsafe UnsafeMutableRawBufferPointer(rebasing: target[..<count])
            do throws(RegistryError) { return try unsafe read(at: offset, into: target) } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw failure }
        return buffer
    }
}

/// A file a commit must bring to disk. One object per file, so that a group commit syncs each once.
public protocol SyncableFile: AnyObject, Sendable {
    /// Bytes and name are durable afterwards. A failure poisons the store: fsync is never retried (a retry may lie). Only `noSpace`, and an error
    /// that says when to try again, fail just who needs this file: they mean that a write or an open was refused, and no sync has failed.
    func synchronize() throws(RegistryError)
}

/// Bytes received, hashed and written, but neither durable nor named yet. Whoever holds one keeps the bytes from being swept.
public protocol StagedBytes: AnyObject, Sendable {
    var id: BlobID { get }
    var size: Int64 { get }
    /// SHA-256 first, then whatever else the upload was asked to compute.
    var digests: [Digest] { get }
    /// What must reach the disk before a change may name the blob; empty when the store already had it.
    var unsynced: [any SyncableFile] { get }
    /// The row of the location index that goes into the same batch; nil when the store already had it.
    var location: (key: [UInt8], value: [UInt8])? { get }
    /// The batch is durable.
    func didCommit()
    /// The bytes, for looking into them before the commit.
    func content() throws(RegistryError) -> BlobContent
    /// The store had the blob, so `location` was nil, and its row was gone when a change was to name it: the bytes get a place and a row anew.
    /// - Returns: false where that cannot be; the change fails then.
    func placeAgain() async throws(RegistryError) -> Bool
}

extension StagedBytes {
    /// Where who holds staged bytes also holds their row, it is never gone.
    public func placeAgain() async throws(RegistryError) -> Bool { false }

    public func digest(_ algorithm: DigestAlgorithm) -> Digest? { digests.first { $0.algorithm == algorithm } }
}
