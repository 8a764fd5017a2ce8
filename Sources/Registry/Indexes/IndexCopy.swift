import Core
import FrontendKit
import NIOCore
import Parsing
import Synchronization

// An index on its way to another node: what it consists of, and its pieces, end to end. Only a node that runs the same program reads it, so there is
// no format number. docs/internals/nodes.md.

extension IndexState {
    /// Every piece of the streams, in the order in which a copy has them.
    private var fragmentPieces: [Piece] {
        streams.sorted { $0.key < $1.key }.flatMap(\.value.fragments).flatMap { fragment in
            [fragment.directory, fragment.raw, fragment.gzip?.piece, fragment.xz?.piece].compactMap { $0 }
        }
    }

    /// The bytes of a copy, with their SHA-256. Blocks.
    func copied() throws(RegistryError) -> (content: BlobContent, digest: Digest) {
        let pieces = [try pack.append(copyHead)] + fragmentPieces
        var hasher = MultiHasher(.sha256)
        for piece in pieces { try pack.read(piece) { unsafe hasher.update($0) } }
        return (pack.content(of: pieces), hasher.finish()[0])
    }

    /// Its length (4 bytes, big-endian), and then: position, and of each stream its fragments with the lengths of their pieces.
    private var copyHead: [UInt8] {
        var writer = BinaryWriter()
        writer.write(position.number)
        writer.write(each: streams.sorted { $0.key < $1.key }) { writer, stream in
            writer.write(stream.key.edition)
            writer.write(stream.key.stream)
            writer.write(each: stream.value.fragments) { writer, fragment in
                writer.write(fragment.first.text)
                writer.write(Int64(fragment.entries))
                writer.write(fragment.bytes)
                writer.write(fragment.directory.length)
                writer.write(fragment.raw.length)
                for encoded in [fragment.gzip, fragment.xz] {
                    writer.write(encoded) { writer, encoded in
                        writer.write(encoded.piece.length)
                        writer.write(encoded.block) { writer, sizes in
                            writer.write(sizes.unpadded)
                            writer.write(sizes.content)
                        }
                    }
                }
            }
        }
        var length = BinaryWriter()
        length.write(UInt32(clamping: writer.bytes.count))
        return length.bytes + writer.bytes
    }
}

/// Takes a copy up: its pieces go to the end of a pack as they come.
final class IndexCopySink: ByteSink {
    /// Some 100 bytes a fragment: of 256 packages each.
    private static let headBytesMax = 64 << 20

    private struct State {
        var head: [UInt8] = []
        /// Where the pieces begin in the pack.
        var start: Int64?
        var received: Int64 = 0
        var hasher = MultiHasher(.sha256)
    }

    private let pack: IndexPack
    private let state = Mutex(State())

    init(_ pack: IndexPack) { self.pack = pack }

    /// Of all that came.
    var digest: Digest { state.withLock { $0.hasher.finish()[0] } }

    func write(_ slice: ByteBuffer) throws(RegistryError) {
        try state.withLock { state throws(RegistryError) in
            slice.withUnsafeReadableBytes { unsafe state.hasher.update($0) }
            var rest = slice
            while rest.readableBytes > 0 {
                let missing = try IndexCopySink.missing(of: state.head)
                guard missing > 0 else { break }
                state.head += rest.readBytes(length: min(missing, rest.readableBytes)) ?? []
            }
            guard rest.readableBytes > 0 else { return }
            let piece = try pack.append(Array(rest.readableBytesView))
            let start = state.start ?? piece.offset
            guard piece.offset == start + state.received else {
                throw RegistryError(.internal, subject: .store, reason: "two write to one index at once")
            }
            state.start = start
            state.received += piece.length
        }
    }

    /// How many bytes of the head are still to come, as far as it is known; 0: it is whole.
    private static func missing(of head: [UInt8]) throws(RegistryError) -> Int {
        guard head.count >= 4 else { return 4 - head.count }
        let length = head.prefix(4).reduce(0) { $0 << 8 | Int($1) }
        guard length <= headBytesMax else { throw BinaryReader.damaged }
        return 4 + length - head.count
    }

    /// - Throws: `corrupt` when this is no whole copy.
    func finish() throws(RegistryError) -> IndexState {
        let (head, start, received) = state.withLock { ($0.head, $0.start ?? pack.bytes, $0.received) }
        guard head.count >= 4, try IndexCopySink.missing(of: head) == 0 else { throw BinaryReader.damaged }
        var reader = BinaryReader(Array(head.dropFirst(4)))
        var next: Int64 = 0
        func piece(_ length: Int64) throws(RegistryError) -> Piece {
            guard length >= 0, length <= received - next else { throw BinaryReader.damaged }
            defer { next += length }
            return Piece(offset: start + next, length: length)
        }
        func encoded(_ reader: inout BinaryReader) throws(RegistryError) -> EncodedPiece {
            let piece = try piece(try reader.readInt64())
            let block = try reader.readOptional { reader throws(RegistryError) in
                Compression.XzBlock.Sizes(unpadded: try reader.readUInt64(), content: try reader.readUInt64())
            }
            return EncodedPiece(piece: piece, block: block)
        }
        var copy = IndexState(pack: pack)
        copy.position = Revision(try reader.readUInt64())
        for _ in 0..<(try reader.readCount()) {
            let name = StreamName(edition: try reader.readString(), stream: try reader.readString())
            let fragments = try reader.readEach { reader throws(RegistryError) in
                guard let first = PackageName(try reader.readString()) else { throw BinaryReader.damaged }
                return Fragment(
                    first: first, entries: Int(try reader.readInt64()), bytes: try reader.readInt64(), directory: try piece(try reader.readInt64()),
                    raw: try piece(try reader.readInt64()), gzip: try reader.readOptional(encoded), xz: try reader.readOptional(encoded))
            }
            copy.set(fragments, of: name)
        }
        guard next == received, reader.remaining == 0 else { throw BinaryReader.damaged }
        copy.isBuilt = true
        return copy
    }
}
