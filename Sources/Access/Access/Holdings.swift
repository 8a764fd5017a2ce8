import Catalog
import Core

/// What an account has been given, itself and through its groups: read once, when its credential is proven.
struct Holdings: Sendable {
    /// By repository, already widened to what it implies.
    private(set) var rights: [EntityID: Rights] = [:]
    /// Of the groups it is in, taken before their rows were read: while they hold, so does this.
    var marks: [Stamps.Mark] = []

    mutating func add(_ grant: Grant) { rights[grant.repository, default: []].formUnion(Rights(grant.actions).implied) }

    func rights(on repository: Repository) -> Rights { rights[repository.id] ?? [] }
}

extension Access {
    /// The account's epoch must have been taken before.
    func holdings(of account: EntityID) async throws(RegistryError) -> Holdings {
        var holdings = Holdings()
        for grant in try await grants(of: .account(account)) { holdings.add(grant) }
        for group in try await groups(of: account) {
            holdings.marks.append(verified.epoch(of: group))
            for grant in try await grants(of: .group(group)) { holdings.add(grant) }
        }
        return holdings
    }
}
