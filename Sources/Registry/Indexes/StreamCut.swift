import Core

/// Runs in byte order of their packages, cut into fragments.
struct StreamCut {
    private let pack: IndexPack
    private let separator: [UInt8]
    /// Fragments that may turn out to be the same, by their first package.
    private let known: [PackageName: Fragment]
    private let meter: IndexMeter
    private var open: [PackageRun] = []
    private(set) var fragments: [Fragment] = []

    init(_ pack: IndexPack, separator: [UInt8], known: [Fragment], _ meter: IndexMeter) {
        self.pack = pack
        self.separator = separator
        self.known = Dictionary(known.map { ($0.first, $0) }) { first, _ in first }
        self.meter = meter
    }

    mutating func add(_ run: PackageRun) throws(RegistryError) {
        if Fragment.begins(with: run.package) { try close() }
        open.append(run)
    }

    mutating func close() throws(RegistryError) {
        guard let first = open.first?.package else { return }
        fragments.append(try Fragment.write(open, to: pack, separator: separator, unless: known[first], meter))
        open = []
    }
}

/// A package's run as it is now; nil: it has none any more.
struct RunChange: Sendable {
    let package: PackageName
    let run: PackageRun?
}

/// One stream with some packages' runs replaced: only fragments that hold one of them are read and written.
struct StreamEdit {
    let fragments: [Fragment]
    let pack: IndexPack
    let separator: [UInt8]
    let meter: IndexMeter

    /// - Parameter changes: in byte order, each package once.
    /// - Returns: nil when nothing is different.
    func applying(_ changes: [RunChange]) throws(RegistryError) -> [Fragment]? {
        guard !fragments.isEmpty else {
            var cut = StreamCut(pack, separator: separator, known: [], meter)
            for case let run? in changes.map(\.run) { try cut.add(run) }
            try cut.close()
            return cut.fragments.isEmpty ? nil : cut.fragments
        }
        var byFragment: [Int: [RunChange]] = [:]
        var touched: Set<Int> = []
        for change in changes {
            let home = index(of: change.package)
            if change.run == nil {
                guard let home, try fragments[home].contains(change.package, in: pack) else { continue }
                // Without its first package, a fragment is the end of the one before.
                if home > 0, fragments[home].first == change.package { touched.insert(home - 1) }
            }
            touched.insert(home ?? 0)
            byFragment[home ?? 0, default: []].append(change)
        }
        var result = fragments
        // From the end, so that indices before stay true.
        for range in StreamEdit.ranges(touched).reversed() {
            result.replaceSubrange(range, with: try recut(range, range.flatMap { byFragment[$0] ?? [] }))
        }
        return result == fragments ? nil : result
    }

    private func recut(_ range: Range<Int>, _ changes: [RunChange]) throws(RegistryError) -> [Fragment] {
        var runs: [PackageRun] = []
        for fragment in fragments[range] { runs += try fragment.runs(in: pack, separator: separator) }
        var cut = StreamCut(pack, separator: separator, known: Array(fragments[range]), meter)
        var rest = changes[...]
        for run in runs {
            while let change = rest.first, change.package < run.package {
                if let run = change.run { try cut.add(run) }
                rest = rest.dropFirst()
            }
            if let change = rest.first, change.package == run.package {
                if let run = change.run { try cut.add(run) }
                rest = rest.dropFirst()
            } else {
                try cut.add(run)
            }
        }
        for change in rest {
            if let run = change.run { try cut.add(run) }
        }
        try cut.close()
        return cut.fragments
    }

    /// The fragment a package is in or would be in; nil before the first.
    private func index(of package: PackageName) -> Int? {
        var (low, high) = (0, fragments.count)
        while low < high {
            let middle = (low + high) / 2
            if package < fragments[middle].first { high = middle } else { low = middle + 1 }
        }
        return low > 0 ? low - 1 : nil
    }

    private static func ranges(_ indices: Set<Int>) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        for index in indices.sorted() {
            if let last = ranges.last, last.upperBound == index {
                ranges[ranges.count - 1] = last.lowerBound..<index + 1
            } else {
                ranges.append(index..<index + 1)
            }
        }
        return ranges
    }
}
