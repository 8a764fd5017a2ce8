import FoundationEssentials
import Glibc

// Tidy: the house rules as tests over the tree. What is judged is what git would commit: tracked files and new ones that are not ignored.
// Every rule names its offenders as path:line, so that a failure is a list to work through.

/// The clone this test was compiled from.
enum Tree {
    static let root: String = {
        var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        parts.removeLast(3)
        return parts.joined(separator: "/")
    }()

    /// Paths from the root, in byte order.
    static let files: [String] = lines(of: "git ls-files --cached --others --exclude-standard").filter { exists($0) }.sorted()
    static let tracked: [String] = lines(of: "git ls-files --cached")
    static let sources: [SourceFile] = swift(in: "Sources/")
    static let tests: [SourceFile] = swift(in: "Tests/")

    static func swift(in folder: String) -> [SourceFile] {
        files.filter { $0.hasPrefix(folder) && $0.hasSuffix(".swift") }.map { SourceFile(path: $0, text: text(of: $0)) }
    }

    static func exists(_ path: String) -> Bool { access("\(root)/\(path)", F_OK) == 0 }
    static func isExecutable(_ path: String) -> Bool { access("\(root)/\(path)", X_OK) == 0 }

    /// Empty when the file is not text.
    static func text(of path: String) -> String {
        guard let bytes = FileManager.default.contents(atPath: "\(root)/\(path)"), !bytes.prefix(8000).contains(0) else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func lines(of command: String) -> [String] {
        guard let pipe = popen("cd '\(root)' && \(command) 2>/dev/null", "r") else { return [] }
        defer { pclose(pipe) }
        var bytes: [UInt8] = []
        while case let byte = fgetc(pipe), byte != EOF { bytes.append(UInt8(truncatingIfNeeded: byte)) }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}

/// A Swift file, once as written and once with comments and string literals blanked, line for line.
struct SourceFile {
    let path: String
    let lines: [Substring]
    let code: [Substring]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        code = Blanking.blanked(text).split(separator: "\n", omittingEmptySubsequences: false)
    }

    var name: Substring { path.split(separator: "/").last ?? "" }

    /// `path:line` of each code line the rule objects to.
    func offences(_ objects: (Substring) -> Bool) -> [String] {
        code.indices.filter { objects(code[$0]) }.map { "\(path):\($0 + 1)" }
    }
}
