public import Core
import Logging
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Who works on a tier: a data directory, and its present run. Two servers that copy to one place would overwrite each other's segments, so each
/// looks, at its start and now and then, whether it still is the one that is named there. That finds mistakes; it is no lock: for as long as one
/// look to the next two may both believe it (docs/s3.md).
struct TierOwner: Hashable, Sendable {
    private static let firstLine = "granary-owner 1"
    static let bytesMax: Int64 = 1024

    /// Of the data directory, for good.
    let directory: EntityID
    /// Of one run of a server on it.
    let run: EntityID
    let host: String
    let seen: Timestamp

    var text: String { "\(TierOwner.firstLine)\ndirectory \(directory)\nrun \(run)\nhost \(host)\nseen \(seen)\n" }

    init(directory: EntityID, run: EntityID, seen: Timestamp) {
        self.directory = directory
        self.run = run
        self.seen = seen
        host = TierOwner.hostName
    }

    /// nil for what this program did not write.
    init?(_ text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        func value(_ line: Int, _ name: String) -> Substring? {
            lines[line].hasPrefix("\(name) ") ? lines[line].dropFirst(name.utf8.count + 1) : nil
        }
        guard lines.count == 6, lines[0] == TierOwner.firstLine, let directory = value(1, "directory").flatMap({ EntityID($0) }),
            let run = value(2, "run").flatMap({ EntityID($0) }), let host = value(3, "host"),
            let seen = value(4, "seen").flatMap({ Timestamp(rfc3339: String($0)) })
        else { return nil }
        self.directory = directory
        self.run = run
        self.host = String(host)
        self.seen = seen
    }

    private static var hostName: String {
        var name = [UInt8](repeating: 0, count: 256)
        let result = name.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return Int32(-1) }
            return unsafe gethostname(start.assumingMemoryBound(to: CChar.self), bytes.count - 1)
        }
        guard result == 0 else { return "?" }
        let text = String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        return text.isEmpty || text.contains(where: \.isWhitespace) ? "?" : text
    }

    // MARK: Where it stands

    /// nil when nobody is named.
    static func read(in tier: any SegmentTier) async throws(RegistryError) -> TierOwner? {
        guard let length = try await tier.length(of: .owner) else { return nil }
        var text = ""
        if length <= bytesMax, length > 0 { text = String(buffer: try await tier.read(.owner, 0..<length).collect()) }
        guard let owner = TierOwner(text) else { throw Tiering.refused("what stands in \(TierName.owner) there is not ours, or of a newer program") }
        return owner
    }

    func write(to tier: any SegmentTier) async throws(RegistryError) {
        try await tier.put(.owner, BlobContent(.memory(ByteBuffer(string: text))))
    }

    /// What names a data directory: made when it is missing. Blocks.
    static func directoryID(in directory: String, _ world: World) throws(RegistryError) -> EntityID {
        let path = directory + "/tier.owner"
        if let file = try Disk.openExisting(path) {
            let text = String(decoding: try Disk.read(file, at: 0, count: 64), as: UTF8.self)
            guard let id = EntityID(text.prefix(36)) else { throw Tiering.refused("\(path) is damaged: remove it, and take the tier over") }
            return id
        }
        let id = world.newID()
        try FileCopy.write("\(id)\n", to: path)
        try Disk.synchronizeDirectory(directory)
        return id
    }
}

extension Tiering {
    /// Between two looks, and after how many of them it says that it is still there.
    private static let lookSeconds: UInt64 = 30
    private static let looksPerSign: UInt64 = 20

    /// Becomes who works on the tier, if nobody else is.
    /// - Throws: `invalid` when another data directory is.
    func claimOwnership() async throws(RegistryError) {
        let own = try await pool.run { [directory, world] () throws(RegistryError) in try TierOwner.directoryID(in: directory, world) }
        let owner = try await TierOwner.read(in: tier)
        guard owner == nil || owner?.directory == own else {
            throw Tiering.refused(
                "it is in use by another data directory (on \(owner?.host ?? "?"), last seen \(owner?.seen.description ?? "?")); if that is gone for "
                    + "good, take the tier over: granary tier adopt")
        }
        try await TierOwner(directory: own, run: run, seen: world.now()).write(to: tier)
        state.withLock { state in
            state.ownership = .ours
            state.lookedAt = world.monotonicNanoseconds()
        }
    }

    /// Looks again, when it is time to.
    func keepOwnership() async throws(RegistryError) {
        let now = world.monotonicNanoseconds()
        let (ownership, isDue, signs) = state.withLock { state in
            let isDue = now &- state.lookedAt >= Tiering.lookSeconds * 1_000_000_000
            if isDue { state.looks += 1 }
            return (state.ownership, isDue, state.looks % Tiering.looksPerSign == 0)
        }
        switch ownership {
        case .unknown: try await claimOwnership()
        case .lost: throw Tiering.ousted
        case .ours:
            guard isDue else { return }
            let owner = try await TierOwner.read(in: tier)
            guard let owner, owner.run == run else {
                state.withLock { $0.ownership = .lost }
                log.critical(
                    "another server works on the tier; this one copies nothing there any more, and deletes nothing",
                    metadata: ["tier": "\(tier.place)", "host": "\(owner?.host ?? "?")"])
                throw Tiering.ousted
            }
            if signs { try await TierOwner(directory: owner.directory, run: run, seen: world.now()).write(to: tier) }
            state.withLock { $0.lookedAt = now }
        }
    }

    /// - Throws: `unavailable` unless the tier is ours, as far as is known.
    func checkOwnership() throws(RegistryError) {
        switch state.withLock({ $0.ownership }) {
        case .ours: return
        case .unknown: throw Tiering.untaken("it did not answer yet")
        case .lost: throw Tiering.ousted
        }
    }

    private static var ousted: RegistryError {
        RegistryError(
            .unavailable, subject: .store, reason: "another server has taken the tier over: stop one of the two", retryAfterSeconds: 60)
    }

    static func untaken(_ cause: String) -> RegistryError {
        RegistryError(
            .unavailable, subject: .store, reason: "the tier does not take bytes now, so nothing is stored; try again", cause: cause,
            retryAfterSeconds: 30)
    }
}

/// Taking a tier over, for who has lost the machine that worked on it.
public enum TierAdoption {
    /// From now on the tier is for the store in `directory`, which must be there, and need not have anything in it. A server that still works on
    /// the tier for another stops doing so with its next look.
    /// - Returns: in words, whose it was.
    public static func adopt(_ tier: any SegmentTier, by directory: String, world: World) async throws(RegistryError) -> String? {
        guard try await tier.length(of: .mark) != nil else {
            throw RegistryError(.notFound, subject: .store, reason: "there is nothing to take over in \(tier.place)")
        }
        let before = try await TierOwner.read(in: tier)
        try await TierOwner(directory: TierOwner.directoryID(in: directory, world), run: world.newID(), seen: world.now()).write(to: tier)
        return before.map { "\($0.host), last seen \($0.seen)" }
    }
}
