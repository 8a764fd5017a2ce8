// How fast the catalog's two homes are, side by side: catalog-homes FOLDER ADDRESS [SECONDS [ROUNDS]]. Changes are small publications (a version, its
// asset and where its bytes lie), reads are of one asset among 10,000, each by 1, 10 and 100 callers at once, on RocksDB, on PostgreSQL through one home
// and through three, as three nodes have them. All cases take turns, ROUNDS times; a ratio is the median of the rounds' ratios to RocksDB.

import Catalog
import Core
import Logging
import NamedBytes
import OrderedStore
import PostgresCatalog
import RocksCatalog

#if canImport(Glibc)
    import Glibc
#endif

@main
enum CatalogHomes {
    private static let callers = [1, 10, 100]

    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count >= 3, let seconds = Double(arguments.count > 3 ? arguments[3] : "2"), seconds > 0,
            let rounds = Int(arguments.count > 4 ? arguments[4] : "5"), rounds > 0
        else {
            print("catalog-homes FOLDER ADDRESS [SECONDS [ROUNDS]]")
            exit(64)
        }
        let logger = Logger(label: "catalog-homes")
        let store = try OrderedStore(at: arguments[1], families: RocksCatalog.families, logger: logger)
        let rocks = try await RocksCatalog(store: store, pool: BlockingPool(threads: 4, name: "worker"), world: .real, logger: logger)
        var nodes: [PostgresCatalog] = []
        for _ in 0..<3 { nodes.append(try await PostgresCatalog(address: arguments[2], world: .real, logger: logger)) }
        let homes = [Home("RocksDB", [rocks]), Home("PostgreSQL, 1 home", [nodes[0]]), Home("PostgreSQL, 3 homes", nodes)]
        try await homes[0].fill()
        try await homes[1].fill()

        var table = Table()
        for round in 0..<rounds {
            for callers in callers {
                for task in Kind.allCases {
                    for home in homes {
                        let rate = try await home.rate(of: task, by: callers, seconds: seconds, round: round)
                        table.add(rate, Case(task: task, callers: callers, home: home.name))
                    }
                }
            }
        }
        table.show(homes.map(\.name), callers)
        exit(0)
    }
}

enum Kind: String, CaseIterable {
    case changes, reads
}

struct Case: Hashable {
    let task: Kind
    let callers: Int
    let home: String
}

struct Home {
    private static let assets = 10_000
    private static let repository = EntityID(high: 0x7004, low: 1)

    let name: String
    private let catalogs: [any Catalog]

    init(_ name: String, _ catalogs: [any Catalog]) {
        self.name = name
        self.catalogs = catalogs
    }

    /// The repository and the assets that are read.
    func fill() async throws(RegistryError) {
        let repository = Repository(
            id: Home.repository, key: try parsed(RepositoryKey("r")), name: "r", format: "generic", kind: .local, created: Timestamp(seconds: 1))
        try await catalogs[0].apply(change([.putRepository(repository)]))
        for start in stride(from: 0, to: Home.assets, by: 500) {
            var (parts, staged): ([Change.Part], [any StagedBytes]) = ([], [])
            for number in start..<start + 500 {
                let (part, bytes) = try publication("fill", number)
                parts.append(part)
                staged.append(bytes)
            }
            try await catalogs[0].apply(change(parts), staged: staged)
        }
    }

    /// How often callers, each one thing after the other, have it done in a second.
    func rate(of task: Kind, by callers: Int, seconds: Double, round: Int) async throws -> Double {
        let began = ContinuousClock.now
        let end = began + .seconds(seconds)
        let done = try await withThrowingTaskGroup(of: Int.self) { group in
            for caller in 0..<callers {
                group.addTask {
                    let package = "\(name.count)-\(round)-\(callers)-\(caller)"
                    var number = 0
                    while .now < end {
                        try await perform(task, on: catalogs[caller % catalogs.count], package, number &+ caller &* 101)
                        number += 1
                    }
                    return number
                }
            }
            return try await group.reduce(0, +)
        }
        return Double(done) / ((ContinuousClock.now - began) / .seconds(1))
    }

    private func perform(_ task: Kind, on catalog: any Catalog, _ package: String, _ number: Int) async throws(RegistryError) {
        switch task {
        case .changes:
            let (part, bytes) = try publication(package, number)
            try await catalog.apply(change([part]), staged: [bytes])
        case .reads:
            let path = try parsed(AssetPath("fill/\((number &* 7919) % Home.assets)"))
            guard try await catalog.asset(at: path, in: Home.repository) != nil else {
                throw RegistryError(.internal, subject: .path(path.text), reason: "it is not there")
            }
        }
    }

    private func publication(_ package: String, _ number: Int) throws(RegistryError) -> (Change.Part, any StagedBytes) {
        let path = "\(package)/\(number)"
        let bytes = NamedBytes(path, rowBytes: 24)
        let (package, version) = (try parsed(PackageName(package)), try parsed(VersionName(String(number))))
        let draft = AssetDraft(
            path: try parsed(AssetPath(path)), blob: bytes.id, size: bytes.size, contentType: "application/octet-stream", package: package,
            version: version)
        let edit = Edit(mutations: [.putVersion(package, version, manifest: .none, attributes: [:]), .putAsset(draft, overwrite: .never)])
        return (.edit(Home.repository, edit), bytes)
    }

    private func change(_ parts: [Change.Part]) -> Change {
        Change(actor: .system, at: World.real.now(), requestID: "r", parts: parts)
    }

    private func parsed<Name>(_ name: Name?) throws(RegistryError) -> Name {
        guard let name else { throw RegistryError(.internal, subject: .request, reason: "a name is none") }
        return name
    }
}

/// Rates, round by round.
struct Table {
    private var rates: [Case: [Double]] = [:]

    mutating func add(_ rate: Double, _ what: Case) { rates[what, default: []].append(rate) }

    func show(_ homes: [String], _ callers: [Int]) {
        print(
            "| what | callers | " + homes.map { "\($0), per second" }.joined(separator: " | ") + " | "
                + homes.dropFirst().map { "\($0), ratio" }.joined(separator: " | ") + " |")
        print("|" + String(repeating: "---|", count: 1 + homes.count * 2))
        for task in Kind.allCases {
            for count in callers {
                let all = homes.map { rates[Case(task: task, callers: count, home: $0)] ?? [] }
                let absolute = all.map { String(Int(Table.quartiles($0).1.rounded())) }
                let ratios = all.dropFirst().map { theirs in
                    let (low, middle, high) = Table.quartiles(zip(theirs, all[0]).map { $0 / $1 })
                    return "\(Table.short(middle))x (\(Table.short(low)) to \(Table.short(high)))"
                }
                print("| \(task.rawValue) | \(count) | " + (absolute + ratios).joined(separator: " | ") + " |")
            }
        }
    }

    private static func quartiles(_ values: [Double]) -> (Double, Double, Double) {
        let sorted = values.sorted()
        func at(_ part: Double) -> Double { sorted.isEmpty ? 0 : sorted[Int((part * Double(sorted.count - 1)).rounded())] }
        return (at(0.25), at(0.5), at(0.75))
    }

    /// Three digits after the point.
    private static func short(_ value: Double) -> String {
        let thousandths = Int((value * 1000).rounded())
        return "\(thousandths / 1000).\(String(String(1000 + thousandths % 1000).dropFirst()))"
    }
}
