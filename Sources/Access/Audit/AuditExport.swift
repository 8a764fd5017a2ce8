public import Core

/// An export of the audit log: a line that says after which record it begins, then a record a line with its hash as the last member.
public struct AuditExport {
    private var verifier: AuditVerifier?
    private let expected: AuditLink?
    private var rest: [UInt8] = []

    /// - Parameter expected: a link that was written down elsewhere and must be in it.
    public init(expecting expected: AuditLink? = nil) { self.expected = expected }

    /// The next bytes of it.
    /// - Throws: `corrupt` when a record was changed, removed or added; `invalid` for what is no export.
    public mutating func take(_ bytes: some Sequence<UInt8>) throws(RegistryError) {
        rest += bytes
        var start = 0
        while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
            try take(line: Array(rest[start..<end]))
            start = end + 1
        }
        rest.removeFirst(start)
        guard rest.count < 1 << 20 else { throw AuditExport.none }
    }

    private mutating func take(line: [UInt8]) throws(RegistryError) {
        guard verifier != nil else {
            guard let first = AuditLine.head(line) else { throw AuditExport.none }
            verifier = AuditVerifier(from: first, expecting: expected)
            return
        }
        guard let (line, hash) = AuditLine.imported(line) else { throw AuditVerifier.broken("a line of the export is no record") }
        try verifier?.take(line, hash: hash)
    }

    /// After its last byte. (That its end is the log's end only a link from elsewhere can tell.)
    public func finish() throws(RegistryError) -> AuditReport {
        guard let verifier else { throw AuditExport.none }
        guard rest.isEmpty else { throw AuditVerifier.broken("the last line of the export is cut off") }
        return try verifier.finish(at: nil)
    }

    private static var none: RegistryError {
        RegistryError(.invalid, subject: .request, reason: "this is no export of an audit log: its first line does not say where it begins")
    }
}
