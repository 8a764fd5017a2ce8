import Access
import BlobStore
import Core
import Logging
import Outbound
import PostgresCatalog
import Registry
import S3Tier

/// The tier of the configuration, if it names one.
enum Tier {
    /// Attaches it to the store.
    /// - Throws: `invalid` in words for whoever configures: no such bucket, wrong credentials, another store's tier, or none where there was one.
    static func attach(to blobs: BlobStore, _ configuration: Configuration, outbound: OutboundClient, log: Logger) async throws(RegistryError) {
        let world = World.real
        let isKnown = try await blobs.hasTier()
        guard let tier = try await configured(configuration, outbound, world, log, isKnown: isKnown) else {
            guard !isKnown else {
                throw Configuration.refused(
                    "s3_bucket", "this store has blobs in a tier, and no tier is configured: name it, or bring everything back first")
            }
            return
        }
        try await blobs.attach(tier, configuration.tieringOptions)
        log.notice("blobs go to a tier", metadata: ["tier": "\(tier.place)", "policy": "\(configuration.tierPolicy)"])
    }

    /// The same; with a database the disk becomes a cache of the bucket, or directory, that its nodes share.
    static func attach(
        to blobs: BlobStore, sharing home: CatalogHome, _ configuration: Configuration, access: Access, outbound: OutboundClient, log: Logger
    ) async throws(RegistryError) {
        guard let database = home.database else { return try await attach(to: blobs, configuration, outbound: outbound, log: log) }
        guard let bucket = try await configured(configuration, outbound, .real, log, isKnown: try await blobs.isCache()) else {
            throw Configuration.refused("database_url", "nodes that share a database share their bytes, too: set s3_bucket")
        }
        var options = SharingOptions()
        options.cacheBytesMax = configuration.sharedCacheBytesMax
        options.deleteDelaySeconds = configuration.tierDeleteDelayMinutes * 60
        options.tickSeconds = configuration.tierIntervalSeconds
        options.isBehind = configuration.sharedUploads == "behind"
        options.behindBytesMax = configuration.sharedUploadsBehindBytesMax
        options.askHolder = home.nodes?.holderQuestion(as: access)
        try await blobs.share(bucket, database, options)
        log.notice("blobs are shared", metadata: ["bucket": "\(bucket.place)", "uploads": "\(configuration.sharedUploads)"])
    }

    /// nil when no tier is configured.
    static func configured(
        _ configuration: Configuration, _ outbound: OutboundClient, _ world: World, _ log: Logger, isKnown: Bool
    ) async throws(RegistryError) -> (any SegmentTier)? {
        if let directory = configuration.tierDirectory { return try DirectoryTier(at: directory, world: world) }
        guard let options = configuration.s3Options else { return nil }
        let tier = S3Tier(try S3Client(options, outbound: outbound, world: world, log: log))
        do throws(RegistryError) { try await tier.check() } catch {
            // A store that knows its tier serves what the disk has until the tier is back.
            guard isKnown, error.code != .invalid, error.retryAfterSeconds != nil else { throw error }
            log.error("the tier does not answer", metadata: ["tier": "\(tier.place)", "error": "\(error)"])
        }
        return tier
    }

    private static func publishShared(_ metrics: Metrics, _ blobs: BlobStore) {
        func gauge(_ name: String, _ help: String, _ value: @escaping @Sendable (SharingStatistics) -> Double) {
            metrics.gauge("granary_shared_\(name)", help: help) { blobs.sharingStatistics.map(value) ?? 0 }
        }
        gauge("objects_put_total", "Objects put into the bucket that nodes share, by this one.") { Double($0.objectsPut) }
        gauge("blobs_put_total", "Blobs in them.") { Double($0.blobsPut) }
        gauge("bytes_put_total", "Their bytes.") { Double($0.bytesPut) }
        gauge("blobs_fetched_total", "Blobs that the disk did not have and the bucket had.") { Double($0.blobsFetched) }
        gauge("bytes_fetched_total", "Their bytes.") { Double($0.bytesFetched) }
        gauge("bytes_evicted_total", "Bytes that left the disk, which is a cache.") { Double($0.bytesEvicted) }
        gauge("cache_bytes", "Bytes of blobs on the disk.") { Double($0.cacheBytes) }
        gauge("held_blobs", "Blobs that this node alone has, until they are in the bucket.") { Double($0.heldBlobs) }
        gauge("held_bytes", "Their bytes.") { Double($0.heldBytes) }
        gauge("held_since_seconds", "Since when one of them waits, in Unix time; 0: none does.") { Double($0.heldSince?.seconds ?? 0) }
    }

    /// What moved, and what waits.
    static func publish(_ metrics: Metrics, _ blobs: BlobStore) {
        if blobs.isShared { publishShared(metrics, blobs) }
        guard blobs.tierStatistics != nil else { return }
        func gauge(_ name: String, _ help: String, _ value: @escaping @Sendable (TierStatistics) -> Double) {
            metrics.gauge("granary_tier_\(name)", help: help) { blobs.tierStatistics.map(value) ?? 0 }
        }
        gauge("disk_bytes", "Bytes of sealed segments and own files on the disk.") { Double($0.diskBytes) }
        gauge("bytes", "Bytes of segments and own files in the tier.") { Double($0.tierBytes) }
        gauge("waiting_files", "Files on the disk that the tier does not have (yet).") { Double($0.waitingFiles) }
        gauge("waiting_bytes", "Their bytes.") { Double($0.waitingBytes) }
        gauge("copied_bytes_total", "Bytes copied to the tier.") { Double($0.copiedBytes) }
        gauge("dropped_bytes_total", "Bytes that left the disk.") { Double($0.droppedBytes) }
        gauge("returned_bytes_total", "Bytes of files brought back from the tier.") { Double($0.returnedBytes) }
        gauge("ranged_reads_total", "Blobs answered from the tier without their segment.") { Double($0.rangedReads) }
        gauge("ranged_bytes_total", "Their bytes.") { Double($0.rangedBytes) }
        gauge("deleted_files_total", "Files deleted in the tier.") { Double($0.deletedFiles) }
        metrics.gauge("granary_tier_lost", help: "1 when another server has taken the tier over.") { blobs.ownsTier ? 0 : 1 }
        gauge("parts_total", "Groups of small blobs put before they were acknowledged.") { Double($0.parts) }
        gauge("failures_total", "Rounds of copying that failed; each is repeated.") { Double($0.failures) }
    }
}

extension Configuration {
    func outboundClient(_ log: Logger) throws(RegistryError) -> OutboundClient {
        try OutboundClient(
            options: .init(caFile: outboundCAFile, proxy: outboundProxy, proxyExceptions: outboundProxyExceptions), log: log, world: .real)
    }

    var s3Options: S3Options? {
        guard let s3Bucket else { return nil }
        return S3Options(
            bucket: s3Bucket, region: s3Region, endpoint: s3Endpoint, prefix: s3Prefix ?? "",
            credentials: S3Credentials(accessKey: s3AccessKey ?? "", secretKey: s3SecretKey ?? "", sessionToken: s3SessionToken),
            pathStyle: s3PathStyle == "auto" ? nil : s3PathStyle == "true",
            addressPolicy: AddressPolicy(allowPrivate: s3AllowPrivate, allowedCIDRs: outboundAllowedCIDRs))
    }

    var tieringOptions: TieringOptions {
        var options = TieringOptions()
        options.policy = TieringOptions.Policy(rawValue: tierPolicy) ?? .writeBehind
        options.delaySeconds = tierDelaySeconds
        options.diskBytesMax = tierDiskBytesMax
        options.coldSeconds = tierColdHours * 3600
        options.deleteDelaySeconds = tierDeleteDelayMinutes * 60
        options.tickSeconds = tierIntervalSeconds
        return options
    }

    /// - Throws: `invalid` for settings of the tier that do not go together.
    func checkTier() throws(RegistryError) {
        guard s3Bucket == nil || tierDirectory == nil else {
            throw Configuration.refused("tier_directory", "a store has one tier: a bucket or a directory")
        }
        guard (s3AccessKey == nil) == (s3SecretKey == nil), s3Bucket == nil || s3AccessKey != nil else {
            throw Configuration.refused("s3_access_key_id", "a bucket needs both s3_access_key_id and s3_secret_access_key")
        }
        guard tierPolicy != "write-through" || s3Bucket != nil || tierDirectory != nil else {
            throw Configuration.refused("tier_policy", "nothing can be written through without a tier: set s3_bucket or tier_directory")
        }
        guard !presignedDownloads || s3Bucket != nil else {
            throw Configuration.refused("presigned_downloads", "only a bucket can be downloaded from: set s3_bucket")
        }
    }
}
