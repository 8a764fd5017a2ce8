public import Core
import Logging
import Synchronization

// The scrub of what a tier has: every file there, in the order of the rows, whether or not the disk has it, too. What is damaged is copied there
// again from the disk; what the disk does not have is named.

extension Scrub {
    /// After a failure, or a reading that some file could not be had for.
    private static let restSeconds: Int64 = 900

    public var isReadingTier: Bool { state.withLock { $0.isReadingTier } }
    /// Every byte that was in the tier before then has been read since; nil without a tier.
    public var oldestInTier: Timestamp? { blobs.tiering == nil ? nil : state.withLock { $0.kept.tier.passed } }
    /// Objects known to be damaged in the tier.
    public var damagedInTier: [String] { blobs.tiering?.unsoundFiles ?? [] }

    /// Reads the tier when that is due, until the task is cancelled.
    public func runTierOnSchedule() async {
        guard options.tierIntervalSeconds > 0, blobs.tiering != nil else { return }
        while !Task.isCancelled {
            let (tier, now) = (state.withLock { $0.kept.tier }, blobs.world.now())
            let seconds = tier.began == nil ? tier.passed.adding(seconds: options.tierIntervalSeconds).milliseconds - now.milliseconds : 0
            guard seconds <= 0 else {
                try? await Task.sleep(for: .seconds(min(seconds / 1000 + 1, 3600)))
                continue
            }
            do throws(RegistryError) {
                if try await readTier() { continue }
            } catch {
                if error.code != .conflict {
                    blobs.log.error("the scrub of the tier stopped, and goes on later", metadata: ["error": "\(error)"])
                }
            }
            try? await Task.sleep(for: .seconds(Scrub.restSeconds))
        }
    }

    /// Reads everything in the tier once, or goes on with a reading that was broken off. Cancelling the task ends it where it is.
    /// - Returns: whether every file was read.
    /// - Throws: `conflict` while another reading runs, `unsupported` without a tier, and what a tier that does not answer throws.
    @discardableResult
    public func readTier() async throws(RegistryError) -> Bool {
        guard let tiering = blobs.tiering else { throw RegistryError(.unsupported, subject: .store, reason: "this server has no tier") }
        let isFirst = state.withLock { state in
            defer { state.isReadingTier = true }
            return !state.isReadingTier
        }
        guard isFirst else { throw RegistryError(.conflict, subject: .store, reason: "a scrub of the tier is running", retryAfterSeconds: 60) }
        defer { state.withLock { $0.isReadingTier = false } }
        let result: Result<Bool, RegistryError>
        do throws(RegistryError) { result = .success(try await readFiles(of: tiering)) } catch { result = .failure(error) }
        try await note()
        return try result.get()
    }

    private func readFiles(of tiering: Tiering) async throws(RegistryError) -> Bool {
        let last = state.withLock { state in
            if state.kept.tier.began == nil { (state.kept.tier.began, state.kept.tier.last) = (blobs.world.now(), nil) }
            return state.kept.tier.last ?? []
        }
        var hasAll = true
        for (name, row) in try await tiering.rows() {
            let key = TierRow.key(name)
            guard last.lexicographicallyPrecedes(key) else { continue }
            if Task.isCancelled { return false }
            if row.state == .present || row.state == .unsound {
                do throws(RegistryError) { try await read(name, row.length, of: tiering) } catch {
                    // One that this account may not read, say, does not keep the others from being.
                    guard error.retryAfterSeconds == nil else { throw error }
                    blobs.log.error(
                        "a file in the tier cannot be read by the scrub", metadata: ["file": "\(TierName(name))", "error": "\(error)"])
                    hasAll = false
                }
            }
            // What was broken off is read again.
            if Task.isCancelled { return false }
            let isDue = state.withLock { state in
                state.kept.tier.last = key
                return blobs.world.monotonicNanoseconds() &- state.lastNote > Scrub.noteNanoseconds
            }
            if isDue { try await note() }
        }
        state.withLock { state in
            if hasAll, let began = state.kept.tier.began { state.kept.tier.passed = began }
            (state.kept.tier.began, state.kept.tier.last) = (nil, nil)
        }
        return hasAll
    }

    private func read(_ name: Tiering.Name, _ length: Int64, of tiering: Tiering) async throws(RegistryError) {
        func isThere() -> Bool { tiering.state.withLock { $0.present[name] == length } }
        // What is dead is the sweep's, and not worth its requests.
        if case .ownFile(let id) = name, try await blobs.location(of: id)?.place != .ownFile { return }
        guard isThere() else { return }
        let pace = Pace(bytesPerSecond: options.bytesPerSecondMax, world: blobs.world)
        let verdict: TierVerdict
        do throws(RegistryError) { verdict = try await blobs.checkInTier(name, length: length, of: tiering.tier, pace) } catch {
            // It was deleted meanwhile, or the reading was given up.
            guard error.code != .notFound || isThere(), !Task.isCancelled else { return }
            throw error
        }
        let isOver = Task.isCancelled
        state.withLock { state in
            state.totals.tierFiles += isOver ? 0 : 1
            state.totals.tierBytes += verdict.bytes
            state.totals.tierRequests += Int64(verdict.requests)
        }
        if isOver { return }
        guard let flaw = verdict.flaw else { return try await passed(name, of: tiering) }
        guard isThere() else { return }
        state.withLock { $0.totals.tierDamaged += 1 }
        blobs.log.error(
            "the scrub found damage in the tier",
            metadata: ["file": "\(TierName(name))", "damage": "\(flaw)", "blobs lost there": "\(verdict.lost.count)"])
        try await tiering.noteUnsound(name)
        if try await tiering.mend(name) {
            // Read once more: a store that says it has replaced what it had may still have that.
            let again = try await blobs.checkInTier(name, length: length, of: tiering.tier, pace)
            state.withLock { state in
                state.totals.tierBytes += again.bytes
                state.totals.tierRequests += Int64(again.requests)
                state.totals.tierHealed += again.flaw == nil ? 1 : 0
            }
            return again.flaw == nil ? () : try await tiering.noteUnsound(name)
        }
        guard tiering.isRemote(name) else { return }
        for (id, reason) in verdict.lost.sorted(by: { $0.key < $1.key }) {
            await tell(id, BlobStore.corrupt(id, "what the tier has of it is damaged", cause: reason))
        }
    }

    /// Whole: marks that were made of it go.
    private func passed(_ name: Tiering.Name, of tiering: Tiering) async throws(RegistryError) {
        try await tiering.noteSound(name)
        guard tiering.isRemote(name) else { return }
        for each in blobs.damaged.all {
            if let location = try await blobs.location(of: each.blob), location.tieredFile(of: each.blob) == name { blobs.damaged.clear(each.blob) }
        }
    }
}
