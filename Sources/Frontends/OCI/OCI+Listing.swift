import Core
import FrontendKit
import HTTPTypes
import Parsing

// distribution-spec 1.1, "Content discovery", and Docker's catalogue.
extension OCIFrontend {
    /// end-8. Tags in ASCII order.
    static func tags(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let image = try Image(request.match)
        let page = try PageRequest(request.head.query)
        let facts = try await port.facts(in: .tags(image.name.package), after: page.last, limit: page.count + 1)
        if facts.tags.isEmpty, try await port.facts(in: .package(image.name.package), after: nil, limit: 1).isEmpty {
            throw RegistryError(.notFound, subject: .package(image.fullName), reason: "there is no such image")
        }
        let tags = facts.tags.prefix(page.count).map(\.name.text)
        var fields: HTTPFields = [:]
        if facts.tags.count > page.count, let last = tags.last { fields[.link] = page.next(image.link("tags/list"), after: last) }
        let document: JSON = ["name": .string(image.fullName), "tags": .array(tags.map { .string($0) })]
        return .json(document.encoded(), .ok, fields)
    }

    /// Names of all images the caller may read, in ASCII order of the whole name.
    static func catalog(_ request: Request, _ port: any MountPort) async throws(RegistryError) -> Reply {
        guard !port.caller.isAnonymous else {
            throw RegistryError(.unauthenticated, subject: .request, reason: "the catalogue needs a login")
        }
        let page = try PageRequest(request.head.query)
        let last = page.last ?? ""
        var names: [String] = []
        for prefix in try await prefixes(port) where names.count <= page.count {
            let isInside = last.hasPrefix(prefix)
            guard isInside || last.utf8.lexicographicallyPrecedes(prefix.utf8), let key = RepositoryKey(prefix.dropLast()) else { continue }
            let after = isInside ? String(last.dropFirst(prefix.count)) : nil
            names += try await port.packages(in: key, after: after, limit: page.count + 1 - names.count).map { prefix + $0.text }
        }
        var fields: HTTPFields = [:]
        let shown = names.prefix(page.count)
        if names.count > page.count, let last = shown.last { fields[.link] = page.next("/v2/_catalog", after: last) }
        let document: JSON = ["repositories": .array(shown.map { .string($0) })]
        return .json(document.encoded(), .ok, fields)
    }

    /// `KEY/` of every repository, in the order in which whole names sort: `a-b/` comes before `a/`, though `a` comes before `a-b`.
    private static func prefixes(_ port: any MountPort) async throws(RegistryError) -> [String] {
        var prefixes: [String] = []
        var after: RepositoryKey?
        repeat {
            let keys = try await port.repositories(after: after, limit: repositoriesPerPage)
            prefixes += keys.map { "\($0)/" }
            after = keys.count < repositoriesPerPage ? nil : keys.last
        } while after != nil
        return prefixes.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private static let repositoriesPerPage = 1000

    /// end-12. Who refers to a digest, in order of their own digests; an image index even when nobody does. Long lists are paged by Link.
    static func referrers(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let image = try Image(request.match)
        let subject = try Digest(oci: request.match["subject"])
        let filter = request.head.query["artifactType"].flatMap { $0.isEmpty ? nil : $0 }
        let scope = Scope.linked(image.name.package, relation: subjectRelation, target: subject.description)

        var page = ReferrersPage()
        var after = request.head.query["last"]
        reading: while true {
            let links = try await port.facts(in: scope, after: after, limit: referrersPerRead).links
            for link in links {
                let wanted = filter == nil ? true : try artifactType(of: link) == filter
                guard !wanted || page.append(link.payload) else {
                    page.isFull = true
                    break reading
                }
                after = link.version.text
            }
            if links.count < referrersPerRead { break }
        }

        var fields: HTTPFields = [.contentType: MediaType.ociIndex]
        if filter != nil { fields[.ociFiltersApplied] = "artifactType" }
        if page.isFull, let after {
            let more = filter.map { "artifactType=\(Percent.encode($0, in: .query))&" } ?? ""
            fields[.link] = "<\(image.link("referrers/\(subject)"))?\(more)last=\(Percent.encode(after, in: .query))>; rel=\"next\""
        }
        return .json(page.document, .ok, fields)
    }

    private static let referrersPerRead = 256

    /// The payload is the descriptor we wrote.
    private static func artifactType(of link: Link) throws(RegistryError) -> String? {
        try JSON.parse(link.payload, budget: Budget(bytes: 2 * ImageManifest.bytesMax, items: 200_000))["artifactType"]?.string
    }
}

/// An image index of descriptors, as long as clients must be able to read.
private struct ReferrersPage {
    var isFull = false
    private var descriptors: [[UInt8]] = []
    private var size = 0

    /// false, and nothing added, when the page has no room; the first always fits.
    mutating func append(_ descriptor: [UInt8]) -> Bool {
        guard descriptors.isEmpty || size + descriptor.count + 1 <= ImageManifest.bytesMax - 1024 else { return false }
        size += descriptor.count + 1
        descriptors.append(descriptor)
        return true
    }

    var document: [UInt8] {
        Array(#"{"schemaVersion":2,"mediaType":"\#(MediaType.ociIndex)","manifests":["#.utf8) + descriptors.joined(separator: Array(",".utf8))
            + Array("]}".utf8)
    }
}

/// `?n=&last=`: at most `n` names after `last`.
struct PageRequest {
    static let countMax = 10_000

    /// What the client asked for; nil when it did not.
    private let asked: Int?
    let last: String?
    var count: Int { asked ?? 100 }

    init(_ query: Query) throws(RegistryError) {
        if let text = query["n"] {
            guard let number = Int(text), number >= 0 else {
                throw RegistryError(.invalid, subject: .field("n"), reason: "n is a number of names, 0 or more")
            }
            asked = min(number, PageRequest.countMax)
        } else {
            asked = nil
        }
        last = query["last"].flatMap { $0.isEmpty ? nil : $0 }
    }

    /// RFC 8288.
    func next(_ link: String, after last: String) -> String {
        "<\(link)?n=\(count)&last=\(Percent.encode(last, in: .pathInQuery))>; rel=\"next\""
    }
}
