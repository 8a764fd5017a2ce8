import Catalog
package import Core
package import OrderedStore

// A catalog is moved from one home to the other row by row, as its rules wrote them: nothing is interpreted, so nothing can come out otherwise. What
// both homes have in the end is counted and hashed kind by kind before anybody may use the new one. docs/internals/postgres-catalog.md.

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

    private let source: any MoveSource
    private let target: any MoveTarget
    /// Brings blobs to where the target finds them, in the order of their ids.
    private let bring: @Sendable ([BlobID]) async throws(RegistryError) -> Brought

    package init(
        from source: any MoveSource, to target: any MoveTarget, bringing bring: @escaping @Sendable ([BlobID]) async throws(RegistryError) -> Brought
    ) {
        self.source = source
        self.target = target
        self.bring = bring
    }

    /// - Parameter place: what is said of a source that was moved: where to.
    /// - Returns: what both homes have.
    /// - Throws: `conflict` when the target is not empty, `notFound` when bytes would be missing there, `corrupt` when it has other rows than the
    ///   source in the end. The source is as it was then.
    package func run(to place: String) async throws(RegistryError) -> RowTally {
        do throws(RegistryError) {
            let tally = try await source.look { rows throws(RegistryError) in
                if let mark = try MoveMark.read(from: rows), mark != .gone(to: place) { try MoveMark.requireNone(in: rows) }
                return try RowTally(of: rows)
            }
            // A move that ended without a word of it: everything is there already.
            if try await target.look({ rows throws(RegistryError) in try RowTally(of: rows) }) != tally {
                try await move(tally)
            }
            try await source.retire(to: place)
            return tally
        } catch {
            await source.release()
            throw error
        }
    }

    private func move(_ tally: RowTally) async throws(RegistryError) {
        try await target.begin()
        do throws(RegistryError) {
            try await bringBlobs()
            for kind in CatalogMove.kinds { try await copy(kind) }
            let moved = try await target.look { rows throws(RegistryError) in try RowTally(of: rows) }
            guard moved == tally else {
                throw RegistryError(
                    .corrupt, subject: .store, reason: "what was written is not what was read: \(moved.differences(from: tally)); nothing was moved")
            }
            try await target.finish()
        } catch {
            await target.abandon()
            throw error
        }
    }

    private func copy(_ kind: Kind) async throws(RegistryError) {
        var from = kind.prefix
        while true {
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
        }
    }

    /// All but what says of a home what it is.
    static func moves(_ key: [UInt8], in family: OrderedStore.Family) -> Bool {
        family != CatalogRows.family || key != Keyspace.format.bytes && key != Keyspace.move.bytes
    }

    /// Every blob that something pins, a thousand at a time.
    private func bringBlobs() async throws(RegistryError) {
        var last: Pin?
        var missing = 0
        var example: BlobID?
        var lastBlob: BlobID?
        while true {
            let page = try await source.look { [last] rows throws(RegistryError) in try CatalogRows(rows: rows).pins(after: last, limit: 1000) }
            guard let end = page.last else { break }
            last = end
            var blobs: [BlobID] = []
            for pin in page where pin.blob != (blobs.last ?? lastBlob) { blobs.append(pin.blob) }
            lastBlob = blobs.last ?? lastBlob
            let brought = try await bring(blobs)
            missing += brought.lost.count
            example = example ?? brought.lost.first
            if example == nil { try await target.put(brought.rows) }
        }
        guard let example else { return }
        throw RegistryError(
            .notFound, subject: .blob(example.description),
            reason: "the bytes of \(missing) blobs would not be found where the catalog goes, \(example) among them; nothing was moved")
    }
}
