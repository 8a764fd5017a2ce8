import Testing

/// Lengths. A function fits a screen, a file holds one idea; what does not yet is listed in ratchet.txt, which may only shrink.
@Suite("shape") struct ShapeTests {
    static let columnsMax = 150
    static let functionLinesMax = 70
    static let fileLinesWarn = 700
    static let fileLinesMax = 1000

    /// A word this long (a token, a key as a test vector) cannot be broken, and excuses its line.
    static let wordMin = 100

    @Test("no line is longer than 150 columns, unless one unbreakable word makes it so")
    func columns() {
        let offenders = (Tree.sources + Tree.tests).flatMap { file in
            file.lines.indices.filter { number in
                let line = file.lines[number]
                return line.count > Self.columnsMax && !line.split(separator: " ").contains { $0.count >= Self.wordMin }
            }.map { "\(file.path):\($0 + 1)" }
        }
        #expect(offenders == [])
    }

    @Test("no file is longer than 1000 lines; over 700 draws a warning")
    func files() {
        let lengths = (Tree.sources + Tree.tests).map { (path: $0.path, lines: $0.lines.count - 1) }
        for file in lengths where file.lines > Self.fileLinesWarn && file.lines <= Self.fileLinesMax {
            Issue.record("\(file.path) has \(file.lines) lines: is it still one idea?", severity: .warning)
        }
        #expect(lengths.filter { $0.lines > Self.fileLinesMax }.map { "\($0.path) \($0.lines)" } == [])
    }

    @Test("no function is longer than 70 lines, but for those in ratchet.txt, at exactly the length given there")
    func functions() {
        var long: [String: Int] = [:]
        for file in Tree.sources + Tree.tests {
            for function in Self.functions(of: file) where function.lines > Self.functionLinesMax {
                let key = "\(file.path) \(function.name)"
                long[key] = max(long[key] ?? 0, function.lines)
            }
        }
        #expect(long == Self.ratchet())
    }

    /// Rows: lines, path, name.
    static func ratchet() -> [String: Int] {
        var rows: [String: Int] = [:]
        for line in Tree.text(of: "Tests/TidyTests/ratchet.txt").split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ", maxSplits: 1)
            if words.count == 2, let lines = Int(words[0]) { rows[String(words[1])] = lines }
        }
        return rows
    }

    /// Functions and initialisers with a body: from the line of the keyword to that of the closing brace. Nested ones count on their own too.
    static func functions(of file: SourceFile) -> [(name: String, lines: Int)] {
        var open: [(name: String, from: Int, depth: Int)] = []
        var found: [(name: String, lines: Int)] = []
        var pending: (name: String, from: Int, parentheses: Int)?
        var depth = 0
        var parentheses = 0
        for (number, line) in file.code.enumerated() {
            if let name = declared(line) { pending = (name, number, parentheses) }
            for character in line {
                switch character {
                case "(": parentheses += 1
                case ")": parentheses -= 1
                case "{":
                    depth += 1
                    // A default argument may be a closure: the body's brace is outside the parameter list.
                    if let function = pending, parentheses <= function.parentheses {
                        open.append((function.name, function.from, depth))
                        pending = nil
                    }
                case "}":
                    if let function = open.last, function.depth == depth {
                        found.append((function.name, number - function.from + 1))
                        open.removeLast()
                    }
                    depth -= 1
                default: break
                }
            }
        }
        return found
    }

    private static func declared(_ line: Substring) -> String? {
        let words = line.split(whereSeparator: { " \t".contains($0) })
        for (index, word) in words.enumerated() {
            if word == "func", index + 1 < words.count { return String(words[index + 1].prefix { !"(<".contains($0) }) }
            if ["init", "init?", "init<"].contains(where: { word.hasPrefix($0 + "(") || word == $0 }), index == 0 || isModifier(words[index - 1]) {
                return "init"
            }
        }
        return nil
    }

    private static func isModifier(_ word: Substring) -> Bool {
        ["public", "package", "internal", "fileprivate", "private", "required", "convenience", "override", "@inlinable"].contains(String(word))
    }

    @Test("the scanner sees bodies, not words in strings, comments or default arguments")
    func scanner() {
        let file = SourceFile(
            path: "x",
            text: """
                struct S {
                    init(a: () -> Void = { }) {
                        _ = "func no() { \\(f("}")) {"
                    }
                    // func neither() {
                    func f(_ x: String) -> Int { 1 }
                    func g() {
                        func inner() {
                        }
                    }
                }
                """)
        #expect(Self.functions(of: file).map { "\($0.name) \($0.lines)" } == ["init 3", "f 1", "inner 2", "g 4"])
    }
}
