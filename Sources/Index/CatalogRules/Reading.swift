package import Catalog
package import Core
import OrderedStore

// The seam's questions that take more than one row, the same in every home.
extension CatalogRows {
    /// The repository exists.
    package func facts(in scope: Scope, of id: RepositoryID, after: String?, limit: Int) throws(RegistryError) -> Facts {
        var facts = Facts()
        switch scope {
        case .package(let name): return try self.facts(of: name, in: id)
        case .family(let name, let prefix): return try self.facts(of: name, andThose: prefix, in: id)
        case .packages: facts.packages = try packages(in: id, after: after, limit: limit)
        case .everything:
            try append(try packages(in: id, after: after, limit: limit), to: &facts, in: id)
        case .tags(let package): facts.tags = try tags(of: package, in: id, after: after, limit: limit)
        case .linked(let package, let relation, let target):
            facts.links = try links(of: package, in: id, relation: relation, target: target, after: after, limit: limit)
        }
        facts.revision = try head()
        return facts
    }

    /// In byte order of their keys.
    package func repositories(after: RepositoryKey?, limit: Int) throws(RegistryError) -> [Repository] {
        let ids = try list(Key(.repositoryKey), after: after.map { Keyspace.repositoryKey($0.text).bytes }, limit: limit) {
            _, value throws(RegistryError) in
            try RowCoding.decode(value) { reader throws(RegistryError) in try reader.readEntityID() }
        }
        try willGet(ids.flatMap { [.repository($0), .totals($0)] })
        var found: [Repository] = []
        for id in ids { if let held = try held(id) { found.append(held.repository) } }
        return found
    }

    /// The strictest; of equally strict ones the newest.
    package func verdict(on blob: BlobID) throws(RegistryError) -> Verdict? { CatalogRows.strictest(try verdicts(on: blob)) }

    package static func strictest(_ verdicts: [Verdict]) -> Verdict? {
        verdicts.max { ($0.state.rawValue, $0.at, $1.inspector) < ($1.state.rawValue, $1.at, $0.inspector) }
    }

    /// Entries up to `head`.
    package func log(after: Revision, limit: Int, head: Revision) throws(RegistryError) -> [LogEntry] {
        let start = try logStart()
        guard after >= head || after.number >= start - 1 else {
            throw RegistryError(.gone, subject: .store, reason: "the log no longer reaches back to revision \(after); start over from the facts")
        }
        return try list(Key(.log), after: Keyspace.log(after).bytes, limit: limit) { key, value throws(RegistryError) -> LogEntry? in
            // What is written but not yet acknowledged is not told.
            guard case .log(let revision) = key, revision <= head else { return nil }
            return try RowCoding.decode(value) { reader throws(RegistryError) in try reader.readLogEntry(revision) }
        }
    }
}

extension Coordinates {
    package var repository: RepositoryID {
        switch self {
        case .repository(let id), .package(let id, _), .version(let id, _, _), .asset(let id, _): id
        }
    }
}
