import Core
import NIOCore
import Parsing
import Testing

@Suite struct MultipartTests {
    /// Events with neighbouring bytes joined: what must not depend on where slices are cut.
    private enum Seen: Equatable {
        case part(Multipart.Part)
        case bytes(String)
        case ended, finished
    }

    private func run(_ slices: [ByteBuffer], boundary: String) throws(RegistryError) -> [Seen] {
        var machine = try MultipartMachine(boundary: boundary)
        var seen: [Seen] = []
        for slice in slices {
            for event in try machine.receive(slice) {
                switch event {
                case .partBegan(let part): seen.append(.part(part))
                case .partBytes(let buffer):
                    guard buffer.readableBytes > 0 else { throw RegistryError(.internal, subject: .request, reason: "an empty slice") }
                    let text = String(buffer: buffer)
                    if case .bytes(let before)? = seen.last { seen[seen.count - 1] = .bytes(before + text) } else { seen.append(.bytes(text)) }
                case .partEnded: seen.append(.ended)
                case .finished: seen.append(.finished)
                }
            }
        }
        try machine.end()
        return seen
    }

    private func run(_ body: String, boundary: String = "B0undary") throws(RegistryError) -> [Seen] {
        try run([ByteBuffer(string: body)], boundary: boundary)
    }

    private static let twine = [
        "--B0undary", "Content-Disposition: form-data; name=\":action\"", "", "file_upload",
        "--B0undary", "Content-Disposition: form-data; name=\"description\"", "", "line one\r\n\r\n--B0undar\r\n--\r\n-\r\nlast\r",
        "--B0undary", "Content-Disposition: form-data; name=\"empty\"", "", "",
        "--B0undary", "Content-Disposition: form-data; name=\"content\"; filename=\"a-1.0.tar.gz\"", "Content-Type: application/octet-stream", "",
        "\u{1F}\u{8}\r\r\n\n--B0undar", "--B0undary--", "",
    ].joined(separator: "\r\n")

    private static let twineSeen: [Seen] = [
        .part(.init(name: ":action")), .bytes("file_upload"), .ended,
        .part(.init(name: "description")), .bytes("line one\r\n\r\n--B0undar\r\n--\r\n-\r\nlast\r"), .ended,
        .part(.init(name: "empty")), .ended,
        .part(.init(name: "content", filename: "a-1.0.tar.gz", contentType: "application/octet-stream")),
        .bytes("\u{1F}\u{8}\r\r\n\n--B0undar"), .ended, .finished,
    ]

    @Test("a body cut in two at every byte, and into single bytes, means the same")
    func everyCut() throws {
        let whole = ByteBuffer(string: Self.twine)
        #expect(try run([whole], boundary: "B0undary") == Self.twineSeen)
        for cut in 0...whole.readableBytes {
            let (front, back) = try (
                #require(whole.getSlice(at: 0, length: cut)), #require(whole.getSlice(at: cut, length: whole.readableBytes - cut))
            )
            #expect(try run([front, back], boundary: "B0undary") == Self.twineSeen, "cut at \(cut)")
        }
        let single = try (0..<whole.readableBytes).map { try #require(whole.getSlice(at: $0, length: 1)) }
        #expect(try run(single, boundary: "B0undary") == Self.twineSeen)
    }

    @Test("content is handed on as slices of what came, whole where no delimiter interrupts it")
    func slices() throws {
        var machine = try MultipartMachine(boundary: "b")
        _ = try machine.receive(ByteBuffer(string: "--b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n"))
        let megabyte = ByteBuffer(repeating: 0x61, count: 1 << 20)
        #expect(try machine.receive(megabyte) == [.partBytes(megabyte)])
    }

    @Test("preamble, padding behind a delimiter, a leading line break and an epilogue are passed over")
    func leniency() throws {
        let part = "Content-Disposition: form-data; name=\"a\"\r\n\r\nx"
        let expected: [Seen] = [.part(.init(name: "a")), .bytes("x"), .ended, .finished]
        #expect(try run("\r\n--B0undary\r\n\(part)\r\n--B0undary--") == expected)
        #expect(try run("hello --B0undary\r\n--B0undary \t\r\n\(part)\r\n--B0undary--\r\nbye\r\n--B0undary\r\n") == expected)
        #expect(try run("--B0undary\r\ncontent-disposition:form-data;name=a;\r\nX-Else: 1\r\n\r\nx\r\n--B0undary--\r\n") == expected)
        #expect(try run("--B0undary--\r\n") == [.finished])
        // RFC 2046 section 5.1.1 lets a part end with its header.
        #expect(try run("--B0undary\r\nContent-Disposition: form-data; name=a\r\n\r\n--B0undary--") == [.part(.init(name: "a")), .ended, .finished])
    }

    @Test(
        "file names are read as clients write them",
        arguments: [
            (#"filename="a b.txt""#, "a b.txt"), (#"filename="say \"hi\"\\.txt""#, #"say "hi"\.txt"#),
            (#"filename="C:\dir\a.txt""#, #"C:\dir\a.txt"#),
            (#"filename=plain.txt"#, "plain.txt"), (#"filename="naïve.txt""#, "naïve.txt"),
            (#"filename*=utf-8''na%C3%AFve%20%22.txt"#, "naïve \".txt"),
            (#"filename="x"; filename*=UTF-8'en'%e2%82%ac"#, "€"), (#"filename="semi;colon=1""#, "semi;colon=1"), (#"filename="""#, ""),
        ])
    func fileNames(_ parameter: String, _ name: String) throws {
        let seen = try run("--B0undary\r\nContent-Disposition: form-data; name=\"f\"; \(parameter)\r\n\r\n\r\n--B0undary--")
        #expect(seen == [.part(.init(name: "f", filename: name)), .ended, .finished])
    }

    @Test(
        "ambiguous or broken bodies are refused",
        arguments: [
            "", "--B0undary", "--B0undary\r\n", "--B0undary-", "no boundary at all", "--B0undaryX\r\n", "--B0undary\n",
            "--B0undary\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data; name=\"a\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data; name=a\nX: y\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data; name=a\r\n folded\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data; name=a; filename*=latin1''x\r\n\r\nx\r\n--B0undary--",
            "--B0undary\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--B0undary",
            "--B0undary\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--B0undaryish\r\n",
        ])
    func refusals(_ body: String) {
        #expect(refusal { () throws(RegistryError) in try run(body) } != nil)
    }

    @Test("a thousand parts are read, one more is refused; so are a header, a preamble and an epilogue beyond 16 KiB")
    func limits() throws {
        let part = "--B0undary\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n"
        #expect(try run(String(repeating: part, count: 1000) + "--B0undary--").count == 2001)
        #expect(refusal { () throws(RegistryError) in try run(String(repeating: part, count: 1001) + "--B0undary--") } == "more than 1000 parts")
        let long = String(repeating: "x", count: 16 << 10)
        for body in ["--B0undary\r\nX: \(long)\r\n\r\n", "\(long)\r\n--B0undary--", "--B0undary--\(long)\r\n"] {
            #expect(refusal { () throws(RegistryError) in try run(body) }?.contains("16384 bytes") == true)
        }
    }

    @Test("the boundary comes from the Content-Type, quoted or not, within RFC 2046's grammar")
    func boundaries() throws {
        #expect(try Multipart.boundary(ofContentType: "multipart/form-data; boundary=abc-DEF_1") == "abc-DEF_1")
        #expect(
            try Multipart.boundary(ofContentType: "Multipart/Form-Data;charset=utf-8; Boundary=\"gc0p4Jq0M2Yt08j34c0p a:b\"")
                == "gc0p4Jq0M2Yt08j34c0p a:b")
        for value in [
            "", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\"", "multipart/mixed; boundary=a",
            "multipart/form-data; boundary=a; boundary=b", "multipart/form-data; boundary=\"a \"", "multipart/form-data; boundary=a,b",
            "multipart/form-data; boundary=\(String(repeating: "x", count: 71))", "multipart/form-data; boundary=\"a\u{E9}\"",
        ] {
            #expect(refusal { () throws(RegistryError) in try Multipart.boundary(ofContentType: value) } != nil, "\(value)")
        }
    }
}
