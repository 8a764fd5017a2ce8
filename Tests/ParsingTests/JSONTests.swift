import Core
import Parsing
import Testing

@Suite struct JSONTests {
    @Test("the two documents of RFC 8259 section 13 are read and written back in their order")
    func examples() throws {
        let image = """
            {
              "Image": {
                "Width": 800,
                "Height": 600,
                "Title": "View from 15th Floor",
                "Thumbnail": {
                  "Url": "http://www.example.com/image/481989943",
                  "Height": 125,
                  "Width": 100
                },
                "Animated": false,
                "IDs": [
                  116,
                  943,
                  234,
                  38793
                ]
              }
            }

            """
        let value = try JSON.parse(image)
        #expect(value["Image"]?["Thumbnail"]?["Url"]?.string == "http://www.example.com/image/481989943")
        #expect(value["Image"]?["IDs"]?[3]?.int == 38793)
        #expect(value["Image"]?["Animated"]?.bool == false)
        #expect(String(decoding: value.pretty(), as: UTF8.self) == image)
    }

    @Test("number text survives: trailing zeros, exponents, more digits than any machine type")
    func numbers() throws {
        let text = "[1.0,-0,1e400,123456789012345678901234567890,0.1E-2,-12.50e+3]"
        #expect(try JSON.parse(text).text == text)
        #expect(try JSON.parse("123456789012345678901234567890").int == nil)
        #expect(try JSON.parse("-42").int == -42)
        #expect(try JSON.parse("1.5e1").number?.double == 15)
    }

    @Test("escapes are read as RFC 8259 says and written in their shortest form")
    func escapes() throws {
        let value = try JSON.parse(#""\"\\\/\b\f\n\r\t\u0041\u00e9\ud834\udd1e\u0000""#)
        #expect(value.string == "\"\\/\u{8}\u{C}\n\r\tAé𝄞\u{0}")
        #expect(value.text == #""\"\\/\b\f\n\r\tAé𝄞\u0000""#)
    }

    @Test(
        "malformed documents are refused",
        arguments: [
            "", " ", "{", "[", "[1", "[1,]", "{\"a\":1,}", "{\"a\"}", "{a:1}", "{'a':1}", "[1 2]", "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x10",
            "tru", "nul", "True", "NaN", "Infinity", "\"", "\"\\x\"", "\"\\u12\"", "\"\\u+123\"", "\"\n\"", "\"\u{1}\"", "1 1", "[]]", "\u{FEFF}1",
            #""\ud834""#, #""\ud834x""#, #""\ud834\u0041""#, #""\udd1e""#, #""\ud834\ud834""#, "//1", "/**/1",
        ])
    func malformed(_ text: String) {
        #expect(refusal { () throws(RegistryError) in try JSON.parse(text) } != nil)
    }

    @Test("bytes that are no UTF-8 are refused: overlong, surrogate, beyond U+10FFFF, cut short")
    func encoding() {
        for bytes: [UInt8] in [[0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82], [0xFF], [0x80]] {
            #expect(refusal { () throws(RegistryError) in try JSON.parse([0x22] + bytes + [0x22]) }?.hasSuffix("not UTF-8") == true)
        }
    }

    @Test("a name given twice is refused, in small and in large objects, escaped or not")
    func duplicates() {
        let many = (0..<40).map { "\"k\($0)\":0" }.joined(separator: ",")
        for text in [#"{"a":1,"a":1}"#, #"{"a":1,"\u0061":2}"#, "{\(many),\"k3\":1}", "{\(many),\"k39\":1}"] {
            #expect(refusal { () throws(RegistryError) in try JSON.parse(text) }?.contains("given twice") == true)
        }
    }

    @Test("depth 64 is read, 65 refused; a budget may ask for less, never for more")
    func depth() throws {
        func nested(_ levels: Int) -> String { String(repeating: "[", count: levels) + String(repeating: "]", count: levels) }
        _ = try JSON.parse(nested(64))
        let deep = Budget(bytes: 1 << 20, depth: 1000, items: 1000)
        #expect(refusal { () throws(RegistryError) in try JSON.parse(nested(65), budget: deep) }?.contains("deeper than 64") == true)
        let flat = Budget(bytes: 100, depth: 1, items: 3)
        #expect(refusal { () throws(RegistryError) in try JSON.parse("[[]]", budget: flat) }?.contains("deeper than 1 ") == true)
        #expect(refusal { () throws(RegistryError) in try JSON.parse("[1,2,3]", budget: flat) }?.contains("more than 3 values") == true)
        #expect(
            refusal { () throws(RegistryError) in try JSON.parse(String(repeating: " ", count: 101), budget: flat) }?.contains("100 bytes") == true)
    }

    @Test("a built object keeps the order of its members through replacement and removal, however many there are")
    func building() {
        var value: JSON = ["b": 1, "a": [true, nil, "x"], "c": [:]]
        value["a"] = 2
        value["d"] = "end"
        value["b"] = nil
        #expect(value.text == #"{"a":2,"c":{},"d":"end"}"#)
        #expect(value["missing"] == nil)
        for at in 0..<30 { value["n\(at)"] = JSON(at) }
        value["n5"] = nil
        value["n29"] = "last"
        #expect(value.object?.count == 32)
        #expect(value["n28"]?.int == 28 && value["n5"] == nil && value["n29"]?.string == "last" && value["a"]?.int == 2)
        #expect(value.object?.names.suffix(2) == ["n28", "n29"])
        #expect(JSON.object(present: ["a": 1, "b": nil, "c": .null]).text == #"{"a":1,"c":null}"#)
    }

    @Test("what any value encodes to parses to the same value")
    func roundTrip() throws {
        var random = SeededRandom(seed: testSeed)
        for _ in 0..<300 {
            let value = arbitrary(depth: 4, &random)
            #expect(try JSON.parse(value.encoded()) == value)
            #expect(try JSON.parse(value.pretty()) == value)
        }
    }

    private func arbitrary(depth: Int, _ random: inout SeededRandom) -> JSON {
        switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &random) {
        case 0: return nil
        case 1: return .bool(.random(using: &random))
        case 2: return JSON(Int.random(in: .min ... .max, using: &random))
        case 3, 4:
            let scalars = (0..<Int.random(in: 0..<12, using: &random)).compactMap { _ in
                Unicode.Scalar(UInt32.random(in: 0..<(Bool.random(using: &random) ? 0x80 : 0x11_0000), using: &random))
            }
            return .string(String(String.UnicodeScalarView(scalars)))
        case 5: return .array((0..<Int.random(in: 0..<5, using: &random)).map { _ in arbitrary(depth: depth - 1, &random) })
        default:
            var object = JSON.Object()
            for at in 0..<Int.random(in: 0..<14, using: &random) { object.append("k\(at)\"\n", arbitrary(depth: depth - 1, &random)) }
            return .object(object)
        }
    }
}
