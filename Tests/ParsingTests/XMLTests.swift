import Core
import Parsing
import Testing

@Suite struct XMLTests {
    private func events(_ text: String, budget: Budget = .document) throws -> [XMLReader.Event] {
        var reader = try XMLReader(Array(text.utf8), budget: budget)
        var events: [XMLReader.Event] = []
        while let event = try reader.next() { events.append(event) }
        return events
    }

    @Test("elements, attributes, text, CDATA and references come as events; comments and instructions do not")
    func reads() throws {
        let text = """
            \u{FEFF}<?xml version="1.0"?><!-- c -- > <x> --><a x='1 &lt; "2"' p:y = "z">t &amp; &#65;&#x42;<![CDATA[<&raw;]]><b/><?pi ?></a>
            """
        #expect(
            try events(text.replacing("<!-- c -- > <x> -->", with: "<!-- c > <x> -->")) == [
                .start(name: "a", attributes: [.init(name: "x", value: "1 < \"2\""), .init(name: "p:y", value: "z")]), .text("t & AB"),
                .text("<&raw;"), .start(name: "b", attributes: []), .end(name: "b"), .end(name: "a"),
            ])
        let element = try XMLElement(parsing: Array("<p:a>\n <b> x </b><b>y</b> own </p:a>".utf8))
        #expect(XML.localName(element.name) == "a")
        #expect(element.text(of: "b") == "x")
        #expect(element.all("b").map(\.text) == ["x", "y"])
        #expect(element.text == "own")
    }

    @Test("ISO-8859-1 is read as it is declared; what says so but is UTF-8 is read as UTF-8; UTF-16 is refused")
    func encodings() throws {
        let declaration = Array("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>".utf8)
        #expect(try XMLElement(parsing: declaration + [0xE4] + Array("</a>".utf8)).text == "ä")
        #expect(try XMLElement(parsing: declaration + Array("ä</a>".utf8)).text == "ä")
        #expect(throws: RegistryError.self) { try XMLElement(parsing: [0xFF, 0xFE, 0x3C, 0x00, 0x61, 0x00]) }
        #expect(throws: RegistryError.self) { try XMLElement(parsing: Array("<?xml encoding='ebcdic'?><a/>".utf8)) }
        #expect(throws: RegistryError.self) { try XMLElement(parsing: Array("<a>".utf8) + [0xFF] + Array("</a>".utf8)) }
    }

    @Test(
        "what is no document, or a trick, is refused with its line",
        arguments: [
            "", "  ", "x", "<a>", "<a></b>", "<a/><b/>", "<a/>x", "</a>", "<a b></a>", "<a b=c/>", "<a b='1' b='2'/>", "<a b='<'/>",
            "<a b='1'c='2'/>",
            "<a>&b;</a>", "<a>&#0;</a>", "<a>&#xD800;</a>", "<a>&#+65;</a>", "<a>&amp</a>", "<a>\u{1}</a>", "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "<a><!ENTITY x 'y'></a>", "<a><!-- </a>", "<a><![CDATA[ </a>", "<?x", "<1/>", "< a/>",
            "<![CDATA[x]]><a/>",
        ])
    func refuses(text: String) {
        let error = #expect(throws: RegistryError.self) { try XMLElement(parsing: Array(text.utf8)) }
        #expect(error?.code == .invalid)
    }

    @Test("budgets of bytes, depth and items hold, and deep nesting costs no stack")
    func budgets() throws {
        let deep = String(repeating: "<a>", count: 64) + String(repeating: "</a>", count: 64)
        #expect(try events(deep).count == 128)
        for text in [
            String(repeating: "<a>", count: 65) + String(repeating: "</a>", count: 65), String(repeating: "<a>", count: 300_000),
            "<a>" + String(repeating: "<b/>", count: 100_001) + "</a>", "<a " + (0..<65).map { "x\($0)=''" }.joined(separator: " ") + "/>",
        ] {
            #expect(throws: RegistryError.self) { try events(text) }
        }
        #expect(throws: RegistryError.self) { try events("<a/>", budget: Budget(bytes: 3, items: 10)) }
        #expect(try XMLElement(parsing: Array("<a>&b; &amp;</a>".utf8), unknownEntities: .verbatim).text == "&b; &")
    }

    @Test("no mutation of a document makes the reader trap")
    func mutations() {
        let seed = testSeed
        var random = SeededRandom(seed: seed)
        let original = Array("<?xml version='1.0' encoding='UTF-8'?><a b='c&lt;'>t&#65;<!-- x --><![CDATA[y]]><d/></a>".utf8)
        var refused = 0
        for _ in 0..<5_000 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: at)
                default: bytes.insert(contentsOf: bytes[at..<min(at + 9, bytes.count)], at: at)
                }
                if bytes.isEmpty { break }
            }
            if (try? XMLElement(parsing: bytes)) == nil { refused += 1 }
        }
        #expect(refused > 0, "seed \(seed)")
    }

    @Test("escaped text is read back, and characters XML has not are replaced")
    func escapes() throws {
        let text = "a<b>&\"'ä\n"
        #expect(try XMLElement(parsing: Array("<a x=\"\(XML.escape(text))\"/>".utf8)).attributes.first?.value == text)
        #expect(XML.escape("a\u{0}b") == "a\u{FFFD}b")
    }
}
