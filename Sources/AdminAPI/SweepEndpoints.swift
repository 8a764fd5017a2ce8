import BlobStore
import Core
import FrontendKit
import HTTPTypes
import Registry

/// The sweep of the blob store: run it, look at it, ask it why.
enum SweepEndpoints {
    static let table: [Endpoint] = [
        .json(.post, "/api/v1/admin/storage-gc", "run_storage_gc", "admin", .admin) {
            (call, request: StorageGcRequest) throws(RegistryError) -> StorageGcResult in
            var options = call.registry.sweeper.options
            options.isDryRun = request.dry_run ?? false
            if let seconds = request.grace_seconds {
                guard seconds >= 0 else { throw RegistryError(.invalid, subject: .field("grace_seconds"), reason: "grace_seconds is not negative") }
                options.graceSeconds = seconds
            }
            return StorageGcResult(try await call.registry.sweep(options))
        },
        .json(.get, "/api/v1/admin/sweep", "get_sweep", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> SweepStatus in
            let sweeper = call.registry.sweeper
            return SweepStatus(
                is_running: sweeper.isRunning, runs: Int64(clamping: sweeper.totals.runs), bytes_freed_total: sweeper.totals.tally.freedBytes,
                last: sweeper.last.map(StorageGcResult.init))
        },
        .json(.get, "/api/v1/admin/sweep/{digest}", "explain_blob", "admin", .admin) {
            (call, _: Nothing) throws(RegistryError) -> BlobExplanation in
            let text = call.match["digest"]
            let hex = text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : text
            guard let bytes = Hex.decode(hex), let blob = BlobID(bytes: bytes) else {
                throw RegistryError(.invalid, subject: .field("digest"), reason: "a blob is named by 64 hexadecimal digits, or sha256: and those")
            }
            return BlobExplanation(try await call.registry.sweeper.explain(blob))
        },
    ]
}

struct StorageGcRequest: Codable, Sendable {
    var dry_run: Bool?
    /// Ours: instead of the setting, for this sweep.
    var grace_seconds: Int64?
}

struct StorageGcResult: Codable, Sendable {
    let dry_run: Bool
    let storage_keys_deleted, artifacts_removed, bytes_freed: Int64
    let errors: [String]
    // Ours, from here on.
    let is_complete: Bool
    let started_at, ended_at: String
    let blobs, waiting_blobs, removed_bytes, orphans, segments_removed, segments_compacted, moved_blobs, moved_bytes, damaged_blobs: Int64

    init(_ report: SweepReport) {
        let tally = report.tally
        dry_run = report.isDryRun
        storage_keys_deleted = tally.removedBlobs
        // Artifacts are deleted by people and rules, never by a sweep.
        artifacts_removed = 0
        bytes_freed = tally.freedBytes
        errors = tally.damagedBlobs > 0 ? ["\(tally.damagedBlobs) blobs are damaged and were left alone; the server's log names them"] : []
        is_complete = report.isComplete
        started_at = report.started.description
        ended_at = report.ended.description
        blobs = tally.blobs
        waiting_blobs = tally.waitingBlobs
        removed_bytes = tally.removedBytes
        orphans = tally.orphans
        segments_removed = tally.segmentsRemoved
        segments_compacted = tally.segmentsCompacted
        moved_blobs = tally.movedBlobs
        moved_bytes = tally.movedBytes
        damaged_blobs = tally.damagedBlobs
    }
}

struct SweepStatus: Codable, Sendable {
    let is_running: Bool
    let runs, bytes_freed_total: Int64
    let last: StorageGcResult?
}

struct BlobExplanation: Codable, Sendable {
    let digest: String
    let is_stored, is_dying: Bool
    let size_bytes: Int64?
    let place: String?
    let reasons: [String]
    let goes_at: String?

    init(_ explanation: SweepExplanation) {
        digest = explanation.blob.description
        is_stored = explanation.length != nil
        is_dying = explanation.isDying
        size_bytes = explanation.length
        place = explanation.place
        reasons = explanation.reasons
        goes_at = explanation.goesAt?.description
    }
}
