package import Core
package import Logging
import Synchronization

/// Where a group of builds finds its rows, and what makes their changes durable. Asked by its committer's thread alone.
package protocol CommitTarget: Sendable {
    /// The rows as the group finds them. Nobody else changes them until it is written or abandoned.
    /// - Parameter reading: rows that its builds are likely to ask for.
    func begin(reading: [RowName]) throws(RegistryError) -> any OrderedRows
    /// All of it is durable afterwards, or none of it is there.
    func write(_ overlay: Overlay) throws(RegistryError)
    /// Nothing is written; called instead of `write`.
    func abandon()
    /// What failed once may work the next time.
    var recovers: Bool { get }
}

/// A row of a family.
public struct RowName: Hashable, Sendable {
    public let family: OrderedStore.Family
    public let key: [UInt8]
    public init(_ key: [UInt8], in family: OrderedStore.Family) {
        self.family = family
        self.key = key
    }
}

/// The one thread that changes a store. It takes everything queued while its last sync ran, and makes it durable with one more.
package final class Committer: Sendable {
    package struct Request: Sendable {
        let files: [any SyncableFile]
        let reads: [RowName]
        /// Runs the caller's build and returns what to tell it once the group is durable, or has failed.
        let build: @Sendable (OrderedStore.Batch) throws(RegistryError) -> @Sendable () -> Void
        let fail: @Sendable (RegistryError) -> Void
        /// It waits for the next request that does not, for a second at most.
        let isPatient: Bool
        /// What was queued after it is not committed where it fails.
        let isPrerequisite: Bool
        /// It may change what is held.
        let passesHold: Bool

        /// - Parameter reads: rows that `build` is likely to ask for.
        package init<R: Sendable>(
            files: [any SyncableFile], reads: [RowName] = [], isPatient: Bool, isPrerequisite: Bool = false, passesHold: Bool = false,
            _ build: @escaping @Sendable (OrderedStore.Batch) throws(RegistryError) -> R,
            completion: @escaping @Sendable (Result<R, RegistryError>) -> Void
        ) {
            self.files = files
            self.reads = reads
            self.isPatient = isPatient
            self.isPrerequisite = isPrerequisite
            self.passesHold = passesHold
            self.build = { batch throws(RegistryError) in
                let value = try build(batch)
                return { completion(.success(value)) }
            }
            fail = { completion(.failure($0)) }
        }
    }

    /// Files are synced side by side: a loop of single syncs is the slowest way of all.
    private static let syncThreadsMax = 4
    private static let patience = Duration.seconds(1)

    private let mailbox = Mailbox<Request>()
    private let syncPool = BlockingPool(threads: syncThreadsMax, name: "sync")
    private let logger: Logger
    private let hasRoom: @Sendable () -> Bool
    private let state = Mutex(State())

    /// Rows that nobody changes for now.
    struct Hold {
        let families: Set<OrderedStore.Family>
        let refusal: RegistryError
    }

    private struct State {
        var poison: RegistryError?
        var hold: Hold?
        var metrics = OrderedStore.Metrics()
        var thread: WorkerThread?
    }

    /// `hasRoom`: whether there is space for what a group writes.
    package init(logger: Logger, hasRoom: @escaping @Sendable () -> Bool = { true }) {
        self.logger = logger
        self.hasRoom = hasRoom
    }

    var hasFailed: Bool { state.withLock { $0.poison != nil } }
    package var metrics: OrderedStore.Metrics { state.withLock { $0.metrics } }

    package func start(on target: any CommitTarget) throws(RegistryError) {
        let thread = try WorkerThread(name: "committer") { [self] in
            var patient: [Request] = []
            // Of the first that waits: those that come after it do not make it wait longer.
            var isOver = ContinuousClock.now
            while let group = mailbox.takeAll(waiting: patient.isEmpty ? nil : max(.zero, isOver - .now)) {
                if patient.isEmpty { isOver = .now + Committer.patience }
                patient += group
                if !group.isEmpty, group.allSatisfy(\.isPatient), .now < isOver { continue }
                commit(patient, on: target)
                patient = []
            }
            if !patient.isEmpty { commit(patient, on: target) }
        }
        state.withLock { $0.thread = thread }
    }

    /// Of the builds that come from now on: called by one of them it is at one place in their order.
    func hold(_ hold: Hold?) { state.withLock { $0.hold = hold } }

    package func put(_ request: Request) {
        if mailbox.put(request) == nil { request.fail(RegistryError(.unavailable, subject: .store, reason: "the store is closed")) }
    }

    /// Commits what is queued, takes nothing more, and returns when the thread is gone. May be called again.
    package func stop() {
        mailbox.close()
        state.withLock { state in
            defer { state.thread = nil }
            return state.thread
        }?.join()
    }

    /// - Returns: why the target did not take it.
    @discardableResult
    private func commit(_ group: [Request], on target: any CommitTarget) -> RegistryError? {
        if let poison = state.withLock({ $0.poison }) {
            for request in group { request.fail(poison) }
            return poison
        }
        var isSynced = false
        do throws(RegistryError) {
            let (syncs, unwritten) = try synchronize(group.flatMap(\.files))
            isSynced = true
            let batch = OrderedStore.Batch(on: try target.begin(reading: group.flatMap(\.reads)))
            var answers: [@Sendable () -> Void] = []
            for request in group {
                if let failure = request.files.lazy.compactMap({ unwritten[ObjectIdentifier($0)] }).first {
                    answers.append { request.fail(failure) }
                } else {
                    answers.append(build(request, on: batch))
                }
            }
            if batch.overlay.isEmpty {
                target.abandon()
            } else if hasRoom() {
                try target.write(batch.overlay)
            } else {
                target.abandon()
                for request in group { request.fail(Committer.isFull) }
                return Committer.isFull
            }
            state.withLock { state in
                state.metrics.commits += UInt64(group.count)
                state.metrics.groups += 1
                state.metrics.fileSyncs += UInt64(syncs)
                state.metrics.logSyncs += batch.overlay.isEmpty ? 0 : 1
            }
            for answer in answers { answer() }
        } catch {
            if isSynced, target.recovers { return failed(group, error, on: target) }
            poison(error)
            group.forEach { $0.fail(Committer.refusal(because: error)) }
            return error
        }
        return nil
    }

    /// Which of them it was that the target does not take is found out one by one: the others must not fail with it, and again when it is tried
    /// again.
    private func failed(_ group: [Request], _ error: RegistryError, on target: any CommitTarget) -> RegistryError {
        guard group.count > 1, error.isOfOneRequest else {
            for request in group { request.fail(error) }
            return error
        }
        var missing: RegistryError?
        for request in group {
            if let missing {
                request.fail(missing)
            } else if let error = commit([request], on: target), request.isPrerequisite {
                missing = error
            }
        }
        return error
    }

    /// A refusal, too, is told only when the group is durable: it may rest on what an earlier build of the group did.
    private func build(_ request: Request, on batch: OrderedStore.Batch) -> @Sendable () -> Void {
        batch.setSavepoint()
        do throws(RegistryError) {
            let answer = try request.build(batch)
            // It is known only now what it changes.
            if !request.passesHold, let hold = state.withLock({ $0.hold }), batch.hasChanged(hold.families) { throw hold.refusal }
            return answer
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

extension RegistryError {
    /// Another group of requests may be taken: neither time nor room is wanting.
    fileprivate var isOfOneRequest: Bool { code != .unavailable && code != .noSpace }
}
