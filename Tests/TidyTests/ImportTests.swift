import Testing

/// The import arrows of ARCHITECTURE.md: which module may import which. A new target gets a row here, and a reason in its commit.
@Suite("imports") struct ImportTests {
    /// Open to every room: the vocabulary, the buffer type and the logger it hands on, the system.
    static let everywhere: Set<String> = ["Core", "NIOCore", "Logging", "Synchronization", "Glibc", "Darwin", "FoundationEssentials"]

    /// Folder under Sources (longest match wins) to what its files may import beyond `everywhere`.
    static let arrows: [(folder: String, imports: Set<String>)] = [
        ("Core", ["CThreads", "Crypto"]),
        ("Index/OrderedStore", ["CRocksDB"]),
        ("Index/Catalog", []),
        ("Index/CatalogRules", ["Catalog", "OrderedStore"]),
        ("Index/RocksCatalog", ["Catalog", "CatalogRules", "OrderedStore"]),
        ("Index/PostgresClient", ["CPostgres"]),
        ("Index/PostgresCatalog", ["Catalog", "CatalogRules", "OrderedStore", "PostgresClient"]),
        ("BlobStore/BlobStore", ["CBlobStore", "CDeflate", "CZstd", "OrderedStore", "Crypto"]),
        ("BlobStore/S3Tier", ["BlobStore", "Outbound", "Parsing", "Crypto"]),
        ("Frontends/Kit", ["HTTPTypes"]),
        ("Frontends/Parsing", ["CLzma", "CZlib", "CZstd"]),
        ("Outbound/Outbound", ["CCurl"]),
        ("Inspection/OpenPGP", ["CRnp"]),
        ("Access/Audit", ["Access", "OrderedStore", "Parsing", "Crypto"]),
        ("Access/Access", ["CArgon2", "Catalog", "Parsing", "Crypto"]),
        ("Registry", ["FrontendKit", "Parsing", "Access", "Catalog", "BlobStore", "Outbound", "HTTPTypes"]),
        ("Server", ["FrontendKit", "NIOPosix", "NIOHTTP1", "NIOHTTP2", "NIOHPACK", "NIOSSL", "HTTPTypes", "Crypto"]),
        ("AdminAPI", ["FrontendKit", "Parsing", "Access", "Audit", "Catalog", "BlobStore", "Registry", "HTTPTypes"]),
        // A format reaches the contract and the readers, nothing else: no socket, no catalog, no key, no other format.
        ("Frontends", ["FrontendKit", "Parsing", "HTTPTypes"]),
    ]

    /// The composition root, and what every composition of it shares, may import everything.
    static let unbounded = ["granary", "BuiltIn"]

    static func allowed(in path: String) -> Set<String>? {
        let folder = path.dropFirst("Sources/".count)
        if unbounded.contains(where: { folder.hasPrefix($0 + "/") }) { return nil }
        let row = arrows.filter { folder.hasPrefix($0.folder + "/") }.max { $0.folder.count < $1.folder.count }
        return everywhere.union(row?.imports ?? [])
    }

    static func imported(_ line: Substring) -> String? {
        let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
        guard let keyword = words.firstIndex(of: "import") else { return nil }
        let before: Set<Substring> = [
            "public", "package", "internal", "fileprivate", "private", "@testable", "@preconcurrency", "@_spi", "@_exported",
        ]
        guard words[..<keyword].allSatisfy(before.contains) else { return nil }
        let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
        return words[(keyword + 1)...].drop(while: kinds.contains).first.map { String($0.prefix { $0 != "." }) }
    }

    @Test("every file imports only what its room may reach")
    func arrowsHold() {
        var offenders: [String] = []
        for file in Tree.sources {
            guard let allowed = Self.allowed(in: file.path) else { continue }
            for (number, line) in file.code.enumerated() {
                guard let module = Self.imported(line), !allowed.contains(module) else { continue }
                offenders.append("\(file.path):\(number + 1) imports \(module)")
            }
        }
        #expect(offenders == [])
    }

    @Test("Foundation is not imported: FoundationEssentials where it really saves code")
    func noFoundation() {
        #expect((Tree.sources + Tree.tests).flatMap { $0.offences { Self.imported($0) == "Foundation" } } == [])
    }

    @Test("every folder of Sources with Swift in it has a row")
    func everyRoomHasARow() {
        let rooms = Set(
            Tree.sources.map { file in
                String(file.path.dropFirst("Sources/".count).split(separator: "/").dropLast().joined(separator: "/"))
            })
        let unknown = rooms.filter { room in
            !Self.unbounded.contains { (room + "/").hasPrefix($0 + "/") } && !Self.arrows.contains { (room + "/").hasPrefix($0.folder + "/") }
        }
        #expect(unknown.sorted() == [])
    }
}
