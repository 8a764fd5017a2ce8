import Catalog
package import Core
package import OrderedStore

// A catalog is moved from one home to the other row by row, as its rules wrote them: nothing is interpreted, so nothing can come out otherwise. What
// both homes have in the end is counted and hashed kind by kind before anybody may use the new one. Between the two there is no moment at which both
// take changes: the new home is complete and marked, then the old one is marked, then the new one's mark goes. docs/internals/postgres-catalog.md.

/// Moves all rows of a catalog.
package struct CatalogMove: Sendable {
    package struct Row: Sendable {
        package let family: OrderedStore.Family
        package let key: [UInt8]
        package let value: [UInt8]
        package init(family: OrderedStore.Family, key: [UInt8], value: [UInt8]) {
            self.family = family
            self.key = key
            self.value = value
        }
    }

    /// What became of blobs that have to be where the catalog goes.
    package struct Brought: Sendable {
        /// Not to be found.
        package var lost: [BlobID] = []
        /// To be written with the catalog: where they are.
        package var rows: [Row] = []
        package init(lost: [BlobID] = []) { self.lost = lost }
    }

    /// How far it is.
    package enum Step: Sendable, Hashable {
        /// So many blobs are where the catalog goes; changes go on.
        case bytes(blobs: Int)
        /// Changes are refused, and so many rows are copied.
        case rows(Int)
        /// Everything is in both homes, and one of them is closed.
        case switching
    }

    /// What moves. Where blobs lie does not: that is of the home it is in.
    package static let families = [CatalogRows.family, .audit]

    /// Rows of one meaning: those whose keys begin alike.
    struct Kind: Sendable {
        let name: String
        let family: OrderedStore.Family
        let prefix: [UInt8]
    }

    /// In the order in which they are copied. docs/internals/catalog.md and audit.md.
    static let kinds =
        Keyspace.Tag.allCases.map { Kind(name: "\($0)", family: CatalogRows.family, prefix: [$0.rawValue]) } + [
            Kind(name: "auditHead", family: .audit, prefix: [0]), Kind(name: "auditStart", family: .audit, prefix: [1]),
            Kind(name: "auditRecord", family: .audit, prefix: [2]),
        ]

    private static let pageRows = 500
    /// So often at most blobs are brought before changes are held up, until a time brings few: those that came meanwhile.
    private static let passesMax = 5
    private static let fewBlobs = 1000

    private let source: any MoveSource
    private let target: any MoveTarget
    /// Brings blobs to where the target finds them, in the order of their ids.
    private let bring: @Sendable ([BlobID]) async throws(RegistryError) -> Brought
    /// The last look before the source is closed: that what was brought is still there.
    private let confirm: @Sendable () async throws(RegistryError) -> Void
    private let report: @Sendable (Step) -> Void

    package init(
        from source: any MoveSource, to target: any MoveTarget, bringing bring: @escaping @Sendable ([BlobID]) async throws(RegistryError) -> Brought,
        confirming confirm: @escaping @Sendable () async throws(RegistryError) -> Void = { () throws(RegistryError) in },
        reporting report: @escaping @Sendable (Step) -> Void = { _ in }
    ) {
        self.source = source
        self.target = target
        self.bring = bring
        self.confirm = confirm
        self.report = report
    }

    /// Cancelled in time, it ends with `unavailable`, and nothing was moved.
    /// - Parameter place: what is said of a source that was moved: where to.
    /// - Returns: what both homes have.
    /// - Throws: `conflict` when the target is not empty, `notFound` when bytes would be missing there, `corrupt` when it has other rows than the
    ///   source in the end. The source goes on as it was then, unless it says that it was moved: so it is where the target alone could not be
    ///   told, and the next run tells it.
    package func run(to place: String) async throws(RegistryError) -> RowTally {
        let tally: RowTally
        do throws(RegistryError) {
            try await target.look { rows throws(RegistryError) in
                // One that was moved on is nobody's target, however much it has in common with the source.
                if try MoveMark.read(from: rows) != .coming { try MoveMark.requireNone(in: rows) }
            }
            if let moved = try await moved(to: place) { tally = moved } else { tally = try await move() }
            report(.switching)
            try await source.retire(to: place)
        } catch {
            await source.release()
            throw error
        }
        do throws(RegistryError) { try await target.finish() } catch {
            throw RegistryError(
                .unavailable, subject: .store,
                reason: "all is in \(place), but it could not be told so; with the server stopped run granary migrate-catalog again",
                cause: "\(error)")
        }
        return tally
    }

    /// - Returns: what both homes have, when a move was interrupted at its end: all of it is in the target, and the source is closed.
    private func moved(to place: String) async throws(RegistryError) -> RowTally? {
        let tally = try await source.look { rows throws(RegistryError) -> RowTally? in
            guard let mark = try MoveMark.read(from: rows) else { return nil }
            if mark != .gone(to: place) { try MoveMark.requireNone(in: rows) }
            return try RowTally(of: rows)
        }
        guard let tally else { return nil }
        let there = try await target.look { rows throws(RegistryError) in try RowTally(of: rows) }
        return there == tally ? tally : nil
    }

    private func move() async throws(RegistryError) -> RowTally {
        try await target.begin()
        do throws(RegistryError) {
            var blobs = 0
            for _ in 0..<CatalogMove.passesMax {
                let before = blobs
                try await bringBlobs(&blobs, isLast: false)
                if blobs - before < CatalogMove.fewBlobs { break }
            }
            try await source.hold()
            let tally = try await source.look { rows throws(RegistryError) in try RowTally(of: rows) }
            try await bringBlobs(&blobs, isLast: true)
            var count = 0
            for kind in CatalogMove.kinds { try await copy(kind, &count) }
            let moved = try await target.look { rows throws(RegistryError) in try RowTally(of: rows) }
            guard moved == tally else {
                throw RegistryError(
                    .corrupt, subject: .store, reason: "what was written is not what was read: \(moved.differences(from: tally)); nothing was moved")
            }
            try await confirm()
            try CatalogMove.checkCancellation()
            try await target.prepare()
            return tally
        } catch {
            await target.abandon()
            throw error
        }
    }

    private static func checkCancellation() throws(RegistryError) {
        guard Task.isCancelled else { return }
        throw RegistryError(.unavailable, subject: .store, reason: "the move was cancelled; nothing was moved")
    }

    private func copy(_ kind: Kind, _ count: inout Int) async throws(RegistryError) {
        var from = kind.prefix
        while true {
            try CatalogMove.checkCancellation()
            let page = try await source.look { [from] rows throws(RegistryError) in
                var page: [Row] = []
                try rows.scan(kind.family, from: from, upTo: OrderedStore.end(ofPrefix: kind.prefix), reverse: false) {
                    key, value throws(RegistryError) in
                    if CatalogMove.moves(key, in: kind.family) { page.append(Row(family: kind.family, key: key, value: value)) }
                    return page.count < CatalogMove.pageRows
                }
                return page
            }
            guard let last = page.last?.key else { return }
            try await target.put(page)
            from = last + [0]
            count += page.count
            report(.rows(count))
        }
    }

    /// All but what says of a home what it is.
    static func moves(_ key: [UInt8], in family: OrderedStore.Family) -> Bool {
        family != CatalogRows.family || key != Keyspace.format.bytes && key != Keyspace.move.bytes
    }

    /// Every blob that something pins and that is not there yet, a thousand at a time.
    /// - Parameters:
    ///   - count: of those that were brought.
    ///   - isLast: no change can take a pin away any more: what is not found is lost.
    private func bringBlobs(_ count: inout Int, isLast: Bool) async throws(RegistryError) {
        var last: Pin?
        var missing = 0
        var example: BlobID?
        var lastBlob: BlobID?
        while true {
            try CatalogMove.checkCancellation()
            let page = try await source.look { [last] rows throws(RegistryError) in try CatalogRows(rows: rows).pins(after: last, limit: 1000) }
            guard let end = page.last else { break }
            last = end
            var blobs: [BlobID] = []
            for pin in page where pin.blob != (blobs.last ?? lastBlob) { blobs.append(pin.blob) }
            lastBlob = blobs.last ?? lastBlob
            let wanted = try await absent(blobs)
            guard !wanted.isEmpty else { continue }
            let brought = try await bring(wanted)
            if isLast {
                missing += brought.lost.count
                example = example ?? brought.lost.first
            }
            if example == nil { try await target.put(brought.rows) }
            count += wanted.count - brought.lost.count
            if !isLast { report(.bytes(blobs: count)) }
        }
        guard let example else { return }
        throw RegistryError(
            .notFound, subject: .blob(example.description),
            reason: "the bytes of \(missing) blobs would not be found where the catalog goes, \(example) among them; nothing was moved")
    }

    /// Those of which the target does not say where they are.
    private func absent(_ blobs: [BlobID]) async throws(RegistryError) -> [BlobID] {
        try await target.look { rows throws(RegistryError) in
            try rows.willGet(blobs.map(\.bytes), in: .blobLocations)
            var absent: [BlobID] = []
            for blob in blobs where try rows.get(blob.bytes, in: .blobLocations) == nil { absent.append(blob) }
            return absent
        }
    }
}
