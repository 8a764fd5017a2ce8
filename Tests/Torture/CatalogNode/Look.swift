import Catalog
import Core
import PostgresCatalog

/// Everything that is there, a line each.
struct Look {
    private static let page = 1000
    let catalog: PostgresCatalog

    func show() async throws(RegistryError) {
        var revision = Revision.zero
        while let page = try await more(of: { () async throws(RegistryError) in try await catalog.log(after: revision, limit: Look.page) }) {
            for entry in page {
                CatalogNode.say("log \(entry.revision.number) \(entry.requestID)")
                revision = entry.revision
            }
        }
        var record: String?
        while let page = try await more(of: { () async throws(RegistryError) in try await catalog.records(.cursor, after: record, limit: Look.page) })
        {
            for found in page {
                CatalogNode.say("record \(found.id) \(found.revision.number) \(String(decoding: found.value, as: UTF8.self))")
                record = found.id
            }
        }
        let counter = try await catalog.record(.setting, id: Act.counter)
        CatalogNode.say("counter \(String(decoding: counter?.value ?? [0x30], as: UTF8.self))")
        try await showRepository()
        var pin: Pin?
        while let page = try await more(of: { () async throws(RegistryError) in try await catalog.pins(after: pin, limit: Look.page) }) {
            for found in page {
                guard case .asset(_, let path) = found.reason else { continue }
                CatalogNode.say("pin \(path) \(found.blob)")
            }
            pin = page.last
        }
    }

    private func showRepository() async throws(RegistryError) {
        let id = Act.repository
        var path: AssetPath?
        while let page = try await more(of: { () async throws(RegistryError) in
            try await catalog.assets(in: id, prefix: "", after: path, limit: Look.page)
        }) {
            for asset in page { CatalogNode.say("asset \(asset.path) \(asset.blob) \(asset.size)") }
            path = page.last?.path
        }
        var package: String?
        while let page = try await more(of: { () async throws(RegistryError) in
            try await catalog.facts(in: .packages, of: id, after: package, limit: Look.page).packages
        }) {
            for found in page {
                let facts = try await catalog.facts(in: .package(found.name), of: id, after: nil, limit: 1)
                for version in facts.versions { CatalogNode.say("version \(found.name)-\(version.name)") }
                for tag in facts.tags { CatalogNode.say("tag \(found.name)-\(tag.version)") }
            }
            package = page.last?.name.text
        }
        let usage = try await catalog.usage(of: id)
        CatalogNode.say("usage \(usage.assets) \(usage.bytes)")
    }

    /// nil at the end.
    private func more<Item>(of list: () async throws(RegistryError) -> [Item]) async throws(RegistryError) -> [Item]? {
        let page = try await list()
        return page.isEmpty ? nil : page
    }
}
