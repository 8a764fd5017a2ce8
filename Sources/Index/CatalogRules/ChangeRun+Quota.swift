import Catalog
import Core

// Quotas of projects: what the repositories of one hold together is counted with every change, and a change after which they hold more than they
// may, and more than before, is refused. What is moved between two of them leaves one and comes to the other, and grows nothing.
extension ChangeRun {
    mutating func grow(_ project: EntityID?, by bytes: Int64) throws(RegistryError) {
        guard let project, bytes != 0 else { return }
        growth[project] = try Self.sum(growth[project] ?? 0, bytes)
    }

    /// Called once, at the change's end.
    mutating func settleQuotas() throws(RegistryError) {
        for project in Set(growth.keys).union(quotas.keys).sorted() {
            let existing = try rows.record(.quota, id: project.description).map { (record) throws(RegistryError) in try ProjectQuota(record) }
            let grown = growth[project] ?? 0
            guard let bytes = quotas[project] ?? existing?.bytes else {
                if existing != nil { try deleteRecord(.quota, project.description) }
                continue
            }
            let used: Int64
            if let existing { used = try Self.sum(existing.used, grown) } else { used = try held(by: project) }
            guard grown <= 0 || used <= bytes else {
                throw RegistryError(.noSpace, subject: .request, reason: "the project's quota of \(bytes) bytes would be exceeded")
            }
            let quota = ProjectQuota(project: project, bytes: bytes, used: used)
            if quota == existing { continue }
            put(.record(Record.Kind.quota.rawValue, project.description)) { [revision] in $0.write(quota.record(revision)) }
            // How much is used says the repository that changed.
            if quota.bytes != existing?.bytes { touch(.record(.quota, project.description)) }
        }
    }

    /// After the change: of a project that has a quota from now on.
    private func held(by project: EntityID) throws(RegistryError) -> Int64 {
        let ids = try rows.list(Key(.repository)) { key, bytes throws(RegistryError) -> RepositoryID? in
            let repository = try RowCoding.decode(bytes) { reader throws(RegistryError) in try reader.readRepository() }
            return repository.project == project ? repository.id : nil
        }
        try rows.willGet(ids.map { .totals($0) })
        var used: Int64 = 0
        for id in ids { used = try Self.sum(used, try heldNow(id)?.usage.bytes ?? 0) }
        return used
    }

    private static func sum(_ a: Int64, _ b: Int64) throws(RegistryError) -> Int64 {
        let (sum, overflow) = a.addingReportingOverflow(b)
        guard !overflow else { throw RegistryError(.noSpace, subject: .request, reason: "the project would hold more bytes than can be counted") }
        return sum
    }
}
