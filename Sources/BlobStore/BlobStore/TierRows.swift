import Core

/// What the store knows of its tier: a row for each segment and own file that was ever copied there, or is about to be
/// (docs/internals/tier.md).
struct TierRow: Hashable, Sendable {
    enum State: UInt8, Sendable {
        /// Perhaps there, wholly or in parts.
        case arriving = 1
        case present
        /// Nothing needs it, since the time of the row.
        case doomed
        /// Found damaged, short or missing there. What can be read of it is; the disk's copy, while there is one, does not leave.
        case unsound
    }

    private static let format: UInt8 = 1

    var state: State
    /// Of the file on disk.
    var length: Int64
    /// When it came to this state.
    var since: Timestamp

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: 18)
        writer.write(TierRow.format)
        writer.write(state.rawValue)
        writer.write(length)
        writer.write(since)
        return writer.bytes
    }

    init(_ state: State, length: Int64, since: Timestamp) {
        self.state = state
        self.length = length
        self.since = since
    }

    /// - Throws: `corrupt` for a row this program did not write.
    init(_ row: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(row)
        guard try reader.readUInt8() == TierRow.format, let state = State(rawValue: try reader.readUInt8()) else { throw BinaryReader.damaged }
        self.state = state
        length = try reader.readInt64()
        since = try reader.readTimestamp()
        guard reader.remaining == 0, (0...RecordHeader.lengthMax).contains(length) else { throw BinaryReader.damaged }
    }

    static func key(_ name: OpenFiles.Name) -> [UInt8] {
        var writer = BinaryWriter(reserving: 33)
        switch name {
        case .segment(let number):
            writer.write(UInt8(1))
            writer.write(number)
        case .ownFile(let id):
            writer.write(UInt8(2))
            writer.write(id)
        }
        return writer.bytes
    }

    static func name(_ key: [UInt8]) -> OpenFiles.Name? {
        switch (key.first, key.count) {
        case (1, 9): .segment(key.dropFirst().reduce(0) { $0 << 8 | UInt64($1) })
        case (2, 33): BlobID(bytes: key.dropFirst()).map { .ownFile($0) }
        default: nil
        }
    }
}
