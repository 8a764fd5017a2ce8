import Core
import FrontendKit
import HTTPTypes
import NIOCore
import TestSupport

@testable import Debian

/// Packages made byte by byte, and an archive in memory to put them into.
struct Bench {
    let harness = FrontendHarness(DebianFrontend(), repositories: ["deb"])

    /// A control file with the usual fields; `more` are further lines, each with its line feed.
    static func control(_ name: String, _ version: String, _ architecture: String, more: String = "") -> String {
        "Package: \(name)\nVersion: \(version)\nArchitecture: \(architecture)\nMaintainer: A <a@example.org>\nSection: misc\n\(more)"
            + "Description: a test\n More.\n"
    }

    static func deb(control: String, files: [String] = ["./usr/bin/demo"]) -> [UInt8] {
        ar([
            ("debian-binary", Array("2.0\n".utf8)), ("control.tar", tar([("./control", Array(control.utf8))])),
            ("data.tar", tar(files.map { ($0, Array("x".utf8)) })),
        ])
    }

    static func deb(_ name: String = "demo", _ version: String = "1.0", _ architecture: String = "amd64", more: String = "") -> [UInt8] {
        deb(control: control(name, version, architecture, more: more), files: ["./usr/bin/\(name)"])
    }

    static func ar(_ members: [(String, [UInt8])]) -> [UInt8] {
        var bytes = Array("!<arch>\n".utf8)
        for (name, content) in members {
            func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: width - text.utf8.count) }
            let header =
                padded(name, 16) + padded("0", 12) + padded("0", 6) + padded("0", 6) + padded("100644", 8) + padded("\(content.count)", 10) + "`\n"
            bytes += Array(header.utf8) + content + (content.count % 2 == 1 ? [0x0A] : [])
        }
        return bytes
    }

    static func tar(_ files: [(String, [UInt8])]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (name, content) in files {
            var header = [UInt8](repeating: 0, count: 512)
            func put(_ text: String, at offset: Int) { header.replaceSubrange(offset..<offset + text.utf8.count, with: Array(text.utf8)) }
            func octal(_ value: Int, _ width: Int) -> String {
                let digits = String(value, radix: 8)
                return String(repeating: "0", count: width - digits.count) + digits
            }
            put(name, at: 0)
            put("0000644", at: 100)
            put("0000000", at: 108)
            put("0000000", at: 116)
            put(octal(content.count, 11), at: 124)
            put("00000000000", at: 136)
            put("        ", at: 148)
            put("0", at: 156)
            put("ustar", at: 257)
            put("00", at: 263)
            put(octal(header.reduce(0) { $0 + Int($1) }, 6), at: 148)
            header[154] = 0
            bytes += header + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
        }
        return bytes + [UInt8](repeating: 0, count: 1024)
    }

    @discardableResult
    func put(_ bytes: [UInt8], _ path: String, as who: MemoryCaller = .publisher) async -> FrontendHarness.Answer {
        await harness.send(.put, "/debian/deb/\(path)", body: bytes, as: who)
    }

    func get(_ path: String) async -> FrontendHarness.Answer { await harness.send(.get, "/debian/deb/\(path)") }

    static func sums(_ files: [(String, [UInt8])], _ algorithm: DigestAlgorithm, section: String = "") -> String {
        files.map { "\n \(Digest.of(algorithm, $0.1).hex) \($0.1.count) \(section)\($0.0)" }.joined()
    }

    /// `Checksums-*` and `Files`, the latter with section and priority as a `.changes` has them.
    static func lists(_ files: [(String, [UInt8])], section: String = "") -> String {
        "Checksums-Sha1:\(sums(files, .sha1))\nChecksums-Sha256:\(sums(files, .sha256))\nFiles:\(sums(files, .md5, section: section))\n"
    }
}
