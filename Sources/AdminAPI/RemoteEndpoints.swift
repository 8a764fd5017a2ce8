import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// What is set and asked of a remote repository's upstream (conventions, section 5).
enum RemoteEndpoints {
    static let table: [Endpoint] = [
        .json(
            .post, "/api/v1/repositories/{key}/cache/invalidate", "invalidate_cache", "repositories", .authenticated, scope: .writeRepositories,
            query: [Endpoint.Parameter(name: "path", type: "string")]
        ) { (call, _: Nothing) throws(RegistryError) -> InvalidateCacheResponse in
            guard let path = call.head.query["path"], !path.isEmpty else {
                throw RegistryError(.invalid, subject: .field("path"), reason: "say which path: a file's, or a page's as clients ask for it")
            }
            let key = try call.repositoryKey()
            let isDone = try await call.registry.invalidateCache(path, in: key, by: call.origin)
            return InvalidateCacheResponse(repository_key: key.text, path: path, invalidated: isDone)
        },
        .json(.get, "/api/v1/repositories/{key}/routing-rules", "get_routing_rules", "repositories", .optional) {
            (call, _: Nothing) throws(RegistryError) -> RoutingRulesResponse in
            RoutingRulesResponse(try await call.registry.listed(try call.repositoryKey(), by: call.caller))
        },
        .json(.post, "/api/v1/repositories/{key}/routing-rules", "set_routing_rules", "repositories", .authenticated, scope: .writeRepositories) {
            (call, request: RoutingRulesRequest) throws(RegistryError) -> RoutingRulesResponse in
            RoutingRulesResponse(try await call.registry.setRoutingRules(request.rules, of: try call.repositoryKey(), by: call.origin))
        },
        .json(
            .delete, "/api/v1/repositories/{key}/routing-rules", "delete_routing_rules", "repositories", .authenticated, scope: .writeRepositories
        ) { (call, _: Nothing) throws(RegistryError) -> MessageResponse in
            _ = try await call.registry.setRoutingRules([], of: try call.repositoryKey(), by: call.origin)
            return MessageResponse(message: "the routing rules were deleted")
        },
        .json(.post, "/api/v1/repositories/{key}/test-upstream", "test_upstream", "repositories", .authenticated, scope: .writeRepositories) {
            (call, _: Nothing) throws(RegistryError) -> TestUpstreamResponse in
            let (status, url) = try await call.registry.testUpstream(of: try call.repositoryKey(), by: call.origin)
            return TestUpstreamResponse(status: status < 500 ? "ok" : "error", upstream_status: status, upstream_url: url)
        },
    ]
}

struct InvalidateCacheResponse: Codable, Sendable {
    let repository_key, path: String
    let invalidated: Bool
}
struct RoutingRulesRequest: Codable, Sendable { let rules: [RoutingRule] }
struct RoutingRulesResponse: Codable, Sendable {
    let repository_key: String
    let rules: [RoutingRule]

    init(_ repository: Repository) {
        repository_key = repository.key.text
        rules = RoutingRule.decode(repository.settings[RoutingRule.setting])
    }
}
struct TestUpstreamResponse: Codable, Sendable {
    let status: String
    let upstream_status: Int
    let upstream_url: String
}
