import Parsing
import BlobStore
import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Registry

/// Health, set-up, settings, totals, metrics and this API's own description.
enum SystemEndpoints {
    static let table: [Endpoint] = [
        .raw(.get, "/health[/]", "health_check", "health", .public, reply: .of(HealthResponse.self)) { call throws(RegistryError) in
            try await health(call)
        },
        .raw(.get, "/healthz[/]", "healthz", "health", .public, reply: .of(HealthResponse.self)) { call throws(RegistryError) in
            try await health(call)
        },
        .raw(.get, "/ready[/]", "ready", "health", .public, reply: .of(ReadyResponse.self)) { call throws(RegistryError) in try await ready(call) },
        .raw(.get, "/readyz[/]", "readiness_check", "health", .public, reply: .of(ReadyResponse.self)) { call throws(RegistryError) in
            try await ready(call)
        },
        .json(.get, "/livez[/]", "liveness_check", "health", .public) { (_, _: Nothing) throws(RegistryError) -> LiveResponse in
            LiveResponse(status: "ok")
        },
        .json(.get, "/api/v1/setup/status", "setup_status", "auth", .public) { (call, _: Nothing) throws(RegistryError) -> SetupStatusResponse in
            SetupStatusResponse(setup_required: call.access.setupRequired)
        },
        .json(.get, "/api/v1/system/config", "get_system_config", "system", .optional) {
            (call, _: Nothing) throws(RegistryError) -> SystemConfigResponse in
            SystemConfigResponse(
                max_upload_size_bytes: call.registry.options.uploadBytesMax, demo_mode: call.registry.options.isDemonstration,
                guest_access_enabled: call.access.options.guestAccess,
                auth: SystemConfigResponse.Auth(), storage_backend: "filesystem")
        },
        .json(.get, "/api/v1/admin/stats", "get_system_stats", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> SystemStats in
            let totals = call.api.counters.current
            let repositories = try await call.registry.listedRepositories(by: call.caller)
            var cached = Usage()
            for repository in repositories where repository.kind == .remote {
                let usage = try await call.registry.catalog.usage(of: repository.id)
                cached.assets += usage.assets
                cached.bytes += usage.bytes
            }
            return SystemStats(
                total_repositories: Int64(repositories.count), total_artifacts: totals.assets, total_storage_bytes: totals.bytes,
                total_users: Int64(try await UserEndpoints.all(call).count), proxy_artifact_count: cached.assets, proxy_storage_bytes: cached.bytes,
                total_downloads: try await call.registry.downloads.total(), active_peers: 0, pending_sync_tasks: 0)
        },
        .json(.get, "/api/v1/formats", "list_format_handlers", "formats", .optional) { (call, _: Nothing) throws(RegistryError) -> [FormatResponse] in
            call.registry.frontends.map(FormatResponse.init)
        },
        .json(.get, "/api/v1/formats/{format_key}", "get_format_handler", "formats", .optional) {
            (call, _: Nothing) throws(RegistryError) -> FormatResponse in
            guard let frontend = call.registry.frontend(for: call.match["format_key"]) else {
                throw RegistryError(.notFound, subject: .request, reason: "this server does not serve the format \(call.match["format_key"])")
            }
            return FormatResponse(frontend)
        },
        .raw(.get, "/api/v1/admin/metrics", "metrics", "admin", .admin) { call throws(RegistryError) in exposition(call) },
        .raw(.get, "/metrics[/]", "metrics_listener", "system", .admin) { call throws(RegistryError) in exposition(call) },
        .raw(.get, "/api/v1/openapi.json", "openapi_document", "system", .public) { call throws(RegistryError) in
            Response(.ok, fields: [.contentType: "application/json"], content: .bytes(ByteBuffer(bytes: call.api.openAPIDocument)))
        },
    ]

    private static func health(_ call: Call) async throws(RegistryError) -> Response {
        var checks: [String: CheckResponse] = [:]
        for (name, check) in try await probe(call) { checks[name] = check }
        let isHealthy = checks.values.allSatisfy { $0.status == "healthy" }
        let detail = call.api.options.detailedHealth
        return try Response.json(
            HealthResponse(
                status: isHealthy ? "healthy" : "unhealthy", version: call.api.options.version, demo_mode: call.registry.options.isDemonstration,
                checks: detail ? checks : checks.mapValues { CheckResponse(status: $0.status, message: nil) }),
            status: isHealthy ? 200 : 503)
    }

    private static func ready(_ call: Call) async throws(RegistryError) -> Response {
        let isReady = try await probe(call).allSatisfy { $0.1.status == "healthy" }
        let word = isReady ? "healthy" : "unhealthy"
        return try Response.json(
            ReadyResponse(
                status: isReady ? "ready" : "not_ready",
                checks: [
                    "database": .init(status: word, message: nil), "migrations": .init(status: word, message: nil),
                    "setup_complete": .init(status: String(!call.access.setupRequired), message: nil),
                ]),
            status: isReady ? 200 : 503)
    }

    /// Reads through the catalog and asks the blob store whether it still takes bytes.
    private static func probe(_ call: Call) async throws(RegistryError) -> [(String, CheckResponse)] {
        var checks: [(String, CheckResponse)] = []
        do throws(RegistryError) {
            _ = try await call.registry.catalog.head()
            checks.append(("database", CheckResponse(status: "healthy", message: nil)))
        } catch { checks.append(("database", CheckResponse(status: "unhealthy", message: nil))) }
        let free = call.registry.blobs.statistics.freeBytes
        checks.append(
            (
                "storage",
                CheckResponse(status: free.map { $0 > 0 } ?? true ? "healthy" : "unhealthy", message: free.map { "\($0) bytes free" })
            ))
        return checks
    }

    private static func exposition(_ call: Call) -> Response {
        Response(
            .ok, fields: [.contentType: "text/plain; version=0.0.4; charset=utf-8"], content: .bytes(ByteBuffer(string: call.api.metrics.render())))
    }
}

struct CheckResponse: Codable, Sendable {
    let status: String
    let message: String?
}
struct HealthResponse: Codable, Sendable {
    let status, version: String
    let demo_mode: Bool
    let checks: [String: CheckResponse]
}
struct ReadyResponse: Codable, Sendable {
    let status: String
    let checks: [String: CheckResponse]
}
struct LiveResponse: Codable, Sendable { let status: String }
struct SetupStatusResponse: Codable, Sendable { let setup_required: Bool }
struct SystemConfigResponse: Codable, Sendable {
    let max_upload_size_bytes: Int64
    let demo_mode, guest_access_enabled: Bool
    let auth: Auth
    let storage_backend: String?

    /// Accounts are our own in this version.
    struct Auth: Codable, Sendable {
        var oidc_enabled = false
        var ldap_enabled = false
        var sso_enabled = false
        var local_login_enabled = true
        var admin_break_glass_enabled = false
    }
}
struct SystemStats: Codable, Sendable {
    let total_repositories, total_artifacts, total_storage_bytes, total_users, proxy_artifact_count, proxy_storage_bytes: Int64
    let total_downloads, active_peers, pending_sync_tasks: Int64
}
struct FormatResponse: Codable, Sendable {
    let format_key, display_name, handler_type: String
    let aliases, mounts: [String]
    let is_enabled: Bool
    init(_ frontend: any Frontend) {
        format_key = Format.canonical(frontend.format.name)
        display_name = frontend.format.name
        aliases = frontend.format.aliases
        mounts = frontend.format.mounts
        handler_type = "Core"
        is_enabled = true
    }
}
