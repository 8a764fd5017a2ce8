import BlobStore
import Catalog
public import Core
import FrontendKit

extension Registry {
    private static let pinsMax = 16

    /// How a blob is cut into chunks, by what names it: build caches as build clients do it, everything else by the general profile.
    static func chunkProfile(
        of blob: BlobID, _ catalog: any Catalog, isCache: (_ format: String) -> Bool
    ) async throws(RegistryError) -> ChunkProfile {
        for pin in try await catalog.pins(of: blob, limit: pinsMax) {
            guard case .asset(let id, _) = pin.reason, let repository = try await catalog.repository(id: id) else { continue }
            if isCache(repository.format) { return .buildCache }
        }
        return .general
    }

    /// What is kept in chunks, read when somebody asks.
    public func publishChunks(_ metrics: Metrics) {
        metrics.gauge("granary_chunked_blobs_total", help: "Blobs cut into chunks since the start.") { [chunker] in Double(chunker.totals.cutBlobs) }
        metrics.gauge("granary_chunked_bytes_total", help: "Lengths of the blobs cut into chunks since the start.") { [chunker] in
            Double(chunker.totals.cutBytes)
        }
        metrics.gauge("granary_chunk_written_bytes_total", help: "Bytes written for the blobs cut into chunks since the start.") { [chunker] in
            Double(chunker.totals.newBytes)
        }
        metrics.gauge("granary_chunk_kept_blobs_total", help: "Blobs left whole, since chunks would have saved too little.") { [chunker] in
            Double(chunker.totals.keptBlobs)
        }
        metrics.gauge("granary_chunk_failures_total", help: "Blobs that could not be cut, and stay whole.") { [chunker] in
            Double(chunker.totals.failures)
        }
        metrics.gauge("granary_chunk_waiting_blobs", help: "Blobs that wait to be looked at.") { [chunker] in Double(chunker.waiting) }
    }
}
