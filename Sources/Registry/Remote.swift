import Access
public import Catalog
import Core
import FrontendKit
import Outbound

// Remote repositories: a memory of an upstream. Indexes are learned as facts and rendered again (RemotePages.swift), files are fetched once and
// checked before anything is kept (RemoteFiles.swift). Here: how an upstream is asked, and what its silence means.

extension Registry {
    func upstream(of repository: Repository) throws(RegistryError) -> Upstream {
        guard let url = repository.upstreamURL else {
            throw RegistryError(.invalid, subject: .repository(repository.key.text), reason: "\(repository.key) has no upstream_url")
        }
        return Upstream(url: url, settings: repository.settings)
    }

    func fetchRequest(_ wanted: UpstreamRequest, to repository: Repository, bodyBytesMax: Int64) throws(RegistryError) -> FetchRequest {
        let upstream = try upstream(of: repository).url
        var request = FetchRequest(url: try place(of: wanted.url, for: repository))
        if let accept = wanted.accept { request.fields.append(("Accept", accept)) }
        request.limits.bodyBytesMax = bodyBytesMax
        let mayReachPrivate = repository.settings["upstream_allow_private"] == "true"
        request.addressPolicy = AddressPolicy(
            allowPrivate: mayReachPrivate, allowedCIDRs: mayReachPrivate ? options.allowedCIDRs : [], allowedNames: options.allowedNames)
        // Scheme and authority of it: a path would trust nobody.
        request.credentialOrigin = upstream.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false).prefix(3).joined(separator: "/")
        request.credentialHosts = Registry.hosts(repository.settings["upstream_credential_hosts"])
        if let name = repository.settings["upstream_username"], let sealed = repository.settings["upstream_password"] {
            request.credentials = .basic(user: name, password: try sealer.open(sealed, for: "\(repository.id) upstream_password").revealed)
        } else if let sealed = repository.settings["upstream_token"] {
            request.credentials = .bearer(try sealer.open(sealed, for: "\(repository.id) upstream_token").revealed)
        }
        return request
    }

    /// The upstream's answer, whatever its status; of `fallback` where there is nothing at the first address.
    /// - Throws: `unavailable` when it does not answer, `upstreamFailed` when it cannot be used.
    func ask(_ request: FetchRequest, orElse fallback: String? = nil, for repository: Repository) async throws(RegistryError) -> FetchResponse {
        do throws(RegistryError) {
            let answer = try await askAuthenticated(request, for: repository)
            guard let fallback, answer.status == 404 else { return answer }
            var second = request
            second.url = try place(of: fallback, for: repository)
            return try await askAuthenticated(second, for: repository)
        } catch {
            throw Registry.passing(error)
        }
    }

    /// What will pass by itself is "come again", anything else of an upstream's failures is for its administrator.
    static func passing(_ error: RegistryError) -> RegistryError {
        guard error.code == .upstreamFailed, let seconds = error.retryAfterSeconds else { return error }
        return RegistryError(.unavailable, subject: error.subject, reason: error.reason, cause: error.cause, retryAfterSeconds: seconds)
    }

    /// Whether a stale copy is better than this.
    static func isUpstreamFailure(_ error: RegistryError) -> Bool { error.code == .upstreamFailed || error.code == .unavailable }

    func unexpected(_ status: Int, from repository: Repository) -> RegistryError {
        let isPassing = status >= 500 || status == 429
        return RegistryError(
            isPassing ? .unavailable : .upstreamFailed, subject: .repository(repository.key.text),
            reason: "the upstream of \(repository.key) answered \(status)", retryAfterSeconds: isPassing ? 1 : nil)
    }

    /// Where upstream has what a format asks for, by the repository's routing rules.
    /// - Throws: `notFound` for what a rule excludes.
    private func place(of wanted: String, for repository: Repository) throws(RegistryError) -> String {
        var wanted = wanted
        if let rules = repository.settings[RoutingRule.setting], !wanted.hasPrefix("http://"), !wanted.hasPrefix("https://") {
            guard let routed = RoutingRule.apply(RoutingRule.decode(rules), to: wanted) else {
                throw RegistryError(.notFound, subject: .path(wanted), reason: "a routing rule of \(repository.key) excludes this path")
            }
            wanted = routed
        }
        return Registry.url(of: wanted, at: try upstream(of: repository).url)
    }

    /// A list as a setting keeps it.
    static func hosts(_ setting: String?) -> [String] {
        (setting ?? "").split { $0 == "," || $0 == " " }.map(String.init)
    }

    /// An absolute reference as it is, a relative one below the upstream's URL. Segments that end the one and begin the other are written once:
    /// clients are configured with `…/simple` or `…/v2`, and people paste what their client has.
    static func url(of wanted: String, at upstream: String) -> String {
        guard !wanted.hasPrefix("http://"), !wanted.hasPrefix("https://") else { return wanted }
        let base = upstream.split(separator: "/", omittingEmptySubsequences: false).reversed().drop { $0.isEmpty }.reversed().map { $0 }
        let rest = wanted.split(separator: "/", omittingEmptySubsequences: false)
        // Scheme, nothing and host stand before an upstream's path.
        let shared = (1...max(1, rest.count)).first { $0 < rest.count && base.count >= 3 + $0 && base.suffix($0) == rest.prefix($0) } ?? 0
        return (base + rest.dropFirst(shared)).joined(separator: "/")
    }

    public func freshSeconds(of repository: Repository) -> Int64 {
        repository.settings["cache_ttl_seconds"].flatMap { Int64($0) } ?? options.indexFreshSeconds
    }
}

extension FetchRequest {
    /// Answered with 304 when nothing has changed.
    mutating func revalidate(etag: String?, lastModified: String?) {
        if let etag { fields.append(("If-None-Match", etag)) }
        if let lastModified { fields.append(("If-Modified-Since", lastModified)) }
    }
}
