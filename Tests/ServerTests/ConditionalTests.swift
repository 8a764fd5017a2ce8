import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Testing

@testable import Server

@Suite("Conditional requests and ranges")
struct ConditionalTests {
    static let modified = Timestamp(seconds: 1_700_000_000)
    static let date = modified.httpDate
    static let before = modified.adding(seconds: -1).httpDate
    static let after = modified.adding(seconds: 1).httpDate
    /// "0123456789" with a validator.
    static let ten = Response(
        .ok, fields: [.contentType: "text/plain", .cacheControl: "no-cache"], content: .bytes(ByteBuffer(string: "0123456789")),
        validator: .init(etag: "\"v1\"", lastModified: modified))

    static func evaluate(_ method: HTTPRequest.Method, _ fields: HTTPFields, _ response: Response = ten) -> Conditional.Plan {
        let head = RequestHead(
            method: method, target: "/", path: RequestPath(segments: []), query: Query(), fields: fields, requestID: "r", peer: "p", isSecure: false)
        return Conditional.evaluate(head, response)
    }

    struct Row: Sendable, CustomTestStringConvertible {
        var fields: HTTPFields
        var status: Int
        var bytes: Range<Int64>?
        var contentRange: String?
        var testDescription: String { fields.map { "\($0.name): \($0.value)" }.joined(separator: ", ") }
        init(_ fields: HTTPFields, _ status: Int, _ bytes: Range<Int64>? = nil, _ contentRange: String? = nil) {
            self.fields = fields
            self.status = status
            self.bytes = bytes
            self.contentRange = contentRange
        }
    }

    @Test(
        "GET conditions come in the order of RFC 9110 section 13.2.2",
        arguments: [
            Row([:], 200, 0..<10),
            Row([.ifNoneMatch: "\"v1\""], 304),
            Row([.ifNoneMatch: "W/\"v1\""], 304),
            Row([.ifNoneMatch: "*"], 304),
            Row([.ifNoneMatch: "\"v0\", \"v,2\" ,W/\"v1\""], 304),
            Row([.ifNoneMatch: "\"v0\""], 200, 0..<10),
            Row([.ifNoneMatch: "v1"], 200, 0..<10),
            Row([.ifNoneMatch: "\"v1"], 200, 0..<10),
            Row([.ifNoneMatch: ""], 200, 0..<10),
            Row([.ifNoneMatch: "\"v0\"", .ifModifiedSince: date], 200, 0..<10),
            Row([.ifModifiedSince: date], 304),
            Row([.ifModifiedSince: after], 304),
            Row([.ifModifiedSince: before], 200, 0..<10),
            Row([.ifModifiedSince: "yesterday"], 200, 0..<10),
            Row([.ifMatch: "\"v1\""], 200, 0..<10),
            Row([.ifMatch: "*"], 200, 0..<10),
            Row([.ifMatch: "W/\"v1\""], 412),
            Row([.ifMatch: "\"v0\""], 412),
            Row([.ifMatch: "\"v0\"", .ifNoneMatch: "\"v1\""], 412),
            Row([.ifMatch: "\"v1\"", .ifUnmodifiedSince: before], 200, 0..<10),
            Row([.ifUnmodifiedSince: date], 200, 0..<10),
            Row([.ifUnmodifiedSince: before], 412),
            Row([.range: "bytes=2-4", .ifRange: "\"v1\""], 206, 2..<5, "bytes 2-4/10"),
            Row([.range: "bytes=2-4", .ifRange: "\"v0\""], 200, 0..<10),
            Row([.range: "bytes=2-4", .ifRange: "W/\"v1\""], 200, 0..<10),
            Row([.range: "bytes=2-4", .ifRange: date], 206, 2..<5, "bytes 2-4/10"),
            Row([.range: "bytes=2-4", .ifRange: after], 200, 0..<10),
            Row([.range: "bytes=2-4", .ifNoneMatch: "\"v1\""], 304),
            Row([.range: "bytes=20-", .ifMatch: "\"v0\""], 412),
        ])
    func conditions(_ row: Row) {
        let plan = Self.evaluate(.get, row.fields)
        #expect(plan.status.code == row.status)
        #expect(plan.bytes == row.bytes)
        #expect(plan.fields[.contentRange] == row.contentRange)
        #expect(plan.fields[.eTag] == "\"v1\"")
        #expect(plan.fields[.lastModified] == Self.date)
        #expect(plan.fields[.cacheControl] == "no-cache")
        #expect((plan.fields[.contentType] == nil) == (row.status == 304 || row.status == 412))
    }

    @Test(
        "one range of bytes is honoured; what is not one range of bytes is the whole",
        arguments: [
            ("bytes=0-0", ByteRange.part(0..<1)), ("bytes=0-9", .part(0..<10)), ("bytes=9-9", .part(9..<10)), ("bytes=5-", .part(5..<10)),
            ("bytes=0-", .part(0..<10)), ("bytes=-1", .part(9..<10)), ("bytes=-10", .part(0..<10)), ("bytes=-11", .part(0..<10)),
            ("bytes=3-99", .part(3..<10)), ("bytes=3-99999999999999999999", .part(3..<10)), ("BYTES=1-2", .part(1..<3)),
            ("bytes= 1-2 ", .part(1..<3)), ("bytes=-99999999999999999999", .part(0..<10)),
            ("bytes=10-", .unsatisfiable), ("bytes=10-20", .unsatisfiable), ("bytes=-0", .unsatisfiable),
            ("bytes=99999999999999999999-", .unsatisfiable), ("bytes=9223372036854775807-9223372036854775807", .unsatisfiable),
            ("bytes=4-2", .whole), ("bytes=0-1,3-4", .whole), ("bytes=", .whole), ("bytes=-", .whole), ("bytes", .whole), ("", .whole),
            ("bytes=a-b", .whole), ("bytes=1-b", .whole), ("bytes=--1", .whole), ("bytes=+1-2", .whole), ("bytes=1-2-3", .whole),
            ("items=0-1", .whole), ("bytes=0x1-2", .whole), ("bytes=1.5-2", .whole),
        ])
    func ranges(_ text: String, _ expected: ByteRange) {
        #expect(ByteRange.parse(text, of: 10) == expected)
    }

    @Test("an empty file has no satisfiable range but can be had whole")
    func emptyRanges() {
        #expect(ByteRange.parse("bytes=0-", of: 0) == .unsatisfiable)
        #expect(ByteRange.parse("bytes=-5", of: 0) == .whole)
    }

    @Test("an unsatisfiable range is 416 with the size and no content")
    func unsatisfiable() {
        let plan = Self.evaluate(.get, [.range: "bytes=10-"])
        #expect(plan.status.code == 416)
        #expect(plan.fields[.contentRange] == "bytes */10")
        #expect(plan.contentLength == 0)
        #expect(plan.bytes == nil)
    }

    @Test("HEAD says what GET would, without the content")
    func head() {
        for fields: HTTPFields in [[:], [.range: "bytes=2-4"], [.ifNoneMatch: "\"v1\""], [.range: "bytes=99-"]] {
            var get = Self.evaluate(.get, fields)
            get.bytes = nil
            #expect(Self.evaluate(.head, fields) == get)
        }
    }

    @Test("other methods, other statuses, streams and answers without a validator ignore conditions")
    func ignored() {
        let fields: HTTPFields = [.ifNoneMatch: "\"v1\"", .range: "bytes=2-4"]
        #expect(Self.evaluate(.put, fields).status == .ok)
        var created = Self.ten
        created.status = .created
        #expect(Self.evaluate(.get, fields, created).status == .created)
        var plain = Self.ten
        plain.validator = nil
        #expect(Self.evaluate(.get, fields, plain).status == .ok)
        #expect(Self.evaluate(.get, fields, plain).fields[.acceptRanges] == nil)
        var stream = Self.ten
        stream.content = .stream(Body(length: 10, source: Repeated(slice: ByteBuffer(string: "01234"), times: 2)))
        #expect(Self.evaluate(.get, [.range: "bytes=2-4"], stream).status == .ok)
        #expect(Self.evaluate(.get, [.ifNoneMatch: "\"v1\""], stream).status == .notModified)
    }

    @Test("204 and 304 have neither content nor its length")
    func noContent() {
        for status in [HTTPResponse.Status.noContent, .notModified] {
            let plan = Self.evaluate(.get, [:], Response(status, content: .bytes(ByteBuffer(string: "x"))))
            #expect(plan.bytes == nil)
            #expect(plan.contentLength == nil)
        }
    }
}
