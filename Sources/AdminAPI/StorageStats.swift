import BlobStore
import Catalog
import Core
import Registry

/// Logical beside physical bytes. Physical ones are counted as if the repository were alone in the store: what others hold shows in no figure.
struct RepositoryStorageStatsResponse: Codable, Sendable {
    let repository_key: String
    /// Of all artifacts, as quotas count them.
    let logical_bytes: Int64
    /// What is stored of its blobs: each once, and each chunk once, compressed.
    let physical_bytes: Int64?
    /// Lengths of its blobs, each once.
    let unique_bytes: Int64?
    let shared_bytes: Int64?
    /// Logical by physical; nil while nothing is stored.
    let dedup_ratio: Double?
    let blob_count: Int64
    let dedup_scope: String
    let instance_unique_bytes: Int64?
    /// Ours: what the trash holds, and what only the trash keeps on the disk; in no other figure.
    let trash_logical_bytes, trash_physical_bytes: Int64
    /// Of everything but the logical bytes.
    let computed_at: String?

    init(_ repository: Repository, _ usage: Usage, _ survey: StorageSurvey.Result) {
        let footprint = survey.footprints[repository.id] ?? Footprint()
        repository_key = repository.key.text
        let logical = usage.bytes
        logical_bytes = logical
        trash_logical_bytes = usage.trashBytes
        trash_physical_bytes = survey.trash[repository.id]?.storedBytes ?? 0
        physical_bytes = footprint.storedBytes
        unique_bytes = footprint.bytes
        shared_bytes = nil
        dedup_ratio = footprint.storedBytes > 0 ? Double(logical) / Double(footprint.storedBytes) : nil
        blob_count = footprint.blobs
        dedup_scope = "repository"
        instance_unique_bytes = nil
        computed_at = survey.time.description
    }
}
