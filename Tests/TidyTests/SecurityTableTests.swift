import Testing

/// docs/security-tests.md names tests that are there.
@Suite("table of security tests") struct SecurityTableTests {
    @Test("every test that the table names is in the file it names, and every row names one or says what it waits for")
    func named() {
        let texts = Dictionary(uniqueKeysWithValues: Tree.tests.map { ($0.path, $0.lines.joined(separator: "\n")) })
        var missing: [String] = []
        var rows = 0
        for line in Tree.text(of: "docs/security-tests.md").split(separator: "\n") where line.hasPrefix("| ") && !line.hasPrefix("| id ") {
            rows += 1
            let cells = line.split(separator: "|")
            guard cells.count == 3, cells[2].contains("`") || cells[2].contains("Open: ") else {
                missing.append("\(line.prefix(40)): no test, and nothing it waits for")
                continue
            }
            var file = ""
            // Texts in backticks are files, texts in quotes are names of tests in the last of them.
            for (index, part) in cells[2].split(separator: "`", omittingEmptySubsequences: false).enumerated() {
                guard index.isMultiple(of: 2) else {
                    file = "Tests/\(part)"
                    if texts[file] == nil { missing.append("\(line.prefix(8)): there is no \(file)") }
                    continue
                }
                for (index, name) in part.split(separator: "\"", omittingEmptySubsequences: false).enumerated() where !index.isMultiple(of: 2) {
                    if texts[file]?.contains("\"\(name)\"") != true { missing.append("\(line.prefix(8)): \(file) has no \"\(name)\"") }
                }
            }
        }
        #expect(rows > 60)
        #expect(missing == [])
    }
}
