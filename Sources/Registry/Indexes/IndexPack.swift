import Core
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A run of bytes in a pack.
struct Piece: Sendable, Hashable {
    let offset: Int64
    let length: Int64
}

/// A file that pieces are appended to: fragments raw and compressed, their directories, small framing. Derived, so nothing is synced when it is
/// written; pieces nobody needs stay until the pack is copied into a new one. An open extent outlives the file's name.
final class IndexPack: Sendable {
    let path: String
    let file: OpenFile

    /// Where the next piece goes; one writer at a time is not required.
    private let end: Atomic<Int64>

    /// A new, empty file.
    init(creating path: String) throws(RegistryError) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw IndexPack.failure("open") }
        self.path = path
        file = OpenFile(owning: descriptor)
        end = Atomic(0)
    }

    var bytes: Int64 { end.load(ordering: .relaxed) }

    func append(_ bytes: [UInt8]) throws(RegistryError) -> Piece {
        let length = Int64(bytes.count)
        let offset = end.wrappingAdd(length, ordering: .relaxed).oldValue
        let result = bytes.withUnsafeBytes { bytes in Result { () throws(RegistryError) in try unsafe write(bytes, at: offset) } }
        try result.get()
        return Piece(offset: offset, length: length)
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(RegistryError) {
        var done = 0
        while done < bytes.count {
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = unsafe pwrite(file.descriptor, rest.baseAddress, rest.count, off_t(offset) + off_t(done))
            if count < 0 {
                if errno == EINTR { continue }
                throw IndexPack.failure("pwrite")
            }
            done += count
        }
    }

    /// - Throws: `corrupt` when the file has fewer bytes.
    func bytes(of piece: Piece) throws(RegistryError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(piece.length))
        let result = bytes.withUnsafeMutableBytes { buffer in
            Result { () throws(RegistryError) in try unsafe file.read(at: piece.offset, into: buffer) }
        }
        guard try result.get() == bytes.count else {
            throw RegistryError(.corrupt, subject: .store, reason: "an index's file ends too early; delete the folder of views")
        }
        return bytes
    }

    /// Hands the piece over in parts of moderate size.
    func read(_ piece: Piece, _ body: (UnsafeRawBufferPointer) -> Void) throws(RegistryError) {
        var at = piece.offset
        let end = piece.offset + piece.length
        while at < end {
            let part = try bytes(of: Piece(offset: at, length: min(end - at, 256 << 10)))
            part.withUnsafeBytes { unsafe body($0) }
            at += Int64(part.count)
        }
    }

    /// The pieces as they are sent; neighbours become one extent.
    func content(of pieces: [Piece]) -> BlobContent {
        var runs: [Piece] = []
        for piece in pieces where piece.length > 0 {
            if let last = runs.last, last.offset + last.length == piece.offset {
                runs[runs.count - 1] = Piece(offset: last.offset, length: last.length + piece.length)
            } else {
                runs.append(piece)
            }
        }
        return BlobContent(.extents(runs.map { Extent(file: file, offset: $0.offset, length: $0.length) }))
    }

    /// Takes the name away; the bytes go with the last extent.
    func remove() { unlink(path) }

    /// Makes the directory, or takes away the packs another process left in it.
    static func clear(_ directory: String) {
        mkdir(directory, 0o700)
        guard let listing = unsafe opendir(directory) else { return }
        defer { unsafe closedir(listing) }
        while let entry = unsafe readdir(listing) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
                unsafe field.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name.hasSuffix(fileExtension) { unlink("\(directory)/\(name)") }
        }
    }

    /// What a pack's name ends with.
    static let fileExtension = ".pack"

    static func failure(_ call: String) -> RegistryError {
        let code = errno
        guard code == ENOSPC || code == EDQUOT else {
            return RegistryError(.internal, subject: .store, reason: "an index could not be written", cause: "\(call): errno \(code)")
        }
        return RegistryError(.noSpace, subject: .store, reason: "the disk is full; free some space", cause: "\(call): errno \(code)")
    }
}
