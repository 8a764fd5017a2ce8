import CBlobStore
import Core
import NIOCore
import Testing

@testable import BlobStore

@Suite("Checksums and structures on disk") struct ChecksumTests {
    @Test("CRC-32C gives the values of RFC 3720 appendix B.4, by instruction and by tables alike") func vectors() {
        let vectors: [([UInt8], UInt32)] = [
            ([UInt8](repeating: 0, count: 32), 0x8A91_36AA), ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
            (Array(0..<32), 0x46DD_794E), (Array((0..<32).reversed()), 0x113F_DB5C), (Array("123456789".utf8), 0xE306_9283), ([], 0),
        ]
        for (bytes, value) in vectors {
            #expect(CRC32C.of(bytes) == value)
            #expect(granary_crc32c_tables(0, bytes, bytes.count) == value)
        }
        let bytes = pattern(10_007, seed: 1)
        #expect(granary_crc32c(0, bytes, bytes.count) == granary_crc32c_tables(0, bytes, bytes.count))
        let half = granary_crc32c(0, bytes, 5_001)
        let rest = Array(bytes[5_001...])
        #expect(granary_crc32c(half, rest, rest.count) == granary_crc32c(0, bytes, bytes.count))
    }

    @Test("slices are cut every MiB, whatever the pieces") func slicing() {
        let bytes = pattern(2 << 20 + 5, seed: 2)
        var pieces = SliceChecksums()
        for slice in slices(bytes, of: 333_333) { slice.withUnsafeReadableBytes { pieces.update($0) } }
        let whole = bytes.withUnsafeBytes { SliceChecksums.table(of: $0) }
        #expect(pieces.table == whole)
        #expect(whole.count == 12)
        #expect(SliceChecksums.tableBytes(length: 2 << 20) == 8)
        #expect(SliceChecksums.tableBytes(length: 0) == 0)
    }

    @Test("one flipped bit anywhere in a header or trailer is noticed") func flippedStructures() throws {
        let id = try #require(BlobID(Digest.of(.sha256, [1])))
        let header = RecordHeader(.blob, segment: 3, length: 1000, id: id, table: [1, 2, 3, 4])
        let trailer = SegmentTrailer(number: 3, indexOffset: 4096, entryCount: 9)
        let upload = UploadHeader(created: Timestamp(seconds: 5), totalBytes: 7, context: [1, 2])
        #expect(RecordHeader(header.encoded) == header)
        #expect(SegmentTrailer(trailer.encoded) == trailer)
        #expect(UploadHeader.decode(upload.encoded)?.header == upload)
        for bit in 0..<512 {
            var bytes = header.encoded
            bytes[bit / 8] ^= 1 << (bit % 8)
            #expect(RecordHeader(bytes) == nil)
            bytes = trailer.encoded
            bytes[bit / 8] ^= 1 << (bit % 8)
            #expect(SegmentTrailer(bytes) == nil)
        }
        for bit in 0..<upload.encoded.count * 8 {
            var bytes = upload.encoded
            bytes[bit / 8] ^= 1 << (bit % 8)
            #expect(UploadHeader.decode(bytes) == nil)
        }
    }

    @Test("a location's row comes back, and a damaged one is an error") func locationRows() throws {
        for location in [BlobLocation(.segment(7, offset: 128), length: 5), BlobLocation(.ownFile, length: 9 << 30)] {
            #expect(try BlobLocation(location.encoded) == location)
            #expect(throws: RegistryError.self) { try BlobLocation(Array(location.encoded.dropLast())) }
            #expect(throws: RegistryError.self) { try BlobLocation(location.encoded + [0]) }
            #expect(throws: RegistryError.self) { try BlobLocation([9] + location.encoded.dropFirst()) }
        }
        #expect(throws: RegistryError.self) { try BlobLocation([]) }
    }

    @Test("received ranges merge when they touch or overlap, and count from the beginning only") func ranges() {
        var received = ReceivedRanges()
        for range in [10..<20, 30..<40, 20..<25, 0..<5, 38..<50, 25..<25] as [Range<Int64>] { received.insert(range) }
        #expect(received.ranges == [0..<5, 10..<25, 30..<50])
        #expect(received.contiguous == 5)
        received.insert(4..<31)
        #expect(received.ranges == [0..<50])
        #expect(received.contiguous == 50)
    }
}
