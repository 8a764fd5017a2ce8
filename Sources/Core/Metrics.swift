import Synchronization

/// What the process counts about itself, in the Prometheus text format 0.0.4.
///
/// A family has one name, one help text and one kind; a series is a family with label values. Asking twice for one series gives the same
/// object. A family holds at most `seriesMax` series: what comes after shares one series whose labels all read `other`, so that no
/// label that input reaches can grow memory without end.
public final class Metrics: Sendable {
    public static let seriesMax = 256

    public typealias Labels = [(name: String, value: String)]

    private enum Series {
        case counter(Counter)
        case gauge(@Sendable () -> Double)
        case histogram(Histogram)
    }

    private struct Family {
        var help: String
        var kind: String
        var order: [String] = []
        var series: [String: Series] = [:]

        /// The series' own key, or the shared one when the family is full and does not have it.
        func key(for labels: Labels) -> String {
            let own = labels.map { "\($0.name)=\"\(Metrics.escaped($0.value))\"" }.joined(separator: ",")
            if series.count < seriesMax || series[own] != nil { return own }
            return labels.map { "\($0.name)=\"other\"" }.joined(separator: ",")
        }
    }

    private let families = Mutex<[String: Family]>([:])

    public init() {}

    /// A number that only grows. `name` ends in `_total`.
    public func counter(_ name: String, help: String, labels: Labels = []) -> Counter {
        families.withLock { families in
            var family = families[name] ?? Family(help: help, kind: "counter")
            defer { families[name] = family }
            let key = family.key(for: labels)
            if case .counter(let counter)? = family.series[key] { return counter }
            let counter = Counter()
            if family.series.updateValue(.counter(counter), forKey: key) == nil { family.order.append(key) }
            return counter
        }
    }

    /// A number that goes up and down, read when the page is rendered. Registering the same series again replaces what is read.
    public func gauge(_ name: String, help: String, labels: Labels = [], read: @escaping @Sendable () -> Double) {
        families.withLock { families in
            var family = families[name] ?? Family(help: help, kind: "gauge")
            let key = family.key(for: labels)
            if family.series.updateValue(.gauge(read), forKey: key) == nil { family.order.append(key) }
            families[name] = family
        }
    }

    /// A distribution over fixed buckets, given by their upper bounds in ascending order.
    public func histogram(_ name: String, help: String, buckets: [Double] = Histogram.seconds, labels: Labels = []) -> Histogram {
        families.withLock { families in
            var family = families[name] ?? Family(help: help, kind: "histogram")
            defer { families[name] = family }
            let key = family.key(for: labels)
            if case .histogram(let histogram)? = family.series[key] { return histogram }
            let histogram = Histogram(bounds: buckets)
            if family.series.updateValue(.histogram(histogram), forKey: key) == nil { family.order.append(key) }
            return histogram
        }
    }

    /// The whole page, families by name. Gauges are read outside the lock, since what they read may have locks of its own.
    public func render() -> String {
        let snapshot = families.withLock { $0 }
        var page = ""
        for (name, family) in snapshot.sorted(by: { $0.key < $1.key }) {
            page += "# HELP \(name) \(family.help)\n# TYPE \(name) \(family.kind)\n"
            for key in family.order {
                switch family.series[key] {
                case .counter(let counter): page += "\(name)\(Metrics.braced(key)) \(counter.value)\n"
                case .gauge(let read): page += "\(name)\(Metrics.braced(key)) \(Metrics.text(read()))\n"
                case .histogram(let histogram): page += Metrics.lines(name, key, histogram)
                case nil: break
                }
            }
        }
        return page
    }

    private static func lines(_ name: String, _ key: String, _ histogram: Histogram) -> String {
        let values = histogram.snapshot()
        var lines = ""
        var cumulated: UInt64 = 0
        for (index, bound) in histogram.bounds.enumerated() {
            cumulated &+= values.counts[index]
            lines += "\(name)_bucket\(braced(key, "le=\"\(text(bound))\"")) \(cumulated)\n"
        }
        cumulated &+= values.counts[histogram.bounds.count]
        lines += "\(name)_bucket\(braced(key, "le=\"+Inf\"")) \(cumulated)\n"
        lines += "\(name)_sum\(braced(key)) \(text(values.sum))\n"
        lines += "\(name)_count\(braced(key)) \(cumulated)\n"
        return lines
    }

    private static func braced(_ key: String, _ extra: String = "") -> String {
        let both = [key, extra].filter { !$0.isEmpty }.joined(separator: ",")
        return both.isEmpty ? "" : "{\(both)}"
    }

    private static func escaped(_ value: String) -> String {
        var text = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    private static func text(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        if let whole = Int64(exactly: value) { return String(whole) }
        return "\(value)"
    }
}

/// A number that only grows; one atomic addition per step.
public final class Counter: Sendable {
    private let count = Atomic<UInt64>(0)
    init() {}
    public func add(_ amount: UInt64 = 1) { count.wrappingAdd(amount, ordering: .relaxed) }
    public var value: UInt64 { count.load(ordering: .relaxed) }
}

/// How often values fell below each bound.
public final class Histogram: Sendable {
    /// From a cached answer to a long download.
    public static let seconds: [Double] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]

    struct Values { var counts: [UInt64], sum = 0.0 }

    let bounds: [Double]
    private let values: Mutex<Values>

    init(bounds: [Double]) {
        self.bounds = bounds
        values = Mutex(Values(counts: [UInt64](repeating: 0, count: bounds.count + 1)))
    }

    public func observe(_ value: Double) {
        let index = bounds.firstIndex { value <= $0 } ?? bounds.count
        values.withLock {
            $0.counts[index] &+= 1
            $0.sum += value
        }
    }

    func snapshot() -> Values { values.withLock { $0 } }
}
