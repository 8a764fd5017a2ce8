import Testing

@testable import Outbound

@Suite("The head of an answer is read line by line")
struct ResponseHeadTests {
    private func read(_ lines: [String], bytesMax: Int = 4096) -> (HeadReader.Step, ResponseHead) {
        var reader = HeadReader(bytesMax: bytesMax)
        var step = HeadReader.Step.more
        for line in lines {
            step = reader.take(Array(line.utf8))
            if case .refuse = step { break }
        }
        return (step, reader.head)
    }

    @Test("interim answers are skipped, folded lines joined, trailers ignored")
    func reads() {
        let (step, head) = read([
            "HTTP/1.1 100 Continue\r\n", "\r\n", "HTTP/1.1 103 Early Hints\r\n", "Link: </a>\r\n", "\r\n",
            "HTTP/1.1 200 OK\r\n", "ETag:  \"x\" \r\n", "X-Long: a\r\n", "   b\r\n", "empty:\r\n", "\r\n",
        ])
        #expect(step == .complete)
        #expect(head.status == 200)
        #expect(head.fields.map { "\($0.name)=\($0.value)" } == ["ETag=\"x\"", "X-Long=a b", "empty="])
        var reader = HeadReader(bytesMax: 4096)
        for line in ["HTTP/2 404 \r\n", "\r\n", "x-trailer: 1\r\n"] { _ = reader.take(Array(line.utf8)) }
        #expect(reader.head.status == 404)
        #expect(reader.head.fields.isEmpty)
    }

    @Test("what is no header is refused")
    func refuses() {
        for lines in [
            ["HTTP/1.1 99 x\r\n"], ["HTTP/1.1 abc\r\n"], ["HTTP/1.1\r\n"], ["HTTP/1.1 200 OK\r\n", "no colon\r\n"],
            ["HTTP/1.1 200 OK\r\n", "bad name: x\r\n"], ["HTTP/1.1 200 OK\r\n", ": x\r\n"], ["HTTP/1.1 200 OK\r\n", "a: x\u{0}y\r\n"],
            ["HTTP/1.1 200 OK\r\n", "a: x\ry\r\n"], ["HTTP/1.1 200 OK\r\n", " folded first\r\n"],
            ["HTTP/1.1 200 OK\r\n"] + [String](repeating: "a: \(String(repeating: "x", count: 100))\r\n", count: 50),
        ] {
            guard case .refuse = read(lines).0 else {
                Issue.record("taken: \(lines.prefix(2))")
                continue
            }
        }
        let many = ["HTTP/1.1 200 OK\r\n"] + [String](repeating: "a:b\r\n", count: HeadReader.fieldsMax + 1)
        #expect(read(many, bytesMax: 1 << 20).0 == .refuse("there are more than 500 fields"))
    }

    @Test("endless interim answers are refused too")
    func interimBomb() {
        let lines = [String](repeating: "HTTP/1.1 100 Continue\r\n", count: 1000)
        #expect(read(lines).0 == .refuse("the header is larger than 4096 bytes"))
    }

    @Test("the body's length follows from status, method and fields")
    func length() {
        let fields: [(name: String, value: String)] = [("Content-Length", "12")]
        #expect(ResponseHead(status: 200, fields: fields).bodyLength(for: .get) == 12)
        #expect(ResponseHead(status: 200, fields: fields).bodyLength(for: .head) == 0)
        #expect(ResponseHead(status: 304, fields: fields).bodyLength(for: .get) == 0)
        #expect(ResponseHead(status: 200, fields: fields + [("transfer-encoding", "chunked")]).bodyLength(for: .get) == nil)
        #expect(ResponseHead(status: 200).bodyLength(for: .get) == nil)
    }

    @Test("base64 pads as RFC 4648 section 10 shows")
    func base64() {
        let vectors = ["": "", "f": "Zg==", "fo": "Zm8=", "foo": "Zm9v", "foob": "Zm9vYg==", "fooba": "Zm9vYmE=", "foobar": "Zm9vYmFy"]
        for (plain, coded) in vectors { #expect(Credentials.base64(Array(plain.utf8)) == coded) }
    }
}
