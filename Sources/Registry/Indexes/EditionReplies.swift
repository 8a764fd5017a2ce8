import Access
import BlobStore
import Catalog
public import Core
import FrontendKit
import HTTPTypes
import NIOCore

extension Registry {
    /// A document of an edition: its pieces as they lie in the pack.
    func editionResponse(
        _ part: EditionPart, in session: RepositorySession, head: RequestHead, fields: HTTPFields
    ) async throws(RegistryError) -> Response {
        guard let indexing = session.frontend.indexing else {
            throw RegistryError(.internal, subject: .request, reason: "\(session.frontend.format.name) has no editions")
        }
        let feed = try await indexFeed(in: session, indexing)
        guard let (document, pack) = try await editions.document(part, of: feed) else {
            // A node makes a generation when it is asked, and so lacks some that others gave.
            if case .digest = part, let response = try await answered(byOthers: head) { return response }
            throw RegistryError(
                .notFound, subject: .repository(feed.repository.key.text),
                reason: "\(feed.repository.key) has no such document in \(part.edition.isEmpty ? "its index" : part.edition)")
        }
        guard let sha256 = document.digests.first else { preconditionFailure("a document has its digests") }
        var all: HTTPFields = [.contentType: document.contentType, .contentSecurityPolicy: "default-src 'none'; sandbox"]
        // No Last-Modified: two generations of one second would be one to a client that knows nothing else (apt).
        all[.cacheControl] = (feed.repository.isPublic ? "public" : "private") + ", no-cache"
        for field in fields { all[field.name] = field.value }
        let content: Response.Content =
            switch document.storage {
            case .bytes(let bytes): .bytes(ByteBuffer(bytes: bytes))
            case .pieces(let pieces) where document.size > 0: .blob(pack.content(of: pieces))
            case .pieces: .bytes(ByteBuffer())
            }
        return Response(.ok, fields: all, content: content, validator: .init(etag: "\"\(sha256.hex)\""))
    }

    /// What the making of indexes has cost so far.
    public var indexWork: IndexWork { editions.meter.current }

    /// Read when somebody asks.
    public func publishIndexes(_ metrics: Metrics) {
        metrics.gauge("granary_index_builds_total", help: "Indexes of whole repositories made from all facts since the start.") { [editions] in
            Double(editions.meter.current.builds)
        }
        metrics.gauge("granary_index_copies_total", help: "Indexes of whole repositories copied from another node since the start.") { [editions] in
            Double(editions.meter.current.copies)
        }
    }

    public var indexFollower: any Follower { IndexFollower(editions: editions) }
}

/// Makes indexes again before somebody asks. Never busy for more than a part of the time, so that a run of publishes is answered by a few
/// rebuilds; whoever asks meanwhile does not wait for it.
private struct IndexFollower: Follower {
    let editions: Editions
    var name: String { "indexes" }
    var isDurable: Bool { false }

    func take(_ entries: [LogEntry]) async -> [Change.Part] {
        var repositories: Set<RepositoryID> = []
        for touched in entries.lazy.flatMap(\.touched) {
            switch touched {
            case .repository(let id), .package(let id, _), .learned(let id, _): repositories.insert(id)
            case .asset, .tag, .record, .verdict, .trash: break
            }
        }
        guard !repositories.isEmpty else { return [] }
        let start = ContinuousClock.now
        await editions.refresh(repositories)
        let pause = min(max((ContinuousClock.now - start) * 3, .milliseconds(100)), .seconds(10))
        // Cancelled: the server stops, and nobody waits for the rest.
        try? await Task.sleep(for: pause)
        return []
    }

    func startOver() -> [Change.Part] { [] }
}

/// What an `Indexing` may read.
struct StoredBlobs: BlobReading {
    let blobs: BlobStore
    let workers: BlockingPool

    func bytes(of blob: BlobID) async throws(RegistryError) -> [UInt8] {
        guard let content = try await blobs.content(of: blob) else {
            throw RegistryError(.corrupt, subject: .blob(blob.description), reason: "the bytes are missing from the store")
        }
        guard content.length <= Int64(Body.collectBytesMax) else {
            throw RegistryError(.tooLarge, subject: .blob(blob.description), reason: "the blob is too large to be read into memory")
        }
        return try await workers.run { () throws(RegistryError) in try content.bytes(at: 0, count: Int(content.length)) }
    }
}
