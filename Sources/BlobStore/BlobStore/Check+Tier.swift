public import Core
import NIOCore
import OrderedStore

// What a tier has of a store that nobody else has open. Nothing here writes, neither to the disk nor to the tier.

/// A file that the tier of a store is to have.
public struct TierFile: Sendable, Hashable {
    let name: OpenFiles.Name
    public let length: Int64
    /// The disk does not have it.
    public let isAlone: Bool

    /// In whose order they come.
    public var key: String { Hex.encode(TierRow.key(name)) }

    /// Chooses it, or not.
    public var draw: UInt64 {
        switch name {
        case .segment(let number): number &* 0x9E37_79B9_7F4A_7C15
        case .ownFile(let id): id.bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        }
    }
}

/// The objects of a tier, with their lengths.
public struct TierListing: Sendable {
    var lengths: [TierName: Int64] = [:]
    public internal(set) var requests = 0

    /// What none of the files is.
    public func names(besides files: [TierFile]) -> [String] {
        var rest = Set(lengths.keys)
        for file in files {
            rest.remove(TierName(file.name))
            if case .ownFile(let id) = file.name { rest.remove(.end(id)) }
        }
        return rest.map(\.description).sorted()
    }

    /// What is wrong, by lengths alone.
    func flaw(of file: TierFile) -> String? {
        let wanted: [(TierName, Int64)]
        switch file.name {
        case .segment(let number): wanted = [(.segment(number), file.length)]
        case .ownFile(let id):
            let blobBytes = OwnFile.length(ofFile: file.length)
            wanted = [(.blob(id), blobBytes), (.end(id), file.length - blobBytes)]
        }
        for (name, length) in wanted where lengths[name] != length { return BlobStore.lengthWords(name, lengths[name], length) }
        return nil
    }
}

/// What looking at one file of a tier gave.
public struct CheckedTierFile: Sendable {
    public var findings: [Finding] = []
    public var isRead = false
    public var bytes: Int64 = 0
    public var requests = 0
}

extension BlobStore {
    /// The files that the tier is to have, in order; none for a store without one.
    public func tierFiles() async throws(RegistryError) -> [TierFile] {
        try await pool.run { [self] () throws(RegistryError) in
            guard try isMarked else { return [] }
            var files: [TierFile] = []
            try index.scan(.tierObjects, from: [], upTo: nil) { key, value throws(RegistryError) in
                guard let name = TierRow.name(key), let row = try? TierRow(value), row.state != .arriving else { return true }
                files.append(TierFile(name: name, length: row.length, isAlone: try Disk.openExisting(path(of: name)) == nil))
                return true
            }
            return files
        }
    }

    private func path(of name: OpenFiles.Name) -> String {
        switch name {
        case .segment(let number): segments.path(number)
        case .ownFile(let id): blobs.path(of: id)
        }
    }

    /// - Throws: `invalid` unless it is this store's tier.
    public func checkMark(of tier: any SegmentTier) async throws(RegistryError) {
        let own = try await pool.run { [directory] () throws(RegistryError) in
            try Disk.openExisting(directory + "/tier.mark").map { file throws(RegistryError) in try Disk.read(file, at: 0, count: TierMark.bytes) }
        }
        var found: [UInt8]?
        if let length = try await tier.length(of: .mark), length == Int64(TierMark.bytes) {
            found = Array(try await tier.read(.mark, 0..<length).collect().readableBytesView)
        }
        guard own == found else { throw Tiering.refused("\(tier.place) does not have the mark of this store") }
    }

    public func list(_ tier: any SegmentTier) async throws(RegistryError) -> TierListing {
        var listing = TierListing()
        for kind in [TierName.Kind.segments, .blobs, .ends] {
            var page: String?
            repeat {
                let found = try await tier.list(kind, page: page)
                listing.requests += 1
                for object in found.objects { listing.lengths[object.name] = object.length }
                page = found.next
            } while page != nil && !Task.isCancelled
        }
        return listing
    }

    /// - Parameter reads: it is read to its end, whatever its length says.
    public func check(
        _ file: TierFile, in tier: any SegmentTier, _ listing: TierListing, reading reads: Bool
    ) async throws(RegistryError) -> CheckedTierFile {
        var checked = CheckedTierFile()
        // What is dead is the sweep's.
        if case .ownFile(let id) = file.name, try await location(of: id)?.place != .ownFile { return checked }
        let flaw = listing.flaw(of: file)
        // Of what is short or missing, reading tells which blobs that concerns.
        guard reads || flaw != nil else { return checked }
        let verdict = try await checkInTier(file.name, length: file.length, of: tier, Pace(bytesPerSecond: 0, world: world))
        checked.isRead = reads
        checked.bytes = verdict.bytes
        checked.requests = verdict.requests
        guard let found = verdict.flaw ?? flaw else { return checked }
        let place = "\(TierName(file.name)) in the tier"
        let rest = file.isAlone ? "" : "; the disk has it, too, from which the server's scrub copies it again"
        checked.findings.append(Finding(.tierObject, place: place, found + rest))
        guard file.isAlone else { return checked }
        for (id, reason) in verdict.lost.sorted(by: { $0.key < $1.key }) {
            checked.findings.append(Finding(.blobBytes, blob: id, place: place, reason))
        }
        return checked
    }
}
