import Testing

/// Words that hide meaning, and calls that end the process or read the world behind the caller's back.
@Suite("words") struct WordTests {
    static let hollow: Set<String> = ["manager", "helper", "util", "utils", "common", "service", "handler", "data", "info"]
    /// SwiftNIO's own word for a stage of a channel's pipeline.
    static let pipelineRoom = "Sources/Server/"

    @Test("no type is named by a word that hides meaning")
    func typeNames() {
        var offenders: [String] = []
        for file in Tree.sources + Tree.tests {
            for (number, line) in file.code.enumerated() {
                guard let name = Self.declaredType(line) else { continue }
                var words = Self.words(of: name)
                if file.path.hasPrefix(Self.pipelineRoom), words.last == "handler" { words.removeLast() }
                if !Self.hollow.isDisjoint(with: words) { offenders.append("\(file.path):\(number + 1) \(name)") }
            }
        }
        #expect(offenders == [])
    }

    @Test("no trap and no hidden world in Sources", arguments: WordTests.banned)
    func calls(_ rule: Ban) {
        let files = Tree.sources.filter { file in !rule.except.contains { file.path.hasPrefix($0) } }
        #expect(files.flatMap { $0.offences { Self.contains($0, rule.text) } } == [], "\(rule.text): \(rule.why)")
    }

    struct Ban: Sendable, CustomTestStringConvertible {
        var text: String
        var why: String
        var except: [String] = []
        var testDescription: String { text }
    }

    static let banned: [Ban] = [
        Ban(text: "try!", why: "an error must reach who can answer for it"),
        Ban(text: " as! ", why: "a failed cast is an error, not a crash"),
        Ban(text: "fatalError(", why: "precondition for programmer errors, RegistryError for the world"),
        Ban(text: "print(", why: "standard output belongs to the command line's answers; the rest is logged", except: ["Sources/granary/"]),
        Ban(text: "Date()", why: "time comes in as World"),
        Ban(text: "ProcessInfo", why: "the environment is read once, by the composition root", except: ["Sources/granary/"]),
        Ban(text: "NSLock", why: "Mutex, beside the state it guards"),
    ]

    @Test("no error is swallowed by an empty catch")
    func emptyCatch() {
        let offenders = Tree.sources.flatMap { file in
            file.code.indices.filter { number in
                let line = file.code[number]
                guard let at = line.firstRange(of: "catch") else { return false }
                var rest = line[at.upperBound...] + " "
                if number + 1 < file.code.count { rest += file.code[number + 1] }
                let bare = rest.filter { !$0.isWhitespace }
                return bare.hasPrefix("{}")
            }.map { "\(file.path):\($0 + 1)" }
        }
        #expect(offenders == [])
    }

    @Test("@unchecked Sendable says, on its line or just above, what makes it true")
    func uncheckedSendable() {
        let offenders = (Tree.sources + Tree.tests).flatMap { file in
            file.code.indices.filter { number in
                file.code[number].contains("@unchecked Sendable") && !file.lines[number].contains("//")
                    && !(number > 0 && file.lines[number - 1].contains("//"))
            }.map { "\(file.path):\($0 + 1)" }
        }
        #expect(offenders == [])
    }

    static func declaredType(_ line: Substring) -> String? {
        let words = line.split(whereSeparator: { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == "@") })
        let kinds: Set<Substring> = ["struct", "class", "enum", "actor", "protocol", "typealias"]
        guard let kind = words.firstIndex(where: kinds.contains), kind + 1 < words.count else { return nil }
        let name = words[kind + 1]
        // `class func`, `class var`, a constraint `: class`: no declaration of a type.
        return name.first?.isUppercase == true ? String(name) : nil
    }

    /// `HTTPInfoPage` is http, info, page.
    static func words(of name: String) -> [String] {
        var words: [String] = []
        let letters = Array(name)
        for (index, letter) in letters.enumerated() {
            let startsWord =
                letter.isUppercase && (index == 0 || !letters[index - 1].isUppercase || (index + 1 < letters.count && letters[index + 1].isLowercase))
            if startsWord || words.isEmpty { words.append("") }
            words[words.count - 1].append(letter.lowercased())
        }
        return words
    }

    /// Whether `text` stands in the line and does not go on a longer word (`fingerprint(` is no `print(`).
    static func contains(_ line: Substring, _ text: String) -> Bool {
        line.ranges(of: text).contains { range in
            guard range.lowerBound > line.startIndex, let first = text.first, first.isLetter else { return true }
            let before = line[line.index(before: range.lowerBound)]
            return !(before.isLetter || before.isNumber || before == "_" || before == ".")
        }
    }

    @Test("names fall apart into words")
    func wordSplitting() {
        #expect(Self.words(of: "HTTPInfoPage") == ["http", "info", "page"])
        #expect(Self.words(of: "Metadata") == ["metadata"])
        #expect(Self.words(of: "ConnectionHandler") == ["connection", "handler"])
        #expect(Self.declaredType("public final class PartData<T>: Sendable {") == "PartData")
        #expect(Self.declaredType("class func make() {}") == nil)
        #expect(Self.contains("  fingerprint(x)", "print(") == false)
        #expect(Self.contains("  print(x)", "print("))
    }
}
