/// A media type and its parameters (RFC 9110 section 8.3.1).
public struct MediaType: Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
    /// In lower case, as `subtype` and the parameters' names.
    public let type: String
    public let subtype: String
    public let parameters: [String: String]

    public init(_ type: String, _ subtype: String, parameters: [String: String] = [:]) {
        self.type = type.lowercased()
        self.subtype = subtype.lowercased()
        self.parameters = parameters
    }

    /// nil when the text is no media type.
    public init?(parsing text: some StringProtocol) {
        var scanner = HeaderScanner(text)
        guard let value = MediaType(&scanner), scanner.isAtEnd else { return nil }
        self = value
    }

    /// For types written in our sources.
    public init(stringLiteral text: String) {
        guard let value = MediaType(parsing: text) else { preconditionFailure("\(text) is no media type") }
        self = value
    }

    fileprivate init?(_ scanner: inout HeaderScanner) {
        scanner.skipSpace()
        guard let type = scanner.token(), scanner.take("/"), let subtype = scanner.token(), let parameters = scanner.parameters() else { return nil }
        self.init(type, subtype, parameters: parameters)
    }

    /// `type/subtype`.
    public var essence: String { "\(type)/\(subtype)" }
    public var description: String {
        parameters.sorted { $0.key < $1.key }.reduce(essence) { text, parameter in
            let isToken = !parameter.value.isEmpty && parameter.value.utf8.allSatisfy(HeaderScanner.isTokenByte)
            return text + ";\(parameter.key)="
                + (isToken ? parameter.value : "\"\(parameter.value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\""))\"")
        }
    }
}

/// Content negotiation by `Accept` (RFC 9110 section 12.5.1).
public struct Accept: Sendable, Hashable {
    public struct Range: Sendable, Hashable {
        public let type: MediaType
        /// Thousandths, 0 to 1000.
        public let weight: Int
    }

    public static let rangesMax = 64
    /// In the client's order. What is malformed is passed over, as a field that only expresses a wish.
    public let ranges: [Range]

    public init(_ header: some StringProtocol) {
        var ranges: [Range] = []
        for element in Accept.elements(of: header).prefix(Accept.rangesMax) {
            guard let written = MediaType(parsing: element) else { continue }
            var parameters = written.parameters
            let weight = parameters.removeValue(forKey: "q").map(Accept.weight) ?? 1000
            if let weight { ranges.append(Range(type: MediaType(written.type, written.subtype, parameters: parameters), weight: weight)) }
        }
        self.ranges = ranges
    }

    /// The offer the client prefers, nil when it accepts none (406). Offers stand in the server's order, which decides between equals; without
    /// a header, or with one that names no range, it is the first.
    public static func best(of offers: [MediaType], header: String?) -> MediaType? {
        let accept = Accept(header ?? "")
        guard !accept.ranges.isEmpty else { return offers.first }
        var best: (offer: MediaType, weight: Int)?
        for offer in offers {
            let weight = accept.weight(of: offer)
            if weight > best?.weight ?? 0 { best = (offer, weight) }
        }
        return best?.offer
    }

    /// How much the client wants it, in thousandths: by the most specific range that covers it, 0 when none does.
    public func weight(of offer: MediaType) -> Int {
        var best = (specificity: -1, weight: 0)
        for range in ranges {
            if let specificity = range.specificity(for: offer), specificity > best.specificity { best = (specificity, range.weight) }
        }
        return best.weight
    }

    /// `0`, `0.5`, `1.000`; nil for what is no weight (RFC 9110 section 12.4.2).
    private static func weight(_ text: String) -> Int? {
        let digits = Array(text.utf8)
        guard let first = digits.first, first == 0x30 || first == 0x31, digits.count <= 5, digits.count == 1 || digits[1] == UInt8(ascii: ".") else {
            return nil
        }
        var weight = first == 0x31 ? 1000 : 0
        for (digit, unit) in zip(digits.dropFirst(2), [100, 10, 1]) {
            guard (0x30...0x39).contains(digit) else { return nil }
            weight += Int(digit - 0x30) * unit
        }
        return weight <= 1000 ? weight : nil
    }

    /// Splits at commas outside of quotes.
    private static func elements(of header: some StringProtocol) -> [String] {
        var elements: [String] = []
        var current: [UInt8] = []
        var (quoted, escaped) = (false, false)
        for byte in header.utf8 {
            if byte == UInt8(ascii: ","), !quoted {
                elements.append(trimmed(String(decoding: current, as: UTF8.self)))
                current = []
                continue
            }
            if byte == UInt8(ascii: "\""), !escaped { quoted.toggle() }
            escaped = quoted && byte == UInt8(ascii: "\\") && !escaped
            current.append(byte)
        }
        elements.append(trimmed(String(decoding: current, as: UTF8.self)))
        return elements
    }
}

extension Accept.Range {
    /// Higher for a narrower range; nil when it does not cover the offer.
    fileprivate func specificity(for offer: MediaType) -> Int? {
        if type.type == "*" { return type.subtype == "*" ? 0 : nil }
        guard type.type == offer.type else { return nil }
        if type.subtype == "*" { return 1 }
        guard type.subtype == offer.subtype, type.parameters.allSatisfy({ offer.parameters[$0.key]?.lowercased() == $0.value.lowercased() }) else {
            return nil
        }
        return 2 + type.parameters.count
    }
}
