#if canImport(Glibc)
    import Glibc
#endif
import Core

/// Small files of the composition root: configuration in, port out.
enum TextFile {
    static func read(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        let file = OpenFile(owning: descriptor)
        var bytes: [UInt8] = []
        var slice = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count: Int
            do throws(RegistryError) {
                var read = 0
                var failure: RegistryError?
                slice.withUnsafeMutableBytes { buffer in
                    do throws(RegistryError) { read = try unsafe file.read(at: Int64(bytes.count), into: buffer) } catch { failure = error }
                }
                if let failure { throw failure }
                count = read
            } catch { return nil }
            if count == 0 { return String(validating: bytes, as: UTF8.self) }
            bytes += slice[..<count]
        }
    }

    /// For who started the program, before there is a log.
    static func complain(_ text: String) {
        let bytes = Array(text.utf8)
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    /// Written beside and renamed: a reader sees the whole text or no file.
    static func write(_ text: String, to path: String) throws(RegistryError) {
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw RegistryError(.internal, subject: .store, reason: "a file cannot be written", cause: "open \(path): errno \(errno)")
        }
        let file = OpenFile(owning: descriptor)
        let bytes = Array(text.utf8)
        let written = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(file.descriptor, $0.baseAddress, $0.count) }
        guard written == bytes.count, rename(temporary, path) == 0 else {
            throw RegistryError(.internal, subject: .store, reason: "a file cannot be written", cause: "write \(path): errno \(errno)")
        }
    }
}
