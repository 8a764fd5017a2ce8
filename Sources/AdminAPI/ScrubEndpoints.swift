import BlobStore
import Core
import HTTPTypes
import Registry

/// The background reading of stored bytes, and what it found.
enum ScrubEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/admin/scrub", "get_scrub", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> ScrubStatus in
            try await status(call.registry)
        },
        // Reads everything once, and answers at the end; a client that hangs up interrupts it.
        .json(.post, "/api/v1/admin/scrub", "run_scrub", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> ScrubStatus in
            try await scrub(of: call.registry).pass()
            return try await status(call.registry)
        },
        // The same of what the tier has, or the bucket that nodes share; requests to a bucket cost money.
        .json(.post, "/api/v1/admin/scrub/tier", "run_tier_scrub", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> ScrubStatus in
            if let bucket = call.registry.bucketScrub { try await bucket.read() } else { try await scrub(of: call.registry).readTier() }
            return try await status(call.registry)
        },
    ]

    private static func scrub(of registry: Registry) throws(RegistryError) -> Scrub {
        guard let scrub = registry.scrub else { throw RegistryError(.unsupported, subject: .store, reason: "this server has no scrub") }
        return scrub
    }

    private static func status(_ registry: Registry) async throws(RegistryError) -> ScrubStatus {
        let scrub = try scrub(of: registry)
        var damaged: [DamagedBlobStatus] = []
        for blob in await registry.blobs.damagedBlobs() {
            damaged.append(
                DamagedBlobStatus(
                    digest: blob.blob.description, found_at: blob.found.description, reason: blob.reason,
                    references: await registry.catalog.names(of: blob.blob)))
        }
        return ScrubStatus(
            is_running: scrub.isRunning, oldest_unverified_at: scrub.oldest.description, blobs: scrub.totals.blobs, bytes: scrub.totals.bytes,
            damaged_found: scrub.totals.damaged, healed: Int64(clamping: scrub.healedBlobs), damaged: damaged,
            tier: registry.bucketScrub.map(bucket) ?? tier(scrub))
    }

    /// Of all nodes how old the oldest unread byte is, and what is damaged; of this one what it has done.
    private static func bucket(_ scrub: BucketScrub) -> TierScrubStatus {
        let totals = scrub.totals
        return TierScrubStatus(
            is_running: scrub.isReading, oldest_unverified_at: scrub.oldest.description, files: totals.objects, bytes: totals.bytes,
            requests: totals.requests, damaged_found: totals.damaged, healed: totals.healed,
            damaged: Set(scrub.damaged.map { "\(TierName.object($0.place.object))" }).sorted())
    }

    private static func tier(_ scrub: Scrub) -> TierScrubStatus? {
        guard let oldest = scrub.oldestInTier else { return nil }
        let totals = scrub.totals
        return TierScrubStatus(
            is_running: scrub.isReadingTier, oldest_unverified_at: oldest.description, files: totals.tierFiles, bytes: totals.tierBytes,
            requests: totals.tierRequests, damaged_found: totals.tierDamaged, healed: totals.tierHealed, damaged: scrub.damagedInTier)
    }
}

struct ScrubStatus: Codable, Sendable {
    let is_running: Bool
    /// Every byte stored before then was read since.
    let oldest_unverified_at: String
    /// Since the start.
    let blobs, bytes, damaged_found, healed: Int64
    /// Now.
    let damaged: [DamagedBlobStatus]
    /// Without a tier or a shared bucket: nothing.
    let tier: TierScrubStatus?
}

struct TierScrubStatus: Codable, Sendable {
    let is_running: Bool
    /// Every byte that was in the tier before then was read there since.
    let oldest_unverified_at: String
    /// Since the start.
    let files, bytes, requests, damaged_found, healed: Int64
    /// Now: names of objects.
    let damaged: [String]
}

struct DamagedBlobStatus: Codable, Sendable {
    let digest, found_at, reason: String
    let references: [String]
}
