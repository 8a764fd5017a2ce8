import Audit
import BlobStore
import Registry

// What the settings mean to the rooms that store and tend blobs.

extension Configuration {
    var blobOptions: BlobStore.Options {
        var options = BlobStore.Options()
        options.ownFileBytesMin = Int(ownFileBytesMin)
        options.segmentBytesMax = segmentBytesMax
        options.verificationSeconds = verifyWindowHours * 3600
        options.isStrict = strictReads
        options.archives.archiveBytesMax = archiveBytesMax
        options.uploadLifetimeSeconds = uploadLifetimeHours * 3600
        return options
    }

    var auditOptions: AuditOptions {
        var options = AuditOptions()
        options.days = auditDays
        options.keepsReads = auditReads
        return options
    }

    var scrubOptions: ScrubOptions {
        var options = ScrubOptions()
        options.intervalSeconds = scrubIntervalDays * 24 * 3600
        options.bytesPerSecondMax = scrubBytesPerSecondMax
        options.tierIntervalSeconds = scrubTierIntervalDays * 24 * 3600
        return options
    }

    var sweepOptions: SweepOptions {
        var options = SweepOptions()
        options.intervalSeconds = sweepIntervalMinutes * 60
        options.graceSeconds = sweepGraceMinutes * 60
        options.livePercentMin = sweepLivePercentMin
        options.bytesPerSecondMax = sweepBytesPerSecondMax
        return options
    }

    var archiveOptions: ArchiveOptions {
        var options = ArchiveOptions()
        options.isOn = archiveOpening
        options.coldSeconds = archiveColdHours * 3600
        options.bytesPerSecondMax = archiveBytesPerSecondMax
        return options
    }

    var chunkerOptions: ChunkerOptions {
        var options = ChunkerOptions()
        options.isOn = chunking
        options.delaySeconds = chunkDelaySeconds
        options.bytesPerSecondMax = chunkBytesPerSecondMax
        return options
    }
}
