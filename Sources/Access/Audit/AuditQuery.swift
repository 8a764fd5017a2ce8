public import Core
import Parsing

/// Which records somebody wants to see.
public struct AuditQuery: Sendable {
    /// Looked at for one question with a condition.
    static let recordsMax = 100_000

    public var account: EntityID?
    public var action: String?
    public var kind: String?
    public var subjectID: EntityID?
    public var requestID: String?
    public var from: Timestamp?
    public var to: Timestamp?
    public var skip = 0
    public var limit = 20
    public init() {}

    var isAll: Bool { account == nil && action == nil && kind == nil && subjectID == nil && requestID == nil && from == nil && to == nil }

    func fits(_ record: AuditRecord) -> Bool {
        (account.map { record.account == $0 } ?? true) && (action.map { record.action == $0 } ?? true) && (kind.map { record.kind == $0 } ?? true)
            && (subjectID.map { record.subjectID == $0 } ?? true) && (requestID.map { record.requestID == $0 } ?? true)
            && (from.map { record.at >= $0 } ?? true) && (to.map { record.at < $0 } ?? true)
    }
}

/// A decision as it was kept.
public struct AuditRecord: Sendable {
    public let id: EntityID
    public let at: Timestamp
    public let account: EntityID?
    public let actor: String
    public let action: String
    public let kind: String
    public let subjectID: EntityID?
    public let requestID: String
    public let peer: String?
    /// What there is beyond these: `verdict`, `refusal`, `credential`, `subject`, `detail`, `method`, `target`, `number`.
    public let details: [(name: String, value: String)]

    private static let details = ["number", "verdict", "refusal", "credential", "credential_id", "subject", "detail", "method", "target"]

    init(_ line: [UInt8]) throws(RegistryError) {
        let json = try JSON.parse(line)
        guard let id = json["id"]?.string.flatMap({ EntityID($0) }), let at = json["at"]?.string.flatMap({ Timestamp(rfc3339: $0) }),
            let actor = json["actor"]?.string, let action = json["action"]?.string, let kind = json["kind"]?.string,
            let requestID = json["request"]?.string
        else { throw BinaryReader.damaged }
        (self.id, self.at, self.actor, self.action, self.kind, self.requestID) = (id, at, actor, action, kind, requestID)
        account = json["account"]?.string.flatMap { EntityID($0) }
        subjectID = json["subject_id"]?.string.flatMap { EntityID($0) }
        peer = json["peer"]?.string
        details = AuditRecord.details.compactMap { name in json[name].map { (name, $0.string ?? String(decoding: $0.encoded(), as: UTF8.self)) } }
    }
}
