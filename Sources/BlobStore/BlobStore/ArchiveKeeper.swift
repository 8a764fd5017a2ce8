import Core
import Logging
import Synchronization

public struct ArchiveOptions: Sendable {
    public var isOn = true
    /// An archive that nobody has read for so long is opened; 0: at once.
    public var coldSeconds: Int64 = 7 * 24 * 3600
    /// How fast archives are worked on, in each of the passes; 0 is as fast as it can.
    public var bytesPerSecondMax: Int64 = 8 << 20
    public init() {}
}

public struct ArchiveTotals: Sendable, Hashable {
    public var openedBlobs: UInt64 = 0
    /// Their lengths.
    public var openedBytes: Int64 = 0
    /// What was written for them.
    public var newBytes: Int64 = 0
    /// Looked at, and left closed.
    public var closedBlobs: UInt64 = 0
    public var failures: UInt64 = 0
    /// Looks at all blobs.
    public var rounds: UInt64 = 0
}

/// Opens archives that nobody reads, so that versions share what is in them: zip and gzip files (wheels, jars, source archives), one at a time, in
/// the background.
public final class ArchiveKeeper: Sendable {
    private static let pageBlobs = 256
    /// Between two looks: a small part of the time after which an archive is cold.
    private static let (roundSecondsMin, roundSecondsMax): (Int64, Int64) = (1, 6 * 3600)

    public let options: ArchiveOptions
    private let blobs: BlobStore
    private let log: Logger
    private let state = Mutex(ArchiveTotals())

    public init(blobs: BlobStore, options: ArchiveOptions) {
        self.blobs = blobs
        self.options = options
        log = blobs.log
    }

    /// Since the start.
    public var totals: ArchiveTotals { state.withLock { $0 } }

    /// Works until the task is cancelled.
    public func run() async {
        guard options.isOn else { return }
        let seconds = min(max(options.coldSeconds / 28, ArchiveKeeper.roundSecondsMin), ArchiveKeeper.roundSecondsMax)
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(seconds))
            if !Task.isCancelled { await runOnce() }
        }
    }

    /// One look at all blobs.
    public func runOnce() async {
        let reads = blobs.reads.take()
        do throws(RegistryError) {
            var last: BlobID?
            repeat {
                let page = try await blobs.watchArchives(
                    after: last, limit: ArchiveKeeper.pageBlobs, coldSeconds: options.coldSeconds, reads)
                for id in page.cold where !Task.isCancelled { await open(id, sparing: reads) }
                last = page.last
            } while last != nil && !Task.isCancelled
        } catch {
            blobs.reads.putBack(reads)
            log.error("not every blob was looked at for whether it is an archive nobody reads", metadata: ["error": "\(error)"])
        }
        state.withLock { $0.rounds += 1 }
    }

    private func open(_ id: BlobID, sparing reads: ReadMarks.Taken) async {
        do throws(RegistryError) {
            let length = try await blobs.location(of: id)?.length ?? 0
            let outcome = try await blobs.open(archive: id, pace: Pace(bytesPerSecond: options.bytesPerSecondMax, world: blobs.world), sparing: reads)
            state.withLock { totals in
                switch outcome {
                case .cut(let newBytes):
                    totals.openedBlobs += 1
                    totals.openedBytes += length
                    totals.newBytes += newBytes
                case .keptWhole: totals.closedBlobs += 1
                case .passedOver: break
                }
            }
            if case .cut(let newBytes) = outcome {
                log.debug("archive opened", metadata: ["blob": "\(id)", "bytes": "\(length)", "newBytes": "\(newBytes)"])
            }
        } catch {
            if Task.isCancelled { return }
            state.withLock { $0.failures += 1 }
            log.warning("an archive could not be opened and stays as it is", metadata: ["blob": "\(id)", "error": "\(error)"])
        }
    }
}
