public import Catalog
public import Core

/// The accounts of a catalog that came out of a backup, before a server lets anybody in by them.
public struct RestoredAccounts: Sendable {
    private static let pageCount = 256

    private let catalog: any Catalog
    private let world: World

    public init(in catalog: any Catalog, world: World) {
        self.catalog = catalog
        self.world = world
    }

    /// Who may do everything, switched off or not, in the order the accounts were made.
    public func administrators() async throws(RegistryError) -> [User] {
        var found: [User] = []
        try await each(.user) { page throws(RegistryError) in
            for record in page {
                let user = try UserRow(record).user
                if user.isAdmin { found.append(user) }
            }
        }
        return found
    }

    /// How many API tokens there are: those revoked after the backup was made among them.
    public func tokenCount() async throws(RegistryError) -> Int {
        var count = 0
        try await each(.token) { page in count += page.count }
        return count
    }

    /// Whoever was logged in logs in again: a session that was ended after the backup was made does not come back.
    public func endSessions() async throws(RegistryError) { try await removeAll(.session) }

    /// Nobody gets in by what the backup has: no session, token, password or second factor is left, and no administrator but the first, whose
    /// password is made anew at the next start. What is sealed stays sealed; repositories' keys go, to be made anew.
    public func reset() async throws(RegistryError) {
        for kind in [Record.Kind.session, .token, .signing] { try await removeAll(kind) }
        try await each(.user) { page throws(RegistryError) in
            try await commit(try page.map { (record) throws(RegistryError) in .putRecord(try emptied(record), ifRevision: record.revision) })
        }
    }

    private func emptied(_ record: Record) throws(RegistryError) -> Record {
        var row = try UserRow(record)
        (row.passwordHash, row.earlierHashes, row.secondFactor, row.user.hasTOTP) = (nil, [], nil, false)
        row.credentialEpoch &+= 1
        let isFirst = UserRow.unique(row.user.username) == Access.firstAdmin
        (row.user.isAdmin, row.locksSetup) = (isFirst, isFirst)
        if isFirst { (row.user.isActive, row.user.isService) = (true, false) }
        row.user.updated = world.now()
        return row.record
    }

    private func removeAll(_ kind: Record.Kind) async throws(RegistryError) {
        try await each(kind) { page throws(RegistryError) in
            try await commit(page.map { .deleteRecord(kind, id: $0.id) })
        }
    }

    private func each(
        _ kind: Record.Kind, _ body: ([Record]) async throws(RegistryError) -> Void
    ) async throws(RegistryError) {
        var after: String?
        while case let page = try await catalog.records(kind, after: after, limit: RestoredAccounts.pageCount), let last = page.last {
            try await body(page)
            after = last.id
        }
    }

    private func commit(_ parts: [Change.Part]) async throws(RegistryError) {
        try await catalog.apply(Change(actor: .system, at: world.now(), requestID: "restore", parts: parts))
    }
}

extension Decision {
    /// That a data directory was made of a backup: in its own audit log, behind what that held.
    public static func restored(from place: String, _ detail: String, at now: Timestamp) -> Decision {
        Decision(
            at: now, actor: .system, credential: .none, action: "restore", kind: "server", subject: place, detail: detail, requestID: "restore")
    }
}
