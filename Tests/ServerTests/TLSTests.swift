import Core
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import Server
import TestSupport
import Testing

@Suite(
    "TLS and HTTP/2", .timeLimit(.minutes(10)),
    .enabled("needs openssl and curl") { Command.path(of: "openssl") != nil && Command.path(of: "curl") != nil })
struct TLSTests {
    /// A throw-away certificate for 127.0.0.1, which is its own authority.
    static func certificate(in directory: TemporaryDirectory) async throws -> TLSOptions {
        let made = try await Command.run([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", directory.file("key.pem"), "-out", directory.file("cert.pem"),
        ])
        try #require(made.status == 0, "\(made.output)")
        return TLSOptions(certificateChainPath: directory.file("cert.pem"), privateKeyPath: directory.file("key.pem"))
    }

    /// Over TLS with the given protocol flag, what a test asks for.
    static func withTLS(_ responder: TestResponder = .standard, _ body: (Int, TemporaryDirectory, _ curl: [String]) async throws -> Void) async throws
    {
        let directory = try TemporaryDirectory()
        let tls = try await certificate(in: directory)
        try await withServer(responder, { $0.tls = tls }) { _, port in
            try await body(port, directory, ["curl", "-sS", "--noproxy", "*", "--max-time", "240", "--cacert", directory.file("cert.pem")])
        }
    }

    static let versions = ["--http1.1", "--http2"]

    @Test("the protocol is the one ALPN agrees on")
    func negotiation() async throws {
        try await Self.withTLS { port, _, curl in
            for (flag, version) in zip(Self.versions, ["1.1", "2"]) {
                let got = try await Command.run(curl + [flag, "-w", " %{http_version}", "https://127.0.0.1:\(port)/now/x"])
                #expect(got.output == "now x \(version)")
            }
        }
    }

    @Test("TLS before 1.2 is refused")
    func oldVersions() async throws {
        try await Self.withTLS { port, _, curl in
            let got = try await Command.run(curl + ["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", "https://127.0.0.1:\(port)/now/x"])
            #expect(got.status == 35)
        }
    }

    @Test("a large file arrives as it is", arguments: versions)
    func download(_ flag: String) async throws {
        let bytes = ContentTests.pattern(20_000_000)
        let files = try TemporaryDirectory()
        let file = try ContentTests.file(bytes, in: files)
        try await Self.withTLS(ContentTests.serving([Extent(file: file, offset: 0, length: Int64(bytes.count))])) { port, directory, curl in
            let got = try await Command.run(
                curl + [
                    flag, "-D", "-", "-o", directory.file("got"), "https://127.0.0.1:\(port)/", "-o", directory.file("got2"),
                    "https://127.0.0.1:\(port)/",
                ])
            #expect(got.status == 0, "\(got.output)")
            #expect(got.output.lowercased().contains("content-length: \(bytes.count)"))
            for name in ["got", "got2"] {
                let hash = try await Command.run(["sha256sum", directory.file(name)])
                #expect(hash.output.hasPrefix(sha256(bytes)))
            }
            let range = try await Command.run(
                curl + [flag, "-r", "5-9", "-o", directory.file("part"), "-w", "%{http_code}", "https://127.0.0.1:\(port)/"])
            #expect(range.output == "206")
            #expect(try await Command.run(["sha256sum", directory.file("part")]).output.hasPrefix(sha256(Array(bytes[5..<10]))))
        }
    }

    @Test("an upload arrives whole, drained or asked for slice by slice", arguments: versions, ["count", "slices"])
    func upload(_ flag: String, _ path: String) async throws {
        let bytes = ContentTests.pattern(8_000_000)
        let files = try TemporaryDirectory()
        _ = try ContentTests.file(bytes, in: files)
        try await Self.withTLS { port, directory, curl in
            let source = "\(files.path)/file-\(bytes.count)"
            let got = try await Command.run(curl + [flag, "-T", source, "https://127.0.0.1:\(port)/\(path)"])
            #expect(got.output == "\(bytes.count) \(sha256(bytes))")
            let chunked = try await Command.run(
                curl + [flag, "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-T", source, "https://127.0.0.1:\(port)/\(path)"])
            #expect(chunked.output == "\(bytes.count) \(sha256(bytes))")
        }
    }

    @Test("HEAD, 304, an error and an empty answer look the same over both protocols", arguments: versions)
    func small(_ flag: String) async throws {
        try await Self.withTLS { port, _, curl in
            let head = try await Command.run(curl + [flag, "-I", "https://127.0.0.1:\(port)/now/x"])
            #expect(head.output.lowercased().contains("content-length: 5\r\n"))
            #expect(head.output.lowercased().contains("x-request-id: "))
            let same = try await Command.run(
                curl + [flag, "-H", "If-None-Match: \"v1\"", "-w", "%{http_code}", "https://127.0.0.1:\(port)/now/x"])
            #expect(same.output == "304")
            let refused = try await Command.run(
                curl + [flag, "-H", "Expect:", "-d", String(repeating: "x", count: 1000), "-w", " %{http_code}", "https://127.0.0.1:\(port)/refuse"])
            #expect(refused.output == "no 403")
            let stream = try await Command.run(curl + [flag, "https://127.0.0.1:\(port)/stream"])
            #expect(stream.output == "slice slice slice ")
        }
    }

    @Test("many streams of one connection are answered side by side")
    func streams() async throws {
        try await Self.withTLS { port, directory, curl in
            let got = try await Command.run(
                curl + ["--http2", "-Z", "--parallel-max", "50", "-w", "%{num_connects}\n", "https://127.0.0.1:\(port)/{now,later}/[1-100]"])
            #expect(got.status == 0)
            #expect(got.output.components("now ") == 100)
            #expect(got.output.components("later") == 100)
        }
    }

    @Test("a large refused upload gets its answer", arguments: versions)
    func refusedUpload(_ flag: String) async throws {
        let bytes = ContentTests.pattern(8_000_000)
        let files = try TemporaryDirectory()
        _ = try ContentTests.file(bytes, in: files)
        try await Self.withTLS { port, _, curl in
            let got = try await Command.run(
                curl + [flag, "-H", "Expect:", "-T", "\(files.path)/file-\(bytes.count)", "-w", " %{http_code}", "https://127.0.0.1:\(port)/refuse"])
            #expect(got.output.hasPrefix("no 403"), "\(got)")
        }
    }

    @Test("a handshake that does not end in time ends the connection")
    func slowHandshake() async throws {
        let directory = try TemporaryDirectory()
        let tls = try await Self.certificate(in: directory)
        try await withServer(
            TestResponder.standard,
            {
                $0.tls = tls
                $0.headerSeconds = 0.3
            }
        ) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send([0x16, 0x03, 0x01])
            _ = await client.readToEnd()
        }
    }

    @Test("a certificate that cannot be read stops the start")
    func unusable() async throws {
        var options = ServerOptions(port: 0)
        options.tls = TLSOptions(certificateChainPath: "/nonexistent/cert", privateKeyPath: "/nonexistent/key")
        let server = HTTPServer(
            options: options, responder: TestResponder.standard, world: .real, log: .init(label: "test"), metrics: Metrics())
        await #expect(throws: RegistryError.self) { try await server.start() }
    }
}

extension String {
    /// How often it occurs.
    fileprivate func components(_ part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
