import Core
import FrontendKit
import Glibc
import HTTPTypes
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import Server

@Suite("Content on its way out", .timeLimit(.minutes(10)))
struct ContentTests {
    /// A file of bytes that differ everywhere, open.
    static func file(_ bytes: [UInt8], in directory: TemporaryDirectory) throws -> OpenFile {
        let path = "\(directory.path)/file-\(bytes.count)"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        try #require(descriptor >= 0)
        var done = 0
        bytes.withUnsafeBytes { raw in
            while done < raw.count {
                let count = unsafe write(descriptor, raw.baseAddress! + done, raw.count - done)
                guard count > 0 else { return }
                done += count
            }
        }
        try #require(done == bytes.count)
        return OpenFile(owning: descriptor)
    }

    static func pattern(_ count: Int) -> [UInt8] {
        var state: UInt64 = 0x9E37_79B9_7F4A_7C15
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            for index in 0..<count {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                unsafe buffer[index] = UInt8(truncatingIfNeeded: state >> 33)
            }
            filled = count
        }
    }

    static func serving(_ extents: [Extent]) -> TestResponder {
        TestResponder(now: { _ in Response(.ok, content: .blob(BlobContent(.extents(extents))), validator: .init(etag: "\"f\"")) })
    }

    static let get = "GET / HTTP/1.1\r\nHost: a\r\n"

    @Test("a file of 64 MiB arrives as it is, and the connection goes on")
    func large() async throws {
        let directory = try TemporaryDirectory()
        let bytes = Self.pattern(64 << 20)
        let file = try Self.file(bytes, in: directory)
        try await withServer(Self.serving([Extent(file: file, offset: 0, length: Int64(bytes.count))])) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send(Self.get + "\r\n")
            #expect(try await client.reply(toHead: true).fields["content-length"] == "\(bytes.count)")
            #expect(sha256(try await client.take(bytes.count)) == sha256(bytes))
            #expect(try await client.ask(Self.get + "Range: bytes=-5\r\n\r\n").status == 206)
            await client.close()
        }
    }

    @Test("ranges over several extents give exactly their bytes, small ones inline and large ones by sendfile")
    func ranges() async throws {
        let directory = try TemporaryDirectory()
        let bytes = Self.pattern(3_000_000)
        let file = try Self.file(bytes, in: directory)
        let extents = [
            Extent(file: file, offset: 1_000_000, length: 70_000), Extent(file: file, offset: 0, length: 0),
            Extent(file: file, offset: 5, length: 1_500_000), Extent(file: file, offset: 2_999_999, length: 1),
        ]
        let whole = extents.flatMap { bytes[Int($0.offset)..<Int($0.offset + $0.length)] }
        try await withServer(Self.serving(extents)) { _, port in
            let client = try await RawClient.connect(to: port)
            for range in [0..<1, 0..<65_536, 69_999..<70_001, 69_000..<1_200_000, 0..<whole.count, whole.count - 1..<whole.count, 60_000..<160_000] {
                try await client.send(Self.get + "Range: bytes=\(range.lowerBound)-\(range.upperBound - 1)\r\n\r\n")
                let reply = try await client.reply(toHead: true)
                #expect(reply.status == 206)
                #expect(reply.fields["content-range"] == "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(whole.count)")
                #expect(reply.fields["accept-ranges"] == "bytes")
                let body = try await client.take(range.count)
                #expect(body == Array(whole[range]))
            }
            let head = try await client.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", toHead: true)
            #expect(head.fields["content-length"] == "\(whole.count)")
            let same = try await client.ask(Self.get + "If-None-Match: \"f\"\r\n\r\n")
            #expect(same.status == 304)
            let beyond = try await client.ask(Self.get + "Range: bytes=\(whole.count)-\r\n\r\n")
            #expect(beyond.status == 416)
            #expect(beyond.fields["content-range"] == "bytes */\(whole.count)")
            await client.close()
        }
    }

    @Test("pipelined large files come one after the other")
    func pipelinedFiles() async throws {
        let directory = try TemporaryDirectory()
        let bytes = Self.pattern(2_500_000)
        let file = try Self.file(bytes, in: directory)
        try await withServer(Self.serving([Extent(file: file, offset: 0, length: Int64(bytes.count))])) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send(String(repeating: Self.get + "\r\n", count: 5))
            for _ in 0..<5 {
                _ = try await client.reply(toHead: true)
                #expect(try await client.take(bytes.count) == bytes)
            }
            await client.close()
        }
    }

    @Test("a file shorter than its extents breaks the answer off instead of completing it", arguments: [1000, 1_000_000])
    func truncated(_ missing: Int) async throws {
        let directory = try TemporaryDirectory()
        let bytes = Self.pattern(10)
        let file = try Self.file(bytes, in: directory)
        let lines = LogBook.Lines()
        try await withServer(Self.serving([Extent(file: file, offset: 0, length: Int64(10 + missing))]), log: lines) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send(Self.get + "\r\n")
            let heard = await client.readToEnd()
            #expect(heard.count < 10 + missing)
        }
        #expect(lines.all.withLock { $0.contains { $0.message == "request failed" && $0.metadata["code"] == "internal" } })
    }

    @Test("a stream waits for its reader: what is pulled is bounded by what the kernel buffers")
    func backPressureOut() async throws {
        let slice = ByteBuffer(repeating: 9, count: 64 << 10)
        let source = Repeated(slice: slice, times: 1024)
        let responder = TestResponder(
            now: { $0.method == .head ? Response(.ok) : nil }, answer: { _, _ in Response(.ok, content: .stream(Body(length: nil, source: source))) })
        try await withServer(responder) { _, port in
            let slow = try await RawClient.connect(to: port, readsAtOnce: false)
            try await slow.send(Self.get + "\r\n")
            let other = try await RawClient.connect(to: port)
            for _ in 0..<500 { _ = try await other.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", toHead: true) }
            #expect(source.slicesGiven < 512)
            try await slow.readFromNowOn()
            let reply = try await slow.reply()
            #expect(reply.fields["transfer-encoding"] == "chunked")
            #expect(reply.body.utf8.count == 64 << 20)
            await slow.close()
        }
    }

    @Test("a stream that fails breaks the answer off")
    func failingStream() async throws {
        struct Failing: BodySource {
            let first = Repeated(slice: ByteBuffer(string: "begun"), times: 1)
            func next() async throws(RegistryError) -> ByteBuffer? {
                if let slice = try await first.next() { return slice }
                throw RegistryError(.upstreamFailed, subject: .request, reason: "gone")
            }
        }
        let responder = TestResponder(answer: { _, _ in Response(.ok, content: .stream(Body(length: nil, source: Failing()))) })
        try await withServer(responder) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send(Self.get + "\r\n")
            let heard = String(decoding: await client.readToEnd(), as: UTF8.self)
            #expect(!heard.hasSuffix("0\r\n\r\n"))
        }
    }

    @Test("a stream shorter or longer than it said never looks complete", arguments: [Int64(14), 16])
    func wrongLength(_ length: Int64) async throws {
        let responder = TestResponder(answer: { _, _ in
            Response(.ok, content: .stream(Body(length: length, source: Repeated(slice: ByteBuffer(string: "12345"), times: 3))))
        })
        try await withServer(responder) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send(Self.get + "\r\n")
            await #expect(throws: RawClient.Failure.self) { try await client.reply() }
        }
    }

    @Test("a client that takes nothing for too long loses the connection")
    func writeStall() async throws {
        let ended = Gate()
        let responder = TestResponder(answer: { _, _ in
            Response(.ok, content: .stream(Body(length: nil, source: Endless(ended))))
        })
        try await withServer(responder, { $0.writeStallSeconds = 0.3 }) { _, port in
            let client = try await RawClient.connect(to: port, readsAtOnce: false)
            try await client.send(Self.get + "\r\n")
            await ended.wait()
        }
    }

    /// Zeros until it is let go.
    final class Endless: BodySource {
        private let ended: Gate
        init(_ ended: Gate) { self.ended = ended }
        deinit { ended.open() }
        func next() async throws(RegistryError) -> ByteBuffer? { ByteBuffer(repeating: 0, count: 64 << 10) }
    }

    @Test("a cursor over extents clips to the range and to the slice size")
    func cursor() throws {
        let file = OpenFile(owning: open("/dev/null", O_RDONLY | O_CLOEXEC))
        var cursor = FileCursor([Extent(file: file, offset: 100, length: 10), Extent(file: file, offset: 0, length: 5)], 3..<14)
        var slices: [[Int64]] = []
        while let slice = cursor.next(upTo: 4) { slices.append([slice.offset, Int64(slice.length)]) }
        #expect(slices == [[103, 4], [107, 3], [0, 4]])
    }
}
