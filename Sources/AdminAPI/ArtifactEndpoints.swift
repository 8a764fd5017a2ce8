import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Parsing
import Registry

/// The generic artifact API, on repositories of every format (conventions, section 6).
enum ArtifactEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/repositories/{key}/artifacts", "list_artifacts", "artifacts", .optional, query: filters + PageWindow.parameters) {
            (call, _: Nothing) throws(RegistryError) -> ArtifactListResponse in
            try await list(call)
        },
        .raw(
            .post, "/api/v1/repositories/{key}/artifacts", "upload_artifact_multipart", "artifacts", .authenticated,
            reply: .of(ArtifactResponse.self),
            status: 201
        ) { call throws(RegistryError) in try await putForm(at: nil, call) },
        .raw(
            .post, "/api/v1/repositories/{key}/artifacts/{path+}", "upload_artifact_multipart_with_path", "artifacts", .authenticated,
            reply: .of(ArtifactResponse.self), status: 201
        ) { call throws(RegistryError) in try await putForm(at: try call.artifactPath(), call) },
        .raw(
            .put, "/api/v1/repositories/{key}/artifacts/{path+}", "upload_artifact", "artifacts", .authenticated, reply: .of(ArtifactResponse.self),
            status: 201
        ) { call throws(RegistryError) in
            let key = try call.repositoryKey()
            let asset = try await call.registry.putArtifact(
                call.body, at: try call.artifactPath(), in: key, contentType: call.head.fields[.contentType],
                declared: try declaredDigests(call.head),
                by: call.origin)
            return try await created(asset, in: key, call)
        },
        .json(.get, "/api/v1/repositories/{key}/artifacts/{path+}", "get_repository_artifact_metadata", "artifacts", .optional) {
            (call, _: Nothing) throws(RegistryError) -> ArtifactResponse in
            let path = try call.artifactPath()
            let authorized = try await call.registry.readable(try call.repositoryKey(), by: call.caller, about: .name(path.text))
            let (asset, holder) = try await call.registry.heldArtifact(at: path, in: authorized)
            return try await describe(asset, in: holder.repository, call)
        },
        .json(.delete, "/api/v1/repositories/{key}/artifacts/{path+}", "delete_artifact", "artifacts", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.registry.deleteArtifact(at: try call.artifactPath(), in: try call.repositoryKey(), by: call.origin)
            return Nothing()
        },
        .raw(.get, "/api/v1/repositories/{key}/download/{path+}", "download_artifact", "artifacts", .optional) { call throws(RegistryError) in
            let path = try call.artifactPath()
            let authorized = try await call.registry.readable(try call.repositoryKey(), by: call.caller, about: .name(path.text))
            let fields: HTTPFields = [.contentDisposition: ContentDisposition.attachment(String(path.fileName))]
            return try await call.registry.artifactResponse(at: path, in: authorized, fields: fields, head: call.head)
        },
    ]

    private static let filters = ["q", "path_prefix", "cursor", "count"].map { Endpoint.Parameter(name: $0, type: "string") }

    /// The most rows one listing looks at: beyond, `has_more` and the cursor lead on.
    private static let scannedMax = 100_000

    private static func list(_ call: Call) async throws(RegistryError) -> ArtifactListResponse {
        let window = try PageWindow(call.head.query)
        let authorized = try await call.registry.readable(try call.repositoryKey(), by: call.caller)
        let prefix = call.head.query["path_prefix"] ?? ""
        let text = call.head.query["q"]?.lowercased()
        var after: AssetPath?
        if let cursor = call.head.query["cursor"] {
            guard let bytes = Base64.decode(cursor, .url), let path = AssetPath(String(decoding: bytes, as: UTF8.self)) else {
                throw RegistryError(.invalid, subject: .field("cursor"), reason: "this is no cursor of ours")
            }
            after = path
        }
        // Of what one repository holds, all of it: a virtual one's members may hold the same path twice, and hide some from this caller.
        var kept: Int?
        if prefix.isEmpty, text == nil, try await call.registry.holders(of: authorized).map(\.id) == [authorized.repository.id] {
            kept = Int(try await call.registry.catalog.usage(of: authorized.repository.id).assets)
        }
        let skip = after == nil ? window.skip : 0
        var found: [(asset: Asset, holder: Repository)] = []
        var seen = 0
        var scanned = 0
        var isWhole = false
        while scanned < scannedMax {
            let page = try await call.registry.artifacts(in: authorized, prefix: prefix, after: after, limit: 1_000)
            scanned += page.count
            for held in page where text.map({ held.asset.path.text.lowercased().contains($0) }) ?? true {
                if seen >= skip, found.count <= window.perPage { found.append(held) }
                seen += 1
            }
            after = page.last?.asset.path
            if page.count < 1_000 {
                isWhole = true
                break
            }
            // Unfiltered totals are kept by the catalog: no need to count.
            if kept != nil, found.count > window.perPage { break }
        }
        let shown = found.prefix(window.perPage)
        // Where the next page begins: behind the last shown, or, when too few were found in time, behind the last looked at.
        let next = found.count > window.perPage ? shown.last?.asset.path : isWhole ? nil : after
        var items: [ArtifactResponse] = []
        for held in shown { items.append(try await describe(held.asset, in: held.holder, call)) }
        return ArtifactListResponse(
            items: items, pagination: window.pagination(total: kept ?? seen), next_cursor: next.map { Base64.encode(Array($0.text.utf8), .url) },
            has_more: next != nil)
    }

    static func describe(_ asset: Asset, in repository: Repository, _ call: Call) async throws(RegistryError) -> ArtifactResponse {
        ArtifactResponse(
            asset, in: repository.key, downloads: try await call.registry.downloads.count(of: asset.path, in: repository.id),
            verdict: try await call.registry.catalog.verdict(on: asset.blob))
    }

    private static func created(_ asset: Asset, in key: RepositoryKey, _ call: Call) async throws(RegistryError) -> Response {
        guard let repository = try await call.registry.catalog.repository(key) else {
            throw RegistryError(.conflict, subject: .repository(key.text), reason: "the repository was deleted or renamed meanwhile")
        }
        return try Response.json(try await describe(asset, in: repository, call), status: 201)
    }

    private static func putForm(at path: AssetPath?, _ call: Call) async throws(RegistryError) -> Response {
        guard let type = call.head.fields[.contentType] else {
            throw RegistryError(.invalid, subject: .request, reason: "a form upload needs Content-Type: multipart/form-data")
        }
        let key = try call.repositoryKey()
        let asset = try await call.registry.putArtifactForm(call.body, contentType: type, at: path, in: key, by: call.origin)
        return try await created(asset, in: key, call)
    }

    /// `X-Checksum-SHA256`, `-SHA1`, `-MD5`.
    static func declaredDigests(_ head: RequestHead) throws(RegistryError) -> [Digest] {
        var declared: [Digest] = []
        for (field, algorithm) in [("X-Checksum-SHA256", DigestAlgorithm.sha256), ("X-Checksum-SHA1", .sha1), ("X-Checksum-MD5", .md5)] {
            guard let name = HTTPField.Name(field), let text = head.fields[name] else { continue }
            guard let digest = Digest(algorithm, hex: text) else {
                throw RegistryError(.invalid, subject: .field(field), reason: "\(field) is no \(algorithm.rawValue) in hex")
            }
            declared.append(digest)
        }
        return declared
    }
}

struct ArtifactResponse: Codable, Sendable {
    let id, repository_key, path, name: String
    let version: String?
    let size_bytes: Int64
    let checksum_sha256, content_type: String
    let download_count: Int64
    let created_at: String
    let uploaded_by_username: String?
    let metadata: [String: String]?
    let analyzable: Bool
    let quarantine_status: String

    init(_ asset: Asset, in key: RepositoryKey, downloads: Int64, verdict: Verdict?) {
        id = asset.id.description
        repository_key = key.text
        path = asset.path.text
        name = asset.package?.text ?? String(asset.path.fileName)
        version = asset.version?.text
        size_bytes = asset.size
        checksum_sha256 = asset.blob.hex
        content_type = asset.contentType
        download_count = downloads
        created_at = asset.created.description
        uploaded_by_username = asset.creator
        metadata = asset.attributes.isEmpty ? nil : asset.attributes
        analyzable = false
        quarantine_status =
            switch verdict?.state {
            case nil, .pending: "unscanned"
            case .allowed: "clean"
            case .quarantined: "quarantined"
            case .blocked: "rejected"
            }
    }
}
struct ArtifactListResponse: Codable, Sendable {
    let items: [ArtifactResponse]
    let pagination: Pagination
    let next_cursor: String?
    let has_more: Bool?
}

/// RFC 6266 with the extended form of RFC 8187 for what is not plain ASCII.
enum ContentDisposition {
    static func attachment(_ name: String) -> String {
        let plain = String(decoding: name.utf8.map { $0 >= 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C ? $0 : UInt8(ascii: "_") }, as: UTF8.self)
        guard plain != name else { return "attachment; filename=\"\(plain)\"" }
        return "attachment; filename=\"\(plain)\"; filename*=UTF-8''\(Percent.encode(name, in: .strict))"
    }
}
