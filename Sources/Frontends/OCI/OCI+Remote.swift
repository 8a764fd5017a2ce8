public import Core
public import FrontendKit
import Parsing

// A registry behind a remote: where it keeps things, and what its lists teach (distribution-spec 1.1, end-2, 3, 8 and 12).
extension OCIFrontend {
    /// What upstream lists of an image.
    enum Lists {
        static let tags = "tags"
        static let referrers = "referrers"
    }

    public func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? {
        upstream(for: resource, given: facts, at: Upstream(url: ""))
    }

    public func upstream(for resource: Resource, given facts: Facts, at upstream: Upstream) -> UpstreamRequest? {
        switch resource {
        case .file(let path):
            guard let place = ContentPath(path) else { return nil }
            let folder = "v2/\(OCIFrontend.name(of: place.image.text, at: upstream))/\(place.kind.rawValue)"
            let accept = place.kind == .manifest ? MediaType.manifests.joined(separator: ", ") : nil
            switch place.reference {
            case .digest(let digest):
                return UpstreamRequest(url: "\(folder)/\(digest)", accept: accept, expected: [digest], package: place.image.package)
            case .tag(let tag):
                // Whoever resolves a tag asks for the digest next: it is the same manifest.
                return UpstreamRequest(
                    url: "\(folder)/\(tag)", accept: accept, package: place.image.package, alsoAt: { place.image.path(of: .manifest, $0.digest) })
            }
        case .view(let view):
            switch view.scope {
            case .tags(let package) where view.name == Lists.tags, .package(let package) where view.name == Lists.tags:
                return UpstreamRequest(url: "v2/\(OCIFrontend.name(of: package.text, at: upstream))/tags/list")
            case .linked(let package, OCIFrontend.subjectRelation, let subject) where view.name == Lists.referrers:
                let name = OCIFrontend.name(of: package.text, at: upstream)
                // Registries without the referrers API have the list under a tag, put there by their clients.
                return UpstreamRequest(
                    url: "v2/\(name)/referrers/\(subject)", accept: MediaType.ociIndex,
                    fallback: "v2/\(name)/manifests/\(subject.replacing(":", with: "-"))")
            default: return nil
            }
        }
    }

    public func source(of scope: Scope) -> View? {
        switch scope {
        // That an image is there is known by its list of tags.
        case .tags(let package), .package(let package): View(name: Lists.tags, scope: .tags(package))
        case .linked(_, OCIFrontend.subjectRelation, _): View(name: Lists.referrers, scope: scope)
        default: nil
        }
    }

    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        let root = try JSON.parse(document.bytes, budget: .upstreamDocument)
        switch view.scope {
        case .tags(let package), .package(let package):
            guard let object = root.object else { throw OCIFrontend.unreadable(document, "list of tags") }
            if facts.packages.isEmpty {
                facts.packages = [Package(id: EntityID(high: 0, low: 0), name: package, created: Timestamp(milliseconds: 0))]
            }
            var seen = Set(facts.tags.map(\.name))
            // Upstream lists names only: what a tag points to is known when it is asked for.
            for text in (object["tags"]?.array ?? []).compactMap(\.string) {
                guard let tag = Reference.tagName(text), let version = VersionName(text), seen.insert(tag).inserted else { continue }
                facts.tags.append(Tag(package: package, name: tag, version: version, updated: Timestamp(milliseconds: 0)))
            }
        case .linked(let package, let relation, let target):
            guard let rows = root["manifests"]?.array else { throw OCIFrontend.unreadable(document, "list of referrers") }
            for row in rows {
                // Data from another machine: a descriptor is kept only in the form in which it is shown.
                guard let text = row["digest"]?.string, Digest(parsing: text) != nil, let version = VersionName(text),
                    let mediaType = row["mediaType"]?.string, MediaType.manifests.contains(mediaType), let size = row["size"]?.int64, size >= 0
                else { continue }
                let descriptor = JSON.object(present: [
                    "mediaType": .string(mediaType), "digest": .string(text), "size": JSON(size),
                    "artifactType": row["artifactType"]?.string.map { .string($0) },
                    "annotations": row["annotations"].flatMap { $0.object?.members.allSatisfy { $0.value.string != nil } == true ? $0 : nil },
                ])
                facts.links.append(Link(relation: relation, target: target, package: package, version: version, payload: descriptor.encoded()))
            }
        default: throw OCIFrontend.unreadable(document, "document")
        }
    }

    private static func unreadable(_ document: Document, _ what: String) -> RegistryError {
        RegistryError(.invalid, subject: .upstream(document.url), reason: "the upstream's answer is no \(what)")
    }

    /// Docker Hub keeps its own images under `library/`, and its clients leave that out.
    private static func name(of image: String, at upstream: Upstream) -> String {
        let host = upstream.url.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: true).dropFirst().first?.lowercased() ?? ""
        return dockerHub.contains(host) && !image.contains("/") ? "library/\(image)" : image
    }

    private static let dockerHub: Set<String> = ["registry-1.docker.io", "index.docker.io", "docker.io", "registry.hub.docker.com"]
}
