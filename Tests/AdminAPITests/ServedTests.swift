import Core
import Logging
import NIOCore
import Outbound
import Server
import TestHouse
import Testing

/// The same answers through a socket: what the server alone does.
@Suite("served") struct ServedTests {
    @Test("HEAD, ranges and conditionals work on downloads, and HEAD on every GET of the REST API")
    func socket() async throws {
        let house = try await House()
        await house.repository("files", isPublic: true)
        await house.put("hello world", at: "a/1/f", in: "files")
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = HTTPServer(
            options: ServerOptions(host: "127.0.0.1", port: 0), responder: house.responder, world: .real, log: log, metrics: Metrics())
        let port = try await server.start()

        func ask(_ path: String, _ fields: [(String, String)] = [], head: Bool = false) async throws -> (Int, String, FetchResponse) {
            var request = FetchRequest(url: "http://127.0.0.1:\(port)\(path)")
            request.method = head ? .head : .get
            request.fields = fields
            request.addressPolicy.allowPrivate = true
            let response = try await house.outbound.fetch(request)
            return (response.status, String(buffer: try await response.body.collect()), response)
        }
        let file = "/api/v1/repositories/files/download/a/1/f"
        let part = try await ask(file, [("Range", "bytes=6-")])
        #expect(part.0 == 206)
        #expect(part.1 == "world")
        #expect(part.2["Content-Range"] == "bytes 6-10/11")
        #expect(try await ask(file, [("Range", "bytes=99-")]).0 == 416)
        let head = try await ask(file, head: true)
        #expect(head.0 == 200)
        #expect(head.1 == "")
        #expect(head.2["Content-Length"] == "11")
        let etag = try #require(head.2["ETag"])
        #expect(try await ask(file, [("If-None-Match", etag)]).0 == 304)
        for path in ["/api/v1/repositories", "/api/v1/repositories/files/artifacts/a/1/f", "/health", "/api/v1/openapi.json"] {
            let get = try await ask(path)
            let head = try await ask(path, head: true)
            #expect(head.0 == 200)
            #expect(head.1 == "")
            #expect(head.2["Content-Length"] == String(get.1.utf8.count))
        }
        await server.stop()
    }
}
