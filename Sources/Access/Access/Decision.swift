import Catalog
public import Core
import Logging

/// What was decided about somebody who asked for something: what an audit log keeps.
public struct Decision: Sendable {
    public var at: Timestamp
    public var actor: Actor
    public var credential: Caller.CredentialKind
    /// The API token or the session, where it was one.
    public var credentialID: EntityID?
    /// `read`, `write`, `delete`, `admin` on a repository; `authenticate`, `log in`, `administer`, `act`, `change accounts`.
    public var action: String
    /// `repository`, `account`, `server`: what kind of thing it was asked of, and which.
    public var kind: String
    public var subject: String?
    public var subjectID: EntityID?
    /// The package inside a repository, or more about the subject.
    public var detail: String?
    /// Why not; nil: it was allowed.
    public var refusal: RegistryError.Code?
    public var asked: Asked?
    public var requestID: String

    /// What stands for refusals that could not be kept one by one.
    public static func notKept(refusals count: UInt64, since: Timestamp, at now: Timestamp) -> Decision {
        Decision(
            at: now, actor: .system, credential: .none, action: "audit", kind: "server", detail: "\(count) refusals were not kept since \(since)",
            refusal: .rateLimited, requestID: "audit")
    }
}

/// Keeps decisions, in the order in which they are given to it.
public protocol DecisionLog: Sendable {
    /// Whether reading what one may read is kept, too.
    var keepsReads: Bool { get }
    /// Returns at once: what is kept is durable no later than any change that is committed afterwards.
    /// - Throws: `unavailable` when it cannot be kept. What it would allow must not happen then.
    func keep(_ decision: Decision) throws(RegistryError)
}

extension Access {
    /// Keeps what was decided about a caller who asked over the network; a server's own doings are no decisions.
    ///
    /// Reads that were allowed are kept only where that is asked for. What is refused is refused whether or not that can be kept.
    /// - Parameter name: of a repository that is not there: in the log it has an id of zeros, as long as any, for the time that a line takes tells.
    func keep(
        _ caller: Caller, _ action: String, on repository: Repository?, named name: RepositoryKey? = nil, package: String? = nil,
        refusal: RegistryError.Code? = nil
    ) throws(RegistryError) {
        guard let decisions, let asked = caller.asked else { return }
        let key = repository?.key ?? name
        let decision = Decision(
            at: world.now(), actor: caller.actor, credential: caller.credentialKind, credentialID: caller.root.id, action: action,
            kind: key == nil ? "server" : "repository", subject: key?.text, subjectID: key == nil ? nil : repository?.id ?? EntityID(high: 0, low: 0),
            detail: package.map { Redaction.target($0) },
            refusal: refusal, asked: asked, requestID: asked.requestID)
        try keep(decision, in: decisions)
    }

    /// The same about an account, by name: who tried to be it, or changed it.
    func keep(
        _ action: String, account: String?, detail: String? = nil, by actor: Actor = .anonymous, refusal: RegistryError.Code? = nil, asked: Asked?,
        requestID: String
    ) throws(RegistryError) {
        guard let decisions else { return }
        let decision = Decision(
            at: world.now(), actor: actor, credential: .none, action: action, kind: "account", subject: account, detail: detail, refusal: refusal,
            asked: asked, requestID: requestID)
        try keep(decision, in: decisions)
    }

    /// What the audit log calls who said that they are somebody: an account's name as it was made with; else a mark that is the same for the same
    /// text until the server starts anew, and tells nothing of it. People type passwords into the wrong field.
    func auditName(of claimed: String?) async -> String? {
        guard let claimed else { return nil }
        if (try? Access.check(username: claimed)) != nil, let row = try? await userRow(named: claimed) { return row.user.username }
        return "unknown-" + Digest.of(.sha256, markSalt + Array(claimed.utf8)).hex.prefix(8)
    }

    /// Whether it was the credentials that were refused, or another try of them.
    static func isGuessed(_ error: RegistryError) -> Bool { error.code == .unauthenticated || error.code == .rateLimited }

    private func keep(_ decision: Decision, in decisions: any DecisionLog) throws(RegistryError) {
        do throws(RegistryError) { try decisions.keep(decision) } catch {
            if decision.refusal == nil { throw error }
            log.error("a refusal is not in the audit log", metadata: ["error": "\(error)", "request": "\(decision.requestID)"])
        }
    }
}

extension CredentialRoot {
    var id: EntityID? {
        switch self {
        case .none, .password: nil
        case .session(let family): family
        case .apiToken(let id): id
        }
    }
}
