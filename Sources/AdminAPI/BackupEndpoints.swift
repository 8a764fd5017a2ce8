import BlobStore
import Core
import HTTPTypes
import Registry

/// A backup of the running server, to the directory or the bucket its configuration names: nobody chooses a place by REST.
enum BackupEndpoints {
    static let table: [Endpoint] = [
        .json(.post, "/api/v1/admin/backup", "make_backup", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> BackupResult in
            guard let place = call.registry.options.backup else {
                throw RegistryError(
                    .conflict, subject: .configuration("backup_directory"),
                    reason: "this server has no backup_directory and no backup_s3_bucket; set one")
            }
            return BackupResult(try await place.make(with: call.registry.sweeper))
        }
    ]
}

struct BackupResult: Codable, Sendable {
    let started_at, ended_at, key: String
    let revision, copied_files, copied_bytes, skipped_files, removed_files, damaged_files: Int64

    init(_ report: BackupReport) {
        started_at = report.started.description
        ended_at = report.ended.description
        key = report.key.description
        revision = Int64(clamping: report.revision)
        copied_files = Int64(report.tally.copiedFiles)
        copied_bytes = report.tally.copiedBytes
        skipped_files = Int64(report.tally.skippedFiles)
        removed_files = Int64(report.tally.removedFiles)
        damaged_files = Int64(report.tally.damagedFiles)
    }
}
