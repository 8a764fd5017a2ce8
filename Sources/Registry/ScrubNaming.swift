public import BlobStore
public import Catalog
public import Core

extension Scrub {
    /// With the catalog's names for what is damaged.
    public convenience init(of blobs: BlobStore, named catalog: any Catalog, options: ScrubOptions) throws(RegistryError) {
        try self.init(of: blobs, options: options) { blob in await catalog.names(of: blob) }
    }

    public func publish(_ metrics: Metrics, world: World) {
        @Sendable func age(_ oldest: Timestamp) -> Double { Double(max(0, world.now().milliseconds - oldest.milliseconds)) / 1000 }
        let (name, help) = ("granary_scrub_oldest_unverified_seconds", "Since when the longest unread byte there was not read.")
        metrics.gauge(name, help: help, labels: [("place", "disk")]) { [self] in age(oldest) }
        if oldestInTier != nil {
            metrics.gauge(name, help: help, labels: [("place", "tier")]) { [self] in oldestInTier.map(age) ?? 0 }
            publishTier(metrics)
        }
        metrics.gauge("granary_scrub_running", help: "1 while the scrub reads.") { [self] in isRunning ? 1 : 0 }
        metrics.gauge("granary_scrub_blobs_total", help: "Blobs the scrub read since the start.") { [self] in Double(totals.blobs) }
        metrics.gauge("granary_scrub_bytes_total", help: "Bytes of blobs the scrub read since the start.") { [self] in Double(totals.bytes) }
        metrics.gauge("granary_damaged_blobs_found_total", help: "Damaged blobs the scrub met since the start.") { [self] in Double(totals.damaged) }
        metrics.gauge("granary_damaged_blobs", help: "Blobs known to be damaged now.") { [self] in Double(damagedBlobs) }
        metrics.gauge("granary_healed_blobs_total", help: "Damaged blobs healed since the start.") { [self] in Double(healedBlobs) }
    }

    private func publishTier(_ metrics: Metrics) {
        func gauge(_ name: String, _ help: String, _ value: @escaping @Sendable (ScrubTotals) -> Int64) {
            metrics.gauge("granary_scrub_tier_\(name)", help: help) { [self] in Double(value(totals)) }
        }
        gauge("files_total", "Files the scrub read in the tier since the start.") { $0.tierFiles }
        gauge("bytes_total", "Their bytes.") { $0.tierBytes }
        gauge("requests_total", "Requests to the tier that this took.") { $0.tierRequests }
        gauge("damaged_found_total", "Files the scrub found damaged in the tier since the start.") { $0.tierDamaged }
        gauge("healed_total", "Of those: copied there again from the disk.") { $0.tierHealed }
        metrics.gauge("granary_damaged_tier_files", help: "Files known to be damaged in the tier now.") { [self] in Double(damagedInTier.count) }
    }
}

extension Catalog {
    private static var namesMax: Int { 10 }

    /// In words, what names the blob; at most ten, and none when the catalog cannot tell.
    public func names(of blob: BlobID) async -> [String] {
        var names: [String] = []
        do throws(RegistryError) {
            for pin in try await pins(of: blob, limit: Self.namesMax) { names.append(try await words(for: pin)) }
        } catch { names.append("the catalog cannot tell: \(error.reason)") }
        return names
    }
}
