import Core
import OrderedStore
import Synchronization

/// A blob that the bucket does not have yet: its row in the family `held-blobs` of the node that has it. As long as there is one, the blob does not
/// leave the disk.
struct HeldNote: Hashable, Sendable {
    private static let format: UInt8 = 1

    let length: Int64
    let since: Timestamp

    init(length: Int64, since: Timestamp) {
        self.length = length
        self.since = since
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: 17)
        writer.write(HeldNote.format)
        writer.write(length)
        writer.write(since)
        return writer.bytes
    }

    /// - Throws: `corrupt` for a row this program did not write.
    init(_ row: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(row)
        guard try reader.readUInt8() == HeldNote.format else { throw BinaryReader.damaged }
        length = try reader.readInt64()
        since = try reader.readTimestamp()
        guard reader.remaining == 0, (0...RecordHeader.lengthMax).contains(length) else { throw BinaryReader.damaged }
    }
}

/// All that this node holds, as the rows say, and what is just being noted.
final class HeldBlobs: Sendable {
    private struct State {
        var notes: [BlobID: HeldNote] = [:]
        var bytes: Int64 = 0
        var coming = 0
        var comingBytes: Int64 = 0
    }

    /// Each takes some memory.
    private static let blobsMax = 1 << 17

    private let state = Mutex(State())

    var count: Int { state.withLock { $0.notes.count } }
    var bytes: Int64 { state.withLock { $0.bytes } }
    /// Since when the one that waits longest does; nil when none does.
    var oldest: Timestamp? { state.withLock { $0.notes.values.map(\.since).min() } }

    func has(_ id: BlobID) -> Bool { state.withLock { $0.notes[id] != nil } }

    /// Those that wait longest first.
    func inOrder() -> [(id: BlobID, note: HeldNote)] {
        let notes = state.withLock { $0.notes }
        return notes.map { (id: $0.key, note: $0.value) }.sorted { ($0.note.since, $0.id) < ($1.note.since, $1.id) }
    }

    /// Makes room for one more; balanced by `end`.
    /// - Returns: whether there is any.
    func begin(_ length: Int64, bytesMax: Int64) -> Bool {
        state.withLock { state in
            guard state.notes.count + state.coming < HeldBlobs.blobsMax, length <= bytesMax - state.bytes - state.comingBytes else { return false }
            state.coming += 1
            state.comingBytes += length
            return true
        }
    }

    /// - Parameter note: as the row says; nil when there is none.
    func end(_ id: BlobID, _ length: Int64, noted note: HeldNote?) {
        state.withLock { state in
            state.coming -= 1
            state.comingBytes -= length
            if let note { HeldBlobs.add(id, note, to: &state) }
        }
    }

    func remove(_ ids: [BlobID]) {
        state.withLock { state in
            for id in ids { if let note = state.notes.removeValue(forKey: id) { state.bytes -= note.length } }
        }
    }

    /// What the rows say when a node starts. Blocks.
    func load(_ index: OrderedStore) throws(RegistryError) {
        var found: [(BlobID, HeldNote)] = []
        try index.scan(.heldBlobs, from: [], upTo: nil) { key, row throws(RegistryError) in
            found.append((try BinaryReader.checked(BlobID(bytes: key)), try HeldNote(row)))
            return true
        }
        state.withLock { state in for (id, note) in found { HeldBlobs.add(id, note, to: &state) } }
    }

    private static func add(_ id: BlobID, _ note: HeldNote, to state: inout State) {
        state.bytes += note.length - (state.notes.updateValue(note, forKey: id)?.length ?? 0)
    }
}
