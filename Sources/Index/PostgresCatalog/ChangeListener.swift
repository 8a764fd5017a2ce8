import CatalogRules
import Core
import Logging
import PostgresClient
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Hears of changes that other nodes make: the server says when there is one, and the head is read. It is read every second, too, so that a lost
/// notification costs no more than that.
final class ChangeListener: Sendable {
    private static let pollInterval = Duration.seconds(1)

    private let address: String
    private let watch: HeadWatch
    private let logger: Logger
    private let isStopped = Atomic(false)

    init(address: String, watch: HeadWatch, logger: Logger) {
        self.address = address
        self.watch = watch
        self.logger = logger
    }

    func start() throws(RegistryError) {
        try WorkerThread(name: "pg-listener") { [self] in
            while !isOver {
                do throws(RegistryError) { try listen() } catch {
                    logger.warning("changes of other nodes are not heard until the database is back", metadata: ["error": "\(error)"])
                    // Whatever is wrong is not asked about all the time.
                    usleep(500_000)
                }
            }
        }.detach()
    }

    /// Its thread ends within some seconds.
    func stop() { isStopped.store(true, ordering: .relaxed) }

    private var isOver: Bool { isStopped.load(ordering: .relaxed) }

    private func listen() throws(RegistryError) {
        let connection = try Connection.insist(on: address, until: .now + .seconds(5))
        try connection.run([Query("LISTEN \(PostgresTarget.channel)")])
        while !isOver {
            // Before the first wait, too: what was said before nobody heard.
            watch.advance(to: try CatalogRows(rows: PostgresRows(over: connection)).head())
            _ = try connection.notifications(within: ChangeListener.pollInterval)
        }
    }
}
