import Core
import Logging
import OrderedStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

// To the tier, and off the disk.

extension Tiering {
    private static let copiesAtOnce = 2

    /// Works until the task is cancelled.
    func run(of store: BlobStore) async {
        var leftoversAt = UInt64(0)
        while !Task.isCancelled {
            let now = world.monotonicNanoseconds()
            do throws(RegistryError) {
                try await tick(of: store)
                recovered()
                if now >= leftoversAt {
                    // Only a matter of space: what fails is tried again a day later.
                    leftoversAt = now + 24 * 3600 * 1_000_000_000
                    try await tier.removeLeftovers(before: world.now().adding(seconds: -24 * 3600))
                }
            } catch {
                complain(error)
            }
            try? await Task.sleep(for: .seconds(options.tickSeconds))
        }
    }

    /// Once when it begins, not with every try: the metrics say how long it lasts.
    private func complain(_ error: RegistryError) {
        let isFirst = state.withLock { state in
            defer { state.hasComplained = true }
            return !state.hasComplained
        }
        if isFirst { log.error("the tier fails; what is to go there waits on the disk", metadata: ["tier": "\(tier.place)", "error": "\(error)"]) }
    }

    private func recovered() {
        let wasFailing = state.withLock { state in
            defer { state.hasComplained = false }
            return state.hasComplained
        }
        if wasFailing { log.notice("the tier works again", metadata: ["tier": "\(tier.place)"]) }
    }

    /// One look: seals what waited long enough, copies what is to be copied, lets go what is to leave the disk.
    func tick(of store: BlobStore) async throws(RegistryError) {
        try await pool.run { [self] () throws(RegistryError) in
            if options.policy != .coldOnly { segments.retire(olderThanSeconds: options.delaySeconds) }
            try refresh()
        }
        var failure: RegistryError?
        do throws(RegistryError) {
            try await keepOwnership()
            try await findParts(of: store)
            try await copyAll()
            try await removeParts()
        } catch { failure = error }
        // Whatever the tier does not take, the disk may still let go of what it took before.
        try await dropAll()
        if let failure { throw failure }
    }

    /// What is on the disk, and when it was read last. Blocks.
    private func refresh() throws(RegistryError) {
        let found = try localSegments()
        let now = world.now()
        let used = openFiles.takeUsed()
        let touched: [Name] = state.withLock { state in
            state.local = state.local.filter { if case .ownFile = $0.key { true } else { found[$0.key] != nil } }
            for (name, file) in found where state.local[name] == nil { state.local[name] = file }
            return used.filter { name in
                guard state.local[name] != nil else { return false }
                state.local[name]?.lastUse = now
                return true
            }
        }
        // The modification time keeps it over a restart; the bytes of these files never change.
        for name in touched { if let file = try Disk.openExisting(path(name)) { try Disk.setModified(file, to: now) } }
    }

    // MARK: Copying

    private func copyAll() async throws(RegistryError) {
        let before = world.now().adding(seconds: -options.coldSeconds)
        let isColdOnly = options.policy == .coldOnly
        let waiting: [Name] = state.withLock { state in
            let waiting = state.local.filter { !state.isSound($0.key) && !state.refused.contains($0.key) }
            state.statistics.waitingFiles = waiting.count
            state.statistics.waitingBytes = waiting.values.reduce(0) { $0 + $1.bytes }
            return waiting.filter { !isColdOnly || $0.value.lastUse < before }.sorted { $0.value.lastUse < $1.value.lastUse }.map(\.key)
        }
        guard !waiting.isEmpty else { return }
        let failure = await withTaskGroup(of: RegistryError?.self) { group in
            var rest = waiting.makeIterator()
            var failure: RegistryError?
            func addNext() {
                guard failure == nil, !Task.isCancelled, let name = rest.next() else { return }
                group.addTask {
                    do throws(RegistryError) {
                        try await self.copy(name)
                        return nil
                    } catch { return error }
                }
            }
            for _ in 0..<Tiering.copiesAtOnce { addNext() }
            while let ended = await group.next() {
                failure = failure ?? ended
                addNext()
            }
            return failure
        }
        if let failure {
            state.withLock { $0.statistics.failures += 1 }
            throw failure
        }
    }

    /// - Returns: whether it is ours to work on; `release` gives it back.
    func claim(_ name: Name) -> Bool { state.withLock { $0.busy.insert(name).inserted } }
    func release(_ name: Name) {
        let waiting = state.withLock { state in
            state.busy.remove(name)
            return state.inTurn.removeValue(forKey: name) ?? []
        }
        for waiter in waiting { waiter.resume() }
    }

    /// As `claim`, waiting for who has it.
    func claimInTurn(_ name: Name) async {
        while !claim(name) {
            await withCheckedContinuation { (waiter: CheckedContinuation<Void, Never>) in
                let isFree = state.withLock { state in
                    guard state.busy.contains(name) else { return true }
                    state.inTurn[name, default: []].append(waiter)
                    return false
                }
                if isFree { waiter.resume() }
            }
        }
    }

    /// Checks the file, and copies it. What is damaged is never copied: the tier's copy is what heals it, or a client's next upload.
    func copy(_ name: Name) async throws(RegistryError) {
        guard claim(name) else { return }
        defer { release(name) }
        try await copyClaimed(name)
    }

    func copyClaimed(_ name: Name) async throws(RegistryError) {
        try checkOwnership()
        let path = path(name)
        guard let file = try await pool.run({ () throws(RegistryError) in try Disk.openExisting(path) }) else {
            // The sweep was faster.
            state.withLock { _ = $0.local.removeValue(forKey: name) }
            return
        }
        let length: Int64
        do throws(RegistryError) { length = try await pool.run { () throws(RegistryError) in try Tiering.check(name, file) } } catch {
            guard error.code == .corrupt else { throw error }
            state.withLock { _ = $0.refused.insert(name) }
            log.error("a damaged file is not copied to the tier", metadata: ["file": "\(TierName(name))", "error": "\(error)"])
            return
        }
        try await writeRow(name, .arriving, length: length)
        switch name {
        case .segment(let number):
            try await tier.put(.segment(number), BlobContent(.extents([Extent(file: file, offset: 0, length: length)])))
        case .ownFile(let id): try await put(id, file, OwnFile.length(ofFile: length), length)
        }
        try await writeRow(name, .present, length: length)
        state.withLock { state in
            state.present[name] = length
            state.unsound.remove(name)
            state.statistics.copiedFiles += 1
            state.statistics.copiedBytes += UInt64(length)
        }
        log.debug("copied to the tier", metadata: ["file": "\(TierName(name))", "bytes": "\(length)"])
    }

    // MARK: Letting go

    /// - Parameter room: bytes about to come.
    func dropAll(toFit room: Int64 = 0) async throws(RegistryError) {
        let before = world.now().adding(seconds: -options.coldSeconds)
        // The newest segment stays: its number tells a start without the tier what was used.
        let newest = try await pool.run { [segments] () throws(RegistryError) in try Segments.numbers(in: segments.directory).last }
        let leaving: [Name] = state.withLock { state in
            var total = state.local.values.reduce(0) { $0 + $1.bytes }
            state.statistics.diskBytes = total
            state.statistics.tierBytes = state.present.values.reduce(0, +)
            var leaving: [Name] = []
            let droppable = state.local.filter { name, _ in
                state.isSound(name) && !state.resident.contains(name) && name != newest.map { .segment($0) }
            }
            for (name, file) in droppable.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
                let isCold = options.policy == .coldOnly && file.lastUse < before
                guard isCold || options.diskBytesMax > 0 && total + room > options.diskBytesMax else { continue }
                total -= file.bytes
                leaving.append(name)
            }
            return leaving
        }
        for name in leaving where !Task.isCancelled { try await drop(name) }
    }

    /// Lets the disk's copy go, once the tier has said again that it has its own.
    func drop(_ name: Name) async throws(RegistryError) {
        guard claim(name) else { return }
        defer { release(name) }
        // What another writes there is not to be relied on.
        let known = state.withLock { state in state.ownership == .ours && state.isSound(name) ? state.present[name] : nil }
        guard let length = known else { return }
        let isThere: Bool
        switch name {
        case .segment(let number): isThere = try await tier.length(of: .segment(number)) == length
        case .ownFile(let id):
            let tail = try await tier.length(of: .end(id))
            isThere = try await tier.length(of: .blob(id)).flatMap { blob in tail.map { $0 + blob } } == length
        }
        guard isThere else {
            log.error("the tier has lost a file; it is copied again", metadata: ["file": "\(TierName(name))", "tier": "\(tier.place)"])
            try await deleteRow(name)
            state.withLock { _ = $0.present.removeValue(forKey: name) }
            return
        }
        try await pool.run { [self] () throws(RegistryError) in
            if case .segment(let number) = name, let file = try Disk.openExisting(path(name)) {
                guard let entries = try SegmentIndex.entries(of: file, number: number), !Tiering.holdsRecipes(entries) else {
                    state.withLock { _ = $0.resident.insert(name) }
                    return
                }
            }
            // First: whoever misses the file is to know that the tier has it, and waits until this has ended to bring it back.
            let file = state.withLock { $0.local.removeValue(forKey: name) }
            do throws(RegistryError) { try Disk.remove(path(name)) } catch {
                state.withLock { $0.local[name] = file }
                throw error
            }
            state.withLock { state in
                state.statistics.droppedFiles += 1
                state.statistics.droppedBytes += UInt64(length)
            }
            openFiles.forget(name)
        }
        log.debug("left the disk", metadata: ["file": "\(TierName(name))", "bytes": "\(length)"])
    }

    // MARK: Checking

    /// Reads the whole file: a segment's records by their checksums, a blob by its SHA-256. Blocks.
    /// - Returns: how long it is.
    /// - Throws: `corrupt`.
    static func check(_ name: Name, _ file: OpenFile) throws(RegistryError) -> Int64 {
        let length = try Disk.status(of: file).size
        switch name {
        case .segment(let number):
            if let entry = try damagedEntries(of: number, in: file).first { throw Tiering.damaged("blob \(entry.id) in it is damaged") }
        case .ownFile(let id):
            guard let trailer = try OwnFile.trailer(of: file), trailer.id == id else { throw Tiering.damaged("its end is damaged") }
            var hasher = Digest.Hasher(.sha256)
            let sums = try Tiering.read(file, 0, trailer.length) { unsafe hasher.update($0) }
            guard hasher.finish() == id.digest, try Tiering.isTable(sums, trailer, in: file, at: trailer.length) else {
                throw Tiering.damaged("its bytes are damaged")
            }
        }
        return length
    }

    /// The records of a segment that are not what its index says. Reads all of it. Blocks.
    /// - Throws: `corrupt` when the index is damaged.
    static func damagedEntries(of number: UInt64, in file: OpenFile) throws(RegistryError) -> [SegmentEntry] {
        guard let entries = try SegmentIndex.entries(of: file, number: number) else { throw Tiering.damaged("its index is damaged") }
        var damaged: [SegmentEntry] = []
        for entry in entries where try !isWhole(entry, of: number, in: file) { damaged.append(entry) }
        return damaged
    }

    private static func isWhole(_ entry: SegmentEntry, of number: UInt64, in file: OpenFile) throws(RegistryError) -> Bool {
        guard let header = RecordHeader(try Disk.read(file, at: entry.offset, count: RecordHeader.bytes)), header.segment == number,
            header.id == entry.id, header.length == entry.length
        else { return false }
        do throws(RegistryError) {
            let start = entry.offset + Int64(RecordHeader.bytes)
            let sums = try Tiering.read(file, start, entry.length) { _ in }
            return try Tiering.isTable(sums, header, in: file, at: start + entry.length)
        } catch {
            guard error.code == .corrupt else { throw error }
            return false
        }
    }

    /// Whether the stored table is that of the bytes that were read, and of the header: a reader needs it whole.
    private static func isTable(
        _ sums: SliceChecksums, _ header: RecordHeader, in file: OpenFile, at offset: Int64
    ) throws(RegistryError) -> Bool {
        let table = sums.table
        let stored = try Disk.read(file, at: offset, count: Int(header.tableBytes))
        return stored == table && CRC32C.of(table) == header.tableChecksum
    }

    private static func read(
        _ file: OpenFile, _ start: Int64, _ count: Int64, _ body: (UnsafeRawBufferPointer) -> Void
    ) throws(RegistryError) -> SliceChecksums {
        var checksums = SliceChecksums()
        var done: Int64 = 0
        while done < count {
            let slice = try Disk.read(file, at: start + done, count: Int(min(Int64(SliceChecksums.sliceBytes), count - done)))
            guard !slice.isEmpty else { throw damaged("it ends too early") }
            slice.withUnsafeBytes { bytes in
                unsafe checksums.update(bytes)
                unsafe body(bytes)
            }
            done += Int64(slice.count)
        }
        return checksums
    }

    static func damaged(_ reason: String) -> RegistryError { RegistryError(.corrupt, subject: .store, reason: reason) }

    static func holdsRecipes(_ entries: [SegmentEntry]) -> Bool { entries.contains { $0.kind == .recipe } }
}

extension TierName {
    /// Under which a file is asked for; an own file's end has a name besides.
    init(_ name: OpenFiles.Name) {
        switch name {
        case .segment(let number): self = .segment(number)
        case .ownFile(let id): self = .blob(id)
        }
    }
}
