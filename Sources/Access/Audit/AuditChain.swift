import Core
import Crypto

/// A place in the audit log, and what everything up to it hashes to: who wrote it down elsewhere can tell later whether all of that is still there.
///
/// The hash of a record is SHA-256 over the hash before it (32 bytes) and the record's line; before the first record it is 32 zeros.
public struct AuditLink: Sendable, Hashable, CustomStringConvertible {
    public let number: UInt64
    /// 32 bytes.
    public let hash: [UInt8]

    public static let start = AuditLink(number: 0, hash: [UInt8](repeating: 0, count: AuditLink.hashBytes))
    static let hashBytes = 32

    init(number: UInt64, hash: [UInt8]) {
        self.number = number
        self.hash = hash
    }

    /// `NUMBER:HEX`, as `description` writes it; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let number = UInt64(parts[0]), let hash = Hex.decode(parts[1]), hash.count == AuditLink.hashBytes else { return nil }
        self.init(number: number, hash: hash)
    }

    public var description: String { "\(number):\(Hex.encode(hash))" }

    func next(_ line: some Collection<UInt8>) -> AuditLink {
        var hasher = SHA256()
        hasher.update(data: hash)
        hasher.update(data: Array(line))
        return AuditLink(number: number &+ 1, hash: Array(hasher.finalize()))
    }

    // The row of a link: number, hash.

    var row: [UInt8] {
        var writer = BinaryWriter()
        writer.write(number)
        writer.write(raw: hash)
        return writer.bytes
    }

    init(row: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(row)
        let number = try reader.readUInt64()
        self.init(number: number, hash: Array(try reader.readBytes(AuditLink.hashBytes)))
    }
}

/// What was found to be whole.
public struct AuditReport: Sendable, Hashable {
    /// Before the first record that is there; later than the start when old ones were removed.
    public internal(set) var first: AuditLink
    public internal(set) var last: AuditLink
    public var records: UInt64 { last.number &- first.number }
}

/// Looks at records one after the other; throws `corrupt` at the first that does not follow from those before it.
struct AuditVerifier {
    private(set) var report: AuditReport
    private let expected: AuditLink?
    private var hasMet: Bool

    /// - Parameter expected: a link that was written down elsewhere and must be on the way.
    init(from first: AuditLink, expecting expected: AuditLink?) {
        report = AuditReport(first: first, last: first)
        self.expected = expected
        hasMet = expected == first
    }

    mutating func take(_ line: some Collection<UInt8>, hash: [UInt8]) throws(RegistryError) {
        let link = report.last.next(line)
        guard AuditLine.number(of: line) == link.number else { throw AuditVerifier.broken("record \(link.number) is missing, or not in its place") }
        guard link.hash == hash else { throw AuditVerifier.broken("record \(link.number), or one before it, is not what was written") }
        if let expected, expected.number == link.number {
            guard expected == link else { throw AuditVerifier.broken("up to record \(link.number) it is not what it was when that was noted") }
            hasMet = true
        }
        report.last = link
    }

    /// - Parameter end: where the log says that it ends.
    func finish(at end: AuditLink?) throws(RegistryError) -> AuditReport {
        if let end, end != report.last { throw AuditVerifier.broken("it ends with record \(report.last.number), and should with \(end.number)") }
        if let expected, !hasMet {
            throw AuditVerifier.broken("record \(expected.number) is not there, the log has \(report.first.number &+ 1) to \(report.last.number)")
        }
        return report
    }

    static func broken(_ reason: String) -> RegistryError {
        RegistryError(.corrupt, subject: .store, reason: "the audit log was changed or cut: \(reason)")
    }
}
