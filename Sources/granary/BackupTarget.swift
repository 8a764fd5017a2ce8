import BlobStore
import Core
import Logging
import Outbound
import Registry
import S3Tier

// Where backups go: a directory, or a bucket. Of what the settings of the bucket leave out, the tier's are taken.

extension Configuration {
    /// - Parameter place: a directory, or `s3://BUCKET` or `s3://BUCKET/PREFIX`; nil: what the settings name.
    /// - Returns: nil when they name none.
    static func backupTarget(
        _ place: String?, _ configuration: Configuration, _ outbound: OutboundClient, _ log: Logger
    ) throws(RegistryError) -> BackupTarget? {
        var configuration = configuration
        if let place {
            guard place.hasPrefix("s3://") else { return .directory(place) }
            let parts = place.dropFirst(5).split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            configuration.backupS3Bucket = String(parts[0])
            configuration.backupS3Prefix = parts.count > 1 && !parts[1].isEmpty ? String(parts[1]) : nil
        } else if let directory = configuration.backupDirectory {
            return .directory(directory)
        }
        guard let options = try configuration.backupS3Options() else { return nil }
        return .shelf(S3Shelf(try S3Client(options, outbound: outbound, world: .real, log: log)))
    }

    private func backupS3Options() throws(RegistryError) -> S3Options? {
        guard let backupS3Bucket else { return nil }
        let isOwn = backupS3AccessKey != nil
        guard let access = backupS3AccessKey ?? s3AccessKey, let secret = isOwn ? backupS3SecretKey : s3SecretKey else {
            throw Configuration.refused("backup_s3_access_key_id", "a bucket needs both backup_s3_access_key_id and backup_s3_secret_access_key")
        }
        let style = backupS3PathStyle == "auto" ? s3PathStyle : backupS3PathStyle
        return S3Options(
            bucket: backupS3Bucket, region: backupS3Region ?? s3Region, endpoint: backupS3Endpoint ?? s3Endpoint, prefix: backupS3Prefix ?? "",
            credentials: S3Credentials(accessKey: access, secretKey: secret, sessionToken: isOwn ? backupS3SessionToken : s3SessionToken),
            pathStyle: style == "auto" ? nil : style == "true",
            addressPolicy: AddressPolicy(allowPrivate: s3AllowPrivate, allowedCIDRs: outboundAllowedCIDRs))
    }

    /// What goes with a backup, and what signs it.
    var backupKeys: BackupKeys {
        get throws(RegistryError) { try Directories(at: data, keys: keysDirectory).backupKeys(.real) }
    }

    /// Where a running server keeps its backup; nil when the settings name no place.
    func backupPlace(_ directories: Directories, _ outbound: OutboundClient, _ log: Logger) throws(RegistryError) -> BackupPlace? {
        guard let target = try Configuration.backupTarget(nil, self, outbound, log) else { return nil }
        return BackupPlace(target, keys: try directories.backupKeys(.real))
    }

    /// - Throws: `invalid` for settings of the backup that do not go together.
    func checkBackup() throws(RegistryError) {
        guard backupS3Bucket == nil || backupDirectory == nil else {
            throw Configuration.refused("backup_directory", "a backup goes to a directory or to a bucket, not to both")
        }
        guard (backupS3AccessKey == nil) == (backupS3SecretKey == nil) else {
            throw Configuration.refused("backup_s3_access_key_id", "a bucket needs both backup_s3_access_key_id and backup_s3_secret_access_key")
        }
        _ = try backupS3Options()
    }
}

extension BackupTarget {
    /// - Throws: `invalid`, in words, for a bucket that cannot be used as it is configured; what asking it throws.
    func check() async throws(RegistryError) {
        if case .shelf(let shelf as S3Shelf) = self { try await shelf.check() }
    }
}
