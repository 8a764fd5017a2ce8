public import Core
import Logging
import NIOCore

/// What is in a backup: the file or object `backup`, put last, by which the backup is made, and signed (docs/internals/backup.md).
public struct BackupManifest: Sendable, Equatable {
    static let name = "backup"
    static let bytesMax: Int64 = 1 << 30
    private static let firstLine = "granary-backup 3"
    /// Of a bucket, and of a directory, before backups were signed.
    private static let unsignedLine = "granary-backup 2"
    private static let noteLine = "granary-backup 1"
    private static let headLines = 7
    /// Nobody makes more backups than that; a number beyond it is no count of ours.
    private static let momentMax: UInt64 = 1 << 53

    /// What tells that a file is what it was.
    enum Sum: Sendable, Hashable {
        case sha256([UInt8])
        /// CRC-32C, as it was before backups were signed; nil for files that carry checksums of their own.
        case unsigned(UInt32?)
    }

    struct Entry: Sendable, Hashable {
        let length: Int64
        let sum: Sum
        /// Where it lies in the backup.
        let object: String
        /// Below the data directory.
        let path: String
    }

    /// Of this backup; what changes with every one lies in a place with this number.
    public let moment: UInt64
    /// The data directory it was made of; nil where nobody wrote that down.
    public let directory: EntityID?
    public let revision: UInt64
    public let made: String
    /// Who signed it; nil: nobody.
    public private(set) var key: BackupKey?
    var entries: [Entry] = []

    init(moment: UInt64, directory: EntityID?, revision: UInt64, made: String) {
        self.moment = moment
        self.directory = directory
        self.revision = revision
        self.made = made
    }

    /// Where the index lies in a directory of a backup.
    public var index: String { "index-\(moment)" }

    /// What the next one follows, as far as it can be read.
    /// - Throws: `conflict` when somebody changed what was signed.
    static func previous(
        _ read: () async throws(RegistryError) -> BackupManifest?, signer: BackupSigner, log: Logger
    ) async throws(RegistryError) -> BackupManifest? {
        let found: BackupManifest?
        do throws(RegistryError) { found = try await read() } catch {
            guard error.code == .forbidden else { throw error }
            throw RegistryError(
                .conflict, subject: .store, reason: "\(error.reason); find out who changes it, and make the next one in another place")
        }
        if let found, found.key != signer.key {
            log.warning(
                "the backup there was signed by another; from now on this one's key counts",
                metadata: ["before": "\(found.key.map { "\($0)" } ?? "nobody")", "key": "\(signer.key)"])
        }
        return found
    }

    /// The next one, of this moment.
    static func after(_ previous: BackupManifest?, of directory: EntityID, revision: UInt64, made: Timestamp) -> BackupManifest {
        BackupManifest(moment: (previous?.moment ?? 0) + 1, directory: directory, revision: revision, made: made.description)
    }

    // MARK: Bytes

    /// The signature is over everything before its line.
    func signed(by signer: BackupSigner) throws(RegistryError) -> [UInt8] {
        var text = "\(BackupManifest.firstLine)\nmoment \(moment)\ndirectory \(directory.map { "\($0)" } ?? "-")\nrevision \(revision)\n"
        text += "made \(made)\nkey \(signer.key)\nfiles \(entries.count)\n"
        for entry in entries {
            guard case .sha256(let digest) = entry.sum else { preconditionFailure("what is signed has a digest") }
            text += "\(entry.length) \(Hex.encode(digest)) \(entry.object) \(entry.path)\n"
        }
        let bytes = Array(text.utf8)
        return bytes + Array("signature \(Hex.encode(try signer.sign(bytes)))\n".utf8)
    }

    /// - Throws: `corrupt` for one this program did not write, or whose bytes are not as they were; `forbidden` when its signature does not hold.
    init(_ bytes: [UInt8]) throws(RegistryError) {
        if bytes.starts(with: "\(BackupManifest.firstLine)\n".utf8) {
            try self.init(signed: bytes)
        } else if bytes.starts(with: "\(BackupManifest.unsignedLine)\n".utf8) {
            try self.init(unsigned: bytes)
        } else {
            try self.init(note: bytes)
        }
    }

    private init(signed bytes: [UInt8]) throws(RegistryError) {
        let (name, end) = (Array("signature ".utf8), bytes.count - 1)
        let start = end - 2 * BackupSigner.signatureBytes
        guard start > name.count, bytes[end] == UInt8(ascii: "\n"), bytes[(start - name.count)..<start].elementsEqual(name),
            let signature = Hex.decode(String(decoding: bytes[start..<end], as: UTF8.self))
        else { throw BackupManifest.damaged }
        let covered = Array(bytes[..<(start - name.count)])
        let lines = BackupManifest.lines(covered)
        guard let key = BackupManifest.value(lines, 5, "key").flatMap({ BackupKey($0) }) else { throw BackupManifest.damaged }
        guard key.holds(signature, for: covered) else {
            throw BackupTrust.refused("the signature of the backup does not hold: what it says was changed after \(key) signed it")
        }
        try self.init(head: lines, files: 6)
        self.key = key
        for line in lines.dropFirst(BackupManifest.headLines) { entries.append(try BackupManifest.entry(line, isSigned: true)) }
    }

    /// As it was in a bucket before backups were signed.
    private init(unsigned bytes: [UInt8]) throws(RegistryError) {
        let tailBytes = 13  // `crc `, eight digits and the line's end
        guard bytes.count > tailBytes else { throw BackupManifest.damaged }
        let covered = Array(bytes.dropLast(tailBytes))
        guard bytes.suffix(tailBytes).elementsEqual("crc \(BackupManifest.hex(CRC32C.of(covered)))\n".utf8) else { throw BackupManifest.damaged }
        let lines = BackupManifest.lines(covered)
        try self.init(head: lines, files: 5)
        for line in lines.dropFirst(6) { entries.append(try BackupManifest.entry(line, isSigned: false)) }
    }

    /// As it was in a directory before backups were signed: it names no files.
    private init(note bytes: [UInt8]) throws(RegistryError) {
        let lines = BackupManifest.lines(bytes)
        guard lines.count == 4, lines[0] == BackupManifest.noteLine,
            let index = BackupManifest.value(lines, 1, "index"), index.hasPrefix("index-"),
            let moment = UInt64(index.dropFirst("index-".utf8.count)), moment < BackupManifest.momentMax,
            let revision = BackupManifest.value(lines, 2, "revision").flatMap({ UInt64($0) }), let made = BackupManifest.value(lines, 3, "made")
        else { throw BackupManifest.damaged }
        self.init(moment: moment, directory: nil, revision: revision, made: String(made))
    }

    private init(head lines: [Substring], files: Int) throws(RegistryError) {
        guard let moment = BackupManifest.value(lines, 1, "moment").flatMap({ UInt64($0) }), moment < BackupManifest.momentMax,
            let directory = BackupManifest.value(lines, 2, "directory").flatMap({ EntityID($0) }),
            let revision = BackupManifest.value(lines, 3, "revision").flatMap({ UInt64($0) }),
            let made = BackupManifest.value(lines, 4, "made"),
            let count = BackupManifest.value(lines, files, "files").flatMap({ Int($0) }), count == lines.count - files - 1
        else { throw BackupManifest.damaged }
        self.init(moment: moment, directory: directory, revision: revision, made: String(made))
    }

    private static func lines(_ bytes: [UInt8]) -> [Substring] { String(decoding: bytes, as: UTF8.self).split(separator: "\n") }

    private static func value(_ lines: [Substring], _ line: Int, _ name: String) -> Substring? {
        lines.indices.contains(line) && lines[line].hasPrefix("\(name) ") ? lines[line].dropFirst(name.utf8.count + 1) : nil
    }

    private static func hex(_ sum: UInt32) -> String {
        var writer = BinaryWriter()
        writer.write(sum)
        return Hex.encode(writer.bytes)
    }

    private static func entry(_ line: Substring, isSigned: Bool) throws(RegistryError) -> Entry {
        let words = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
        guard words.count == 4, let length = Int64(words[0]), length >= 0, isBelow(words[2]), isBelow(words[3]),
            ["index", "keys", "store"].contains(words[3].prefix { $0 != "/" })
        else { throw damaged }
        let sum: Sum
        if isSigned {
            guard let digest = Hex.decode(words[1]), digest.count == 32 else { throw damaged }
            sum = .sha256(digest)
        } else {
            let number = words[1] == "-" ? nil : UInt32(words[1], radix: 16)
            guard words[1] == "-" || number != nil else { throw damaged }
            sum = .unsigned(number)
        }
        return Entry(length: length, sum: sum, object: String(words[2]), path: String(words[3]))
    }

    /// Whoever can write to where a backup lies is not to write, or have read, elsewhere on the disk.
    private static func isBelow(_ path: Substring) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        return parts.count > 1 && parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }

    private static var damaged: RegistryError {
        RegistryError(.corrupt, subject: .store, reason: "the manifest of the backup is damaged, or of a newer program")
    }

    // MARK: Reading

    /// nil when there is no backup. Blocks.
    /// - Throws: as `init` of bytes.
    public static func read(in directory: String) throws(RegistryError) -> BackupManifest? {
        // A data directory may have its backup in a folder of that name.
        guard !FileCopy.isDirectory("\(directory)/\(name)"), let file = try Disk.openExisting("\(directory)/\(name)") else { return nil }
        let length = try Disk.status(of: file).size
        guard length <= bytesMax else { throw damaged }
        return try BackupManifest(try Disk.read(file, at: 0, count: Int(length)))
    }

    /// nil when there is no backup.
    static func read(from shelf: any BackupShelf) async throws(RegistryError) -> BackupManifest? {
        guard let length = try await shelf.length(of: name) else { return nil }
        guard length <= bytesMax else { throw damaged }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(length))
        try await ShelfReading.read(name, length, from: shelf) { slice throws(RegistryError) in bytes.append(contentsOf: slice.readableBytesView) }
        return try BackupManifest(bytes)
    }
}

/// Digests of files that a backup has already, as far as they are to be believed: of one that the same key signed.
struct KnownSums: Sendable {
    private struct File: Hashable {
        let object: String
        let length: Int64
    }
    private var sums: [File: BackupManifest.Sum] = [:]

    init(_ manifest: BackupManifest?, signedBy signer: BackupSigner) {
        guard let manifest, manifest.key == signer.key else { return }
        for entry in manifest.entries { sums[File(object: entry.object, length: entry.length)] = entry.sum }
    }

    func sum(of object: String, _ length: Int64) -> BackupManifest.Sum? { sums[File(object: object, length: length)] }
}
