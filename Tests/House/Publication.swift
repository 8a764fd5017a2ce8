public import Core
public import HTTPTypes
import Parsing
import TestSupport

/// Two small releases of each format, as its clients publish them, for tests that look at every format. A new format gets its row in `of`.
public enum Publication {
    public struct Call: Sendable {
        public let method: HTTPRequest.Method
        public let target: String
        public let type: String
        public let body: [UInt8]
        public init(_ method: HTTPRequest.Method, _ target: String, type: String = "application/octet-stream", body: [UInt8] = []) {
            self.method = method
            self.target = target
            self.type = type
            self.body = body
        }
    }

    /// The calls that publish into the repository; empty for a format without a row.
    public static func of(_ format: String, in key: String) -> [Call] {
        switch format {
        case "generic": ["1", "2"].map { Call(.put, "/general/\(key)/app/\($0)/f", body: Array("file \($0)".utf8)) }
        case "http-cache": [Call(.put, "/cache/\(key)/k/1", body: Array("entry".utf8)), Call(.put, "/cache/\(key)/cas/\(digest.hex)", body: layer)]
        case "maven": ["1.0", "1.1"].map { Call(.put, "/maven/\(key)/org/x/a/\($0)/a-\($0).jar", body: Array("jar \($0)".utf8)) }
        case "npm": ["1.0.0", "2.0.0"].map { Call(.put, "/npm/\(key)/tool", type: "application/json", body: packument($0)) }
        case "debian": ["1.0", "2.0"].map { Call(.put, "/debian/\(key)/pool/main/d/demo/demo_\($0)_amd64.deb", body: deb($0)) }
        case "oci":
            [Call(.post, "/v2/\(key)/app/blobs/uploads/?digest=\(digest)", body: layer)]
                + ["one", "two"].map { Call(.put, "/v2/\(key)/app/manifests/\($0)", type: manifestType, body: image($0)) }
        case "pypi":
            ["1.0", "2.0"].map { version in
                let metadata = Array("Metadata-Version: 2.1\nName: demo\nVersion: \(version)\n\n".utf8)
                let wheel = zip([("demo-\(version).dist-info/METADATA", metadata)])
                return Call(.put, "/api/v1/repositories/\(key)/artifacts/demo-\(version)-py3-none-any.whl", body: wheel)
            }
        default: []
        }
    }

    public static func packument(_ version: String) -> [UInt8] {
        let manifest: JSON = ["name": "tool", "version": .string(version)]
        let tarball = gzip(tar([("package/package.json", manifest.encoded())]))
        let attachment: JSON = ["content_type": "x", "data": .string(Base64.encode(tarball)), "length": JSON(tarball.count)]
        let document: JSON = [
            "_id": "tool", "name": "tool", "dist-tags": .object(.init([("v\(version.prefix(1))x", .string(version))])),
            "versions": .object(.init([(version, manifest)])), "_attachments": .object(.init([("tool-\(version).tgz", attachment)])),
        ]
        return document.encoded()
    }

    public static func deb(_ version: String) -> [UInt8] {
        let control = "Package: demo\nVersion: \(version)\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: a test\n"
        let members = [
            ("debian-binary", Array("2.0\n".utf8)), ("control.tar", tar([("./control", Array(control.utf8))])), ("data.tar", tar([])),
        ]
        func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: width - text.utf8.count) }
        return members.reduce(Array("!<arch>\n".utf8)) { file, member in
            let head =
                padded(member.0, 16) + padded("0", 12) + padded("0", 6) + padded("0", 6) + padded("100644", 8) + padded("\(member.1.count)", 10)
                + "`\n"
            return file + Array(head.utf8) + member.1 + (member.1.count.isMultiple(of: 2) ? [] : [0x0A])
        }
    }

    public static let manifestType = "application/vnd.oci.image.manifest.v1+json"
    public static let layer = Array("layer".utf8)
    /// Of the layer.
    public static let digest = Digest.of(.sha256, layer)

    public static func image(_ note: String) -> [UInt8] {
        Array(
            (#"{"schemaVersion":2,"mediaType":"\#(manifestType)","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"\#(digest)","#
                + #""size":5},"layers":[],"annotations":{"note":"\#(note)"}}"#).utf8)
    }
}
