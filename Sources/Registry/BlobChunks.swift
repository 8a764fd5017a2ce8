import BlobStore
import Catalog
public import Core
import FrontendKit
import Logging

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

    /// A survey now and then, and what it found as metrics, until the task is cancelled.
    public func surveyStorage(_ metrics: Metrics) async {
        while !Task.isCancelled {
            do throws(RegistryError) {
                _ = try await storageSurvey.current()
                for repository in try await catalog.repositories(after: nil, limit: Metrics.seriesMax) { publish(metrics, of: repository) }
            } catch {
                log.warning("what repositories take on the disk could not be counted", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(Registry.surveySeconds))
        }
    }

    private static let surveySeconds = 3600

    private func publish(_ metrics: Metrics, of repository: Repository) {
        let (id, survey) = (repository.id, storageSurvey)
        let labels = [(name: "repository", value: repository.key.text)]
        metrics.gauge("granary_repository_blob_bytes", help: "Lengths of a repository's blobs, each once, hourly.", labels: labels) {
            Double(survey.last?.footprints[id]?.bytes ?? 0)
        }
        metrics.gauge(
            "granary_repository_stored_bytes", help: "What is stored of a repository's blobs, as if it were alone, hourly.", labels: labels
        ) { Double(survey.last?.footprints[id]?.storedBytes ?? 0) }
    }

    /// What is kept in chunks, read when somebody asks.
    public func publishChunks(_ metrics: Metrics) {
        metrics.gauge("granary_blob_bytes", help: "Lengths of all blobs that anything names, at the last survey.") { [storageSurvey] in
            Double(storageSurvey.last?.total.bytes ?? 0)
        }
        metrics.gauge("granary_stored_bytes", help: "What is stored of all blobs that anything names, at the last survey.") { [storageSurvey] in
            Double(storageSurvey.last?.total.storedBytes ?? 0)
        }
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
