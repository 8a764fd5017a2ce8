package import Catalog
package import Core
package import OrderedStore

/// The catalog's rows at one moment, decoded: over a snapshot for readers, over a batch for a change being applied.
package struct CatalogRows {
    package static let family = OrderedStore.Family("catalog")

    let rows: any OrderedRows

    package init(rows: any OrderedRows) { self.rows = rows }

    package func get<Value>(
        _ key: Keyspace, _ decode: (inout BinaryReader) throws(RegistryError) -> Value
    ) throws(RegistryError) -> Value? {
        guard let bytes = try rows.get(key.bytes, in: CatalogRows.family) else { return nil }
        return try RowCoding.decode(bytes, decode)
    }

    /// Said of rows that are asked for next: where each question is a journey, they are fetched in one.
    package func willGet(_ keys: [Keyspace]) throws(RegistryError) { try rows.willGet(keys.map(\.bytes), in: CatalogRows.family) }

    // MARK: One row

    package func head() throws(RegistryError) -> Revision { try number(.head).map(Revision.init) ?? .zero }
    package func logStart() throws(RegistryError) -> UInt64 { try number(.logStart) ?? 1 }
    private func number(_ key: Keyspace) throws(RegistryError) -> UInt64? {
        try get(key) { reader throws(RegistryError) in try reader.readUInt64() }
    }

    package func held(_ id: RepositoryID) throws(RegistryError) -> Held? {
        guard var repository = try get(.repository(id), { reader throws(RegistryError) in try reader.readRepository() }) else { return nil }
        let totals = try get(.totals(id)) { reader throws(RegistryError) in try reader.readTotals() }
        repository.revision = totals?.revision ?? .zero
        return Held(repository: repository, usage: totals?.usage ?? Usage())
    }

    package func exists(_ id: RepositoryID) throws(RegistryError) -> Bool {
        try rows.get(Keyspace.repository(id).bytes, in: CatalogRows.family) != nil
    }

    package func owner(ofKey key: RepositoryKey) throws(RegistryError) -> RepositoryID? {
        try get(.repositoryKey(key.text)) { reader throws(RegistryError) in try reader.readEntityID() }
    }

    package func package(_ name: PackageName, in id: RepositoryID) throws(RegistryError) -> Package? {
        try get(.package(id, name.text)) { reader throws(RegistryError) in try reader.readPackage() }
    }

    package func version(_ name: VersionName, of package: PackageName, in id: RepositoryID) throws(RegistryError) -> Version? {
        try get(.version(id, package.text, name.text)) { reader throws(RegistryError) in try reader.readVersion() }
    }

    package func tag(_ name: TagName, of package: PackageName, in id: RepositoryID) throws(RegistryError) -> Tag? {
        try get(.tag(id, package.text, name.text)) { reader throws(RegistryError) in try reader.readTag() }
    }

    package func asset(at path: AssetPath, in id: RepositoryID) throws(RegistryError) -> StoredAsset? {
        try get(.asset(id, path.text)) { reader throws(RegistryError) in try reader.readStoredAsset() }
    }

    package func linkPayload(_ link: Link, in id: RepositoryID) throws(RegistryError) -> [UInt8]? {
        try get(CatalogRows.key(of: link, in: id)) { reader throws(RegistryError) in try reader.readPrefixed() }
    }

    package func tombstone(at path: AssetPath, in id: RepositoryID) throws(RegistryError) -> BlobID? {
        try get(.tombstone(id, path.text)) { reader throws(RegistryError) in try reader.readBlobID() }
    }

    package func learned(_ view: String, in id: RepositoryID) throws(RegistryError) -> LearnedPage? {
        try get(.learned(id, view)) { reader throws(RegistryError) in try reader.readLearnedPage(id, view: view) }
    }

    package func verdicts(on blob: BlobID) throws(RegistryError) -> [Verdict] {
        try get(.verdicts(blob)) { reader throws(RegistryError) in
            try reader.readEach { reader throws(RegistryError) in try reader.readVerdict(on: blob) }
        } ?? []
    }

    package func record(_ kind: Record.Kind, id: String) throws(RegistryError) -> Record? {
        try get(.record(kind.rawValue, id)) { reader throws(RegistryError) in try reader.readRecord(kind, id: id) }
    }

    package func owner(ofUnique unique: String, _ kind: Record.Kind) throws(RegistryError) -> String? {
        try get(.recordUnique(kind.rawValue, unique)) { reader throws(RegistryError) in try reader.readString() }
    }

    package func coordinates(of id: EntityID) throws(RegistryError) -> Coordinates? {
        try get(.entity(id)) { reader throws(RegistryError) in try reader.readCoordinates() }
    }

    package func deletion(_ id: DeletionID) throws(RegistryError) -> Deletion? {
        try get(.deletion(id)) { reader throws(RegistryError) in try reader.readDeletion(id) }
    }

    package static func key(of link: Link, in id: RepositoryID) -> Keyspace {
        .link(id, link.package.text, relation: link.relation, target: link.target, version: link.version.text)
    }

    // MARK: Many rows

    /// At most `limit` rows below `prefix` that come after the key `after`.
    package func list<Value>(
        _ prefix: Key, after: [UInt8]? = nil, limit: Int = .max,
        _ decode: (Keyspace, [UInt8]) throws(RegistryError) -> Value?
    ) throws(RegistryError) -> [Value] {
        var values: [Value] = []
        guard limit > 0 else { return values }
        var from = prefix.bytes
        if let after, !after.lexicographicallyPrecedes(from) { from = after + [0] }
        let end = OrderedStore.end(ofPrefix: prefix.bytes)
        if let end, !from.lexicographicallyPrecedes(end) { return values }
        try rows.scan(CatalogRows.family, from: from, upTo: end, reverse: false) { key, value throws(RegistryError) in
            if let decoded = try decode(try Keyspace(key), value) { values.append(decoded) }
            return values.count < limit
        }
        return values
    }

    private func decoded<Value>(
        _ prefix: Key, after: [UInt8]? = nil, limit: Int = .max,
        _ decode: (inout BinaryReader) throws(RegistryError) -> Value
    ) throws(RegistryError) -> [Value] {
        try list(prefix, after: after, limit: limit) { _, value throws(RegistryError) in try RowCoding.decode(value, decode) }
    }

    package func packages(in id: RepositoryID, after: String?, limit: Int) throws(RegistryError) -> [Package] {
        let start = after.map { Keyspace.package(id, $0).bytes }
        return try decoded(Key(.package).id(id), after: start, limit: limit) { reader throws(RegistryError) in try reader.readPackage() }
    }

    package func versions(of package: PackageName, in id: RepositoryID) throws(RegistryError) -> [Version] {
        try decoded(Key(.version).id(id).text(package.text)) { reader throws(RegistryError) in try reader.readVersion() }
    }

    package func tags(of package: PackageName, in id: RepositoryID, after: String? = nil, limit: Int = .max) throws(RegistryError) -> [Tag] {
        let start = after.map { Keyspace.tag(id, package.text, $0).bytes }
        return try decoded(Key(.tag).id(id).text(package.text), after: start, limit: limit) { reader throws(RegistryError) in
            try reader.readTag()
        }
    }

    package func links(
        of package: PackageName, in id: RepositoryID, relation: String, target: String, after: String?, limit: Int
    ) throws(RegistryError) -> [Link] {
        let prefix = Key(.link).id(id).text(package.text).text(relation).text(target)
        return try links(prefix, after: after.map { prefix.text($0).bytes }, limit: limit)
    }

    package func links(of package: PackageName, in id: RepositoryID) throws(RegistryError) -> [Link] {
        try links(Key(.link).id(id).text(package.text), after: nil, limit: .max)
    }

    private func links(_ prefix: Key, after: [UInt8]?, limit: Int) throws(RegistryError) -> [Link] {
        try list(prefix, after: after, limit: limit) { key, value throws(RegistryError) in
            guard case .link(_, let package, let relation, let target, let version) = key else { throw BinaryReader.damaged }
            return Link(
                relation: relation, target: target, package: try BinaryReader.checked(PackageName(package)),
                version: try BinaryReader.checked(VersionName(version)),
                payload: try RowCoding.decode(value) { reader throws(RegistryError) in try reader.readPrefixed() })
        }
    }

    /// The links a version has, without their payloads.
    package func links(of version: VersionName, _ package: PackageName, in id: RepositoryID) throws(RegistryError) -> [Link] {
        try list(Key(.versionLink).id(id).text(package.text).text(version.text)) { key, _ throws(RegistryError) in
            guard case .versionLink(_, _, _, let relation, let target) = key else { throw BinaryReader.damaged }
            return Link(relation: relation, target: target, package: package, version: version)
        }
    }

    /// The paths of a package's assets, of one version when it is named; in byte order of version and path.
    package func assetPaths(of package: PackageName, _ version: VersionName?, in id: RepositoryID) throws(RegistryError) -> [AssetPath] {
        var prefix = Key(.packageAsset).id(id).text(package.text)
        if let version { prefix = prefix.text(version.text) }
        return try list(prefix) { key, _ throws(RegistryError) in
            guard case .packageAsset(_, _, _, let path) = key else { throw BinaryReader.damaged }
            return try BinaryReader.checked(AssetPath(path))
        }
    }

    package func assets(in id: RepositoryID, prefix: String, after: AssetPath?, limit: Int) throws(RegistryError) -> [Asset] {
        let start = after.map { Keyspace.asset(id, $0.text).bytes }
        return try decoded(Key(.asset).id(id).opening(prefix), after: start, limit: limit) { reader throws(RegistryError) in
            try reader.readStoredAsset().asset
        }
    }

    package func records(_ kind: Record.Kind, after: String?, limit: Int) throws(RegistryError) -> [Record] {
        let start = after.map { Keyspace.record(kind.rawValue, $0).bytes }
        return try list(Key(.record).byte(kind.rawValue), after: start, limit: limit) { key, value throws(RegistryError) in
            guard case .record(_, let id) = key else { throw BinaryReader.damaged }
            return try RowCoding.decode(value) { reader throws(RegistryError) in try reader.readRecord(kind, id: id) }
        }
    }

    /// The newest first.
    package func trash(of id: RepositoryID, before: Revision?, limit: Int) throws(RegistryError) -> [Deletion] {
        var found: [Deletion] = []
        guard limit > 0 else { return found }
        let prefix = Key(.deletion).id(id)
        let end = before.map { prefix.number($0.number).bytes } ?? OrderedStore.end(ofPrefix: prefix.bytes)
        try rows.scan(CatalogRows.family, from: prefix.bytes, upTo: end, reverse: true) { key, value throws(RegistryError) in
            guard case .deletion(let id) = try Keyspace(key) else { throw BinaryReader.damaged }
            found.append(try RowCoding.decode(value) { reader throws(RegistryError) in try reader.readDeletion(id) })
            return found.count < limit
        }
        return found
    }

    /// The earliest first.
    package func deletionsOver(
        by time: Timestamp, limit: Int, where isWanted: (DeletionID) throws(RegistryError) -> Bool
    ) throws(RegistryError) -> [DeletionID] {
        var found: [DeletionID] = []
        guard limit > 0, time.milliseconds >= 0 else { return found }
        let end = Key(.deletionEnd).time(time.adding(milliseconds: 1)).bytes
        try rows.scan(CatalogRows.family, from: Key(.deletionEnd).bytes, upTo: end, reverse: false) { key, _ throws(RegistryError) in
            guard case .deletionEnd(_, let id) = try Keyspace(key) else { throw BinaryReader.damaged }
            if try isWanted(id) { found.append(id) }
            return found.count < limit
        }
        return found
    }

    /// A package with everything in it.
    package func facts(of name: PackageName, in id: RepositoryID) throws(RegistryError) -> Facts {
        var facts = Facts()
        facts.revision = try head()
        if let package = try package(name, in: id) { try append([package], to: &facts, in: id) }
        return facts
    }

    package func append(_ packages: [Package], to facts: inout Facts, in id: RepositoryID) throws(RegistryError) {
        try willAppend(packages, in: id)
        for package in packages {
            facts.packages.append(package)
            facts.versions += try versions(of: package.name, in: id)
            let paths = try assetPaths(of: package.name, nil, in: id)
            try willGet(paths.map { .asset(id, $0.text) })
            for path in paths {
                if let stored = try asset(at: path, in: id) { facts.assets.append(stored.asset) }
            }
            facts.tags += try tags(of: package.name, in: id)
            facts.links += try links(of: package.name, in: id)
        }
    }

    /// Where each question is a journey, one is for what all these packages have, and one for their assets.
    private func willAppend(_ packages: [Package], in id: RepositoryID) throws(RegistryError) {
        let prefixes = packages.flatMap { package in
            [Key(.version), Key(.packageAsset), Key(.tag), Key(.link)].map { $0.id(id).text(package.name.text).bytes }
        }
        var assets: [Keyspace] = []
        for key in try rows.willScan(prefixes, in: CatalogRows.family) {
            if case .packageAsset(_, _, _, let path) = try Keyspace(key) { assets.append(.asset(id, path)) }
        }
        try willGet(assets)
    }

    /// The same, and after it the packages whose names begin with a prefix.
    package func facts(of name: PackageName, andThose prefix: String, in id: RepositoryID) throws(RegistryError) -> Facts {
        var facts = try facts(of: name, in: id)
        facts.packages += try decoded(Key(.package).id(id).opening(prefix)) { reader throws(RegistryError) in
            try reader.readPackage()
        }.filter { $0.name != name }
        return facts
    }
}
