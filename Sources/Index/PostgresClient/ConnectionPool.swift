public import Core
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A few connections for many readers. Who comes when all are taken waits in a queue of bounded length, and not for long: the answer is then
/// `unavailable`, with the time to come back.
///
/// Connections block, on the threads of a pool as large as the pool of connections. What runs over them is the same code that reads RocksDB, row
/// by row: a connection that is awaited would need a second copy of it.
public final class ConnectionPool: Sendable {
    public struct Limits: Sendable {
        public var connections = 8
        /// That wait, beside those that are served.
        public var waiting = 512
        public var patience = Duration.seconds(5)
        public init() {}
    }

    private struct State {
        var idle: [Connection] = []
        var asking = 0
    }

    private let address: String
    private let limits: Limits
    private let threads: BlockingPool
    private let state = Mutex(State())

    public init(to address: String, limits: Limits = Limits()) {
        self.address = address
        self.limits = limits
        threads = BlockingPool(threads: limits.connections, name: "postgres")
    }

    /// Runs `work` with a connection that nobody else uses meanwhile.
    /// - Parameter work: only reads. It runs again, once, when its connection turns out to be lost: the server may have been restarted since it
    ///   was used last. A transaction that it leaves open is rolled back.
    /// - Throws: what `work` throws; `unavailable`.
    public func read<R: Sendable>(_ work: @escaping @Sendable (Connection) throws(RegistryError) -> R) async throws(RegistryError) -> R {
        let isTaken = state.withLock { state in
            guard state.asking < limits.connections + limits.waiting else { return false }
            state.asking += 1
            return true
        }
        guard isTaken else { throw ConnectionPool.crowded }
        defer { state.withLock { $0.asking -= 1 } }
        let end = ContinuousClock.now + limits.patience
        return try await threads.run { [self] () throws(RegistryError) in
            guard .now < end else { throw ConnectionPool.crowded }
            if let known = state.withLock({ $0.idle.popLast() }) {
                do throws(RegistryError) { return try serve(known, work) } catch { if !known.isBroken { throw error } }
                // Those that are as old are as broken.
                state.withLock { $0.idle = [] }
            }
            return try serve(try Connection.insist(on: address, until: end), work)
        }
    }

    private func serve<R>(_ connection: Connection, _ work: (Connection) throws(RegistryError) -> R) throws(RegistryError) -> R {
        defer { putBack(connection) }
        return try work(connection)
    }

    private func putBack(_ connection: Connection) {
        if !connection.isBroken, connection.isInTransaction {
            do throws(RegistryError) { try connection.run([Query("ROLLBACK")]) } catch { return }
        }
        if !connection.isBroken { state.withLock { $0.idle.append(connection) } }
    }

    /// Idle connections are closed. The pool opens new ones when it is asked again.
    public func close() { state.withLock { $0.idle = [] } }

    private static let crowded = RegistryError(
        .unavailable, subject: .store, reason: "too many wait for the database; try again", retryAfterSeconds: 2)
}

extension Connection {
    /// Tries again and again, with growing pauses: a server that is being restarted is back before long.
    public static func insist(on address: String, until end: ContinuousClock.Instant) throws(RegistryError) -> Connection {
        var pauseMicroseconds: UInt32 = 50_000
        while true {
            do throws(RegistryError) { return try Connection(to: address, within: max(.seconds(1), end - .now)) } catch {
                guard .now + .microseconds(pauseMicroseconds) < end else { throw error }
            }
            usleep(pauseMicroseconds)
            pauseMicroseconds = min(pauseMicroseconds * 2, 500_000)
        }
    }
}
