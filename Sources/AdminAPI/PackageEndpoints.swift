import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Packages and their versions, over every repository the caller may read.
enum PackageEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/packages", "list_packages", "packages", .optional, query: filters + PageWindow.parameters) {
            (call, _: Nothing) throws(RegistryError) -> PackageListResponse in
            let window = try PageWindow(call.head.query)
            var seen = 0
            var items: [PackageResponse] = []
            // Members of a virtual repository share names; each shows once, as its first member has it.
            let isUnion = call.head.query["repository_key"] != nil
            var names: Set<PackageName> = []
            for repository in try await repositories(call) {
                var last: String?
                while true {
                    let page = try await call.registry.catalog.facts(in: .packages, of: repository.id, after: last, limit: 1_000).packages
                    for package in page where matches(package, call.head.query["search"]) {
                        if isUnion, !names.insert(package.name).inserted { continue }
                        if seen >= window.skip, items.count < window.perPage { items.append(try await response(package, repository, call)) }
                        seen += 1
                    }
                    last = page.last?.name.text
                    if page.count < 1_000 { break }
                }
            }
            return PackageListResponse(items: items, pagination: window.pagination(total: seen))
        },
        .json(.get, "/api/v1/packages/{id}", "get_package", "packages", .optional) { (call, _: Nothing) throws(RegistryError) -> PackageResponse in
            let (package, repository) = try await find(call)
            return try await response(package, repository, call)
        },
        .json(.get, "/api/v1/packages/{id}/versions", "get_package_versions", "packages", .optional) {
            (call, _: Nothing) throws(RegistryError) -> PackageVersionsResponse in
            let (package, repository) = try await find(call)
            let facts = try await call.registry.catalog.facts(in: .package(package.name), of: repository.id, after: nil, limit: 1)
            var versions: [PackageVersionResponse] = []
            for version in facts.versions.sorted(by: { $0.created > $1.created }) {
                let assets = facts.assets.filter { $0.version == version.name }
                versions.append(
                    PackageVersionResponse(
                        version: version.name.text, size_bytes: assets.reduce(0) { $0 + $1.size },
                        download_count: try await downloads(of: assets, in: repository, call), created_at: version.created.description,
                        checksum_sha256: assets.max { $0.size < $1.size }?.blob.hex ?? ""))
            }
            return PackageVersionsResponse(versions: versions)
        },
    ]

    private static let filters = ["repository_key", "format", "search"].map { Endpoint.Parameter(name: $0, type: "string") }

    private static func repositories(_ call: Call) async throws(RegistryError) -> [Repository] {
        var visible: [Repository]
        if let key = call.head.query["repository_key"] {
            visible = try await call.registry.holders(of: try await call.registry.readable(try call.repositoryKey(key), by: call.caller))
        } else {
            // What is in a repository is shown to who may read it; to know that it exists is less.
            visible = try await call.registry.listedRepositories(by: call.caller).filter { call.access.mayRead(call.caller, $0) }
        }
        if let format = call.head.query["format"] { visible.removeAll { Format.canonical($0.format) != Format.canonical(format) } }
        return visible
    }

    private static func matches(_ package: Package, _ text: String?) -> Bool {
        text.map { package.name.text.lowercased().contains($0.lowercased()) } ?? true
    }

    /// A package of a repository one may not read is one that does not exist.
    private static func find(_ call: Call) async throws(RegistryError) -> (Package, Repository) {
        let absent = RegistryError(.notFound, subject: .request, reason: "there is no such package")
        guard case .package(let id, let name)? = try await call.registry.catalog.lookup(try call.id()),
            let repository = try await call.registry.catalog.repository(id: id), call.access.mayRead(call.caller, repository),
            let package = try await call.registry.catalog.package(name, in: id)
        else { throw absent }
        return (package, repository)
    }

    private static func downloads(of assets: [Asset], in repository: Repository, _ call: Call) async throws(RegistryError) -> Int64 {
        var sum: Int64 = 0
        for asset in assets { sum += try await call.registry.downloads.count(of: asset.path, in: repository.id) }
        return sum
    }

    private static func response(_ package: Package, _ repository: Repository, _ call: Call) async throws(RegistryError) -> PackageResponse {
        let facts = try await call.registry.catalog.facts(in: .package(package.name), of: repository.id, after: nil, limit: 1)
        let latest = facts.versions.max { $0.created < $1.created }
        return PackageResponse(
            id: package.id.description, repository_key: repository.key.text, name: package.displayName ?? package.name.text,
            version: latest?.name.text ?? "",
            format: repository.format, description: package.attributes["summary"], size_bytes: facts.assets.reduce(0) { $0 + $1.size },
            download_count: try await downloads(of: facts.assets, in: repository, call),
            created_at: package.created.description, updated_at: (facts.assets.map(\.created).max() ?? package.created).description)
    }
}

struct PackageResponse: Codable, Sendable {
    let id, repository_key, name, version, format: String
    let description: String?
    let size_bytes, download_count: Int64
    let created_at, updated_at: String
}
struct PackageListResponse: Codable, Sendable {
    let items: [PackageResponse]
    let pagination: Pagination
}
struct PackageVersionResponse: Codable, Sendable {
    let version: String
    let size_bytes, download_count: Int64
    let created_at, checksum_sha256: String
}
struct PackageVersionsResponse: Codable, Sendable { let versions: [PackageVersionResponse] }
