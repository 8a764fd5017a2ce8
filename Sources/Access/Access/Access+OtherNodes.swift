public import Catalog
public import Core

// Changes of accounts that another node made: its own memory forgot them before it acknowledged them, this one's does here.
extension Access {
    /// Forgets what is remembered of the accounts and groups that these facts of the log are about.
    public func forget(_ touched: Set<LogEntry.Touched>) async throws(RegistryError) {
        for case .record(let kind, let id) in touched {
            switch kind {
            case .user:
                if let account = EntityID(id) { verified.advance(account) }
                if setupRequired { try await recheckSetup() }
            // `<account>/<row>`: as it is used it is written, too, which takes nothing away. Only its end does.
            case .token, .session:
                guard let account = Access.name(at: 0, of: id), try await catalog.record(kind, id: id) == nil else { continue }
                verified.advance(account)
            // `<kind of principal>/<principal>/...`, `<side>/<account or group>/...`
            case .permission, .membership:
                if let principal = Access.name(at: 1, of: id) { verified.advance(principal) }
            case .group:
                if let group = EntityID(id) { verified.advance(group) }
            // Who needs a second factor.
            case .setting: if id == Access.totpPolicySetting { verified.advance(Access.totpPolicyKey) }
            case .cursor, .upload, .download, .signing, .access, .project, .lease, .node, .quota, .edition: break
            }
        }
    }

    /// The same of all there are.
    public func forgetAll() async throws(RegistryError) {
        verified.advanceAll()
        if setupRequired { try await recheckSetup() }
    }

    /// Another node may have changed the first administrator's password.
    private func recheckSetup() async throws(RegistryError) {
        guard let row = try await userRow(named: Access.firstAdmin), row.locksSetup else { return releaseSetupLock() }
    }

    private static func name(at place: Int, of id: String) -> EntityID? {
        let parts = id.split(separator: "/", omittingEmptySubsequences: false)
        return parts.indices.contains(place) ? EntityID(parts[place]) : nil
    }
}
