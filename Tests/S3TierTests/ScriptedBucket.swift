import Core
import Logging
import NIOCore
import Outbound
import Synchronization
import TestSupport

@testable import S3Tier

/// A bucket that keeps what it is given, and fails where a test says so: a real HTTP server on loopback, its object store a dictionary.
final class ScriptedBucket: Sendable {
    struct State {
        var objects: [String: [UInt8]] = [:]
        var parts: [String: [Int: [UInt8]]] = [:]
        var uploads = 0
    }

    /// Asked before each request; an answer of its own takes the place of the bucket's.
    typealias Fault = @Sendable (ScriptedServer.Request) -> ScriptedServer.Answer?

    let state: Box
    let server: ScriptedServer
    let client: S3Client
    private let outbound: OutboundClient

    final class Box: Sendable {
        let state = Mutex(State())
    }

    static func start(
        partBytes: Int64 = 5000, triesMax: Int = 5, before: @escaping Fault = { _ in nil }, after: @escaping Fault = { _ in nil }
    ) async throws -> ScriptedBucket {
        let box = Box()
        let server = try await ScriptedServer.start { request in
            if let answer = before(request) { return answer }
            let answer = box.answer(request)
            return after(request) ?? answer
        }
        var options = ScriptedBucket.options(server.port)
        options.partBytes = partBytes
        options.triesMax = triesMax
        return try ScriptedBucket(box, server, options)
    }

    static func options(_ port: Int) -> S3Options {
        S3Options(
            bucket: "bucket", endpoint: "http://127.0.0.1:\(port)", prefix: "a/b",
            credentials: S3Credentials(accessKey: "key", secretKey: "secret"), addressPolicy: AddressPolicy(allowPrivate: true))
    }

    private init(_ state: Box, _ server: ScriptedServer, _ options: S3Options) throws {
        self.state = state
        self.server = server
        outbound = try OutboundClient(log: ScriptedBucket.log, world: .real)
        client = try S3Client(options, outbound: outbound, world: .real, log: ScriptedBucket.log)
    }

    static let log = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    var objects: [String: [UInt8]] { state.state.withLock { $0.objects } }

    static func refusal(_ status: Int, _ code: String) -> ScriptedServer.Answer {
        .status(status, [("Content-Type", "application/xml")], Array("<Error><Code>\(code)</Code><Message>scripted</Message></Error>".utf8))
    }

    static func bytes(_ bytes: [UInt8]) -> BlobContent { BlobContent(.memory(ByteBuffer(bytes: bytes))) }
}

extension ScriptedBucket.Box {
    fileprivate func answer(_ request: ScriptedServer.Request) -> ScriptedServer.Answer {
        let halves = request.target.split(separator: "?", maxSplits: 1)
        let key = String(halves[0].dropFirst("/bucket/".count))
        var query: [String: String] = [:]
        for pair in (halves.count > 1 ? halves[1] : "").split(separator: "&") {
            let parts = pair.split(separator: "=", omittingEmptySubsequences: false).map { Percent.decode($0) ?? "" }
            query[parts[0]] = parts.count > 1 ? parts[1] : ""
        }
        let body = Array(request.body.readableBytesView)
        return state.withLock { state in
            if request.method == "PUT" || request.method == "POST" && !body.isEmpty {
                guard request["x-amz-content-sha256"] == Digest.of(.sha256, body).hex else { return ScriptedBucket.refusal(400, "BadDigest") }
            }
            if let upload = query["uploadId"], state.parts[upload] == nil { return ScriptedBucket.refusal(404, "NoSuchUpload") }
            switch (request.method, query["uploads"] != nil, query["uploadId"]) {
            case ("GET", true, _):
                let list = state.parts.keys.sorted().map { "<Upload><Key>a/b/x</Key><UploadId>\($0)</UploadId></Upload>" }.joined()
                return .ok("<ListMultipartUploadsResult>\(list)</ListMultipartUploadsResult>")
            case ("POST", true, _):
                state.uploads += 1
                state.parts["u\(state.uploads)"] = [:]
                return .ok("<InitiateMultipartUploadResult><UploadId>u\(state.uploads)</UploadId></InitiateMultipartUploadResult>")
            case ("PUT", _, let upload?):
                state.parts[upload]?[Int(query["partNumber"] ?? "") ?? 0] = body
                return .status(200, [("ETag", "\"part\(query["partNumber"] ?? "")\"")])
            case ("POST", _, let upload?):
                let parts = state.parts.removeValue(forKey: upload) ?? [:]
                state.objects[key] = parts.sorted { $0.key < $1.key }.flatMap(\.value)
                return .ok("<CompleteMultipartUploadResult/>")
            case ("DELETE", _, let upload?):
                state.parts[upload] = nil
                return .status(204)
            case ("PUT", _, _):
                state.objects[key] = body
                return .status(200)
            case ("DELETE", _, _):
                state.objects[key] = nil
                return .status(204)
            case ("GET", _, _) where key.isEmpty || !request.target.hasPrefix("/bucket/"): return list(query, state)
            default: return read(request, state.objects[key])
            }
        }
    }

    private func read(_ request: ScriptedServer.Request, _ object: [UInt8]?) -> ScriptedServer.Answer {
        guard let object else { return request.method == "HEAD" ? .status(404) : ScriptedBucket.refusal(404, "NoSuchKey") }
        guard request.method == "GET" else { return .init(200, [("Content-Length", "\(object.count)")], steps: []) }
        let bounds = (request["range"] ?? "bytes=0-").dropFirst(6).split(separator: "-").compactMap { Int($0) }
        let end = min(bounds.count > 1 ? bounds[1] + 1 : object.count, object.count)
        guard bounds[0] < end else { return ScriptedBucket.refusal(416, "InvalidRange") }
        return .status(206, [("Content-Range", "bytes \(bounds[0])-\(end - 1)/\(object.count)")], Array(object[bounds[0]..<end]))
    }

    /// Two to a page.
    private func list(_ query: [String: String], _ state: ScriptedBucket.State) -> ScriptedServer.Answer {
        let keys = state.objects.keys.sorted().filter { $0.hasPrefix(query["prefix"] ?? "") && $0 > query["continuation-token"] ?? "" }
        let page = keys.prefix(2)
        let entries = page.map { "<Contents><Key>\($0)</Key><Size>\(state.objects[$0]?.count ?? 0)</Size></Contents>" }.joined()
        let rest = keys.count > 2 ? "<IsTruncated>true</IsTruncated><NextContinuationToken>\(page.last ?? "")</NextContinuationToken>" : ""
        return .ok("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\(entries)\(rest)</ListBucketResult>")
    }
}

/// How often something happened.
final class Tally: Sendable {
    private let value = Atomic<Int>(0)
    func next() -> Int { value.wrappingAdd(1, ordering: .relaxed).newValue }
    var count: Int { value.load(ordering: .relaxed) }
}
