public import Core
import NIOCore

/// Where a backup is kept that is no directory: a bucket. A name's bytes are replaced as a whole, or not at all.
///
/// Errors: `notFound` for what is not there, `upstreamFailed` otherwise, with `retryAfterSeconds` when it may pass by itself.
public protocol BackupShelf: Sendable {
    /// For people.
    var place: String { get }
    /// The bytes are there when this returns, durable and whole. Reads `bytes` on threads of its own.
    func put(_ name: String, _ bytes: any RandomAccessBytes) async throws(RegistryError)
    /// Exactly the range, which lies inside.
    func read(_ name: String, _ range: Range<Int64>) async throws(RegistryError) -> Body
    /// nil when there is no such thing.
    func length(of name: String) async throws(RegistryError) -> Int64?
    /// What is not there is as good as removed.
    func remove(_ name: String) async throws(RegistryError)
    /// Names that begin so, in pages.
    func list(_ prefix: String, page: String?) async throws(RegistryError) -> ShelfPage
    /// Removes what `put`s begun before then left behind when they failed.
    func removeLeftovers(before time: Timestamp) async throws(RegistryError)
}

public struct ShelfPage: Sendable {
    public let objects: [(name: String, length: Int64)]
    /// Where to go on; nil at the end.
    public let next: String?
    public init(objects: [(name: String, length: Int64)], next: String?) {
        self.objects = objects
        self.next = next
    }
}

/// What a backup is kept in.
public enum BackupTarget: Sendable {
    case directory(String)
    case shelf(any BackupShelf)
}

/// What is in a backup on a shelf: the object `backup`, put last, by which a backup is made (docs/internals/backup.md).
struct BackupManifest: Sendable, Equatable {
    static let name = "backup"
    static let bytesMax: Int64 = 1 << 30
    private static let firstLine = "granary-backup 2"

    struct Entry: Sendable, Hashable {
        let length: Int64
        /// Of the whole; nil for files that carry checksums of their own.
        let checksum: UInt32?
        let object: String
        /// Below the data directory.
        let path: String
    }

    /// Of this backup; what changes with every backup lies in `moment-<number>/`.
    let moment: UInt64
    /// The data directory it was made of.
    let directory: EntityID
    let revision: UInt64
    let made: String
    var entries: [Entry] = []

    init(moment: UInt64, directory: EntityID, revision: UInt64, made: String) {
        self.moment = moment
        self.directory = directory
        self.revision = revision
        self.made = made
    }

    var encoded: [UInt8] {
        var text =
            "\(BackupManifest.firstLine)\nmoment \(moment)\ndirectory \(directory)\nrevision \(revision)\nmade \(made)\nfiles \(entries.count)\n"
        for entry in entries {
            text += "\(entry.length) \(entry.checksum.map { Hex.encode(BackupManifest.bytes(of: $0)) } ?? "-") \(entry.object) \(entry.path)\n"
        }
        return Array("\(text)crc \(Hex.encode(BackupManifest.bytes(of: CRC32C.of(Array(text.utf8)))))\n".utf8)
    }

    private static func bytes(of sum: UInt32) -> [UInt8] {
        var writer = BinaryWriter()
        writer.write(sum)
        return writer.bytes
    }

    /// - Throws: `corrupt` for one this program did not write, or whose bytes are not as they were.
    init(_ bytes: [UInt8]) throws(RegistryError) {
        let tailBytes = 13  // `crc `, eight digits and the line's end
        let text = String(decoding: bytes.dropLast(tailBytes), as: UTF8.self)
        let tail = "crc \(Hex.encode(BackupManifest.bytes(of: CRC32C.of(bytes.dropLast(tailBytes)))))\n"
        let lines = text.split(separator: "\n", omittingEmptySubsequences: true)
        func value(_ line: Int, _ name: String) -> Substring? {
            lines.indices.contains(line) && lines[line].hasPrefix("\(name) ") ? lines[line].dropFirst(name.utf8.count + 1) : nil
        }
        guard bytes.count > tailBytes, Array(bytes.suffix(tailBytes)) == Array(tail.utf8),
            lines.first.map({ $0 == BackupManifest.firstLine }) == true,
            let moment = value(1, "moment").flatMap({ UInt64($0) }), let directory = value(2, "directory").flatMap({ EntityID($0) }),
            let revision = value(3, "revision").flatMap({ UInt64($0) }), let made = value(4, "made"),
            let count = value(5, "files").flatMap({ Int($0) }), count == lines.count - 6
        else { throw BackupManifest.damaged }
        self.moment = moment
        self.directory = directory
        self.revision = revision
        self.made = String(made)
        for line in lines.dropFirst(6) { entries.append(try BackupManifest.entry(line)) }
    }

    private static func entry(_ line: Substring) throws(RegistryError) -> Entry {
        let words = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
        guard words.count == 4, let length = Int64(words[0]), length >= 0 else { throw damaged }
        let sum = words[1] == "-" ? nil : UInt32(words[1], radix: 16)
        let parts = words[3].split(separator: "/", omittingEmptySubsequences: false)
        // Whoever can write to the bucket is not to write elsewhere on the disk.
        guard words[1] == "-" || sum != nil, parts.count > 1, ["index", "keys", "store"].contains(parts[0]),
            parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." })
        else { throw damaged }
        return Entry(length: length, checksum: sum, object: String(words[2]), path: String(words[3]))
    }

    private static var damaged: RegistryError {
        RegistryError(.corrupt, subject: .store, reason: "the object backup is damaged, or of a newer program")
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

/// Objects of a shelf from beginning to end; what breaks off is asked for again from there.
enum ShelfReading {
    private static let triesMax = 5

    static func read(
        _ name: String, _ length: Int64, from shelf: any BackupShelf, _ body: (ByteBuffer) async throws(RegistryError) -> Void
    ) async throws(RegistryError) {
        var at: Int64 = 0
        var tries = 1
        while at < length {
            let before = at
            do throws(RegistryError) {
                let answer = try await shelf.read(name, at..<length)
                while let slice = try await answer.next() {
                    guard Int64(slice.readableBytes) <= length - at else { throw short }
                    try await body(slice)
                    at += Int64(slice.readableBytes)
                }
                guard at == length else { throw short }
            } catch {
                tries = at > before ? 1 : tries + 1
                guard tries < triesMax, error.retryAfterSeconds != nil, !Task.isCancelled else { throw error }
            }
        }
    }

    private static var short: RegistryError {
        RegistryError(.upstreamFailed, subject: .store, reason: "the store gave another length than it has", retryAfterSeconds: 5)
    }
}
