import Core
import FrontendKit
import HTTPTypes
import NIOCore
import TestSupport

@testable import PyPI

/// Distributions made byte by byte, and a public index in memory to put them on.
struct Bench {
    let harness = FrontendHarness(PyPIFrontend(), repositories: ["py"])

    /// METADATA with the usual fields; `more` are further lines, each with its line feed.
    static func metadata(_ name: String, _ version: String, more: String = "", body: String = "Words.\n") -> String {
        """
        Metadata-Version: 2.4
        Name: \(name)
        Version: \(version)
        Summary: a test
        Keywords: one,two
        License-Expression: MIT
        License-File: LICENSE
        Requires-Python: >=3.8
        Classifier: Topic :: Utilities
        Requires-Dist: idna
        Project-URL: Home,https://example.org

        """ + more + "\n" + body
    }

    /// A wheel's bytes: its metadata lies in `folder.dist-info`.
    static func wheel(_ metadata: String, in folder: String) -> [UInt8] {
        zip([("module.py", Array("said = 1\n".utf8)), ("\(folder).dist-info/METADATA", Array(metadata.utf8))])
    }

    static func wheel(_ name: String = "demo", _ version: String = "1.0", more: String = "") -> [UInt8] {
        wheel(metadata(name, version, more: more), in: "\(name)-\(version)")
    }

    static func sdist(_ name: String = "demo", _ version: String = "1.0") -> [UInt8] {
        gzip(tar([("\(name)-\(version)/PKG-INFO", Array(metadata(name, version).utf8))]))
    }

    /// The upload form: twine's fields, then those of `fields`; one that is empty is left out.
    func upload(
        _ file: String, _ bytes: [UInt8], name: String = "demo", version: String = "1.0", _ fields: [(String, String)] = [],
        as who: MemoryCaller = .publisher
    ) async -> FrontendHarness.Answer {
        var all = [(":action", "file_upload"), ("protocol_version", "1"), ("name", name), ("version", version)]
        all.removeAll { old in fields.contains { $0.0 == old.0 } }
        var body: [UInt8] = []
        for (name, value) in all + fields where !value.isEmpty {
            body += Array("--cut\r\nContent-Disposition: form-data; name=\"\(name)\"\r\n\r\n\(value)\r\n".utf8)
        }
        body += Array("--cut\r\nContent-Disposition: form-data; name=\"content\"; filename=\"\(file)\"\r\n\r\n".utf8) + bytes
        body += Array("\r\n--cut--\r\n".utf8)
        return await harness.send(.post, "/pypi/py/", [.contentType: "multipart/form-data; boundary=cut"], body: body, as: who)
    }

    func get(_ target: String, accept: String? = nil) async -> FrontendHarness.Answer {
        await harness.send(.get, target, accept.map { [.accept: $0] } ?? [:])
    }

    static let json = "application/vnd.pypi.simple.v1+json"
}

/// PKWARE's format with nothing compressed.
func zip(_ files: [(name: String, bytes: [UInt8])], method: UInt16 = 0) -> [UInt8] {
    var archive: [UInt8] = []
    var directory: [UInt8] = []
    for (name, bytes) in files {
        let offset = archive.count
        var about = little(method, 2) + little(0, 4) + little(crc32(bytes), 4)
        about += little(bytes.count, 4) + little(bytes.count, 4)
        about += little(name.utf8.count, 2) + little(0, 2)
        archive += [0x50, 0x4B, 3, 4, 20, 0, 0, 0] + about + Array(name.utf8) + bytes
        directory += [0x50, 0x4B, 1, 2, 20, 0, 20, 0, 0, 0] + about
        directory += little(0, 10) + little(offset, 4) + Array(name.utf8)
    }
    var end: [UInt8] = [0x50, 0x4B, 5, 6] + little(0, 4)
    end += little(files.count, 2) + little(files.count, 2)
    end += little(directory.count, 4) + little(archive.count, 4) + little(0, 2)
    return archive + directory + end
}

func tar(_ files: [(name: String, bytes: [UInt8])]) -> [UInt8] {
    var archive: [UInt8] = []
    for (name, bytes) in files {
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at: Int) { header.replaceSubrange(at..<at + text.utf8.count, with: Array(text.utf8)) }
        put(name, at: 0)
        put("0000644", at: 100)
        let octal = String(bytes.count, radix: 8)
        put(String(repeating: "0", count: 11 - octal.count) + octal, at: 124)
        put("        ", at: 148)
        put("0", at: 156)
        put("ustar\0" + "00", at: 257)
        let sum = String(header.reduce(0) { $0 + Int($1) }, radix: 8)
        put(String(repeating: "0", count: 6 - sum.count) + sum + "\0 ", at: 148)
        archive += header + bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }
    return archive + [UInt8](repeating: 0, count: 1024)
}

/// RFC 1952 around one stored block.
func gzip(_ bytes: [UInt8]) -> [UInt8] {
    precondition(bytes.count < 65_536, "one stored block")
    var file: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255, 1]
    file += little(bytes.count, 2) + little(~bytes.count & 0xFFFF, 2) + bytes
    return file + little(crc32(bytes), 4) + little(bytes.count, 4)
}

private func little(_ value: some BinaryInteger, _ count: Int) -> [UInt8] {
    (0..<count).map { $0 < 8 ? UInt8(truncatingIfNeeded: UInt64(truncatingIfNeeded: value) >> UInt64(8 * $0)) : 0 }
}

private func crc32(_ bytes: [UInt8]) -> UInt32 {
    var sum = UInt32.max
    for byte in bytes {
        sum ^= UInt32(byte)
        for _ in 0..<8 { sum = sum & 1 == 1 ? (sum >> 1) ^ 0xEDB8_8320 : sum >> 1 }
    }
    return ~sum
}
