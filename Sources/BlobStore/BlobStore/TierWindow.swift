import Core
import NIOCore

/// An object of a tier for who checks it: read from its beginning to its end in pieces, of which one is in memory. Going back costs one more request.
struct TierWindow {
    /// One request each.
    static let pieceBytes: Int64 = 8 << 20
    private static let triesMax = 3

    let tier: any SegmentTier
    let name: TierName
    let length: Int64
    let pace: Pace
    private(set) var requests = 0
    private(set) var bytes: Int64 = 0
    private var start: Int64 = 0
    private var piece = ByteBuffer()

    init(_ tier: any SegmentTier, _ name: TierName, length: Int64, _ pace: Pace) {
        self.tier = tier
        self.name = name
        self.length = length
        self.pace = pace
    }

    /// - Throws: `corrupt` when the object does not reach so far; `upstreamFailed` and `notFound` as the tier does.
    mutating func read(at offset: Int64, count: Int) async throws(RegistryError) -> ByteBuffer {
        guard offset >= 0, count >= 0, offset <= length, Int64(count) <= length - offset else { throw Tiering.damaged("it ends too early") }
        var end = start + Int64(piece.readableBytes)
        if offset < start || offset > end {
            (start, end) = (offset, offset)
            piece.clear()
        } else {
            piece.moveReaderIndex(forwardBy: Int(offset - start))
            piece.discardReadBytes()
            start = offset
        }
        while end < offset + Int64(count) {
            let next = min(length, end + TierWindow.pieceBytes)
            try await fetch(end..<next)
            end = next
        }
        guard let slice = piece.getSlice(at: piece.readerIndex, length: count) else { throw Tiering.damaged("it ends too early") }
        return slice
    }

    /// What another window of the same object has asked for.
    mutating func count(_ other: TierWindow) {
        requests += other.requests
        bytes += other.bytes
    }

    /// What broke off is asked for again from there.
    private mutating func fetch(_ range: Range<Int64>) async throws(RegistryError) {
        var at = range.lowerBound
        var tries = 1
        while at < range.upperBound {
            do throws(RegistryError) {
                requests += 1
                var began = pace.world.monotonicNanoseconds()
                let body = try await tier.read(name, at..<range.upperBound)
                while var slice = try await body.next() {
                    let count = slice.readableBytes
                    guard Int64(count) <= range.upperBound - at else {
                        throw RegistryError(.upstreamFailed, subject: .store, reason: "the tier gave too many bytes", retryAfterSeconds: 5)
                    }
                    piece.writeBuffer(&slice)
                    at += Int64(count)
                    bytes += Int64(count)
                    await pace.pause(after: Int64(count), since: began)
                    guard !Task.isCancelled else {
                        throw RegistryError(.unavailable, subject: .store, reason: "the check was broken off", retryAfterSeconds: 1)
                    }
                    began = pace.world.monotonicNanoseconds()
                }
                guard at == range.upperBound else {
                    throw RegistryError(.upstreamFailed, subject: .store, reason: "the tier gave fewer bytes than it has", retryAfterSeconds: 5)
                }
            } catch {
                guard tries < TierWindow.triesMax, error.retryAfterSeconds != nil, !Task.isCancelled else { throw error }
                tries += 1
            }
        }
    }
}
