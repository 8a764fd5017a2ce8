import Core

/// How an archive is made again of its opened form (docs/internals/chunk-recipe.md). That is two runs of bytes, one behind the other: the members,
/// inflated; then the frame, which is everything else as it was. The archive is made in parts: bytes as they are, or a deflate stream of some
/// bytes. Each part takes the next bytes of the frame and the next of the members, in turn.
struct ArchiveForm: Hashable, Sendable {
    struct Part: Hashable, Sendable {
        /// nil: the bytes as they are.
        let settings: DeflateSettings?
        /// In `lengths`: so much of the frame, of the members, of the frame, and so on.
        let runs: Range<Int>
        /// Of the archive.
        let length: Int64
    }

    /// Parts and lengths together, so that a recipe stays small.
    static let entriesMax = 1 << 19

    private(set) var parts: [Part] = []
    private(set) var lengths: [UInt32] = []
    private(set) var memberBytes: Int64 = 0
    private(set) var frameBytes: Int64 = 0
    /// Of the archive.
    private(set) var length: Int64 = 0

    init() {}

    var isFull: Bool { parts.count + lengths.count > ArchiveForm.entriesMax }
    /// Of the opened form.
    var chunkedBytes: Int64 { memberBytes + frameBytes }
    /// In memory.
    var bytes: Int { parts.count * MemoryLayout<Part>.stride + lengths.count * 4 }

    /// - Parameter runs: at least one; what they take of the frame, of the members, of the frame, and so on.
    mutating func append(_ settings: DeflateSettings?, _ runs: some Collection<UInt32>, length: Int64) {
        parts.append(Part(settings: settings, runs: lengths.count..<lengths.count + runs.count, length: length))
        lengths.append(contentsOf: runs)
        for (index, run) in runs.enumerated() {
            if index % 2 == 0 { frameBytes += Int64(run) } else { memberBytes += Int64(run) }
        }
        self.length += length
    }

    var encodedBytes: Int64 {
        12 + parts.reduce(0) { $0 + 5 + Int64($1.runs.count) * 4 + ($1.settings == nil ? 0 : 4) }
    }

    func encode(to writer: inout BinaryWriter) {
        writer.write(memberBytes)
        writer.write(UInt32(parts.count))
        for part in parts {
            writer.write(part.settings?.byte ?? 0)
            writer.write(UInt32(part.runs.count))
            for length in lengths[part.runs] { writer.write(length) }
            if part.settings != nil { writer.write(UInt32(part.length)) }
        }
    }

    /// - Throws: `corrupt` when it is none.
    init(_ reader: inout BinaryReader) throws(RegistryError) {
        let members = try reader.readInt64()
        let count = Int(try reader.readUInt32())
        guard count <= ArchiveForm.entriesMax else { throw BinaryReader.damaged }
        for _ in 0..<count {
            let coding = try reader.readUInt8()
            let settings = DeflateSettings(byte: coding)
            let runCount = Int(try reader.readUInt32())
            guard settings != nil || coding == 0, runCount > 0, runCount + parts.count + lengths.count <= ArchiveForm.entriesMax else {
                throw BinaryReader.damaged
            }
            var runs: [UInt32] = []
            for _ in 0..<runCount { runs.append(try reader.readUInt32()) }
            // At most 2^19 numbers of 32 bits: no sum overflows.
            let length = settings == nil ? runs.reduce(0) { $0 + Int64($1) } : Int64(try reader.readUInt32())
            append(settings, runs, length: length)
        }
        guard memberBytes == members else { throw BinaryReader.damaged }
    }
}

/// Makes an archive again. What opens one proves by this, too, that it can be made: there is no other way from the one to the other.
struct ArchiveRebuild {
    /// So much goes into deflate at once: part of what its streams depend on.
    static let pieceBytes = 64 << 10

    /// The way through one of the two runs.
    struct Cursor {
        let source: any RandomAccessBytes
        /// Of what follows the buffer.
        var position: Int64
        private var buffer: [UInt8] = []
        private var used = 0

        init(_ source: any RandomAccessBytes, at position: Int64) { (self.source, self.position) = (source, position) }

        /// The next `count` bytes.
        mutating func read(_ count: Int, into target: inout [UInt8]) throws(RegistryError) {
            var missing = count
            while missing > 0 {
                if used == buffer.count {
                    buffer = try source.bytes(at: position, count: ArchiveRebuild.pieceBytes)
                    used = 0
                    guard !buffer.isEmpty else { throw BinaryReader.damaged }
                    position += Int64(buffer.count)
                }
                let some = min(missing, buffer.count - used)
                target.append(contentsOf: buffer[used..<used + some])
                used += some
                missing -= some
            }
        }
    }

    private var frame: Cursor
    private var members: Cursor
    private var room = [UInt8](repeating: 0, count: ArchiveRebuild.pieceBytes)

    init(frame: Cursor, members: Cursor) { (self.frame, self.members) = (frame, members) }

    /// - Parameter source: the opened form.
    init(_ form: ArchiveForm, of source: any RandomAccessBytes) {
        self.init(frame: Cursor(source, at: form.memberBytes), members: Cursor(source, at: 0))
    }

    /// All parts, in order.
    /// - Throws: `corrupt` when what comes is not as long as it was, and what `output` throws.
    mutating func run(_ form: ArchiveForm, _ output: (ArraySlice<UInt8>) throws(RegistryError) -> Void) throws(RegistryError) {
        for part in form.parts {
            var made: Int64 = 0
            let isDone = try make(part.settings, form.lengths[part.runs]) { bytes throws(RegistryError) in
                made += Int64(bytes.count)
                guard made <= part.length else { return false }
                try output(bytes)
                return true
            }
            guard isDone, made == part.length else { throw BinaryReader.damaged }
        }
    }

    /// One part.
    /// - Parameters:
    ///   - isWhole: nothing follows; else only what comes out by then is wanted.
    ///   - output: false ends it.
    /// - Returns: false when it was ended.
    mutating func make(
        _ settings: DeflateSettings?, _ runs: ArraySlice<UInt32>, isWhole: Bool = true, _ output: (ArraySlice<UInt8>) throws(RegistryError) -> Bool
    ) throws(RegistryError) -> Bool {
        let stream: DeflateStream? = if let settings { try DeflateStream(settings) } else { nil }
        var piece: [UInt8] = []
        piece.reserveCapacity(ArchiveRebuild.pieceBytes)
        var rest = runs.reduce(0) { $0 + Int64($1) }
        var (run, left) = (runs.startIndex, Int(runs.first ?? 0))
        repeat {
            piece.removeAll(keepingCapacity: true)
            while piece.count < ArchiveRebuild.pieceBytes, run < runs.endIndex {
                let count = min(left, ArchiveRebuild.pieceBytes - piece.count)
                if (run - runs.startIndex) % 2 == 0 { try frame.read(count, into: &piece) } else { try members.read(count, into: &piece) }
                left -= count
                if left == 0 {
                    run += 1
                    left = run < runs.endIndex ? Int(runs[run]) : 0
                }
            }
            rest -= Int64(piece.count)
            guard let stream else {
                guard try output(piece[...]) else { return false }
                continue
            }
            guard try deflate(piece, by: stream, isLast: isWhole && rest == 0, output) else { return false }
        } while rest > 0
        return true
    }

    private mutating func deflate(
        _ piece: [UInt8], by stream: DeflateStream, isLast: Bool, _ output: (ArraySlice<UInt8>) throws(RegistryError) -> Bool
    ) throws(RegistryError) -> Bool {
        var used = 0
        while true {
            let step = try stream.step(piece, from: used, into: &room, isLast: isLast)
            used += step.used
            if step.made > 0, try !output(room[..<step.made]) { return false }
            if step.isEnded { return true }
            if used == piece.count, step.made < room.count, !isLast { return true }
            // Neither taken nor made, and not at the end: not what deflate does.
            guard step.used > 0 || step.made > 0 else { throw BinaryReader.damaged }
        }
    }
}
