#if canImport(Glibc)
    import Glibc
#endif

/// Milliseconds since 1970 in UTC; RFC 3339 with milliseconds and `Z` on the wire.
public struct Timestamp: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let milliseconds: Int64
    public init(milliseconds: Int64) { self.milliseconds = milliseconds }
    public init(seconds: Int64) { milliseconds = seconds.multipliedReportingOverflow(by: 1000).partialValue }

    public var seconds: Int64 { milliseconds >= 0 ? milliseconds / 1000 : (milliseconds - 999) / 1000 }

    public func adding(milliseconds delta: Int64) -> Timestamp {
        let (sum, overflow) = milliseconds.addingReportingOverflow(delta)
        return Timestamp(milliseconds: overflow ? (delta > 0 ? .max : .min) : sum)
    }
    public func adding(seconds delta: Int64) -> Timestamp {
        let (product, overflow) = delta.multipliedReportingOverflow(by: 1000)
        return adding(milliseconds: overflow ? (delta > 0 ? .max : .min) : product)
    }

    public static func < (a: Timestamp, b: Timestamp) -> Bool { a.milliseconds < b.milliseconds }

    /// `2026-11-21T07:48:09.123Z`
    public var description: String {
        let parts = civil
        return unsafe String(unsafeUninitializedCapacity: 24) { text in
            var count = 0
            func put(_ value: Int64, _ digits: Int, then mark: Unicode.Scalar) {
                var rest = value
                for place in (count..<count + digits).reversed() {
                    unsafe text[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                    rest /= 10
                }
                unsafe text[count + digits] = UInt8(ascii: mark)
                count += digits + 1
            }
            put(parts.year, 4, then: "-")
            put(parts.month, 2, then: "-")
            put(parts.day, 2, then: "T")
            put(parts.hour, 2, then: ":")
            put(parts.minute, 2, then: ":")
            put(parts.second, 2, then: ".")
            put(parts.millisecond, 3, then: "Z")
            return count
        }
    }

    /// `Sat, 21 Nov 2026 07:48:09 GMT` (RFC 9110 section 5.6.7, IMF-fixdate).
    public var httpDate: String {
        let parts = civil
        let date = "\(padded(parts.day, 2)) \(Timestamp.months[Int(parts.month) - 1]) \(padded(parts.year, 4))"
        return "\(Timestamp.days[parts.weekday]), \(date) \(clock(parts.hour, parts.minute, parts.second)) GMT"
    }

    /// Reads an IMF-fixdate; nil for the obsolete forms, which a recipient may ignore in a conditional.
    public init?(httpDate text: String) {
        let fields = text.split(separator: " ")
        guard fields.count == 6, fields[5] == "GMT", let day = Int64(fields[1]), (1...31).contains(day),
            let month = Timestamp.months.firstIndex(of: String(fields[2])), let year = Int64(fields[3]), (1970...9999).contains(year)
        else { return nil }
        let clock = fields[4].split(separator: ":").compactMap { Int64($0) }
        guard clock.count == 3, (0...23).contains(clock[0]), (0...59).contains(clock[1]), (0...60).contains(clock[2]) else { return nil }
        self.init(year: year, month: Int64(month) + 1, day: day, secondOfDay: clock[0] * 3600 + clock[1] * 60 + clock[2], millisecond: 0)
    }

    /// Reads RFC 3339; nil when the text is none. Offsets are honoured, fractions beyond milliseconds dropped.
    public init?(rfc3339 text: some StringProtocol) {
        let utf8 = Array(text.utf8)
        guard utf8.count >= 20, utf8[4] == 0x2D, utf8[7] == 0x2D, utf8[10] == 0x54 || utf8[10] == 0x74 || utf8[10] == 0x20, utf8[13] == 0x3A,
            utf8[16] == 0x3A
        else { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            var value: Int64 = 0
            for byte in utf8[range] {
                guard byte >= 0x30, byte <= 0x39 else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10), let hour = number(11..<13),
            let minute = number(14..<16), let second = number(17..<19), (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
            second <= 60
        else { return nil }
        var at = 19
        var millisecond: Int64 = 0
        if utf8[at] == 0x2E {
            at += 1
            var scale: Int64 = 100
            let start = at
            while at < utf8.count, utf8[at] >= 0x30, utf8[at] <= 0x39 {
                millisecond += Int64(utf8[at] - 0x30) * scale
                scale /= 10
                at += 1
            }
            guard at > start else { return nil }
        }
        var offsetSeconds: Int64 = 0
        guard at < utf8.count else { return nil }
        if utf8[at] == 0x5A || utf8[at] == 0x7A {
            guard at + 1 == utf8.count else { return nil }
        } else {
            guard utf8[at] == 0x2B || utf8[at] == 0x2D, at + 6 == utf8.count, utf8[at + 3] == 0x3A, let hours = number(at + 1..<at + 3),
                let minutes = number(at + 4..<at + 6), hours < 24, minutes < 60
            else { return nil }
            offsetSeconds = (hours * 3600 + minutes * 60) * (utf8[at] == 0x2B ? 1 : -1)
        }
        self.init(
            year: year, month: month, day: day, secondOfDay: hour * 3600 + minute * 60 + second - offsetSeconds, millisecond: millisecond)
    }

    private init(year: Int64, month: Int64, day: Int64, secondOfDay: Int64, millisecond: Int64) {
        // Days from civil: Howard Hinnant's algorithm, March-based years.
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        milliseconds = ((era * 146_097 + dayOfEra - 719_468) * 86_400 + secondOfDay) * 1000 + millisecond
    }

    private struct Civil { var year, month, day, hour, minute, second, millisecond: Int64, weekday: Int }

    private var civil: Civil {
        let clamped = min(max(milliseconds, -62_135_596_800_000), 253_402_300_799_999)
        let total = clamped >= 0 ? clamped / 1000 : (clamped - 999) / 1000
        let millisecond = clamped - total * 1000
        let days = total >= 0 ? total / 86_400 : (total - 86_399) / 86_400
        let second = total - days * 86_400
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        return Civil(
            year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month: month, day: dayOfYear - (153 * monthIndex + 2) / 5 + 1, hour: second / 3600,
            minute: second % 3600 / 60, second: second % 60, millisecond: millisecond, weekday: Int(((days + 4) % 7 + 7) % 7))
    }

    private func clock(_ hour: Int64, _ minute: Int64, _ second: Int64) -> String {
        "\(padded(hour, 2)):\(padded(minute, 2)):\(padded(second, 2))"
    }

    private func padded(_ value: Int64, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }

    private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
}

/// The outside world as values come from it: clock and randomness. Tests hand in their own.
public struct World: Sendable {
    /// Wall time: what is written down.
    public let now: @Sendable () -> Timestamp
    /// Nanoseconds that never go backwards: what timeouts and leases are measured with.
    public let monotonicNanoseconds: @Sendable () -> UInt64
    /// Unpredictable bits, fit for secrets.
    public let random: @Sendable () -> UInt64

    public init(
        now: @escaping @Sendable () -> Timestamp, monotonicNanoseconds: @escaping @Sendable () -> UInt64, random: @escaping @Sendable () -> UInt64
    ) {
        self.now = now
        self.monotonicNanoseconds = monotonicNanoseconds
        self.random = random
    }

    public func newID() -> EntityID { EntityID(at: now(), random: (random(), random())) }

    public func randomBytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count {
            let word = random()
            for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift))) }
        }
        return Array(bytes.prefix(count))
    }

    /// The machine's own clock and generator: the only place that reads them.
    public static let real = World(
        now: {
            var time = timespec()
            unsafe clock_gettime(CLOCK_REALTIME, &time)
            return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
        },
        monotonicNanoseconds: {
            var time = timespec()
            unsafe clock_gettime(CLOCK_MONOTONIC, &time)
            return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        },
        random: {
            var generator = SystemRandomNumberGenerator()
            return generator.next()
        }
    )
}
