import Core
import Testing

@testable import BlobStore

/// Known answers of the Remote Execution API's algorithm over a stream anybody can make: SHA-256 of 0, of 1, and so on, as 64-bit little-endian.
@Suite("Where chunks end") struct FastCDCTests {
    static let stream: [UInt8] = (0..<UInt64(8 << 20) / 32).flatMap { number in
        Digest.of(.sha256, (0..<8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }).bytes
    }

    private func cuts(_ bytes: ArraySlice<UInt8>, _ cdc: FastCDC) -> [Int] {
        bytes.withUnsafeBytes { bytes in
            var rest = unsafe bytes
            var lengths: [Int] = []
            while !rest.isEmpty {
                lengths.append(unsafe cdc.cut(rest))
                unsafe rest = UnsafeRawBufferPointer(rebasing: rest[(lengths.last ?? 0)...])
            }
            return lengths
        }
    }

    @Test("the stream is the one the answers are for") func input() {
        #expect(Digest.of(.sha256, Self.stream).hex.hasPrefix("dd4dd87a"))
        #expect(Digest.of(.sha256, Self.stream).hex.hasSuffix("ea2821e1"))
    }

    @Test("512 KiB, seed 0: the known lengths, and the first chunk's digest") func buildCache() {
        let lengths = cuts(Self.stream[...], ChunkProfile.buildCache.cdc)
        #expect(
            lengths == [
                560905, 636753, 708026, 322071, 533378, 662298, 556544, 573335, 617449, 660916, 541350, 602020, 495627, 588824, 329112,
            ])
        #expect(Digest.of(.sha256, Self.stream.prefix(560905)).hex.hasPrefix("d432704e372ca8ed"))
    }

    @Test("64 KiB, seed 666: the known lengths") func seeded() {
        #expect(
            cuts(Self.stream.prefix(1 << 20), FastCDC(averageBytes: 64 << 10, seed: 666, gear: Gear.table)) == [
                69060, 72234, 49914, 104364, 85865, 95849, 122756, 75921, 67379, 62442, 69860, 69377, 86420, 17135,
            ])
    }

    @Test("16 KiB over an odd number of bytes: the known lengths") func odd() {
        #expect(cuts(Self.stream.prefix(100_001), FastCDC(averageBytes: 16 << 10, gear: Gear.table)) == [17147, 22363, 18890, 32462, 9139])
    }

    @Test("bytes that never ask for a cut are cut at the longest") func zeros() {
        #expect(cuts([UInt8](repeating: 0, count: 5_000_000)[...], ChunkProfile.buildCache.cdc) == [2_097_152, 2_097_152, 805_696])
    }

    @Test("what follows an inserted byte is cut as before, but for a chunk or two") func resynchronises() {
        let before = Self.stream.prefix(4 << 20)
        var after = Array(before)
        after.insert(7, at: 100_000)
        func chunks(_ bytes: ArraySlice<UInt8>) -> Set<Digest> {
            var at = bytes.startIndex
            return Set(
                cuts(bytes, ChunkProfile.general.cdc).map { length in
                    defer { at += length }
                    return Digest.of(.sha256, bytes[at..<at + length])
                })
        }
        let (old, new) = (chunks(before), chunks(after[...]))
        #expect(new.subtracting(old).count <= 3)
        #expect(old.count > 40)
    }
}
