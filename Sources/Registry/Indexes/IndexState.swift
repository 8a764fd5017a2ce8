import Core
import FrontendKit

/// A stream's name among those of all editions.
struct StreamName: Sendable, Hashable, Comparable {
    let edition: String
    let stream: String

    static func < (a: StreamName, b: StreamName) -> Bool {
        guard a.edition == b.edition else { return a.edition.utf8.lexicographicallyPrecedes(b.edition.utf8) }
        return a.stream.utf8.lexicographicallyPrecedes(b.stream.utf8)
    }
}

struct IndexedStream: Sendable {
    var fragments: [Fragment]
    /// Another one whenever the fragments' content is another.
    var version: UInt64

    func summary(_ name: String) -> IndexStream {
        IndexStream(name: name, entries: fragments.reduce(0) { $0 + $1.entries }, bytes: fragments.reduce(0) { $0 + $1.bytes })
    }
}

/// A document as it is served.
struct Published: Sendable {
    enum Storage: Sendable, Hashable {
        case pieces([Piece])
        case bytes([UInt8])
    }

    let contentType: String
    let size: Int64
    /// SHA-256 first.
    let digests: [Digest]
    let storage: Storage
    /// From where hashing can go on when the pieces that follow are others.
    var checkpoints: [HashCheckpoint] = []

    init(contentType: String, size: Int64, digests: [Digest], storage: Storage, checkpoints: [HashCheckpoint] = []) {
        self.contentType = contentType
        self.size = size
        self.digests = digests
        self.storage = storage
        self.checkpoints = checkpoints
    }

    init(_ bytes: [UInt8], contentType: String) {
        self.init(contentType: contentType, size: Int64(bytes.count), digests: [.of(.sha256, bytes)], storage: .bytes(bytes))
    }
}

/// The running hashes after some pieces.
struct HashCheckpoint: Sendable {
    let pieces: Int
    let bytes: Int64
    let hasher: MultiHasher
}

/// An edition's documents, seen together or not at all.
struct Generation: Sendable {
    let made: Timestamp
    let documents: [String: Published]

    func document(with digest: Digest) -> Published? { documents.values.first { $0.digests.first == digest } }
}

/// What an edition was made from: equal basis, equal documents.
struct EditionBasis: Sendable, Hashable {
    var versions: [String: UInt64]
    var context: RenderContext
    /// `Signing.key`.
    var key: String?
}

struct EditionState: Sendable {
    /// By digest, documents of so many generations are found.
    static let generationsMax = 3

    var basis: EditionBasis
    /// The newest last.
    var generations: [Generation]
}

/// Everything one index knows. A value: whoever holds one sees one moment, with the pack that its pieces are in.
struct IndexState: Sendable {
    struct Framing: Sendable, Hashable {
        var bytes: [UInt8]
        var encoding: IndexDocument.Encoding
    }

    var pack: IndexPack
    /// Something was made; nothing before that.
    var isBuilt = false
    /// Every change up to this revision is in the streams.
    var position = Revision.zero
    var streams: [StreamName: IndexedStream] = [:]
    var nextVersion: UInt64 = 1
    var editions: [String: EditionState] = [:]
    /// Editions that were asked for and that the format does not know.
    var absent: [String: EditionBasis] = [:]
    /// Headers, separators and footers as pieces, and what begins and ends an .xz stream.
    var framing: [Framing: EncodedPiece] = [:]

    init(pack: IndexPack) { self.pack = pack }

    func versions(of edition: String) -> [String: UInt64] {
        var versions: [String: UInt64] = [:]
        for (name, stream) in streams where name.edition == edition { versions[name.stream] = stream.version }
        return versions
    }

    mutating func set(_ fragments: [Fragment], of name: StreamName) {
        guard streams[name]?.fragments != fragments else { return }
        streams[name] = fragments.isEmpty ? nil : IndexedStream(fragments: fragments, version: nextVersion)
        nextVersion += 1
    }

    // MARK: What the pack holds for nobody

    private static let slackBytes: Int64 = 16 << 20

    private var pieces: Set<Piece> {
        var pieces = Set(framing.values.map(\.piece))
        for fragment in streams.values.flatMap(\.fragments) {
            for piece in [fragment.directory, fragment.raw, fragment.gzip?.piece, fragment.xz?.piece] {
                if let piece { pieces.insert(piece) }
            }
        }
        for document in editions.values.flatMap(\.generations).flatMap(\.documents.values) {
            if case .pieces(let more) = document.storage { pieces.formUnion(more) }
        }
        return pieces
    }

    /// Copies what is needed into a new pack once more than half is not. The old one goes with its last reader.
    /// - Returns: the pack to take away.
    mutating func compact(into path: () -> String) throws(RegistryError) -> IndexPack? {
        let pieces = self.pieces.sorted { ($0.offset, $0.length) < ($1.offset, $1.length) }
        guard pack.bytes > 2 * pieces.reduce(0, { $0 + $1.length }) + IndexState.slackBytes else { return nil }
        let old = pack
        let new = try IndexPack(creating: path())
        var moved: [Piece: Piece] = [:]
        for piece in pieces { moved[piece] = try new.append(try old.bytes(of: piece)) }
        func now(_ piece: Piece) -> Piece { moved[piece] ?? piece }
        for (name, stream) in streams {
            streams[name]?.fragments = stream.fragments.map { fragment in
                Fragment(
                    first: fragment.first, entries: fragment.entries, bytes: fragment.bytes, directory: now(fragment.directory),
                    raw: now(fragment.raw), gzip: fragment.gzip?.moved(now), xz: fragment.xz?.moved(now))
            }
        }
        framing = framing.mapValues { $0.moved(now) }
        for (name, edition) in editions {
            editions[name]?.generations = edition.generations.map { generation in
                Generation(
                    made: generation.made,
                    documents: generation.documents.mapValues { document in
                        guard case .pieces(let pieces) = document.storage else { return document }
                        return Published(
                            contentType: document.contentType, size: document.size, digests: document.digests,
                            storage: .pieces(pieces.map(now)), checkpoints: document.checkpoints)
                    })
            }
        }
        pack = new
        return old
    }
}
