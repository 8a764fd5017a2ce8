import Core
import Logging
import Synchronization

/// The one thread that changes the store. It takes everything queued while its last sync ran, and makes it durable with one more.
final class Committer: Sendable {
    struct Request: Sendable {
        let files: [any SyncableFile]
        /// Runs the caller's build and returns what to tell it once the group is durable, or has failed.
        let build: @Sendable (OrderedStore.Batch) throws(RegistryError) -> @Sendable () -> Void
        let fail: @Sendable (RegistryError) -> Void
        /// It waits for the next request that does not, for a second at most.
        let isPatient: Bool
    }

    /// Files are synced side by side: a loop of single syncs is the slowest way of all.
    private static let syncThreadsMax = 4
    private static let patience = Duration.seconds(1)

    private let mailbox = Mailbox<Request>()
    private let syncPool = BlockingPool(threads: syncThreadsMax, name: "sync")
    private let logger: Logger
    private let hasRoom: @Sendable () -> Bool
    private let state = Mutex(State())

    private struct State {
        var poison: RegistryError?
        var metrics = OrderedStore.Metrics()
        var thread: WorkerThread?
    }

    /// `hasRoom`: whether there is space for what a group writes.
    init(logger: Logger, hasRoom: @escaping @Sendable () -> Bool) {
        self.logger = logger
        self.hasRoom = hasRoom
    }

    var hasFailed: Bool { state.withLock { $0.poison != nil } }
    var metrics: OrderedStore.Metrics { state.withLock { $0.metrics } }

    func start(on database: Database) throws(RegistryError) {
        let thread = try WorkerThread(name: "committer") { [self] in
            var patient: [Request] = []
            // Of the first that waits: those that come after it do not make it wait longer.
            var isOver = ContinuousClock.now
            while let group = mailbox.takeAll(waiting: patient.isEmpty ? nil : max(.zero, isOver - .now)) {
                if patient.isEmpty { isOver = .now + Committer.patience }
                patient += group
                if !group.isEmpty, group.allSatisfy(\.isPatient), .now < isOver { continue }
                commit(patient, on: database)
                patient = []
            }
            if !patient.isEmpty { commit(patient, on: database) }
        }
        state.withLock { $0.thread = thread }
    }

    func put(_ request: Request) {
        if mailbox.put(request) == nil { request.fail(RegistryError(.unavailable, subject: .store, reason: "the store is closed")) }
    }

    /// Commits what is queued, takes nothing more, and returns when the thread is gone. May be called again.
    func stop() {
        mailbox.close()
        state.withLock { state in
            defer { state.thread = nil }
            return state.thread
        }?.join()
    }

    private func commit(_ group: [Request], on database: Database) {
        if let poison = state.withLock({ $0.poison }) { return group.forEach { $0.fail(poison) } }
        do throws(RegistryError) {
            let (syncs, unwritten) = try synchronize(group.flatMap(\.files))
            let batch = OrderedStore.Batch(on: database)
            var answers: [@Sendable () -> Void] = []
            for request in group {
                if let failure = request.files.lazy.compactMap({ unwritten[ObjectIdentifier($0)] }).first {
                    answers.append { request.fail(failure) }
                } else {
                    answers.append(build(request, on: batch))
                }
            }
            if !batch.overlay.isEmpty {
                guard hasRoom() else { return group.forEach { $0.fail(Committer.isFull) } }
                try database.write(batch.overlay)
            }
            state.withLock { state in
                state.metrics.commits += UInt64(group.count)
                state.metrics.groups += 1
                state.metrics.fileSyncs += UInt64(syncs)
                state.metrics.logSyncs += batch.overlay.isEmpty ? 0 : 1
            }
            for answer in answers { answer() }
        } catch {
            poison(error)
            group.forEach { $0.fail(Committer.refusal(because: error)) }
        }
    }

    /// A refusal, too, is told only when the group is durable: it may rest on what an earlier build of the group did.
    private func build(_ request: Request, on batch: OrderedStore.Batch) -> @Sendable () -> Void {
        batch.setSavepoint()
        do throws(RegistryError) {
            return try request.build(batch)
        } catch {
            batch.rollBack()
            return { request.fail(error) }
        }
    }

    /// - Returns: how many files there were, and which of them could not be written for want of space or descriptors: nobody may commit what is in
    ///   those.
    /// - Throws: any other failure, that of a sync above all.
    private func synchronize(_ files: [any SyncableFile]) throws(RegistryError) -> (count: Int, unwritten: [ObjectIdentifier: RegistryError]) {
        var seen: Set<ObjectIdentifier> = []
        let distinct = files.filter { seen.insert(ObjectIdentifier($0)).inserted }
        var failures: [ObjectIdentifier: RegistryError] = [:]
        if distinct.count == 1 {
            do throws(RegistryError) { try distinct[0].synchronize() } catch { failures[ObjectIdentifier(distinct[0])] = error }
        } else if distinct.count > 1 {
            let results = Mailbox<(ObjectIdentifier, RegistryError?)>()
            for file in distinct {
                try syncPool.post {
                    var failure: RegistryError?
                    do throws(RegistryError) { try file.synchronize() } catch { failure = error }
                    // The mailbox is never closed: every result is waited for.
                    _ = results.put((ObjectIdentifier(file), failure))
                }
            }
            for _ in distinct {
                if case let (file, failure?)? = results.takeOne() { failures[file] = failure }
            }
        }
        if let worse = failures.values.first(where: { !isPassing($0) }) { throw worse }
        return (distinct.count, failures)
    }

    /// The disk is well: it is full, or too many files are open. A failed sync is never one of these.
    private func isPassing(_ error: RegistryError) -> Bool { error.code == .noSpace || error.retryAfterSeconds != nil }

    private static let isFull = RegistryError(.noSpace, subject: .store, reason: "the disk is full; free some space")

    private func poison(_ error: RegistryError) {
        logger.critical("the store accepts no more changes until it is restarted", metadata: ["error": "\(error)"])
        let refusal = Committer.refusal(because: error)
        state.withLock { $0.poison = refusal }
    }

    private static func refusal(because error: RegistryError) -> RegistryError {
        RegistryError(
            .unavailable, subject: .store, reason: "a write to disk failed, so nothing more is accepted until the server is restarted",
            cause: "\(error)")
    }
}
