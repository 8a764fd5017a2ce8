import Core
import FrontendKit
import Parsing

/// What one package has in one stream: its entries, joined by the format's separator.
struct PackageRun: Sendable, Hashable {
    let package: PackageName
    let entries: Int
    let bytes: [UInt8]

    /// nil when there is nothing to say.
    init?(_ package: PackageName, _ entries: [[UInt8]], separator: [UInt8]) {
        let entries = entries.filter { !$0.isEmpty }
        guard !entries.isEmpty else { return nil }
        self.init(package, entries: entries.count, bytes: Array(entries.joined(separator: separator)))
    }

    init(_ package: PackageName, entries: Int, bytes: [UInt8]) {
        self.package = package
        self.entries = entries
        self.bytes = bytes
    }

    /// Of the entries alone.
    func netBytes(separator: [UInt8]) -> Int64 { Int64(bytes.count - separator.count * (entries - 1)) }
}

/// A piece as a document of that encoding takes it up.
struct EncodedPiece: Sendable, Hashable {
    let piece: Piece
    /// Of an .xz block.
    var block: Compression.XzBlock.Sizes?

    func moved(_ move: (Piece) -> Piece) -> EncodedPiece { EncodedPiece(piece: move(piece), block: block) }
}

/// Some 256 packages' runs of one stream, kept raw and, once a document wants them so, compressed.
struct Fragment: Sendable, Hashable {
    let first: PackageName
    let entries: Int
    /// Of the entries, without separators.
    let bytes: Int64
    let directory: Piece
    let raw: Piece
    var gzip: EncodedPiece?
    var xz: EncodedPiece?

    func piece(_ encoding: IndexDocument.Encoding) -> EncodedPiece? {
        switch encoding {
        case .identity: EncodedPiece(piece: raw)
        case .gzip: gzip
        case .xz: xz
        }
    }

    mutating func keep(_ piece: EncodedPiece, as encoding: IndexDocument.Encoding) {
        switch encoding {
        case .identity: break
        case .gzip: gzip = piece
        case .xz: xz = piece
        }
    }

    /// Whether a package begins a fragment. Decided by its name alone, so that equal facts are cut alike whatever happened before: an index that
    /// is rebuilt, or built on another node, has the same bytes.
    static func begins(with package: PackageName) -> Bool {
        // FNV-1a, its bits stirred once more (the finalizer of MurmurHash3).
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in package.text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        hash = (hash ^ hash >> 33) &* 0xFF51_AFD7_ED55_8CCD
        hash = (hash ^ hash >> 33) &* 0xC4CE_B9FE_1A85_EC53
        return (hash ^ hash >> 33) & 0xFF == 0
    }

    /// Which packages it has: name, entries and bytes of each.
    private struct Row {
        let package: PackageName
        let entries: Int
        let bytes: Int
    }

    private func rows(in pack: IndexPack) throws(RegistryError) -> [Row] {
        var reader = BinaryReader(try pack.bytes(of: directory))
        return try reader.readEach { reader throws(RegistryError) in
            guard let package = PackageName(try reader.readString()) else { throw BinaryReader.damaged }
            return Row(package: package, entries: Int(try reader.readUInt32()), bytes: Int(try reader.readUInt32()))
        }
    }

    func contains(_ package: PackageName, in pack: IndexPack) throws(RegistryError) -> Bool {
        try rows(in: pack).contains { $0.package == package }
    }

    func runs(in pack: IndexPack, separator: [UInt8]) throws(RegistryError) -> [PackageRun] {
        let bytes = try pack.bytes(of: raw)
        var at = 0
        var runs: [PackageRun] = []
        for row in try rows(in: pack) {
            guard row.bytes <= bytes.count - at else { throw BinaryReader.damaged }
            runs.append(PackageRun(row.package, entries: row.entries, bytes: Array(bytes[at..<at + row.bytes])))
            at += row.bytes + separator.count
        }
        return runs
    }

    /// Writes a fragment of at least one run, unless `known` is that fragment already.
    static func write(
        _ runs: [PackageRun], to pack: IndexPack, separator: [UInt8], unless known: Fragment?, _ meter: IndexMeter
    ) throws(RegistryError) -> Fragment {
        guard let first = runs.first?.package else { preconditionFailure("a fragment has a package") }
        var writer = BinaryWriter(reserving: runs.count * 32)
        writer.write(each: runs) { writer, run in
            writer.write(run.package.text)
            writer.write(UInt32(clamping: run.entries))
            writer.write(UInt32(clamping: run.bytes.count))
        }
        let raw = Array(runs.map(\.bytes).joined(separator: separator))
        if let known, known.first == first, known.raw.length == Int64(raw.count), try pack.bytes(of: known.directory) == writer.bytes,
            try pack.bytes(of: known.raw) == raw
        {
            return known
        }
        meter.add { $0.fragmentsWritten += 1 }
        return Fragment(
            first: first, entries: runs.reduce(0) { $0 + $1.entries }, bytes: runs.reduce(0) { $0 + $1.netBytes(separator: separator) },
            directory: try pack.append(writer.bytes), raw: try pack.append(raw))
    }
}

/// What the engine did so far: what tests and metrics count.
public struct IndexWork: Sendable, Hashable {
    /// Indexes made from all facts.
    public var builds = 0
    /// Indexes that another node had made.
    public var copies = 0
    /// Packages whose entries a format was asked for.
    public var packagesRendered = 0
    /// Fragments whose content was new.
    public var fragmentsWritten = 0
    /// Fragments compressed, once per encoding.
    public var fragmentsCompressed = 0
    /// Bytes read for the digests of whole documents.
    public var bytesHashed: Int64 = 0
    /// Editions published.
    public var generations = 0
    public init() {}
}
