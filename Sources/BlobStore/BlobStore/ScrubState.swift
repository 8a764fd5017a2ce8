import Core

/// How far the scrub is, and what it has found: the file `scrub` of the store (docs/internals/scrub.md). Derived: without it the scrub begins anew.
struct ScrubState: Sendable, Hashable {
    static let shards = 256
    private static let magic: UInt32 = 0x4752_5363  // "GRSc"
    /// 1 had nothing of a tier.
    private static let format: UInt8 = 2

    /// When the last complete pass over each shard (the blobs that share a first byte) began; at first, when the scrub first ran.
    var passed: [Timestamp]
    /// The shard being read, since when, and the last blob of it that was.
    var shard: UInt8?
    var began: Timestamp
    var last: BlobID?
    var damaged: [DamagedBlob] = []
    var tier: TierPass

    /// How far the reading of the tier is.
    struct TierPass: Sendable, Hashable {
        /// When the last complete one began; at first, when the scrub first ran.
        var passed: Timestamp
        /// That under way.
        var began: Timestamp?
        /// The key of the last row whose file was read.
        var last: [UInt8]?
    }

    init(at time: Timestamp) {
        passed = Array(repeating: time, count: ScrubState.shards)
        began = time
        tier = TierPass(passed: time)
    }

    mutating func begin(_ shard: UInt8, at time: Timestamp) { (self.shard, began, last) = (shard, time, nil) }

    /// No byte was read longer ago, of those that were stored then.
    var oldest: Timestamp { passed.min() ?? began }

    var encoded: [UInt8] {
        var writer = BinaryWriter()
        writer.write(ScrubState.magic)
        writer.write(ScrubState.format)
        for time in passed { writer.write(time) }
        writer.write(shard) { $0.write($1) }
        writer.write(began)
        writer.write(last) { $0.write($1) }
        writer.write(UInt32(damaged.count))
        for each in damaged {
            writer.write(each.blob)
            writer.write(each.found)
            writer.write(Array(each.reason.utf8))
        }
        writer.write(tier.passed)
        writer.write(tier.began) { $0.write($1) }
        writer.write(tier.last) { $0.write($1) }
        writer.write(CRC32C.of(writer.bytes))
        return writer.bytes
    }

    /// nil when it is damaged or of another format.
    init?(_ bytes: [UInt8]) {
        var reader = BinaryReader(bytes)
        do throws(RegistryError) {
            guard bytes.count > 4, try reader.readUInt32() == ScrubState.magic else { return nil }
            let format = try reader.readUInt8()
            guard (1...ScrubState.format).contains(format) else { return nil }
            passed = []
            for _ in 0..<ScrubState.shards { passed.append(try reader.readTimestamp()) }
            shard = try reader.readOptional { reader throws(RegistryError) in try reader.readUInt8() }
            began = try reader.readTimestamp()
            last = try reader.readOptional { reader throws(RegistryError) in try reader.readBlobID() }
            for _ in 0..<(try reader.readUInt32()) {
                let (blob, found) = (try reader.readBlobID(), try reader.readTimestamp())
                damaged.append(DamagedBlob(blob: blob, found: found, reason: String(decoding: try reader.readPrefixed(), as: UTF8.self)))
            }
            tier = TierPass(passed: passed.min() ?? began)
            if format > 1 {
                tier.passed = try reader.readTimestamp()
                tier.began = try reader.readOptional { reader throws(RegistryError) in try reader.readTimestamp() }
                tier.last = try reader.readOptional { reader throws(RegistryError) in try reader.readPrefixed() }
            }
            guard reader.remaining == 4, try reader.readUInt32() == CRC32C.of(bytes.dropLast(4)) else { return nil }
        } catch {
            return nil
        }
    }
}
