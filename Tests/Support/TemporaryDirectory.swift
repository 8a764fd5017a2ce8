public import Core

#if canImport(Glibc)
    import Glibc
#endif

/// A directory of one test, removed with its last reference.
public final class TemporaryDirectory: Sendable {
    public let path: String

    public init() throws(RegistryError) {
        var template = Array("/tmp/granary-test-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else {
            throw RegistryError(.internal, subject: .store, reason: "no temporary directory", cause: "mkdtemp: errno \(errno)")
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { TemporaryDirectory.remove(path) }

    public func file(_ name: String) -> String { "\(path)/\(name)" }

    /// A small file's text; nil when there is none.
    public func text(of name: String) -> String? {
        guard let source = unsafe fopen(file(name), "rb") else { return nil }
        defer { unsafe fclose(source) }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe fread(&buffer, 1, buffer.count, source)
        return String(validating: buffer[..<count], as: UTF8.self)
    }

    /// Copies a flat directory of plain files, as it is at this moment.
    public func copy(_ from: String, to: String) throws(RegistryError) {
        guard unsafe mkdir(file(to), 0o700) == 0 else {
            throw RegistryError(.internal, subject: .store, reason: "no copy", cause: "mkdir: errno \(errno)")
        }
        for name in TemporaryDirectory.entries(of: file(from)) {
            let source = unsafe fopen(file("\(from)/\(name)"), "rb")
            let target = unsafe fopen(file("\(to)/\(name)"), "wb")
            guard let source = unsafe source, let target = unsafe target else { continue }
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                let count = unsafe fread(&buffer, 1, buffer.count, source)
                if count == 0 { break }
                unsafe fwrite(buffer, 1, count, target)
            }
            unsafe fclose(source)
            unsafe fclose(target)
        }
    }

    /// What is in a directory, sorted.
    public func names(in name: String) -> [String] { TemporaryDirectory.entries(of: file(name)).sorted() }

    /// Every file below the directory `name` with its length, by its path.
    public func lengths(below name: String) -> [String: Int64] {
        var found: [String: Int64] = [:]
        for entry in TemporaryDirectory.entries(of: file(name)) {
            let path = "\(name)/\(entry)"
            var status = stat()
            guard unsafe stat(file(path), &status) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFDIR { found.merge(lengths(below: path)) { $1 } } else { found[path] = Int64(status.st_size) }
        }
        return found
    }

    /// Names in a directory, `.` and `..` apart.
    public static func entries(of path: String) -> [String] {
        guard let directory = unsafe opendir(path) else { return [] }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { start in
                unsafe String(cString: UnsafeRawPointer(start).assumingMemoryBound(to: CChar.self))
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// Removes a directory with all that is in it.
    public static func remove(_ path: String) {
        for name in entries(of: path) where unsafe unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
        unsafe rmdir(path)
    }
}
