import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Server
import Synchronization
import TestSupport
import Testing

@Suite("Whom a request over HTTP/2 is for", .timeLimit(.minutes(10)))
struct StreamHostTests {
    /// The status of the answer (RFC 7541, appendix A: those in the static table are one byte), and what the responder was told.
    private func ask(_ fields: [(name: String, value: String)]) async throws -> (status: UInt8?, hosts: [String]) {
        let hosts = Mutex<[String]>([])
        let responder = TestResponder(now: { head in
            hosts.withLock { $0.append(head.fields.first { $0.name.canonicalName == "host" }?.value ?? "") }
            return .text("well")
        })
        let directory = try TemporaryDirectory()
        let tls = try await TLSTests.certificate(in: directory)
        var status: UInt8?
        try await withServer(responder, { $0.tls = tls }) { _, port in
            let client = try await RawClient.connect(to: port, over: TLSTests.client(trusting: directory.file("cert.pem")))
            client.close(afterSeconds: 60)
            let block = Frame.fields(get: "/now", fields)
            try await client.send(Frame.opening + Frame(.headers, Frame.endHeaders | Frame.endStream, on: 1, holding: block).bytes)
            func answer() -> Frame? { Frame.all(in: client.heard).first { $0.stream == 1 && $0.kind != Frame.Kind.windowUpdate.rawValue } }
            var bytes = 1
            while answer() == nil, await client.waitForBytes(bytes) { bytes = client.heard.count + 1 }
            if let answer = answer(), answer.kind == Frame.Kind.headers.rawValue { status = answer.payload.first }
            await client.close()
        }
        return (status, hosts.withLock { $0 })
    }

    private static let (ok, badRequest): (UInt8, UInt8) = (0x88, 0x8C)

    @Test(
        "either field says it, or both say the same",
        arguments: [[(":authority", "a:1")], [("host", "a:1")], [(":authority", "a:1"), ("host", "a:1")], [(":authority", "A:1"), ("host", "a:1")]])
    func one(_ fields: [(String, String)]) async throws {
        let said = try await ask(fields.map { ($0.0, $0.1) })
        #expect(said.status == Self.ok)
        #expect(said.hosts == ["a:1"])
    }

    @Test(
        "two hosts are refused before anybody hears of the request",
        arguments: [
            [(":authority", "a"), ("host", "b")], [("host", "a"), ("host", "b")], [(":authority", "a"), ("host", "a"), ("host", "b")],
            [(":authority", "a"), ("host", "")],
        ])
    func two(_ fields: [(String, String)]) async throws {
        let said = try await ask(fields.map { ($0.0, $0.1) })
        #expect(said.status == Self.badRequest)
        #expect(said.hosts.isEmpty)
    }
}
