import Core
import Synchronization

/// An archive's opened form, in files without a name.
struct OpenedArchive: Sendable {
    let form: ArchiveForm
    /// Members, then frame.
    let content: BlobContent
    /// The files are there as long as these.
    let files: [TemporaryFile]
}

/// Which archives may be opened, and how far.
public struct ArchiveLimits: Sendable {
    /// Shorter ones save too little.
    public var archiveBytesMin: Int64 = 128 << 10
    /// Who first reads a longer one would wait too long: it is made again at 10 to 40 MB a second.
    public var archiveBytesMax: Int64 = 64 << 20
    public var formBytesMax: Int64 = 2 << 30
    /// The opened form may be so many times as long as the archive.
    public var ratioMax: Int64 = 64
    public init() {}
}

/// Opens a zip or gzip file: finds its deflate streams, and of those that our deflate makes again bit for bit, how. Everything is as hostile as
/// who uploaded it: what does not fit together leaves the archive as it is.
final class ArchiveOpening {
    /// So much of a stream tells whether it can be made again.
    private static let probeBytes: Int64 = 256 << 10
    private static let pieceBytes = 64 << 10
    /// Shorter streams are not worth a part.
    private static let streamBytesMin: Int64 = 64
    /// Streams that cannot be made again: at the beginning, before the archive is given up; later, before only what was found is tried.
    private static let (firstFailuresMax, failuresMax) = (8, 64)
    private static let gzipMagic: [UInt8] = [0x1F, 0x8B, 8]
    private static let zipMagic = Array("PK".utf8) + [3, 4]

    private let archive: any RandomAccessBytes
    private let isOver: () -> Bool
    private let pause: (Int) -> Void
    private let members: FormFile
    private let frame: FormFile
    private let formBytesMax: Int64
    private var form = ArchiveForm()
    /// Up to here the archive is in the form.
    private var done: Int64 = 0
    private var learned: DeflateSettings?
    private var failures = 0
    private var room = [UInt8](repeating: 0, count: ArchiveOpening.pieceBytes)

    /// - Parameters:
    ///   - isOver: asked now and then; true ends it.
    ///   - pause: told how many bytes were worked on.
    /// - Returns: nil when it stays closed: it is no archive, nothing in it can be made again, or the limits say so.
    static func open(
        _ archive: any RandomAccessBytes, limits: ArchiveLimits = ArchiveLimits(), isOver: () -> Bool = { false }, pause: (Int) -> Void = { _ in },
        in temporary: () throws(RegistryError) -> TemporaryFile
    ) throws(RegistryError) -> OpenedArchive? {
        guard try isArchive(archive), (limits.archiveBytesMin...limits.archiveBytesMax).contains(archive.size) else { return nil }
        return try withoutActuallyEscaping(isOver) { isOver throws(RegistryError) in
            try withoutActuallyEscaping(pause) { pause throws(RegistryError) in
                let opening = ArchiveOpening(
                    archive, limits, isOver: isOver, pause: pause, members: FormFile(try temporary()), frame: FormFile(try temporary()))
                return try opening.run()
            }
        }
    }

    /// By its first bytes.
    static func isArchive(_ bytes: any RandomAccessBytes) throws(RegistryError) -> Bool {
        let head = try bytes.bytes(at: 0, count: 4)
        return head == zipMagic || head.starts(with: gzipMagic)
    }

    private init(
        _ archive: any RandomAccessBytes, _ limits: ArchiveLimits, isOver: @escaping () -> Bool, pause: @escaping (Int) -> Void, members: FormFile,
        frame: FormFile
    ) {
        (self.archive, self.isOver, self.pause, self.members, self.frame) = (archive, isOver, pause, members, frame)
        let (most, overflow) = archive.size.multipliedReportingOverflow(by: limits.ratioMax)
        formBytesMax = overflow ? limits.formBytesMax : min(limits.formBytesMax, most)
    }

    private func run() throws(RegistryError) -> OpenedArchive? {
        let isZip = try archive.bytes(at: 0, count: 4) == ArchiveOpening.zipMagic
        guard try isZip ? openZip() : openGzip(), form.parts.contains(where: { $0.settings != nil }) else { return nil }
        try keep(upTo: archive.size)
        guard !form.isFull, form.length == archive.size, fits(0) else { return nil }
        try members.flush()
        try frame.flush()
        let extents = [members, frame].map { Extent(file: $0.temporary.file, offset: 0, length: $0.size) }
        return OpenedArchive(form: form, content: BlobContent(.extents(extents)), files: [members.temporary, frame.temporary])
    }

    /// - Returns: false when the archive stays closed.
    private func openZip() throws(RegistryError) -> Bool {
        guard let streams = try ZipStreams.find(in: archive) else { return false }
        let inflated = streams.reduce(into: Int64(0)) { $0 += $1.inflated }
        guard fits(inflated) else { return false }
        for stream in streams where stream.length >= ArchiveOpening.streamBytesMin {
            guard try !isHopeless() else { return false }
            _ = try add(at: stream.offset, length: stream.length, inflatedMax: stream.inflated, splitting: false)
        }
        return true
    }

    private func openGzip() throws(RegistryError) -> Bool {
        var offset: Int64 = 0
        // Members follow one another; what follows the last one stays as it is.
        while let start = try gzipStream(at: offset) {
            guard try !isHopeless(), let used = try add(at: start, length: nil, inflatedMax: formBytesMax, splitting: true) else { return false }
            // CRC and length.
            offset = start + used + 8
        }
        return true
    }

    private func isHopeless() throws(RegistryError) -> Bool {
        if isOver() { throw RegistryError(.unavailable, subject: .store, reason: "the work was interrupted; it goes on later") }
        return form.isFull || (learned == nil && failures >= ArchiveOpening.firstFailuresMax)
    }

    private func fits(_ more: Int64) -> Bool { members.size + frame.size + more <= formBytesMax }

    /// Where the deflate stream of the gzip member at `offset` begins (RFC 1952 section 2.3).
    private func gzipStream(at offset: Int64) throws(RegistryError) -> Int64? {
        let head = try archive.bytes(at: offset, count: 64 << 10)
        guard head.count > 18, head.starts(with: ArchiveOpening.gzipMagic) else { return nil }
        let flags = head[3]
        var at = 10
        if flags & 4 != 0 { at += 2 + Int(head[10]) + Int(head[11]) << 8 }
        for flag: UInt8 in [8, 16] where flags & flag != 0 {
            guard at < head.count, let end = head[at...].firstIndex(of: 0) else { return nil }
            at = end + 1
        }
        if flags & 2 != 0 { at += 2 }
        return at < head.count ? offset + Int64(at) : nil
    }

    // MARK: Parts

    /// The archive's bytes up to there stay as they are.
    private func keep(upTo end: Int64) throws(RegistryError) {
        guard end > done else { return }
        // The archive is shorter than 2^32.
        let length = end - done
        while done < end {
            let bytes = try archive.bytes(at: done, count: Int(min(Int64(ArchiveOpening.pieceBytes), end - done)))
            guard !bytes.isEmpty else { throw BinaryReader.damaged }
            try frame.write(bytes[...])
            done += Int64(bytes.count)
        }
        form.append(nil, [UInt32(length)], length: length)
    }

    /// The deflate stream at `offset` becomes a part, if it can be made again.
    /// - Parameters:
    ///   - length: nil when only the stream tells.
    ///   - splitting: it may be a tar.
    /// - Returns: how long it is, whether or not it became one; nil when it is none, or too long.
    private func add(at offset: Int64, length: Int64?, inflatedMax: Int64, splitting: Bool) throws(RegistryError) -> Int64? {
        try keep(upTo: offset)
        let mark = Mark(members: members.size, frame: frame.size)
        let reader = Reading(from: mark, candidates: failures < ArchiveOpening.failuresMax ? candidates : [learned].compactMap { $0 })
        guard let used = try inflate(at: offset, length, inflatedMax, splitting ? TarSplit() : nil, reader),
            let settings = try settings(reader, offset, used)
        else {
            failures += 1
            members.cut(to: mark.members)
            frame.cut(to: mark.frame)
            return reader.used
        }
        learned = settings
        form.append(settings, reader.runs, length: used)
        done = offset + used
        return used
    }

    private struct Mark {
        let members: Int64
        let frame: Int64
    }

    /// One stream on its way into the form.
    private final class Reading {
        let mark: Mark
        var candidates: [DeflateSettings]
        /// Of the frame, of the members, and so on.
        var runs: [UInt32] = []
        var inflated: Int64 = 0
        var hasProbed = false
        /// Set when the stream's end was found.
        var used: Int64?

        init(from mark: Mark, candidates: [DeflateSettings]) { (self.mark, self.candidates) = (mark, candidates) }

        func add(_ count: Int, isFrame: Bool) {
            // A form has fewer than 2^32 bytes.
            if runs.count % 2 == (isFrame ? 1 : 0), !runs.isEmpty {
                runs[runs.count - 1] += UInt32(count)
            } else {
                if runs.isEmpty, !isFrame { runs.append(0) }
                runs.append(UInt32(count))
            }
        }
    }

    private var candidates: [DeflateSettings] {
        guard let learned else { return DeflateSettings.all }
        return [learned] + DeflateSettings.all.filter { $0 != learned }
    }

    /// - Returns: how long the stream is; nil when it is none, does not end where it should, has more in it than it may, or cannot be made again.
    private func inflate(
        at offset: Int64, _ length: Int64?, _ inflatedMax: Int64, _ split: TarSplit?, _ reading: Reading
    ) throws(RegistryError) -> Int64? {
        let stream = try DeflateStream(nil)
        let end = length.map { offset + $0 } ?? archive.size
        var split = split
        var position = offset
        while position < end {
            let piece = try archive.bytes(at: position, count: Int(min(Int64(ArchiveOpening.pieceBytes), end - position)))
            guard !piece.isEmpty else { return nil }
            var used = 0
            var isEnded = false
            while used < piece.count, !isEnded {
                guard let step = try? stream.step(piece, from: used, into: &room) else { return nil }
                used += step.used
                isEnded = step.isEnded
                reading.inflated += Int64(step.made)
                guard reading.inflated <= inflatedMax, fits(Int64(step.made)), reading.runs.count + form.lengths.count < ArchiveForm.entriesMax,
                    step.used > 0 || step.made > 0
                else { return nil }
                try write(room[..<step.made], &split, reading)
                if !reading.hasProbed, reading.inflated >= ArchiveOpening.probeBytes, !isEnded {
                    reading.hasProbed = true
                    var possible: [DeflateSettings] = []
                    for candidate in reading.candidates where try makes(candidate, reading, offset, nil) { possible.append(candidate) }
                    reading.candidates = possible
                    // A gzip file would be read to its end for nothing.
                    if possible.isEmpty { return nil }
                }
            }
            position += Int64(used)
            pause(used)
            if isOver() { throw RegistryError(.unavailable, subject: .store, reason: "the work was interrupted; it goes on later") }
            guard isEnded else { continue }
            try split?.finish { isHeader, bytes throws(RegistryError) in try self.write(bytes, isHeader: isHeader, reading) }
            reading.used = position - offset
            return length == nil || position == end ? position - offset : nil
        }
        return nil
    }

    private func write(_ bytes: ArraySlice<UInt8>, _ split: inout TarSplit?, _ reading: Reading) throws(RegistryError) {
        guard split != nil else { return try write(bytes, isHeader: false, reading) }
        try split?.take(bytes) { isHeader, bytes throws(RegistryError) in try self.write(bytes, isHeader: isHeader, reading) }
    }

    private func write(_ bytes: ArraySlice<UInt8>, isHeader: Bool, _ reading: Reading) throws(RegistryError) {
        guard !bytes.isEmpty else { return }
        try (isHeader ? frame : members).write(bytes)
        reading.add(bytes.count, isFrame: isHeader)
    }

    /// What makes the stream again.
    private func settings(_ reading: Reading, _ offset: Int64, _ length: Int64) throws(RegistryError) -> DeflateSettings? {
        if reading.runs.isEmpty { reading.runs = [0] }
        for candidate in reading.candidates where try makes(candidate, reading, offset, length) { return candidate }
        return nil
    }

    /// Whether deflate makes these bytes of the archive of what was read.
    /// - Parameter length: nil asks for the beginning only.
    private func makes(_ settings: DeflateSettings, _ reading: Reading, _ offset: Int64, _ length: Int64?) throws(RegistryError) -> Bool {
        var rebuild = ArchiveRebuild(
            frame: ArchiveRebuild.Cursor(frame, at: reading.mark.frame),
            members: ArchiveRebuild.Cursor(members, at: reading.mark.members))
        var original = ArchiveRebuild.Cursor(archive, at: offset)
        var expected: [UInt8] = []
        var made: Int64 = 0
        let isSame = try rebuild.make(settings, reading.runs[...], isWhole: length != nil) { bytes throws(RegistryError) in
            made += Int64(bytes.count)
            guard made <= length ?? (archive.size - offset) else { return false }
            expected.removeAll(keepingCapacity: true)
            try original.read(bytes.count, into: &expected)
            pause(bytes.count)
            return bytes.elementsEqual(expected)
        }
        return isSame && (length == nil || made == length)
    }
}

/// One of the two runs of an opened form while it is written; what was written can be read. One thread uses it.
private final class FormFile: RandomAccessBytes {
    private struct State {
        var buffer: [UInt8] = []
        /// In the file.
        var written: Int64 = 0
    }

    private static let bufferBytes = 1 << 20
    let temporary: TemporaryFile
    private let state = Mutex(State())

    init(_ temporary: TemporaryFile) { self.temporary = temporary }

    var size: Int64 { state.withLock { $0.written + Int64($0.buffer.count) } }

    func write(_ bytes: ArraySlice<UInt8>) throws(RegistryError) {
        let isFull = state.withLock { state in
            state.buffer.append(contentsOf: bytes)
            return state.buffer.count >= FormFile.bufferBytes
        }
        if isFull { try flush() }
    }

    func flush() throws(RegistryError) {
        try state.withLock { state throws(RegistryError) in
            guard !state.buffer.isEmpty else { return }
            try Disk.write(state.buffer, to: temporary.file, at: state.written)
            state.written += Int64(state.buffer.count)
            state.buffer.removeAll(keepingCapacity: true)
        }
    }

    /// Forgets what comes after `end`. What of it is in the file is written over, or never read.
    func cut(to end: Int64) {
        state.withLock { state in
            if end >= state.written {
                state.buffer.removeLast(state.buffer.count - Int(end - state.written))
            } else {
                state.written = end
                state.buffer.removeAll(keepingCapacity: true)
            }
        }
    }

    func read(at offset: Int64, into target: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        try state.withLock { state throws(RegistryError) in
            var done = 0
            if offset < state.written {
                let count = Int(min(Int64(target.count), state.written - offset))
                done = try unsafe temporary.file.read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: target[..<count]))
                if done < count { return done }
            }
            let start = Int(offset + Int64(done) - state.written)
            let count = min(target.count - done, state.buffer.count - start)
            guard count > 0 else { return done }
            state.buffer.withUnsafeBytes { bytes in
                let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: target[done..<done + count])
                unsafe rest.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]))
            }
            return done + count
        }
    }
}
