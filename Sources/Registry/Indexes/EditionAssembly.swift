import Catalog
import Core
import FrontendKit
import Parsing

/// Makes one edition's documents out of its streams' fragments, closes and signs them. Compresses what no document wanted before, hashes what has
/// another beginning than before, and takes everything else over.
struct EditionAssembly {
    /// Running hashes kept per document, so that a change in its last part does not read all of it again.
    private static let checkpointsMax = 16
    /// Beyond so many, headers and footers that change with every publish are forgotten.
    private static let framingMax = 256
    private static let absentMax = 64
    /// 3 % more bytes than preset 6 in two thirds of its time (docs/internals/views.md).
    private static let xzPreset: UInt32 = 4

    let name: String
    let feed: IndexFeed
    let signing: Signing
    let moments: EditionMoments
    let workers: BlockingPool
    let meter: IndexMeter

    /// The state has the edition afterwards, or no such edition when the format knows none.
    func run(_ state: inout IndexState, basis: EditionBasis) async throws(RegistryError) {
        let names = state.streams.keys.filter { $0.edition == name }.sorted()
        let streams = names.compactMap { name in state.streams[name]?.summary(name.stream) }
        let documents = try feed.indexing.documents(of: name, over: streams, in: feed.context)
        guard !documents.isEmpty else {
            state.editions[name] = nil
            // Anybody may ask for any name: a full memory is emptied, forgetting costs one question.
            if state.absent.count >= EditionAssembly.absentMax { state.absent = [:] }
            state.absent[name] = basis
            return
        }
        state.absent[name] = nil
        try await compress(documents, &state)
        let plans = try await plans(of: documents, over: streams, &state)
        let before = state.editions[name]
        let published = try await hashed(plans, state.pack, known: before?.generations.last)
        var closing = Closing(published, streams, name, key: basis.key)
        let last = before?.generations.last?.made
        closing.edition.made = try await moments.made(name, of: feed, after: last) { [closing] () throws(RegistryError) in
            try closing.content(by: feed)
        }
        let all = try await closed(closing)
        meter.add { $0.generations += 1 }
        let generations = (before?.generations ?? []).suffix(EditionState.generationsMax - 1)
        state.editions[name] = EditionState(basis: basis, generations: generations + [Generation(made: closing.edition.made, documents: all)])
    }

    // MARK: Pieces

    private func compress(_ documents: [IndexDocument], _ state: inout IndexState) async throws(RegistryError) {
        struct Task: Sendable {
            let stream: StreamName
            let index: Int
            let raw: Piece
            let encoding: IndexDocument.Encoding
        }
        var wanted: [StreamName: Set<IndexDocument.Encoding>] = [:]
        for document in documents {
            for stream in document.streams {
                wanted[StreamName(edition: name, stream: stream), default: []].formUnion(document.forms.map(\.encoding))
            }
        }
        var tasks: [Task] = []
        for (stream, encodings) in wanted {
            for (index, fragment) in (state.streams[stream]?.fragments ?? []).enumerated() {
                for encoding in encodings where fragment.piece(encoding) == nil {
                    tasks.append(Task(stream: stream, index: index, raw: fragment.raw, encoding: encoding))
                }
            }
        }
        let (pack, meter) = (state.pack, meter)
        let pieces = try await workers.map(tasks) { task throws(RegistryError) -> EncodedPiece in
            meter.add { $0.fragmentsCompressed += 1 }
            return try EditionAssembly.encode(try pack.bytes(of: task.raw), task.encoding, to: pack)
        }
        for (task, piece) in zip(tasks, pieces) { state.streams[task.stream]?.fragments[task.index].keep(piece, as: task.encoding) }
    }

    private static func encode(
        _ bytes: [UInt8], _ encoding: IndexDocument.Encoding, to pack: IndexPack
    ) throws(RegistryError) -> EncodedPiece {
        switch encoding {
        case .identity: return EncodedPiece(piece: try pack.append(bytes))
        case .gzip: return EncodedPiece(piece: try pack.append(try Compression.gzip(bytes)))
        case .xz:
            let block = try Compression.xzBlock(bytes, preset: xzPreset)
            return EncodedPiece(piece: try pack.append(block.bytes), block: block.sizes)
        }
    }

    /// A form of a document and the pieces that make it.
    private struct Plan: Sendable {
        let form: IndexDocument.Form
        let pieces: [Piece]
    }

    private func plans(
        of documents: [IndexDocument], over streams: [IndexStream], _ state: inout IndexState
    ) async throws(RegistryError) -> [Plan] {
        if state.framing.count > EditionAssembly.framingMax { state.framing = [:] }
        var plans: [Plan] = []
        for document in documents {
            let summaries = document.streams.compactMap { name in streams.first { $0.name == name } }
            let (entries, bytes) = (summaries.reduce(0) { $0 + $1.entries }, summaries.reduce(0) { $0 + $1.bytes })
            let fragments = summaries.flatMap { state.streams[StreamName(edition: name, stream: $0.name)]?.fragments ?? [] }
            for form in document.forms {
                var pieces: [EncodedPiece] = []
                func frame(_ bytes: [UInt8]) throws(RegistryError) {
                    if !bytes.isEmpty { pieces.append(try framing(bytes, form.encoding, &state)) }
                }
                try frame(document.header(entries, bytes))
                for (index, fragment) in fragments.enumerated() {
                    if index > 0 { try frame(feed.indexing.separator) }
                    if let piece = fragment.piece(form.encoding) { pieces.append(piece) }
                }
                try frame(document.footer(entries, bytes))
                // Nothing at all is still a file of its encoding.
                if pieces.isEmpty, form.encoding == .gzip { pieces.append(try framing([], .gzip, &state)) }
                if form.encoding == .xz {
                    pieces.insert(try framing(Compression.xzHeader, .identity, &state), at: 0)
                    pieces.append(try framing(try Compression.xzTrailer(of: pieces.compactMap(\.block)), .identity, &state))
                }
                plans.append(Plan(form: form, pieces: pieces.map(\.piece)))
            }
        }
        return plans
    }

    private func framing(
        _ bytes: [UInt8], _ encoding: IndexDocument.Encoding, _ state: inout IndexState
    ) throws(RegistryError) -> EncodedPiece {
        let key = IndexState.Framing(bytes: bytes, encoding: encoding)
        if let known = state.framing[key] { return known }
        let piece = try EditionAssembly.encode(bytes, encoding, to: state.pack)
        state.framing[key] = piece
        return piece
    }

    // MARK: Digests

    private func hashed(_ plans: [Plan], _ pack: IndexPack, known: Generation?) async throws(RegistryError) -> [(String, Published)] {
        let (digests, meter) = (feed.indexing.digests, meter)
        return try await workers.map(plans) { plan throws(RegistryError) -> (String, Published) in
            let before = known?.documents[plan.form.path]
            if let before, before.storage == .pieces(plan.pieces), before.contentType == plan.form.contentType { return (plan.form.path, before) }
            return (plan.form.path, try EditionAssembly.hash(plan, pack, digests, after: before, meter))
        }
    }

    private static func hash(
        _ plan: Plan, _ pack: IndexPack, _ digests: DigestSet, after known: Published?, _ meter: IndexMeter
    ) throws(RegistryError) -> Published {
        var checkpoints: [HashCheckpoint] = []
        if let known, case .pieces(let old) = known.storage {
            let same = zip(old, plan.pieces).prefix { $0 == $1 }.count
            checkpoints = known.checkpoints.filter { $0.pieces <= same }
        }
        var hasher = checkpoints.last?.hasher ?? MultiHasher(digests)
        var bytes = checkpoints.last?.bytes ?? 0
        let start = checkpoints.last?.pieces ?? 0
        let step = max(1, plan.pieces.count / checkpointsMax)
        for (index, piece) in plan.pieces.enumerated().dropFirst(start) {
            if index > start, index % step == 0 { checkpoints.append(HashCheckpoint(pieces: index, bytes: bytes, hasher: hasher)) }
            try pack.read(piece) { unsafe hasher.update($0) }
            bytes += piece.length
            meter.add { $0.bytesHashed += piece.length }
        }
        // A document that grows keeps the newest of them.
        return Published(
            contentType: plan.form.contentType, size: bytes, digests: hasher.finish(), storage: .pieces(plan.pieces),
            checkpoints: Array(checkpoints.suffix(2 * checkpointsMax)))
    }

    // MARK: Closing

    /// What closes an edition is made of.
    private struct Closing {
        let published: [(String, Published)]
        let key: String?
        var edition: Edition

        init(_ published: [(String, Published)], _ streams: [IndexStream], _ name: String, key: String?) {
            let files = published.map { Edition.File(path: $0.0, size: $0.1.size, digests: $0.1.digests) }
                .sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
            self.published = published
            self.key = key
            edition = Edition(name: name, files: files, streams: streams, made: Timestamp(milliseconds: 0))
        }

        /// SHA-256 of the pages and of who signs them; asked before the time is known.
        func content(by feed: IndexFeed) throws(RegistryError) -> Digest {
            var all = Array((key ?? "").utf8)
            for case .page(let path, let contentType, let bytes) in try feed.indexing.closing(edition, in: feed.context) {
                all += "\n\(path) \(contentType) \(bytes.count)\n".utf8
                all += bytes
            }
            return .of(.sha256, all)
        }
    }

    private func closed(_ closing: Closing) async throws(RegistryError) -> [String: Published] {
        var all = Dictionary(closing.published) { first, _ in first }
        let isSigned = try await signing.key(feed.repository) != nil
        for document in try feed.indexing.closing(closing.edition, in: feed.context) {
            switch document {
            case .page(let path, let contentType, let bytes): all[path] = Published(bytes, contentType: contentType)
            case .signature(let path, let contentType, let form, let signed):
                guard isSigned else { continue }
                guard case .bytes(let page)? = all[signed]?.storage else {
                    throw RegistryError(.internal, subject: .path(path), reason: "\(path) signs \(signed), which is no page before it")
                }
                all[path] = Published(try await signing.sign(page, form, feed.repository), contentType: contentType)
            }
        }
        return all
    }
}
