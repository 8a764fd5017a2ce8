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
        publishArchives(metrics)
    }

    private func publishArchives(_ metrics: Metrics) {
        func keeper(_ name: String, _ help: String, _ value: @escaping @Sendable (ArchiveTotals) -> Double) {
            metrics.gauge("granary_archive_\(name)", help: help) { [archives] in value(archives.totals) }
        }
        keeper("opened_blobs_total", "Archives nobody read that were opened since the start.") { Double($0.openedBlobs) }
        keeper("opened_bytes_total", "Lengths of the archives opened since the start.") { Double($0.openedBytes) }
        keeper("written_bytes_total", "Bytes written for the archives opened since the start.") { Double($0.newBytes) }
        keeper("closed_blobs_total", "Archives left closed: they cannot be made again, or opening them saves too little.") { Double($0.closedBlobs) }
        keeper("failures_total", "Archives that could not be opened, and stay closed; each is tried again.") { Double($0.failures) }
        keeper("rounds_total", "Looks at all blobs for archives nobody reads.") { Double($0.rounds) }
        func rebuilds(_ name: String, _ help: String, _ value: @escaping @Sendable (RebuildTotals) -> Double) {
            metrics.gauge("granary_archive_\(name)", help: help) { [blobs] in value(blobs.rebuildTotals) }
        }
        rebuilds("rebuilds_total", "Archives made again for a reader since the start.") { Double($0.archives) }
        rebuilds("rebuilt_bytes_total", "Their lengths.") { Double($0.bytes) }
        rebuilds("rebuild_seconds_total", "How long their readers waited for it.") { Double($0.nanoseconds) / 1e9 }
        rebuilds("rebuilds_refused_total", "Readers sent away with 503, since too many waited.") { Double($0.refused) }
    }
}
