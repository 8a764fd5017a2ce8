import Core
import FrontendKit
import NIOCore
import Parsing
import TestSupport
import Testing

@testable import Registry

@Suite("copies of indexes") struct IndexCopyTests {
    private let directory: TemporaryDirectory
    private let made: IndexState
    private let bytes: [UInt8]

    init() throws {
        directory = try TemporaryDirectory()
        let pack = try IndexPack(creating: directory.file("made.pack"))
        var state = IndexState(pack: pack)
        for (number, name) in ["a", "b"].enumerated() {
            var fragments: [Fragment] = []
            for part in 0..<3 {
                let runs = (0..<(4 + number)).compactMap {
                    PackageRun(Self.name("\(name)-\(part)-\($0)"), [Array("entry \($0)\n".utf8)], separator: [])
                }
                var fragment = try Fragment.write(runs, to: pack, separator: [], unless: nil, IndexMeter())
                if part > 0 { fragment.keep(EncodedPiece(piece: try pack.append(Array("gzip \(part)".utf8))), as: .gzip) }
                if part == 2 {
                    fragment.keep(EncodedPiece(piece: try pack.append(Array("xz".utf8)), block: .init(unpadded: 7, content: 9)), as: .xz)
                }
                fragments.append(fragment)
            }
            state.set(fragments, of: StreamName(edition: "stable", stream: name))
        }
        state.position = Revision(77)
        made = state
        let content = try state.copied().content
        bytes = try content.bytes(at: 0, count: Int(content.length))
    }

    private static func name(_ text: String) -> PackageName {
        guard let name = PackageName(text) else { preconditionFailure("a test's names are well formed") }
        return name
    }

    private func taken(_ bytes: [UInt8], slices: () -> Int) throws -> IndexState {
        // What another copy has left.
        let pack = try IndexPack(creating: directory.file("taken.pack"))
        _ = try pack.append([1, 2, 3])
        let sink = IndexCopySink(pack)
        var rest = bytes[...]
        while !rest.isEmpty {
            let slice = rest.prefix(max(1, slices()))
            try sink.write(ByteBuffer(bytes: slice))
            rest = rest.dropFirst(slice.count)
        }
        #expect(sink.digest == Digest.of(.sha256, bytes))
        return try sink.finish()
    }

    @Test("comes whole however it is cut: the same packages, entries and compressed pieces") func slices() throws {
        let seed = SeededRandom.runSeed
        var random = SeededRandom(seed: seed)
        for most in [1, 3, 7, 50, 100_000] {
            let copy = try taken(bytes) { Int.random(in: 1...most, using: &random) }
            #expect(copy.isBuilt && copy.position == Revision(77))
            #expect(copy.streams.keys.sorted() == made.streams.keys.sorted())
            for (name, stream) in made.streams {
                let fragments = try #require(copy.streams[name]?.fragments)
                #expect(fragments.count == stream.fragments.count)
                for (one, other) in zip(fragments, stream.fragments) {
                    #expect((one.first, one.entries, one.bytes) == (other.first, other.entries, other.bytes))
                    #expect(try one.runs(in: copy.pack, separator: []) == other.runs(in: made.pack, separator: []), "seed \(seed)")
                    for (mine, theirs) in [(one.gzip, other.gzip), (one.xz, other.xz)] {
                        #expect(mine?.block == theirs?.block)
                        #expect(try mine.map { try copy.pack.bytes(of: $0.piece) } == theirs.map { try made.pack.bytes(of: $0.piece) })
                    }
                }
            }
        }
    }

    @Test("one that ends early, goes on too long or is damaged is refused, or read as something else, and never a trap") func damaged() throws {
        for count in 0..<bytes.count {
            #expect(throws: RegistryError.self, "\(count) bytes") { try taken(Array(bytes.prefix(count))) { 64 } }
        }
        #expect(throws: RegistryError.self) { try taken(bytes + [0]) { 64 } }
        for at in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[at] ^= 1 << bit
                // The proof is of all bytes; nothing but a node's own mistake comes so far.
                _ = try? taken(flipped) { 4096 }
            }
        }
        #expect(throws: RegistryError.self, "a head that fills the memory") { try taken([0xFF, 0xFF, 0xFF, 0xFF, 0]) { 5 } }
    }
}
