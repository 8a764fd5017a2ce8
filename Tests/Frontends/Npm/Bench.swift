import Core
import FrontendKit
import HTTPTypes
import Parsing
import TestSupport

@testable import Npm

/// Tarballs made byte by byte, the documents npm sends with them, and a registry in memory to publish to.
struct Bench {
    let harness = FrontendHarness(NpmFrontend(), repositories: ["js"])
    var repository: MemoryRepository? { harness.registry.repository("js") }

    static func manifest(_ name: String = "demo", _ version: String = "1.0.0", _ more: JSON = [:]) -> JSON {
        var document: JSON = ["name": .string(name), "version": .string(version), "description": "A demo"]
        for member in more.object?.members ?? [] { document[member.name] = member.value }
        return document
    }

    static func tarball(_ manifest: JSON = manifest()) -> [UInt8] {
        gzip(tar([("package/package.json", manifest.pretty()), ("package/index.js", Array("module.exports = 1\n".utf8))]))
    }

    /// What `npm publish` sends.
    static func document(_ manifest: JSON = manifest(), tarball: [UInt8]? = nil, tag: String = "latest") -> JSON {
        let (name, version) = (manifest["name"]?.string ?? "", manifest["version"]?.string ?? "")
        let bytes = tarball ?? Self.tarball(manifest)
        var shown = manifest
        shown["readme"] = "# Demo"
        shown["dist"] = [
            "integrity": .string(Integrity.text(of: .of(.sha512, bytes))), "shasum": .string(Digest.of(.sha1, bytes).hex),
            "tarball": "http://elsewhere.test/x.tgz", "signatures": [["keyid": "claimed"]],
        ]
        let attachment: JSON = [
            "content_type": "application/octet-stream", "data": .string(Base64.encode(bytes)), "length": JSON(bytes.count),
        ]
        return .object(
            .init([
                ("_id", .string(name)), ("name", .string(name)), ("dist-tags", .object(.init([(tag, .string(version))]))),
                ("versions", .object(.init([(version, shown)]))), ("access", "public"),
                ("_attachments", .object(.init([("\(name)-\(version).tgz", attachment)]))),
            ]))
    }

    @discardableResult
    func put(_ document: JSON, at name: String = "demo", as who: MemoryCaller = .publisher) async -> FrontendHarness.Answer {
        await harness.send(.put, "/npm/js/\(name)", [.contentType: "application/json"], body: document.encoded(), as: who)
    }

    @discardableResult
    func publish(_ name: String = "demo", _ version: String = "1.0.0", _ more: JSON = [:], tag: String = "latest") async -> FrontendHarness.Answer {
        await put(Self.document(Self.manifest(name, version, more), tag: tag), at: name)
    }

    func get(_ path: String, accept: String? = nil) async -> FrontendHarness.Answer {
        await harness.send(.get, "/npm/js/\(path)", accept.map { [.accept: $0] } ?? [:])
    }

    func json(_ path: String, accept: String? = nil) async -> JSON { (try? JSON.parse(await get(path, accept: accept).body)) ?? .null }

    static let abbreviated = "application/vnd.npm.install-v1+json"
}

extension FrontendHarness.Answer {
    /// `400 why`: the status, and what npm shows of the body.
    var outcome: String { "\(status) \((try? JSON.parse(body))?["error"]?.string ?? text)" }
}
