public import Core
public import FrontendKit
import HTTPTypes
import Parsing

// Publishing: a packument with one version's tarball in it. What the tarball itself says decides.

extension NpmFrontend {
    /// PUT of a packument: with a tarball it publishes a version, without one it changes what may change (deprecation, tags).
    func publish(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let package = try packageName(request.match)
        let parts = try await port.receive(
            request.body, as: .json(filesIn: "_attachments", isFile: { $0.hasSuffix(".tgz") }), digests: DigestSet([.sha512, .sha1]))
        let sent = try Packument.sent(parts)
        guard sent["name"]?.string == package.text else {
            throw refused(package, "the document is that of \(sent["name"]?.string?.prefix(214) ?? "no package")")
        }
        guard let file = parts.first?.fileName, case .staged(let tarball)? = parts.first?.content else {
            guard sent["_attachments"]?.object?.isEmpty ?? true else { throw refused(package, "the attachment is no tarball (NAME-VERSION.tgz)") }
            return try await revise(package, as: sent, replacing: nil, port)
        }
        guard parts.count == 2 else { throw refused(package, "one version is published at a time, with one tarball") }
        let publication = try Publication(of: package, sent, file, tarball)
        if try await port.version(publication.at.version, of: package) != nil {
            // The same again is a retry after a lost answer, and moves no tag.
            guard try await port.asset(at: try publication.at.tarball)?.blob == tarball.id else { throw Publication.taken(publication.at) }
            return .ok
        }
        let content = try tarball.content()
        let inside = try await port.offload { () throws(RegistryError) -> JSON in try Tarball.packageDocument(in: content, called: file) }
        try publication.check(against: inside)
        var release = try Release(publication.at, publication.document, tarball, tarball.digests)
        if let provenance = publication.provenance { try release.attach(provenance, staged: try await port.stage(provenance.encoded)) }
        var edit = try release.edit()
        for tag in publication.tags { edit.mutations.append(.putTag(package, tag, publication.at.version)) }
        let latest = try await port.tag(Packument.latestTag, of: package)
        if latest == nil || publication.tags.contains(Packument.latestTag) {
            edit.mutations.insert(.putPackage(package, displayName: nil, attributes: Attribute.about(publication.document)), at: 0)
        }
        try await port.commit(edit, staged: [tarball] + release.sidecars)
        return .ok
    }

    /// REST puts a tarball anywhere; it is kept as the packument names it.
    public func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        let file = String(path.fileName)
        let content = try blob.content()
        let known = blob.digests
        let (document, digests) = try await workshop.offload { () throws(RegistryError) in
            (try Tarball.packageDocument(in: content, called: file), try Tarball.digests(of: content, beside: known))
        }
        guard let name = document["name"]?.string, NpmName.isPublishable(name), let package = PackageName(name) else {
            throw RegistryError(.invalid, subject: .path(file), reason: "\(file) was refused: its package.json has no name a package may have")
        }
        guard let text = document["version"]?.string, SemVer(text) != nil, let version = VersionName(text) else {
            throw RegistryError(.invalid, subject: .path(file), reason: "\(file) was refused: its package.json has no version (SemVer 2.0.0)")
        }
        let release = try Release(Coordinates(package, version), document, blob, digests)
        var edit = try release.edit()
        edit.mutations.insert(.putPackage(package, displayName: nil, attributes: Attribute.about(document)), at: 0)
        return Adoption(edit: edit, path: try release.at.tarball)
    }
}

extension Packument {
    /// The document of a received body, without its files.
    static func sent(_ parts: [Part]) throws(RegistryError) -> JSON {
        guard case .text(let text)? = parts.last?.content else { preconditionFailure("the document follows its files") }
        return try JSON.parse(text, budget: Budget(bytes: JSONFileMachine.restBytesMax, items: 400_000))
    }
}

func refused(_ package: PackageName, _ why: String) -> RegistryError {
    RegistryError(.invalid, subject: .package(package.text), reason: "\(package) was refused: \(why)")
}

/// What a client sent to publish one version, taken apart and compared with the tarball's bytes.
private struct Publication {
    let at: Coordinates
    let document: JSON
    let tags: [TagName]
    let provenance: Provenance?

    init(of package: PackageName, _ sent: JSON, _ file: String, _ tarball: any StagedBytes) throws(RegistryError) {
        guard NpmName.isPublishable(package.text) else {
            throw refused(package, "a name is in lower case, of letters, digits, '-', '.' and '_', and begins with neither '.' nor '_'")
        }
        // npm calls the tarball by the whole name, others without its scope.
        let files = [package.text, String(NpmName.base(of: package))]
        guard
            let (text, document) = (sent["versions"]?.object?.members ?? []).first(where: { member in
                files.contains { "\($0)-\(member.name).tgz" == file }
            }).map({ ($0.name, $0.value) })
        else {
            throw refused(package, "\(file.prefix(512)) is the tarball of none of its versions")
        }
        guard SemVer(text) != nil, let version = VersionName(text) else { throw refused(package, "\(text.prefix(256)) is no version (SemVer 2.0.0)") }
        at = Coordinates(package, version)
        guard document["name"]?.string == package.text, document["version"]?.string == text else {
            throw refused(package, "the document of version \(text) is about another name or version")
        }
        self.document = document
        try Publication.check(tarball, file, document, sent["_attachments"]?[file])
        var tags: [TagName] = []
        for member in sent["dist-tags"]?.object?.members ?? [] where member.value.string == text { tags.append(try Tagging.name(member.name)) }
        self.tags = tags

        var attached: [(String, JSON)] = []
        for member in sent["_attachments"]?.object?.members ?? [] where member.name != file { attached.append((member.name, member.value)) }
        guard let (name, bundle) = attached.first else {
            provenance = nil
            return
        }
        guard attached.count == 1, name == file.dropLast(".tgz".count) + ".sigstore", let text = bundle["data"]?.string else {
            throw refused(package, "beside the tarball only its provenance may be attached (\(file.dropLast(".tgz".count)).sigstore)")
        }
        provenance = try Provenance(bundle: text, of: at, tarball)
    }

    /// The bytes received must be those the document promises: clients check what we hand on.
    private static func check(_ tarball: any StagedBytes, _ file: String, _ document: JSON, _ attachment: JSON?) throws(RegistryError) {
        func mismatch(_ why: String) -> RegistryError {
            RegistryError(.digestMismatch, subject: .path(file), reason: "\(file) was refused: \(why)")
        }
        if let length = attachment?["length"], length.int64 != tarball.size {
            throw mismatch("its length is said to be \(length.text.prefix(40)), \(tarball.size) bytes came")
        }
        let dist = document["dist"]
        for promised in Integrity.digests(in: dist?["integrity"]?.string ?? "") where tarball.digest(promised.algorithm) != promised {
            throw mismatch("dist.integrity says \(Integrity.text(of: promised)), the bytes received have another \(promised.algorithm.rawValue)")
        }
        if let sum = dist?["shasum"]?.string, Digest(.sha1, hex: sum) != tarball.digest(.sha1) {
            throw mismatch("dist.shasum says \(sum.prefix(64)), the bytes received have another SHA-1")
        }
    }

    /// What is shown must be what is installed: resolvers read the document, npm runs what is in the tarball.
    func check(against inside: JSON) throws(RegistryError) {
        for field in ["name", "version"] where inside[field] != document[field] {
            throw mismatch(field, document[field], inside[field])
        }
        // Clients list optional dependencies among the others, and write Git addresses their own way.
        let (shown, held) = (Publication.dependencies(document), Publication.dependencies(inside))
        for name in Set(shown.keys).union(held.keys).sorted() {
            let (a, b) = (shown[name], held[name])
            if let a, let b, a == b || a.contains("/") && b.contains("/") || a.contains(":") && b.contains("/") { continue }
            throw mismatch("dependency \(name)", a.map { JSON($0) }, b.map { JSON($0) })
        }
        for hook in ["preinstall", "install", "postinstall"] {
            let (a, b) = (document["scripts"]?[hook], inside["scripts"]?[hook])
            // npm writes down what it does for a package with a binding.gyp.
            if a == b || b == nil && hook == "install" && a == "node-gyp rebuild" { continue }
            throw mismatch("script \(hook)", a, b)
        }
    }

    private static func dependencies(_ document: JSON) -> [String: String] {
        var all: [String: String] = [:]
        for group in ["dependencies", "optionalDependencies"] {
            for member in document[group]?.object?.members ?? [] {
                all[member.name] = member.value.string?.split(separator: " ").joined(separator: " ")
            }
        }
        return all
    }

    private func mismatch(_ field: String, _ shown: JSON?, _ held: JSON?) -> RegistryError {
        func words(_ value: JSON?) -> String { value.map { String($0.text.prefix(200)) } ?? "nothing" }
        return refused(at.package, "the document says \(words(shown)) for \(field), package.json in the tarball says \(words(held))")
    }

    static func taken(_ at: Coordinates) -> RegistryError {
        RegistryError(
            .immutable, subject: .package(at.package.text),
            reason: "You cannot publish over the previously published versions: \(at.version) of \(at.package) has other bytes already.")
    }
}

/// One version about to be kept: its document cleaned of what belongs elsewhere, its tarball, what stands beside it.
private struct Release {
    /// A packument shows all of its versions' documents: this is what each may have.
    static let documentBytesMax = 256 << 10

    let at: Coordinates
    private var document: JSON
    private let attributes: [String: String]
    private let state: Version.State
    private let tarball: any StagedBytes
    private let digests: [Digest]
    private(set) var sidecars: [any StagedBytes] = []

    /// - Parameter digests: SHA-512 and SHA-1 of the tarball among them.
    init(_ at: Coordinates, _ described: JSON, _ tarball: any StagedBytes, _ digests: [Digest]) throws(RegistryError) {
        self.at = at
        self.tarball = tarball
        self.digests = digests
        func digest(_ algorithm: DigestAlgorithm) -> Digest? { digests.first { $0.algorithm == algorithm } }
        var document = described
        attributes = document["readme"]?.string.flatMap(Attribute.readme(of:)).map { [Attribute.readme: $0] } ?? [:]
        state = Deprecation.reason(in: document).map { .deprecated(reason: $0) } ?? .active
        document["readme"] = nil
        document["deprecated"] = nil
        document["_id"] = JSON("\(at.package)@\(at.version)")
        // Signatures and attestations are ours to give; a publisher's word for them is none.
        document["dist"] = .object(present: [
            "integrity": digest(.sha512).map { JSON(Integrity.text(of: $0)) }, "shasum": digest(.sha1).map { JSON($0.hex) },
            "fileCount": described["dist"]?["fileCount"], "unpackedSize": described["dist"]?["unpackedSize"],
        ])
        self.document = document
    }

    mutating func attach(_ provenance: Provenance, staged: any StagedBytes) throws(RegistryError) {
        var dist = document["dist"] ?? .object(.init())
        dist["attestations"] = ["provenance": ["predicateType": .string(provenance.predicateType)]]
        document["dist"] = dist
        sidecars.append(staged)
    }

    func edit() throws(RegistryError) -> Edit {
        let bytes = document.encoded()
        guard bytes.count <= Release.documentBytesMax else {
            throw RegistryError(
                .tooLarge, subject: .package(at.package.text),
                reason: "the package.json of \(at.package)@\(at.version) has more than \(Release.documentBytesMax) bytes without its readme")
        }
        var edit = Edit(mutations: [
            .putAsset(draft(try at.tarball, tarball, digests, "application/octet-stream"), overwrite: .never),
            .putVersion(at.package, at.version, manifest: .inline(bytes, mediaType: "application/json"), attributes: attributes),
        ])
        if case .deprecated = state { edit.mutations.append(.setState(at.package, at.version, state)) }
        for sidecar in sidecars {
            edit.mutations.append(.putAsset(draft(try at.attestations, sidecar, sidecar.digests, "application/json"), overwrite: .allowed))
        }
        return edit
    }

    private func draft(_ path: AssetPath, _ staged: any StagedBytes, _ digests: [Digest], _ contentType: String) -> AssetDraft {
        AssetDraft(
            path: path, blob: staged.id, size: staged.size, digests: digests, contentType: contentType, package: at.package,
            version: at.version)
    }
}

/// The attestation document of a version: the Sigstore bundle its publisher sent along.
private struct Provenance {
    let predicateType: String
    let encoded: [UInt8]

    /// - Throws: `invalid` unless the bundle's statement is about this tarball. Who signed it is for its readers to judge.
    init(bundle text: String, of at: Coordinates, _ tarball: any StagedBytes) throws(RegistryError) {
        let bundle = try JSON.parse(text)
        guard bundle["mediaType"]?.string?.hasPrefix("application/vnd.dev.sigstore.bundle") == true, bundle["verificationMaterial"]?.object != nil,
            let payload = bundle["dsseEnvelope"]?["payload"]?.string, let statement = Base64.decode(payload).flatMap({ try? JSON.parse($0) }),
            let predicateType = statement["predicateType"]?.string
        else { throw refused(at.package, "its provenance is no Sigstore bundle with a statement in it") }
        guard let subjects = statement["subject"]?.array, subjects.count == 1,
            subjects[0]["digest"]?["sha512"]?.string?.lowercased() == tarball.digest(.sha512)?.hex
        else { throw refused(at.package, "its provenance is about other bytes than the tarball") }
        self.predicateType = predicateType
        encoded = JSON.object(
            .init([("attestations", .array([.object(.init([("predicateType", JSON(predicateType)), ("bundle", bundle)]))]))])
        ).encoded()
    }
}

/// A package's tarball, looked into.
enum Tarball {
    static let documentBytesMax = 1 << 20

    /// The digests that clients ask for, those that are known already as they are. Blocking.
    static func digests(of bytes: any RandomAccessBytes, beside known: [Digest]) throws(RegistryError) -> [Digest] {
        let missing = [DigestAlgorithm.sha512, .sha1].filter { algorithm in !known.contains { $0.algorithm == algorithm } }
        var hashers = missing.map { Digest.Hasher($0) }
        var position: Int64 = 0
        while !hashers.isEmpty, position < bytes.size {
            let piece = try bytes.bytes(at: position, count: 256 << 10)
            guard !piece.isEmpty else { break }
            for at in hashers.indices { piece.withUnsafeBytes { unsafe hashers[at].update($0) } }
            position += Int64(piece.count)
        }
        return known + hashers.map { $0.finish() }
    }

    /// `package.json` of the one folder at its top. The whole archive is read and checked on the way. Blocking.
    static func packageDocument(in bytes: any RandomAccessBytes, called file: String) throws(RegistryError) -> JSON {
        do throws(RegistryError) {
            let gunzip = try GunzipReader(bytes)
            let tar = TarReader { () throws(RegistryError) in try gunzip.next() }
            var found: [UInt8]?
            while let entry = try tar.next() {
                let segments = entry.path.split(separator: "/", omittingEmptySubsequences: false).drop { $0 == "." }
                guard !segments.contains(".."), segments.first != "" else {
                    throw RegistryError(.invalid, subject: .path(file), reason: "an entry leads out of the package: \(entry.path.prefix(200))")
                }
                guard entry.kind == .file, segments.count == 2, segments.last == "package.json" else { continue }
                // Which of two counts differs between readers.
                guard found == nil else { throw RegistryError(.invalid, subject: .path(file), reason: "it has two package.json at its top") }
                found = try tar.content(bytesMax: documentBytesMax)
            }
            guard var document = found else { throw RegistryError(.invalid, subject: .path(file), reason: "it has no package.json") }
            // As npm reads it.
            if document.starts(with: [0xEF, 0xBB, 0xBF]) { document.removeFirst(3) }
            return try JSON.parse(document)
        } catch {
            guard error.code == .invalid else { throw error }
            throw RegistryError(.invalid, subject: .path(file), reason: "\(file) was refused: \(error.reason)", cause: error.cause)
        }
    }
}
