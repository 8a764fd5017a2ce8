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
