import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Synchronization
import Testing

@testable import Server

/// A blob that is checked while it leaves, of which the bytes from `damage` on are no good.
private struct Checked: StreamedBytes {
    let bytes: [UInt8]
    var damage = Int64.max
    var size: Int64 { Int64(bytes.count) }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int { 0 }
    func body(of range: Range<Int64>) -> Body { Body(length: Int64(range.count), source: Slices(of: self, range)) }

    private final class Slices: BodySource {
        private let blob: Checked
        private let rest: Mutex<Range<Int64>>
        init(of blob: Checked, _ range: Range<Int64>) {
            self.blob = blob
            rest = Mutex(range)
        }

        func next() async throws(RegistryError) -> ByteBuffer? {
            try rest.withLock { rest throws(RegistryError) in
                guard !rest.isEmpty else { return nil }
                let slice = rest.lowerBound..<min(rest.upperBound, rest.lowerBound + 100_000)
                if slice.upperBound > blob.damage { throw RegistryError(.corrupt, subject: .blob("b"), reason: "damaged") }
                rest = slice.upperBound..<rest.upperBound
                return ByteBuffer(bytes: blob.bytes[Int(slice.lowerBound)..<Int(slice.upperBound)])
            }
        }
    }
}

@Suite("Blobs checked while they leave", .timeLimit(.minutes(5)))
struct StreamedBlobTests {
    private static func serving(_ blob: Checked, now: Bool) -> TestResponder {
        let response = Response(.ok, content: .blob(BlobContent(.streamed(blob))), validator: .init(etag: "\"f\""))
        return now ? TestResponder(now: { _ in response }) : TestResponder(answer: { _, _ in response })
    }

    @Test("it has its length, answers ranges, HEAD and conditions, and the connection goes on", arguments: [true, false])
    func whole(now: Bool) async throws {
        let bytes = ContentTests.pattern(1_234_567)
        try await withServer(Self.serving(Checked(bytes: bytes), now: now)) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send(ContentTests.get + "\r\n")
            #expect(try await client.reply(toHead: true).fields["content-length"] == "1234567")
            #expect(try await client.take(bytes.count) == bytes)
            try await client.send(ContentTests.get + "Range: bytes=99999-300000\r\n\r\n")
            #expect(try await client.reply(toHead: true).fields["content-range"] == "bytes 99999-300000/1234567")
            #expect(try await client.take(200_002) == Array(bytes[99_999...300_000]))
            #expect(try await client.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", toHead: true).fields["content-length"] == "1234567")
            #expect(try await client.ask(ContentTests.get + "If-None-Match: \"f\"\r\n\r\n").status == 304)
            await client.close()
        }
    }

    @Test("damage cuts the connection before the announced length: no client can take it for the whole") func damaged() async throws {
        let bytes = ContentTests.pattern(1_234_567)
        try await withServer(Self.serving(Checked(bytes: bytes, damage: 1_200_001), now: true)) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send(ContentTests.get + "\r\n")
            #expect(try await client.reply(toHead: true).fields["content-length"] == "1234567")
            #expect(await client.readToEnd().count <= 1_200_000)
        }
    }
}
