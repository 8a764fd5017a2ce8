public import Core
import Crypto
import Synchronization

/// A ticket lets whoever has it GET one path once, within half a minute, as somebody who may read it: for a browser's download, which can send no
/// header. It lives in memory only, and by its fingerprint: a restart voids it. Of several nodes the text names the one that made it, which alone can
/// take it.
struct Ticket: Sendable {
    var caller: Caller
    /// As it was asked for: the request's path must be this, decoded.
    var path: String
    var expires: Timestamp
}

final class TicketBox: Sendable {
    private let tickets = Mutex<[SHA256Digest: Ticket]>([:])
    private let countMax: Int

    init(countMax: Int) { self.countMax = countMax }

    /// - Throws: `rateLimited` when too many wait to be used.
    func add(_ ticket: Ticket, text: Secret, now: Timestamp) throws(RegistryError) {
        let isAdded = tickets.withLock { tickets in
            if tickets.count >= countMax { tickets = tickets.filter { now < $0.value.expires } }
            guard tickets.count < countMax else { return false }
            tickets[TicketBox.fingerprint(text)] = ticket
            return true
        }
        guard isAdded else {
            throw RegistryError(.rateLimited, subject: .request, reason: "too many tickets wait to be used: try again in half a minute")
        }
    }

    /// Whoever asks first has it; whether it was good is another question.
    func take(_ text: Secret) -> Ticket? { tickets.withLock { $0.removeValue(forKey: TicketBox.fingerprint(text)) } }

    private static func fingerprint(_ text: Secret) -> SHA256Digest { SHA256.hash(data: Array(text.revealed.utf8)) }
}

extension Access {
    public static let ticketSeconds: Int64 = 30
    static let ticketsMax = 10_000

    /// Makes a ticket for the caller to GET this path.
    /// - Parameter path: of a request to this server, decoded, without a query.
    /// - Throws: `forbidden` for a credential that does not cover reading artifacts, or is one that only lives to be used once more.
    public func issueTicket(for caller: Caller, path: String) throws(RegistryError) -> Secret {
        try requireAccount(caller, scope: .readArtifacts)
        guard caller.credentialKind != .registryToken else {
            throw RegistryError(.forbidden, subject: .request, reason: "this credential makes no tickets")
        }
        let secret = Hex.encode(world.randomBytes(TokenText.randomBytes))
        let text = Secret(options.node == 0 ? secret : "\(secret)-\(options.node)")
        let now = world.now()
        let expires = min(now.adding(seconds: Access.ticketSeconds), caller.expires ?? .init(milliseconds: .max))
        try tickets.add(Ticket(caller: caller, path: path, expires: expires), text: text, now: now)
        return text
    }

    /// Who presented the ticket for this path: reading artifacts as the one it was made for may, as their account and the credential behind it stand
    /// now, and nothing else.
    func authenticate(ticket text: Secret, path: String) async throws(RegistryError) -> Caller {
        guard let ticket = tickets.take(text), ticket.path == path, world.now() < ticket.expires, let account = ticket.caller.account else {
            throw Access.badCredentials
        }
        return try await rooted(ticket.caller.root, of: account).forTicket(until: ticket.expires)
    }
}

extension Caller {
    /// The same caller, who may read artifacts and do nothing else.
    func forTicket(until expires: Timestamp) -> Caller {
        Caller(
            actor: actor, isAdmin: false, scopes: Caller.allows(scopes, .readArtifacts) ? [.readArtifacts] : [],
            tokenRepositories: tokenRepositories, mustChangePassword: mustChangePassword, credentialKind: .ticket, ownerIsAdmin: ownerIsAdmin,
            holdings: holdings, registryScopes: nil, root: root, expires: min(expires, self.expires ?? expires))
    }
}
