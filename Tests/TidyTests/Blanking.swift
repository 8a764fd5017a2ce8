/// Replaces comments and string literals by spaces and keeps every newline, so that rules about code do not trip over words.
/// Interpolations go with their literal. Regex literals are not recognised: the house does not use them.
struct Blanking {
    private let input: [UInt8]
    private var output: [UInt8]
    private var at = 0

    static func blanked(_ text: String) -> String {
        var blanking = Blanking(text)
        blanking.run()
        return String(decoding: blanking.output, as: UTF8.self)
    }

    private init(_ text: String) {
        input = Array(text.utf8)
        output = input
    }

    private mutating func run() {
        while at < input.count {
            if sees("//") {
                while at < input.count, input[at] != UInt8(ascii: "\n") { blank() }
            } else if sees("/*") {
                blankBlockComment()
            } else if let pounds = literalStart() {
                blankLiteral(pounds: pounds)
            } else {
                at += 1
            }
        }
    }

    private func sees(_ text: StaticString, from: Int? = nil) -> Bool {
        let start = from ?? at
        guard start + text.utf8CodeUnitCount <= input.count else { return false }
        return text.withUTF8Buffer { wanted in wanted.indices.allSatisfy { input[start + $0] == wanted[$0] } }
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<min(count, input.count - at) {
            if input[at] != UInt8(ascii: "\n") { output[at] = UInt8(ascii: " ") }
            at += 1
        }
    }

    private mutating func blankBlockComment() {
        var depth = 0
        repeat {
            if sees("/*") {
                depth += 1
                blank(2)
            } else if sees("*/") {
                depth -= 1
                blank(2)
            } else {
                blank()
            }
        } while depth > 0 && at < input.count
    }

    /// The number of `#` before a quote that starts here; nil when no literal starts.
    private func literalStart() -> Int? {
        var end = at
        while end < input.count, input[end] == UInt8(ascii: "#") { end += 1 }
        return end < input.count && input[end] == UInt8(ascii: "\"") ? end - at : nil
    }

    private mutating func blankLiteral(pounds: Int) {
        blank(pounds)
        let quotes = sees("\"\"\"") ? 3 : 1
        blank(quotes)
        while at < input.count {
            if endsLiteral(quotes: quotes, pounds: pounds) {
                blank(quotes + pounds)
                return
            }
            if input[at] == UInt8(ascii: "\\"), escapes(pounds: pounds) {
                blank(1 + pounds)
                if at < input.count, input[at] == UInt8(ascii: "(") { blankInterpolation() } else { blank() }
            } else if quotes == 1, input[at] == UInt8(ascii: "\n") {
                return
            } else {
                blank()
            }
        }
    }

    private func endsLiteral(quotes: Int, pounds: Int) -> Bool {
        guard at + quotes + pounds <= input.count else { return false }
        return input[at..<at + quotes].allSatisfy { $0 == UInt8(ascii: "\"") }
            && input[at + quotes..<at + quotes + pounds].allSatisfy { $0 == UInt8(ascii: "#") }
    }

    private func escapes(pounds: Int) -> Bool {
        at + 1 + pounds <= input.count && input[at + 1..<at + 1 + pounds].allSatisfy { $0 == UInt8(ascii: "#") }
    }

    private mutating func blankInterpolation() {
        var depth = 0
        repeat {
            if let pounds = literalStart() {
                blankLiteral(pounds: pounds)
                continue
            }
            if input[at] == UInt8(ascii: "(") { depth += 1 }
            if input[at] == UInt8(ascii: ")") { depth -= 1 }
            blank()
        } while depth > 0 && at < input.count
    }
}
