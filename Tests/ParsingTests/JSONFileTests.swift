import Core
import NIOCore
import Parsing
import Testing

@Suite("files inside JSON") struct JSONFileTests {
    /// What came out: the files with their bytes, and the document without them.
    private struct Taken: Equatable {
        var files: [String: [UInt8]] = [:]
        var order: [String] = []
        var rest = ""
    }

    private func take(_ slices: [ByteBuffer]) throws(RegistryError) -> Taken {
        var machine = JSONFileMachine(member: "files", isWanted: { !$0.hasSuffix(".txt") })
        var taken = Taken()
        var isOpen = false
        for slice in slices {
            for event in try machine.receive(slice) {
                switch event {
                case .fileBegan(let name):
                    #expect(!isOpen)
                    isOpen = true
                    taken.order.append(name)
                    taken.files[name] = []
                case .fileBytes(let bytes):
                    #expect(isOpen && bytes.readableBytes > 0)
                    taken.files[taken.order.last ?? "", default: []] += Array(bytes.readableBytesView)
                case .fileEnded:
                    #expect(isOpen)
                    isOpen = false
                }
            }
        }
        try machine.end()
        taken.rest = String(decoding: machine.rest, as: UTF8.self)
        return taken
    }

    private func take(_ text: String) throws(RegistryError) -> Taken { try take([ByteBuffer(string: text)]) }

    private func cut(_ bytes: [UInt8], at sizes: () -> Int) -> [ByteBuffer] {
        var slices: [ByteBuffer] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let size = max(1, sizes())
            slices.append(ByteBuffer(bytes: rest.prefix(size)))
            rest = rest.dropFirst(size)
        }
        return slices
    }

    private static let document = #"""
        {"name":"x","data":"top", "other":{"a":{"data":"AAAA"}},
         "files" : { "x-1.0.tgz": {"data": "aGVsbG8=", "length":5, "more":{"data":"BBBB"}}, "note.txt":{"data":"{\"a\":1}"},
         "\u0079.tgz":{"kind":["data",{"data":"CCCC"}],"data":"Pz8\/"}, "none":{"data":null}, "list":["data","DDDD"], "empty":{"data":""} },
         "last":["files",{"files":{"z":{"data":"EEEE"}}}]}
        """#

    private static let taken = Taken(
        files: ["x-1.0.tgz": Array("hello".utf8), "y.tgz": Array("???".utf8), "empty": []], order: ["x-1.0.tgz", "y.tgz", "empty"],
        rest: document.replacing("aGVsbG8=", with: "").replacing(#"Pz8\/"#, with: ""))

    @Test("a document cut in two at every byte, and into single bytes, means the same")
    func everyCut() throws {
        let whole = Array(Self.document.utf8)
        #expect(try take(Self.document) == Self.taken)
        for at in 1..<whole.count {
            #expect(try take([ByteBuffer(bytes: whole[..<at]), ByteBuffer(bytes: whole[at...])]) == Self.taken, "cut at \(at)")
        }
        #expect(try take(cut(whole) { 1 }) == Self.taken)
    }

    @Test("base64 of every length comes out as it went in, in slices of any size")
    func lengths() throws {
        var random = SeededRandom(seed: testSeed)
        for length in 0...200 {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            let document = Array(#"{"files":{"f":{"data":"\#(Base64.encode(bytes))"}}}"#.utf8)
            let slices = cut(document) { Int.random(in: 1...7, using: &random) }
            #expect(
                try take(slices) == Taken(files: ["f": bytes], order: ["f"], rest: #"{"files":{"f":{"data":""}}}"#),
                "\(length) bytes, seed \(testSeed)")
        }
    }

    @Test(
        "what is no base64 is refused",
        arguments: [
            "a", "aa", "aaa", "aaaa=", "a===", "====", "=", "aa=a", "aa=", "aaa==", "aaaaa", "aa==aaaa", "aa==\\/", "ab==", "aab=", "a a=",
            "aa\\u0061a",
            "aa\\n==", "aaa-", "aaa_", "aaaé", "aaaa\\\\", "\u{1}aaa",
        ])
    func garbage(_ text: String) {
        #expect(throws: RegistryError.self) { try take(#"{"files":{"f":{"data":"\#(text)"}}}"#) }
    }

    @Test("a document that ends inside a file is refused, wherever it is cut")
    func cutOff() {
        for text in [#"{"files":{"f":{"data":""#, #"{"files":{"f":{"data":"aaaa"#, #"{"files":{"f":{"data":"aa\"#] {
            #expect(throws: RegistryError.self, "\(text)") { try take(text) }
        }
    }

    @Test("names, levels, files and the rest have bounds, and announce themselves by their code")
    func bounds() {
        func code(_ text: String) -> RegistryError.Code? {
            do throws(RegistryError) {
                _ = try take(text)
                return nil
            } catch { return error.code }
        }
        let long = String(repeating: "n", count: 2000)
        #expect(code(#"{"files":{"\#(long)":{"data":"aaaa"}}}"#) == .invalid)
        #expect(code(#"{"files":{"f":{"\#(long)":"aaaa"}}}"#) == .invalid)
        #expect(code(#"{"\#(long)":1,"versions":{"\#(long)":{"\#(long)":1}}}"#) == nil)
        #expect(code(String(repeating: "[", count: 65)) == .invalid)
        #expect(code(String(repeating: #"{"files":"#, count: 65)) == .invalid)
        #expect(code("]") == .invalid)
        let many = (0...JSONFileMachine.filesMax).map { #""\#($0)":{"data":""}"# }.joined(separator: ",")
        #expect(code(#"{"files":{\#(many)}}"#) == .invalid)
        #expect(code("\"" + String(repeating: "x", count: JSONFileMachine.restBytesMax)) == .tooLarge)
        // A file that is not asked for is part of the rest.
        #expect(code(#"{"files":{"f.txt":{"data":""# + String(repeating: "a", count: JSONFileMachine.restBytesMax)) == .tooLarge)
        #expect(code(#"{"files":{"f":{"data":""# + String(repeating: "aaaa", count: 2 << 20) + #""}}}"#) == nil)
    }

    @Test("a name given twice is for the parser to refuse: both stand in the rest")
    func twice() throws {
        for text in [
            #"{"files":{"f":{"data":"aaaa","data":"bbbb"}}}"#, #"{"files":{"f":{"data":"aaaa"},"f":{"data":"bbbb"}}}"#,
            #"{"files":{"f":{"data":"aaaa"}},"files":{"f":{"data":"bbbb"}}}"#, #"{"files":{"f":{"data":"aaaa","d\u0061ta":"bbbb"}}}"#,
        ] {
            let rest = try take(text).rest
            #expect(throws: RegistryError.self, "\(text)") { try JSON.parse(rest) }
        }
    }

    @Test("whatever arrives, machine and parser agree: a document both accept has the same files for both")
    func agreement() throws {
        var random = SeededRandom(seed: testSeed)
        let telling = Array("\"\\{}[]:,=aA4/ \u{0}filesdata.tgz".utf8)
        var accepted = 0
        for _ in 0..<6000 {
            var bytes = Array(Self.document.utf8)
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let at = Int.random(in: bytes.indices, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[at] = telling[Int.random(in: telling.indices, using: &random)]
                case 1: bytes.insert(telling[Int.random(in: telling.indices, using: &random)], at: at)
                case 2: bytes.remove(at: at)
                default: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...30, using: &random)))
                }
            }
            guard let taken = try? take(cut(bytes) { Int.random(in: 1...40, using: &random) }), let rest = try? JSON.parse(taken.rest) else {
                continue
            }
            accepted += 1
            // The strict reader sees the same document, with the same files in it.
            var whole = try JSON.parse(bytes)
            for name in taken.order {
                let data = try #require(whole["files"]?[name]?["data"]?.string)
                #expect(Base64.decode(data) == taken.files[name], "seed \(testSeed)")
                var files = try #require(whole["files"])
                files[name]?["data"] = ""
                whole["files"] = files
            }
            #expect(whole == rest, "seed \(testSeed)")
        }
        #expect(accepted > 500)
    }
}
