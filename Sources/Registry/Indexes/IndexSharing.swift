import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import Outbound
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Indexes of whole repositories where several nodes share a catalog: each has its own, on its disk, but only one makes it from all facts, under a
/// lease. The others wait for it, or copy what another had made before, and go on from there with the log. docs/internals/nodes.md.
struct IndexSharing: Sendable {
    /// A node that is alive is waited for at most so long.
    private static let patienceSeconds: Double = 600

    private enum Outcome: Sendable {
        case copied(IndexState)
        case made
    }

    let catalog: any Catalog
    let nodes: Nodes
    let access: Access
    let turns: FetchTurns
    let workers: BlockingPool
    let world: World
    let log: Logger

    /// Copies an index, or makes it when no other node has it or is at it.
    /// - Parameters:
    ///   - pack: where a copy's pieces go.
    ///   - make: makes it, so that other nodes find it here afterwards.
    /// - Returns: the copy; nil when it was made.
    func copy(
        of feed: IndexFeed, into pack: IndexPack, orMake make: () async throws(RegistryError) -> Void
    ) async throws(RegistryError) -> IndexState? {
        guard let name = await name(of: feed.id) else {
            try await make()
            return nil
        }
        var hasBegun = false
        do throws(RegistryError) {
            let outcome = try await turns.once(
                "index \(name.hex)", subject: .repository(feed.repository.key.text), patienceSeconds: IndexSharing.patienceSeconds
            ) { () async throws(RegistryError) in
                try await copy(named: name, into: pack).map { Outcome.copied($0) }
            } fetch: { parts async throws(RegistryError) in
                hasBegun = true
                try await make()
                await release(parts)
                return .made
            }
            if case .copied(let state) = outcome { return state }
        } catch {
            // A catalog that takes no changes for now is read all the same.
            guard !hasBegun else { throw error }
            try await make()
        }
        return nil
    }

    /// The index is made, whether or not the others hear of it at once.
    private func release(_ parts: [Change.Part]) async {
        guard !parts.isEmpty else { return }
        do throws(RegistryError) {
            try await catalog.apply(Change(actor: .system, at: world.now(), requestID: "index", parts: parts))
        } catch {
            log.info("other nodes find out for themselves that an index is made", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Asking

    /// Of the first node that has it.
    private func copy(named name: Digest, into pack: IndexPack) async throws(RegistryError) -> IndexState? {
        for node in try await nodes.others() {
            do throws(RegistryError) {
                if let copy = try await copy(named: name, of: node, into: pack) { return copy }
            } catch {
                log.info("an index cannot be copied from another node", metadata: ["node": "\(node)", "error": "\(error)"])
            }
        }
        return nil
    }

    private func copy(named name: Digest, of node: UInt16, into pack: IndexPack) async throws(RegistryError) -> IndexState? {
        let question = NodeQuestion.index(name)
        guard var request = try await nodes.request(question, to: node, as: access) else { return nil }
        request.limits = Limits(bodyBytesMax: .max, connectSeconds: 2, stallSeconds: 30, redirectsMax: 0)
        let answer = try await nodes.client.fetch(request)
        guard answer.status == 200 else { return nil }
        let sink = IndexCopySink(pack)
        try await answer.body.drain(into: sink)
        guard let proof = answer[NodeQuestions.proofField],
            access.isNodeProof(proof, of: question, answer: sink.digest, from: node, to: nodes.number)
        else {
            throw RegistryError(.upstreamFailed, subject: .request, reason: "what came is not what a node sent")
        }
        return try sink.finish()
    }

    // MARK: Answering

    /// - Parameter state: of the index of that name.
    func response(with state: IndexState, named name: Digest, for asker: UInt16) async throws(RegistryError) -> Response {
        let (content, digest) = try await workers.run { () throws(RegistryError) in try state.copied() }
        let proof = access.nodeProof(of: .index(name), answer: digest, from: nodes.number, to: asker)
        var fields: HTTPFields = [.contentType: "application/octet-stream", .cacheControl: "no-store"]
        if let field = HTTPField.Name(NodeQuestions.proofField) { fields[field] = proof }
        return Response(.ok, fields: fields, content: .blob(content))
    }

    /// What nodes call an index among themselves: another program may make other bytes of the same facts, and so calls it otherwise. nil: nothing is
    /// shared.
    func name(of feed: String) async -> Digest? {
        do throws(RegistryError) {
            let program = try await workers.run { () throws(RegistryError) in try Program.digest() }
            return Digest.of(.sha256, Array("\(program.hex) \(feed)".utf8))
        } catch {
            log.warning("indexes are not shared with other nodes: which program this is cannot be told", metadata: ["error": "\(error)"])
            return nil
        }
    }
}

/// What runs here, by its bytes.
private enum Program {
    private static let known = Mutex<Digest?>(nil)

    /// Blocks, some 100 ms the first time.
    static func digest() throws(RegistryError) -> Digest {
        try known.withLock { known throws(RegistryError) in
            if let known { return known }
            let file = OpenFile(owning: open("/proc/self/exe", O_RDONLY | O_CLOEXEC))
            var hasher = MultiHasher(.sha256)
            var offset: Int64 = 0
            let buffer = unsafe UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
            defer { buffer.deallocate() }
            while case let count = try unsafe file.read(at: offset, into: buffer), count > 0 {
                hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                offset += Int64(count)
            }
            let digest = hasher.finish()[0]
            known = digest
            return digest
        }
    }
}
