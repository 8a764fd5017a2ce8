import Core
import Testing

@testable import Parsing

@Suite struct CompressedPieces {
    @Test(
        ".xz blocks between header and trailer are one stream, for a reader that stops after the first",
        arguments: [[], [0], [1], [70_000, 0, 3, 1_000]])
    func oneStream(lengths: [Int]) throws {
        let inputs = lengths.map { length in (0..<length).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) } }
        var blocks: [Compression.XzBlock] = []
        for input in inputs { blocks.append(try Compression.xzBlock(input)) }
        let stream = Compression.xzHeader + blocks.flatMap(\.bytes) + (try Compression.xzTrailer(of: blocks.map(\.sizes)))
        let expanded = try #require(
            python(
                """
                import lzma, sys
                reader = lzma.LZMADecompressor(lzma.FORMAT_XZ)
                sys.stdout.buffer.write(reader.decompress(bytes.fromhex("\(Hex.encode(stream))")))
                assert reader.eof and not reader.unused_data
                """), "the first stream ends early, or late")
        #expect(expanded == inputs.flatMap { $0 })
    }

    @Test("equal bytes give equal results, and one block between header and trailer is what `xz` gives")
    func reproducible() throws {
        let input = Array("granary ".utf8) + Array(repeating: 7, count: 5_000)
        let block = try Compression.xzBlock(input)
        #expect(try Compression.xz(input) == Compression.xzHeader + block.bytes + (try Compression.xzTrailer(of: [block.sizes])))
        #expect(try Compression.gzip(input) == Compression.gzip(input))
    }
}
