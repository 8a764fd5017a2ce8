// swift-tools-version: 6.2
import PackageDescription

// One target per room of ARCHITECTURE.md. A new format is one folder under Sources/Frontends and one name here.
let formats = ["Debian", "Generic", "HTTPCache", "Maven", "Npm", "OCI", "PyPI"]

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

extension Target.Dependency {
    static let nioCore = Self.product(name: "NIOCore", package: "swift-nio")
    static let nioPosix = Self.product(name: "NIOPosix", package: "swift-nio")
    static let nioHTTP1 = Self.product(name: "NIOHTTP1", package: "swift-nio")
    static let nioHTTP2 = Self.product(name: "NIOHTTP2", package: "swift-nio-http2")
    static let nioSSL = Self.product(name: "NIOSSL", package: "swift-nio-ssl")
    static let logging = Self.product(name: "Logging", package: "swift-log")
    static let httpTypes = Self.product(name: "HTTPTypes", package: "swift-http-types")
    static let crypto = Self.product(name: "Crypto", package: "swift-crypto")
    static let yams = Self.product(name: "Yams", package: "Yams")
    static let arguments = Self.product(name: "ArgumentParser", package: "swift-argument-parser")
}

func room(_ name: String, in path: String? = nil, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(path ?? name)", swiftSettings: strict)
}

/// A C library as Debian packages it; only the room that names it may import it.
func library(_ name: String, in path: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, path: "Sources/\(path)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

/// Tests are compiled without optimisation in every configuration: what is under test is not, they build faster, and the optimiser of
/// Swift 6.3 crashes on some asynchronous test functions.
func tests(_ name: String, in path: String? = nil, _ dependencies: [Target.Dependency], beside: [String] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, path: "Tests/\(path ?? name)", exclude: beside,
        swiftSettings: strict + [.unsafeFlags(["-Onone"], .when(configuration: .release))])
}

let package = Package(
    name: "granary",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "granary", targets: ["granary"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-http2.git", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
        .package(url: "https://github.com/jpsim/Yams.git", from: "6.2.2"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
    ],
    targets: [
        // The vocabulary.
        .target(name: "CThreads", path: "Sources/CThreads"),
        room("Core", ["CThreads", .nioCore, .logging, .crypto]),

        // Index: an ordered store, and on it the mutable truth.
        library("CRocksDB", in: "Index/CRocksDB", pkgConfig: "rocksdb", apt: "librocksdb-dev"),
        room("OrderedStore", in: "Index/OrderedStore", ["CRocksDB", "Core", .logging]),
        room("Catalog", in: "Index/Catalog", ["Core"]),
        room("CatalogRules", in: "Index/CatalogRules", ["Catalog", "OrderedStore", "Core", .logging]),
        room("RocksCatalog", in: "Index/RocksCatalog", ["Catalog", "CatalogRules", "OrderedStore", "Core", .logging]),
        library("CPostgres", in: "Index/CPostgres", pkgConfig: "libpq", apt: "libpq-dev"),
        room("PostgresClient", in: "Index/PostgresClient", ["CPostgres", "Core"]),
        room(
            "PostgresCatalog", in: "Index/PostgresCatalog", ["Catalog", "CatalogRules", "OrderedStore", "PostgresClient", "Core", .logging]),

        // Bytes.
        .target(name: "CBlobStore", path: "Sources/BlobStore/CBlobStore"),
        // As it came, in the style of its time; its README says why it stays so.
        .target(
            name: "CDeflate", path: "Sources/BlobStore/CDeflate", exclude: ["README.md", "LICENSE"],
            cSettings: [.define("Z_PREFIX"), .define("NO_GZIP"), .define("HAVE_HIDDEN"), .disableWarning("deprecated-non-prototype")]),
        room("BlobStore", in: "BlobStore/BlobStore", ["CBlobStore", "CDeflate", "CZstd", "Core", "OrderedStore", .crypto, .nioCore, .logging]),

        // The contract, the readers, the formats.
        room("FrontendKit", in: "Frontends/Kit", ["Core", .httpTypes, .nioCore]),
        library("CZlib", in: "Frontends/CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
        library("CLzma", in: "Frontends/CLzma", pkgConfig: "liblzma", apt: "liblzma-dev"),
        library("CZstd", in: "CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
        room("Parsing", in: "Frontends/Parsing", ["CLzma", "CZlib", "CZstd", "Core", .nioCore]),

        // The outgoing client.
        library("CCurlSystem", in: "Outbound/CCurlSystem", pkgConfig: "libcurl", apt: "libcurl4-openssl-dev"),
        .target(name: "CCurl", dependencies: ["CCurlSystem"], path: "Sources/Outbound/CCurl"),
        room("Outbound", in: "Outbound/Outbound", ["CCurl", "Core", .nioCore, .logging]),

        // A bucket as a tier of the blob store.
        room("S3Tier", in: "BlobStore/S3Tier", ["BlobStore", "Core", "Outbound", "Parsing", .crypto, .nioCore, .logging]),

        // Who, and what they may do.
        library("CArgon2", in: "Access/CArgon2", pkgConfig: "libargon2", apt: "libargon2-dev"),
        room("Access", in: "Access/Access", ["CArgon2", "Core", "Catalog", "Parsing", .crypto, .logging]),

        // What was decided about whom.
        room("Audit", in: "Access/Audit", ["Access", "Core", "OrderedStore", "Parsing", .crypto, .logging]),

        // What signs the documents we publish.
        library("CRnp", in: "Inspection/CRnp", pkgConfig: "librnp", apt: "librnp-dev"),
        room("OpenPGP", in: "Inspection/OpenPGP", ["CRnp", "Core"]),

        // The engine, the sockets, the control plane.
        room("Registry", ["Core", "FrontendKit", "Parsing", "Access", "Catalog", "BlobStore", "Outbound", .httpTypes, .nioCore, .logging]),
        room("Server", ["Core", "FrontendKit", .nioCore, .nioPosix, .nioHTTP1, .nioHTTP2, .nioSSL, .httpTypes, .logging, .crypto]),
        room("AdminAPI", ["Core", "FrontendKit", "Parsing", "Access", "Audit", "Catalog", "BlobStore", "Registry", .httpTypes, .nioCore, .logging]),
        room("BuiltIn", ["Core", "FrontendKit", "OpenPGP", "Registry"] + formats.map { .init(stringLiteral: $0) }),
        .executableTarget(
            name: "granary",
            dependencies: [
                "Core", "OrderedStore", "Catalog", "CatalogRules", "RocksCatalog", "PostgresCatalog", "BlobStore", "S3Tier", "FrontendKit",
                "Outbound", "Access", "Audit", "Registry", "Server", "AdminAPI", "BuiltIn", .yams, .arguments, .logging, .nioCore, .nioPosix,
            ],
            path: "Sources/granary",
            swiftSettings: strict
        ),

        // What no client can measure.
        .executableTarget(
            name: "index-gets", dependencies: ["Core", "OrderedStore", .logging], path: "benchmarks/IndexGets", swiftSettings: strict),

        // Bytes for changes of a catalog alone; for the two below.
        .target(name: "NamedBytes", dependencies: ["Core"], path: "benchmarks/NamedBytes", swiftSettings: strict),
        .executableTarget(
            name: "catalog-homes", dependencies: ["Core", "OrderedStore", "Catalog", "RocksCatalog", "PostgresCatalog", "NamedBytes", .logging],
            path: "benchmarks/CatalogHomes", swiftSettings: strict),

        // What scripts/torture postgres sends changes with.
        .executableTarget(
            name: "catalog-node", dependencies: ["Core", "Catalog", "PostgresCatalog", "NamedBytes", .logging], path: "Tests/Torture/CatalogNode",
            swiftSettings: strict),

        // Tests mirror the tree.
        .target(
            name: "TestSupport",
            dependencies: ["Core", "Catalog", "BlobStore", "FrontendKit", "Parsing", .nioCore, .nioPosix, .nioHTTP1, .nioSSL, .httpTypes],
            path: "Tests/Support", swiftSettings: strict),
        // A whole server without its sockets, for tests of what stands behind them.
        .target(
            name: "TestHouse",
            dependencies: [
                "Core", "OrderedStore", "Catalog", "RocksCatalog", "PostgresClient", "PostgresCatalog", "BlobStore", "FrontendKit", "Parsing", "Outbound",
                "Access", "Audit", "Registry", "AdminAPI", "BuiltIn", "TestSupport", .nioCore, .httpTypes, .logging,
            ],
            path: "Tests/House", swiftSettings: strict),
        tests("CoreTests", ["Core"]),
        tests(
            "IndexTests",
            ["Core", "OrderedStore", "Catalog", "CatalogRules", "RocksCatalog", "PostgresClient", "PostgresCatalog", "TestSupport", .logging]),
        tests("BlobStoreTests", ["CBlobStore", "Core", "OrderedStore", "BlobStore", "TestSupport", .nioCore, .logging]),
        tests("S3TierTests", ["BlobStore", "Core", "OrderedStore", "Outbound", "S3Tier", "TestSupport", .nioCore, .logging]),
        tests(
            "SharedBlobsTests",
            [
                "BlobStore", "Catalog", "Core", "OrderedStore", "Outbound", "PostgresCatalog", "PostgresClient", "Registry", "S3Tier", "TestSupport",
                .nioCore, .logging,
            ]),
        tests("ParsingTests", ["Core", "Parsing", .nioCore]),
        tests("FrontendKitTests", ["Core", "FrontendKit", .httpTypes]),
        tests("OutboundTests", ["Core", "Outbound", "TestSupport", .nioCore, .logging]),
        tests("OpenPGPTests", ["Core", "OpenPGP", "TestSupport"]),
        tests("AccessTests", ["Core", "Catalog", "Parsing", "Access", "TestSupport", .crypto, .logging]),
        tests(
            "AuditTests",
            [
                "Access", "Audit", "Catalog", "Core", "OrderedStore", "Parsing", "PostgresClient", "PostgresCatalog", "TestHouse", "TestSupport",
                .httpTypes, .logging,
            ]),
        tests(
            "RegistryTests",
            [
                "Core", "Parsing", "Catalog", "FrontendKit", "Registry", "TestHouse", "TestSupport", "BlobStore", "Access", .nioCore, .httpTypes,
                .logging,
            ]),
        tests(
            "AdminAPITests",
            [
                "Core", "Parsing", "Catalog", "BlobStore", "FrontendKit", "Registry", "AdminAPI", "TestHouse", "TestSupport", "Server", "Access",
                "Outbound", .nioCore, .httpTypes, .logging,
            ], beside: ["rest-facts.json"]),
        tests(
            "AccessMatrixTests",
            [
                "Access", "AdminAPI", "BuiltIn", "Catalog", "Core", "FrontendKit", "Parsing", "Registry", "TestHouse", "TestSupport", .httpTypes,
                .crypto,
            ]),
        tests("BuiltInTests", ["BuiltIn", "Core", "FrontendKit", "Parsing", "TestHouse", "TestSupport", .httpTypes]),
        tests(
            "ServerTests",
            ["Core", "FrontendKit", "Server", "TestSupport", .nioCore, .nioPosix, .nioHTTP1, .nioSSL, .httpTypes, .logging, .crypto]),
        tests(
            "GranaryTests",
            [
                "granary", "Access", "AdminAPI", "Audit", "BlobStore", "Catalog", "Core", "OrderedStore", "Parsing", "PostgresClient", "Registry",
                "TestHouse", "TestSupport", .httpTypes, .logging,
            ]),
        tests("TidyTests", [], beside: ["ratchet.txt"]),
    ] + formats.map { room($0, in: "Frontends/\($0)", ["FrontendKit", "Parsing", "Core", .httpTypes, .nioCore]) }
        + formats.map {
            tests(
                "\($0)Tests", in: "Frontends/\($0)",
                [.init(stringLiteral: $0), "FrontendKit", "Parsing", "Core", "TestSupport", .httpTypes, .nioCore])
        }
)
