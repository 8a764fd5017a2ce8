import Core
import FrontendKit
import HTTPTypes
import Parsing

// What changes of a package once it is there: tags, deprecation, and versions that go. Versions never change.

extension NpmFrontend {
    // MARK: Tags

    /// The body is the version, as a JSON string.
    func setTag(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let package = try packageName(request.match)
        let tag = try Tagging.name(request.match["tag"])
        guard let version = try JSON.parse(try await request.body.collect(upTo: 4096)).string.flatMap({ VersionName($0) }) else {
            throw refused(package, "the body must be a version, as a JSON string")
        }
        guard try await port.version(version, of: package) != nil else {
            throw RegistryError(.notFound, subject: .package(package.text), reason: "\(package) has no version \(version)")
        }
        try await port.commit(Edit(mutations: [.putTag(package, tag, version)]), staged: [])
        return .ok
    }

    func removeTag(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let package = try packageName(request.match)
        let tag = try Tagging.name(request.match["tag"])
        guard try await port.tag(tag, of: package) != nil else {
            throw RegistryError(.notFound, subject: .package(package.text), reason: "\(package) has no tag \(tag)")
        }
        try await port.commit(Edit(mutations: [.deleteTag(package, tag)]), staged: [])
        return .ok
    }

    // MARK: Versions

    /// PUT of a packument at a revision: the versions it lacks are unpublished.
    func replace(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let package = try packageName(request.match)
        let revision = try Tagging.revision(request.match["revision"], of: package)
        let parts = try await port.receive(request.body, as: .json(filesIn: "_attachments", isFile: { _ in false }), digests: .sha256)
        let sent = try Packument.sent(parts)
        return try await revise(package, as: sent, replacing: revision, port)
    }

    /// Makes a package what a packument says: deprecations, and with `replacing` its tags and which versions are left.
    /// - Parameter replacing: the revision the packument was made from; nil for one that only adds.
    func revise(
        _ package: PackageName, as sent: JSON, replacing: Revision?, _ port: any RepositoryPort
    ) async throws(RegistryError) -> Reply {
        let facts = try await present(package, port)
        guard let given = sent["versions"]?.object else { throw refused(package, "the document has no versions") }
        let known = Dictionary(facts.versions.map { ($0.name.text, $0) }) { first, _ in first }
        var edit = Edit()
        for member in given.members {
            guard let version = known[member.name] else {
                throw refused(package, "\(member.name.prefix(256)) is no version of it, and none is published without its tarball")
            }
            let state = Deprecation.reason(in: member.value).map { Version.State.deprecated(reason: $0) } ?? .active
            // Who leaves the field out says nothing; an empty text takes the deprecation back.
            if member.value["deprecated"] != nil, state != version.state { edit.mutations.append(.setState(package, version.name, state)) }
        }
        if let replacing {
            edit.preconditions.append(.packageRevision(package, replacing))
            let gone = Set(facts.versions.map(\.name)).subtracting(given.names.compactMap { VersionName($0) })
            if !gone.isEmpty { try await port.require(.delete) }
            edit.mutations += gone.sorted().map { .deleteVersion(package, $0) }
            edit.mutations += try Tagging.changes(of: package, facts, to: sent["dist-tags"]?.object, without: gone)
        }
        if !edit.mutations.isEmpty { try await port.commit(edit, staged: []) }
        return .ok
    }

    /// Unpublishes the package as a whole.
    func remove(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let package = try packageName(request.match)
        let facts = try await present(package, port)
        try await port.commit(
            Edit(
                preconditions: [.packageRevision(package, try Tagging.revision(request.match["revision"], of: package))],
                mutations: facts.versions.map { .deleteVersion(package, $0.name) }), staged: [])
        return .ok
    }

    /// The second half of unpublishing a version: by then its tarball has gone with it.
    func removeTarball(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let package = try packageName(request.match)
        guard let asset = try await port.asset(at: try assetPath(request.match["file"], of: package)) else { return .ok }
        guard let version = asset.version else { throw refused(package, "\(asset.path) belongs to no version") }
        try await port.commit(Edit(mutations: [.deleteVersion(package, version)]), staged: [])
        return .ok
    }

    private func present(_ package: PackageName, _ port: any RepositoryPort) async throws(RegistryError) -> Facts {
        let facts = try await port.facts(in: .package(package), after: nil, limit: 1)
        guard !facts.versions.isEmpty else {
            throw RegistryError(.notFound, subject: .package(package.text), reason: "\(port.context.repository) has no package \(package)")
        }
        return facts
    }
}

/// Tags and revisions as clients write them.
enum Tagging {
    /// A tag must not look like a version: clients take one for the other.
    static func name(_ text: String) throws(RegistryError) -> TagName {
        let first = text.utf8.first ?? 0
        let isVersion = SemVer(text) != nil || first == UInt8(ascii: "v") && SemVer(text.dropFirst()) != nil
        guard !isVersion, !(0x30...0x39).contains(first), let tag = TagName(text), !text.contains("/") else {
            throw RegistryError(.invalid, subject: .field("tag"), reason: "\(text.prefix(256)) is no tag: it may not look like a version")
        }
        return tag
    }

    static func revision(_ text: String, of package: PackageName) throws(RegistryError) -> Revision {
        guard let number = UInt64(text) else {
            throw RegistryError(.conflict, subject: .package(package.text), reason: "\(text.prefix(64)) is no revision of \(package): fetch it again")
        }
        return Revision(number)
    }

    /// What makes the tags those that are given.
    static func changes(
        of package: PackageName, _ facts: Facts, to given: JSON.Object?, without gone: Set<VersionName>
    ) throws(RegistryError) -> [Mutation] {
        guard let given else { return [] }
        var changes: [Mutation] = []
        for member in given.members {
            guard let version = member.value.string.flatMap({ VersionName($0) }), !gone.contains(version),
                facts.versions.contains(where: { $0.name == version })
            else { throw refused(package, "the tag \(member.name.prefix(256)) points to no version of it") }
            let tag = try name(member.name)
            if facts.tags.first(where: { $0.name == tag })?.version != version { changes.append(.putTag(package, tag, version)) }
        }
        // Tags of versions that go have gone with them.
        for tag in facts.tags where given[tag.name.text] == nil && !gone.contains(tag.version) { changes.append(.deleteTag(package, tag.name)) }
        return changes
    }
}
