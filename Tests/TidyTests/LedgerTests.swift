import Testing

/// docs/reliability.md shows what docs/reliability-ledger.tsv says, neither more nor less.
@Suite("reliability ledger") struct LedgerTests {
    private static let columns = [
        "date", "commit", "mode", "file system", "seed", "cycles", "acknowledged", "lost", "detected", "harmless", "undetected", "failures",
    ]
    private static let summed = 5

    @Test("every line has every column, and the page shows the sums by mode and file system")
    func sums() throws {
        let lines = Tree.text(of: "docs/reliability-ledger.tsv").split(separator: "\n").map { $0.split(separator: "\t").map(String.init) }
        #expect(lines.first == Self.columns)
        var sums: [[String]: [Int]] = [:]
        for line in lines.dropFirst() {
            let figures = line.dropFirst(Self.summed).compactMap { Int($0) }
            try #require(line.count == Self.columns.count && figures.count == Self.columns.count - Self.summed, "\(line)")
            let key = [line[2], line[3]]
            let before = sums[key] ?? [Int](repeating: 0, count: 1 + figures.count)
            sums[key] = zip(before, [1] + figures).map(+)
        }
        // Without the last column, which dates the last run.
        let shown = Tree.text(of: "docs/reliability.md").split(separator: "\n").drop { !$0.hasPrefix("<!-- sums") }.dropFirst(3).prefix {
            $0.hasPrefix("|")
        }
        let rows = shown.map { $0.split(separator: "|").map { $0.drop { $0 == " " } }.map { String($0.prefix { $0 != " " }) }.dropLast() }
        let expected = sums.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { $0.key + $0.value.map(String.init) }
        #expect(rows.map(Array.init) == expected)
    }
}
