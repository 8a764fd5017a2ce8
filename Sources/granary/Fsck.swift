import ArgumentParser
import BlobStore
import Catalog
import Core
import Logging
import OrderedStore
import Outbound
import Parsing
import Registry
import RocksCatalog

#if canImport(Glibc)
    import Glibc
#endif

/// Looks through a data directory that no server has open, and says what is damaged. docs/verification.md has kinds and exit codes.
struct Fsck: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check a data directory that no server has open.",
        discussion: """
            Without --read the structure is checked: segments, files, locations, names, uploads. With it blobs are read to the end, too. \
            Of a store with a tier, with the settings of that: what the tier has is looked at, and read, too. \
            A backup is checked against its signature, too: --trust names whose. With --read 100 every byte of it is what was signed. \
            Nothing is written unless --repair is given. Exit codes: 0 whole; 3 damage was found; \
            4 damage was found and all of it mended; 5 interrupted, --resume goes on; 1 the check itself failed, or the tier \
            does not answer; 66 there is no store; 75 a server has the directory; 77 the backup is not \
            to be believed; 78 a setting is wrong.
            """)
    @OptionGroup var settings: SettingFlags
    @OptionGroup var trust: TrustFlags
    @Argument(help: "The data directory, or a backup; default: the setting data.") var directory: String?
    @Option(name: .customLong("read"), help: "So many per cent of the blobs are read to the end; 100: all.") var percent = 0.0
    @Option(name: .customLong("seed"), help: "Chooses the blobs of --read; default: others each time.") var seed: UInt64?
    @Option(name: .customLong("resume"), help: "File that says how far the check is; made when missing, gone at the end.") var resume: String?
    @Flag(name: .customLong("repair"), help: "Point locations at undamaged copies on the same disk, and step over torn ends.") var repairs = false
    @Flag(name: .customLong("json"), help: "One JSON object per finding and line, the last one the summary.") var isJSON = false

    func validate() throws {
        guard (0...100).contains(percent) else { throw ValidationError("--read wants a number from 0 to 100") }
    }

    func run() async throws {
        let configuration = try settings.load()
        LoggingSystem.bootstrap { label in JSONLines(label: label, level: .critical) }
        let ended: Int32
        do throws(RegistryError) { ended = try await perform(directory ?? configuration.data, configuration) } catch {
            TextFile.complain("granary: \(error.reason)\(error.cause.map { " (\($0))" } ?? "")\n")
            ended = Exit.code(for: error)
        }
        if ended != 0 { throw ExitCode(ended) }
    }

    private func perform(_ path: String, _ configuration: Configuration) async throws(RegistryError) -> Int32 {
        var options = CheckOptions()
        options.readPercent = percent
        options.seed = seed ?? World.real.random()
        options.repairs = repairs
        var start = CheckProgress()
        if let resume, let kept = try CheckFile.read(resume) {
            guard kept.options.readPercent == percent, kept.options.repairs == repairs, seed == nil || kept.options.seed == seed else {
                throw RegistryError(
                    .invalid, subject: .configuration("resume"), reason: "\(resume) belongs to a check with other options; use those, or remove it")
            }
            (options, start) = (kept.options, kept.progress)
        }
        try configuration.requireOwnCatalog()
        let altered = try checkBackup(path, configuration)
        let opened = try await OpenedStore(at: path, isReadOnly: !repairs)
        defer { opened.close() }
        let log = Logger(label: "granary")
        let outbound = try configuration.outboundClient(log)
        defer { outbound.close() }
        let hasTier = try await opened.blobs.hasTier()
        let tier = hasTier ? try await Tier.configured(configuration, outbound, .real, log, isKnown: true) : nil
        let (isJSON, resume, checked) = (isJSON, resume, options)
        let check = StoreCheck(catalog: opened.catalog, blobs: opened.blobs, options: options, tier: tier) { finding in
            Fsck.show(finding, asJSON: isJSON)
        } keep: { progress throws(RegistryError) in
            if let resume { try CheckFile.write(progress, checked, to: resume) }
        }
        let work = Task { () async -> Result<CheckProgress, RegistryError> in
            do throws(RegistryError) { return .success(try await check.run(from: start)) } catch { return .failure(error) }
        }
        let watch = Task {
            _ = await Signals.next()
            work.cancel()
        }
        var progress = try await work.value.get()
        watch.cancel()
        progress.damages += altered
        show(progress, options)
        if let failure = progress.tierFailure {
            TextFile.complain("granary: the tier does not answer: \(failure)\n")
            return progress.damages > 0 ? 3 : 1
        }
        guard progress.phase == .done else { return 5 }
        if let resume { CheckFile.remove(resume) }
        return progress.damages > 0 ? 3 : progress.repaired > 0 ? 4 : 0
    }

    /// Before anything of a backup is opened: who signed it, and whether that is what lies there.
    /// - Returns: how many files are missing or not what they were; none for a data directory.
    private func checkBackup(_ path: String, _ configuration: Configuration) throws(RegistryError) -> Int {
        guard let manifest = try BackupManifest.read(in: path) else { return 0 }
        guard !repairs else { throw Configuration.refused("repair", "a backup is mended by making it again") }
        try trust.believed(own: configuration.data).check(manifest)
        if manifest.key == nil { TrustFlags.warn() }
        var altered = 0
        try manifest.check(in: path, readingAll: percent == 100) { file in
            altered += 1
            Fsck.show(Finding(.backupFile, place: file, "missing, or not what was signed"), asJSON: isJSON)
        }
        return altered
    }

    // MARK: Telling

    static func show(_ checked: CheckedFinding, asJSON: Bool) {
        show(checked.finding, named: checked.references, isRepaired: checked.isRepaired, asJSON: asJSON)
    }

    private static func show(_ finding: Finding, named references: [String] = [], isRepaired: Bool = false, asJSON: Bool) {
        guard asJSON else {
            let word = isRepaired ? "MENDED" : finding.kind.isDamage ? "DAMAGE" : "note"
            var line = "\(word) \(finding.kind.rawValue): "
            if let blob = finding.blob { line += "\(blob) " }
            line += "(\(finding.place)): \(finding.text)"
            if !references.isEmpty { line += "; named by \(references.joined(separator: ", "))" }
            return print(line)
        }
        var members: [(String, JSON)] = [
            ("kind", JSON(finding.kind.rawValue)), ("damage", .bool(finding.kind.isDamage)), ("repaired", .bool(isRepaired)),
        ]
        if let blob = finding.blob { members.append(("blob", JSON(blob.description))) }
        members.append(("place", JSON(finding.place)))
        members.append(("text", JSON(finding.text)))
        members.append(("references", .array(references.map { JSON($0) })))
        print(String(decoding: JSON.object(.init(members)).encoded(), as: UTF8.self))
    }

    private func show(_ progress: CheckProgress, _ options: CheckOptions) {
        let numbers: [(String, JSON)] = [
            ("segments", JSON(Int64(progress.segments))), ("blobs", JSON(Int64(progress.blobs))), ("read_blobs", JSON(Int64(progress.readBlobs))),
            ("read_bytes", JSON(progress.readBytes)), ("names", JSON(Int64(progress.names))),
            ("tier_files", JSON(Int64(progress.tierFiles))), ("read_tier_files", JSON(Int64(progress.readTierFiles))),
            ("tier_requests", JSON(Int64(progress.tierRequests))), ("damages", JSON(Int64(progress.damages))),
            ("repaired", JSON(Int64(progress.repaired))), ("notes", JSON(Int64(progress.notes))), ("seed", JSON(String(options.seed))),
            ("complete", .bool(progress.phase == .done)),
        ]
        if isJSON {
            print(String(decoding: JSON.object(.init([("kind", "summary")] + numbers)).encoded(), as: UTF8.self))
        } else {
            for (name, value) in numbers { print("\(name): \(value.string ?? String(decoding: value.encoded(), as: UTF8.self))") }
        }
    }
}

/// A data directory that this process alone has open, for commands that are no server.
struct OpenedStore {
    let store: OrderedStore
    let catalog: RocksCatalog
    let blobs: BlobStore

    init(at path: String, isReadOnly: Bool) async throws(RegistryError) {
        let log = Logger(label: "granary")
        let root = path.hasSuffix("/") && path.count > 1 ? String(path.dropLast()) : path
        // A backup is looked at as it lies.
        let names = try isReadOnly ? BackupManifest.read(in: root)?.index ?? "index" : "index"
        guard access("\(root)/\(names)/CURRENT", F_OK) == 0 else {
            throw RegistryError(.notFound, subject: .store, reason: "there is no store in \(root)")
        }
        var index = OrderedStore.Options()
        index.isReadOnly = isReadOnly
        do throws(RegistryError) {
            store = try OrderedStore(at: "\(root)/\(names)", families: RocksCatalog.families, options: index, logger: log)
        } catch {
            guard error.code == .unavailable else { throw error }
            throw RegistryError(
                .unavailable, subject: .store, reason: "the data directory cannot be opened: while a server has it, stop that first",
                cause: error.cause)
        }
        var rows = RocksCatalog.Options()
        rows.isReadOnly = isReadOnly
        catalog = try await RocksCatalog(
            store: store, pool: BlockingPool(threads: 2, name: "worker"), world: .real, options: rows, logger: log)
        var bytes = BlobStore.Options()
        bytes.isReadOnly = isReadOnly
        blobs = try BlobStore(at: root + "/store", store: store, options: bytes, world: .real, log: log)
    }

    func close() {
        blobs.close()
        store.close()
    }
}

/// How far a check is, in a file beside it: JSON, format 1, written anew as a whole.
enum CheckFile {
    static func read(_ path: String) throws(RegistryError) -> (progress: CheckProgress, options: CheckOptions)? {
        guard let text = TextFile.read(path) else { return nil }
        let json = try JSON.parse(Array(text.utf8))
        func number(_ name: String) -> Int64? { json[name]?.int64 }
        guard number("format") == 1, let phase = json["phase"]?.string.flatMap(CheckProgress.Phase.init(rawValue:)),
            let after = json["after"]?.string, let seed = json["seed"]?.string.flatMap({ UInt64($0) }),
            let percent = json["read_percent"]?.string.flatMap({ Double($0) }), let repairs = json["repairs"]
        else { throw RegistryError(.invalid, subject: .configuration("resume"), reason: "\(path) does not say how far a check is; remove it") }
        var options = CheckOptions()
        (options.readPercent, options.seed, options.repairs) = (percent, seed, repairs == true)
        var progress = CheckProgress()
        (progress.phase, progress.after) = (phase, after)
        for (name, field) in counters { progress[keyPath: field] = Int(number(name) ?? 0) }
        progress.readBytes = number("read_bytes") ?? 0
        return (progress, options)
    }

    static func write(_ progress: CheckProgress, _ options: CheckOptions, to path: String) throws(RegistryError) {
        var members: [(String, JSON)] = [
            ("format", JSON(Int64(1))), ("phase", JSON(progress.phase.rawValue)), ("after", JSON(progress.after)),
            ("seed", JSON(String(options.seed))), ("read_percent", JSON(String(options.readPercent))), ("repairs", .bool(options.repairs)),
            ("read_bytes", JSON(progress.readBytes)),
        ]
        for (name, field) in counters { members.append((name, JSON(Int64(progress[keyPath: field])))) }
        try TextFile.write(String(decoding: JSON.object(.init(members)).encoded(), as: UTF8.self) + "\n", to: path)
    }

    static func remove(_ path: String) { unlink(path) }

    private static var counters: [(String, WritableKeyPath<CheckProgress, Int>)] {
        [
            ("segments", \.segments), ("blobs", \.blobs), ("read_blobs", \.readBlobs), ("names", \.names),
            ("tier_files", \.tierFiles), ("read_tier_files", \.readTierFiles), ("tier_requests", \.tierRequests), ("damages", \.damages),
            ("repaired", \.repaired), ("notes", \.notes),
        ]
    }
}
