public import BlobStore
import Catalog
public import Core
import Logging
import Synchronization

public struct BackupReport: Sendable, Hashable {
    public let started: Timestamp
    public let ended: Timestamp
    /// Every change up to it is in the backup.
    public let revision: UInt64
    /// Who signed it: what its operator says when restoring it.
    public let key: BackupKey
    public let tally: BackupTally
}

extension Sweeper {
    /// Brings the backup in a directory up to now.
    public func backUp(to directory: String, keys: BackupKeys) async throws(RegistryError) -> BackupReport {
        try await backUp(to: .directory(directory), keys: keys)
    }

    /// Brings the backup up to now, while everything else goes on: only the sweep waits.
    public func backUp(to target: BackupTarget, keys: BackupKeys) async throws(RegistryError) -> BackupReport {
        let started = world.now()
        let (catalog, blobs) = (catalog, blobs)
        let (tally, revision) = try await hold { () async throws(RegistryError) in
            switch target {
            case .directory(let path):
                return try await blobs.backUp(to: path, keys: keys) { () async throws(RegistryError) in try await catalog.head().number }
            case .shelf(let shelf):
                return try await blobs.backUp(to: shelf, keys: keys) { () async throws(RegistryError) in try await catalog.head().number }
            }
        }
        let report = BackupReport(started: started, ended: world.now(), revision: revision, key: keys.signer.key, tally: tally)
        log.notice(
            "backup made",
            metadata: [
                "revision": "\(report.revision)", "copiedFiles": "\(tally.copiedFiles)", "copiedBytes": "\(tally.copiedBytes)",
                "skippedFiles": "\(tally.skippedFiles)", "removedFiles": "\(tally.removedFiles)",
                "damagedFiles": "\(tally.damagedFiles)", "key": "\(report.key)",
            ])
        return report
    }
}

/// Where a server keeps its backup. One is made at a time.
public final class BackupPlace: Sendable {
    private let target: BackupTarget
    private let keys: BackupKeys
    private let isRunning = Atomic(false)

    public init(_ target: BackupTarget, keys: BackupKeys) {
        self.target = target
        self.keys = keys
    }

    /// - Throws: `conflict` while another is being made.
    public func make(with sweeper: Sweeper) async throws(RegistryError) -> BackupReport {
        guard !isRunning.exchange(true, ordering: .acquiringAndReleasing) else {
            throw RegistryError(.conflict, subject: .store, reason: "a backup is being made", retryAfterSeconds: 60)
        }
        defer { isRunning.store(false, ordering: .releasing) }
        return try await sweeper.backUp(to: target, keys: keys)
    }
}
