import Audit
import Core
import Logging
import OrderedStore
import PostgresCatalog
import PostgresClient
import Synchronization
import TestSupport
import Testing

/// Where an audit log lies, with nothing else: the ordered store of one node, or the database of several.
struct AuditHome {
    enum Kind: CaseIterable, Sendable {
        case store, database
        static let available = allCases.filter { $0 == .store || PostgresCluster.isWanted }
    }

    private static let made = Atomic(0)

    let rows: any RowStore
    let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let close: @Sendable () -> Void
    /// Of the database.
    let address: String?
    private let directory: TemporaryDirectory?

    /// - Parameter known: a database that another home is in: this one is as on another node.
    init(_ kind: Kind, at known: String? = nil) async throws {
        guard kind == .database else {
            let directory = try TemporaryDirectory()
            let store = try OrderedStore(at: directory.file("index"), families: [.audit], logger: log)
            self.directory = directory
            rows = PooledStore(store, pool: BlockingPool(threads: 1, name: "worker"))
            close = { store.close() }
            address = nil
            return
        }
        let address: String
        if let known {
            address = known
        } else {
            address = try await PostgresCluster.shared().database("audit\(AuditHome.made.add(1, ordering: .relaxed).newValue)")
        }
        var options = PostgresCatalog.Options()
        options.pool.connections = 1
        let catalog = try await PostgresCatalog(address: address, world: .real, options: options, logger: log)
        rows = catalog
        close = { catalog.close() }
        self.address = address
        directory = nil
    }

    func verify(expecting expected: AuditLink? = nil) async throws(RegistryError) -> AuditReport {
        try await rows.look { rows throws(RegistryError) in try AuditTrail.verify(rows, expecting: expected) }
    }

    /// All rows of records, in order.
    func records() async throws -> [(key: [UInt8], value: [UInt8])] {
        try await rows.look { rows throws(RegistryError) in
            var found: [(key: [UInt8], value: [UInt8])] = []
            try rows.scan(.audit, from: [2], upTo: [3], reverse: false) { key, value throws(RegistryError) in
                found.append((key, value))
                return true
            }
            return found
        }
    }
}
