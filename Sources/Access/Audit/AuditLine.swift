import Access
import Core
import Parsing

/// A decision as one line of JSON: what is stored, hashed and exported. Members never change their meaning; new ones come at the end.
enum AuditLine {
    private static let opening = Array(#"{"number":"#.utf8)
    private static let hashMember = Array(#","hash":""#.utf8)

    /// Everything but the number, which is known when the line takes its place: members without braces, beginning with a comma.
    static func members(of decision: Decision, id: EntityID) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(512)
        func add(_ name: String, _ text: String?) {
            guard let text else { return }
            line.append(UInt8(ascii: ","))
            JSON.write(name, into: &line)
            line.append(UInt8(ascii: ":"))
            JSON.write(bounded(text), into: &line)
        }
        add("at", decision.at.description)
        add("id", id.description)
        add("verdict", decision.refusal == nil ? "allowed" : "denied")
        add("action", decision.action)
        add("actor", decision.actor.name)
        add("account", decision.actor.account?.description)
        add("credential", decision.credential == .none ? nil : decision.credential.rawValue)
        add("credential_id", decision.credentialID?.description)
        add("kind", decision.kind)
        add("subject", decision.subject)
        add("subject_id", decision.subjectID?.description)
        add("detail", decision.detail)
        add("refusal", decision.refusal?.rawValue)
        add("method", decision.asked?.method)
        add("target", decision.asked.map { Redaction.target($0.target) })
        add("peer", decision.asked?.peer)
        add("request", decision.requestID)
        return line
    }

    static func line(_ number: UInt64, _ members: [UInt8]) -> [UInt8] {
        opening + Array(String(number).utf8) + members + [UInt8(ascii: "}")]
    }

    /// nil for what is no line.
    static func number(of line: some Collection<UInt8>) -> UInt64? {
        guard line.starts(with: opening) else { return nil }
        return UInt64(String(decoding: line.dropFirst(opening.count).prefix { $0 != UInt8(ascii: ",") }, as: UTF8.self))
    }

    /// nil for what is no line.
    static func time(of line: some Collection<UInt8>) -> Timestamp? {
        let rest = line.drop { $0 != UInt8(ascii: ",") }
        let name = Array(#","at":""#.utf8)
        guard rest.starts(with: name) else { return nil }
        return Timestamp(rfc3339: String(decoding: rest.dropFirst(name.count).prefix { $0 != UInt8(ascii: "\"") }, as: UTF8.self))
    }

    // As it is exported: the hash is its last member.

    static func exported(_ line: [UInt8], hash: [UInt8]) -> [UInt8] {
        line.dropLast() + hashMember + Array(Hex.encode(hash).utf8) + Array("\"}".utf8)
    }

    /// nil for what was not exported.
    static func imported(_ text: some BidirectionalCollection<UInt8>) -> (line: [UInt8], hash: [UInt8])? {
        let all = Array(text)
        let tail = hashMember.count + 2 * AuditLink.hashBytes + 2
        guard all.count > tail, all.suffix(2).elementsEqual("\"}".utf8) else { return nil }
        let start = all.count - tail
        let digits = all[(start + hashMember.count)..<(all.count - 2)]
        guard all[start...].starts(with: hashMember), let hash = Hex.decode(String(decoding: digits, as: UTF8.self)),
            // As it was written, to the letter.
            Hex.encode(hash).utf8.elementsEqual(digits)
        else { return nil }
        return (all[..<start] + [UInt8(ascii: "}")], hash)
    }

    /// The first line of an export: where it begins.
    static func head(_ link: AuditLink) -> [UInt8] {
        Array(#"{"audit":1,"after":"\#(link)"}"#.utf8)
    }

    static func head(_ text: some Sequence<UInt8>) -> AuditLink? {
        guard let json = try? JSON.parse(Array(text)), json["audit"]?.int == 1 else { return nil }
        return json["after"]?.string.flatMap { AuditLink($0) }
    }

    /// What others chose may be long; a record is not.
    private static func bounded(_ text: String) -> String { text.utf8.count <= 1024 ? text : String(text.prefix(256)) + "..." }
}
