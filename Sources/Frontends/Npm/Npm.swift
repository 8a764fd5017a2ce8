// Npm: the registry of JavaScript packages as npm, yarn and pnpm see it. CouchDB's ways show through: packuments, attachments, revisions.
// Specifications: npm's registry API documents (REGISTRY-API, package-metadata), SemVer 2.0.0, Subresource Integrity.
public import Core
public import FrontendKit
import HTTPTypes
import Parsing

public struct NpmFrontend: Frontend {
    public init() {}

    public let format = Format(name: "npm", aliases: ["yarn", "pnpm", "bower"], mounts: ["/npm"])

    public var routes: [Route] {
        [
            // Of the account, not of a repository: asked for before anything may be read.
            .mounted([.get, .head], "{repository}/-/ping") { _, _ in .json(Array("{}".utf8)) },
            .mounted([.get, .head], "{repository}/-/whoami") { request, port throws(RegistryError) in try whoami(port) },
            .mounted([.put], "{repository}/-/user/{user}") { request, port throws(RegistryError) in try await logIn(request, port) },
            .mounted([.delete], "{repository}/-/user/token/{token}") { request, port throws(RegistryError) in
                try await port.logOut(token: request.match["token"])
                return .ok
            },

            .answer("-/v1/search", options: [.live]) { request, port throws(RegistryError) in try await search(request, port) },
            .answer("-/npm/v1/security/advisories/bulk", methods: [.post], options: [.live]) { _, _ in .json(Array("{}".utf8)) },
            .answer("-/npm/v1/security/audits/quick", methods: [.post], options: [.live]) { _, _ in .json(Audit.nothingFound.encoded()) },
            .file("-/npm/v1/attestations/{spec+}", listedIn: { match throws(RegistryError) in View(try Coordinates(of: match).package) }) {
                match throws(RegistryError) in .path(try Coordinates(of: match).attestations)
            },

            .view("-/package/{package+}/dist-tags") { request throws(RegistryError) in View(try packageName(request.match), .tags) },
            .action(.put, "-/package/{package+}/dist-tags/{tag}", needs: .write) { request, port throws(RegistryError) in
                try await setTag(request, port)
            },
            .action(.post, "-/package/{package+}/dist-tags/{tag}", needs: .write) { request, port throws(RegistryError) in
                try await setTag(request, port)
            },
            .action(.delete, "-/package/{package+}/dist-tags/{tag}", needs: .write) { request, port throws(RegistryError) in
                try await removeTag(request, port)
            },

            .file("{package+}/-/{file}", listedIn: { match throws(RegistryError) in View(try packageName(match)) }) {
                match throws(RegistryError) in .path(try assetPath(match["file"], of: try packageName(match)))
            },
            .action(.delete, "{package+}/-/{file}/-rev/{revision}", needs: .delete) { request, port throws(RegistryError) in
                try await removeTarball(request, port)
            },
            .action(.put, "{package+}/-rev/{revision}", needs: .write) { request, port throws(RegistryError) in try await replace(request, port) },
            .action(.delete, "{package+}/-rev/{revision}", needs: .delete) { request, port throws(RegistryError) in try await remove(request, port) },

            .view("{package}") { request throws(RegistryError) in View(try packageName(request.match), Variant.asked(by: request.head)) },
            .view("{first}/{second}") { request throws(RegistryError) in
                let (package, isScoped) = try NpmFrontend.package(ofPair: request.match)
                return View(package, isScoped ? Variant.asked(by: request.head) : .release(request.match["second"]))
            },
            .view("{scope}/{name}/{version}") { request throws(RegistryError) in
                View(try NpmFrontend.package(ofTriple: request.match), .release(request.match["version"]))
            },
            .action(.put, "{package+}", needs: .write) { request, port throws(RegistryError) in try await publish(request, port) },
        ]
    }

    /// A scope and a name, or a name and a version.
    private static func package(ofPair match: Match) throws(RegistryError) -> (package: PackageName, isScoped: Bool) {
        let (first, second) = (match["first"], match["second"])
        guard first.hasPrefix("@"), !first.contains("/") else { return (try packageName(first), false) }
        return (try packageName("\(first)/\(second)"), true)
    }

    private static func package(ofTriple match: Match) throws(RegistryError) -> PackageName {
        try packageName("\(match["scope"])/\(match["name"])")
    }

    public func tokenName(of match: Match) -> String? {
        if !match["package"].isEmpty { return (try? packageName(match))?.text }
        if !match["spec"].isEmpty { return (try? Coordinates(of: match))?.package.text }
        if !match["first"].isEmpty { return (try? NpmFrontend.package(ofPair: match))?.package.text }
        if !match["scope"].isEmpty { return (try? NpmFrontend.package(ofTriple: match))?.text }
        return nil
    }

    public func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? {
        switch resource {
        case .view(let view):
            guard case .package(let package) = view.scope else { return nil }
            // The slash of a scope is escaped: not every registry knows the other spelling.
            return UpstreamRequest(url: Percent.encode(package.text, in: .segment), accept: "application/json")
        case .file(let path):
            return facts.listed.first { $0.path == path }.map { UpstreamRequest(url: $0.url, expected: $0.digests, expectedSize: $0.size) }
        }
    }

    public func source(of scope: Scope) -> View? {
        switch scope {
        case .package(let package), .tags(let package): View(package)
        default: nil
        }
    }
}

/// What of a packument is shown: all of them are computed from the same facts.
enum Variant: Hashable {
    case full
    /// What an installer needs (`application/vnd.npm.install-v1+json`).
    case abbreviated
    /// What a client fetches to change it and send it back (`?write=true`): with the revision it changes, without what nobody changes.
    case writable
    case tags
    /// One version's document, by version or tag.
    case release(String)

    static let abbreviatedType: MediaType = "application/vnd.npm.install-v1+json"
    private static let fullType: MediaType = "application/json"

    var text: String {
        switch self {
        case .full: "full"
        case .abbreviated: "abbreviated"
        case .writable: "write"
        case .tags: "tags"
        case .release(let spec): "=\(spec)"
        }
    }

    init?(_ text: String) {
        switch text {
        case "", "full": self = .full
        case "abbreviated": self = .abbreviated
        case "write": self = .writable
        case "tags": self = .tags
        default:
            guard text.hasPrefix("=") else { return nil }
            self = .release(String(text.dropFirst()))
        }
    }

    static func asked(by head: RequestHead) -> Variant {
        if head.query["write"] == "true" { return .writable }
        return Accept.best(of: [fullType, abbreviatedType], header: head.fields[.accept]) == abbreviatedType ? .abbreviated : .full
    }
}

extension View {
    init(_ package: PackageName, _ variant: Variant = .full) {
        let isNegotiated = variant == .full || variant == .abbreviated
        self.init(name: "packument", scope: .package(package), variant: variant.text, vary: isNegotiated ? "Accept" : nil)
    }
}

extension Reply {
    static var ok: Reply { .json(Array(#"{"ok":true}"#.utf8)) }
}
