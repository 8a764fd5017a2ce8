import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Parsing

// The upload form of the reference index ("legacy API"), and yanking.

/// The text fields of an upload form: several of them may come more than once.
struct UploadForm: Sendable {
    private var values: [String: [String]] = [:]

    init(_ parts: [Part]) {
        for part in parts {
            if case .text(let text) = part.content { values[part.name, default: []].append(text) }
        }
    }

    subscript(name: String) -> String? { values[name]?.first { !$0.isEmpty && $0 != "UNKNOWN" } }
    func all(_ name: String) -> [String] { (values[name] ?? []).filter { !$0.isEmpty && $0 != "UNKNOWN" } }
}

extension PyPIFrontend {
    @Sendable
    func upload(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let contentType = request.head.fields[.contentType] ?? ""
        let parts = try await port.receive(request.body, as: .multipart(contentType: contentType), digests: DigestSet([.md5]))
        let form = UploadForm(parts)
        guard form[":action"] == "file_upload" else {
            throw RegistryError(.invalid, subject: .field(":action"), reason: "only :action=file_upload is served")
        }
        guard let file = parts.first(where: { $0.name == "content" }), case .staged(let blob) = file.content, let fileName = file.fileName else {
            throw RegistryError(.invalid, subject: .field("content"), reason: "the form has no file in its field 'content'")
        }
        try checkDigests(form, of: blob, fileName)
        let content = try blob.content()
        let distribution = try await port.offload { () throws(RegistryError) -> Distribution in
            let distribution = try Distribution(fileName: fileName, reading: content)
            try form.check(against: distribution, fileName)
            return distribution
        }
        let gpgSignature = parts.first { $0.name == "gpg_signature" }
        // A retry after a lost answer: the file stays as it was published, with what came along then.
        let path = try distributionPath(of: fileName, in: distribution.project)
        if form["attestations"] == nil, gpgSignature == nil, try await port.asset(at: path)?.blob == blob.id { return .text("OK\n") }
        var extras: [(suffix: String, contentType: String, staged: any StagedBytes)] = []
        if let attestations = form["attestations"] {
            let provenance = try Provenance(attestations, of: fileName, blob.id, publisher: port.caller.name)
            extras.append((Sidecar.provenance, "application/vnd.pypi.integrity.v1+json", try await port.stage(provenance.encoded)))
        }
        if case .staged(let staged)? = gpgSignature?.content { extras.append((Sidecar.signature, "application/pgp-signature", staged)) }
        let adoption = try await release(distribution, fileName, blob, extras: extras, in: port)
        try await port.commit(adoption.edit, staged: [blob] + adoption.staged)
        return .text("OK\n")
    }

    private func checkDigests(_ form: UploadForm, of blob: any StagedBytes, _ fileName: String) throws(RegistryError) {
        for algorithm in [DigestAlgorithm.sha256, .md5] {
            let field = "\(algorithm.rawValue)_digest"
            guard let declared = form[field] else { continue }
            guard let actual = blob.digest(algorithm), actual == Digest(algorithm, hex: declared) else {
                throw RegistryError(
                    .digestMismatch, subject: .field(field),
                    reason: "\(fileName) was refused: \(field) says \(declared), the bytes received have \(blob.digest(algorithm)?.hex ?? "none")")
            }
        }
    }

    func yank(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let bytes = try await request.body.collect(upTo: 4096)
        var reason = String(buffer: bytes)
        if request.head.fields[.contentType]?.hasPrefix("application/json") == true { reason = try JSON.parse(bytes)["reason"]?.string ?? "" }
        return try await setState(.yanked(reason: reason), request, port)
    }

    func setState(_ state: Version.State, _ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let project = try project(request.match)
        guard let version = PEP440Version(request.match["version"]).flatMap({ VersionName($0.description) }) else {
            throw RegistryError(.notFound, subject: .package(project.text), reason: "\(request.match["version"]) is no version (PEP 440)")
        }
        try await port.commit(Edit(mutations: [.setState(project, version, state)]), staged: [])
        return .text("OK\n")
    }
}

extension UploadForm {
    /// The form's name for each core-metadata field, with its name inside the archive.
    private static let single = [
        ("summary", "Summary"), ("description_content_type", "Description-Content-Type"),
        ("home_page", "Home-page"), ("download_url", "Download-URL"), ("author", "Author"), ("author_email", "Author-email"),
        ("maintainer", "Maintainer"), ("maintainer_email", "Maintainer-email"), ("license", "License"),
        ("license_expression", "License-Expression"), ("requires_python", "Requires-Python"),
    ]
    /// Those that come once for each value; clients differ in whether `license_file` has an s. Not `provides` and its like: nobody reads
    /// them, and flit names modules there that its archive does not.
    private static let multiple = [
        ("classifiers", "Classifier"), ("requires_dist", "Requires-Dist"), ("provides_dist", "Provides-Dist"), ("obsoletes_dist", "Obsoletes-Dist"),
        ("requires_external", "Requires-External"), ("project_urls", "Project-URL"), ("provides_extra", "Provides-Extra"),
        ("license_file", "License-File"), ("license_files", "License-File"),
        ("platform", "Platform"), ("supported_platform", "Supported-Platform"), ("dynamic", "Dynamic"),
    ]

    /// What the form says must be what the archive says: indexes and installers read the one, people the other.
    func check(against distribution: Distribution, _ fileName: String) throws(RegistryError) {
        guard let name = self["name"], PEP503.normalize(name) == distribution.project.text else {
            throw mismatch(fileName, "name", self["name"], distribution.metadata["Name"])
        }
        guard let version = self["version"], PEP440Version(version) == distribution.name.version else {
            throw mismatch(fileName, "version", self["version"], distribution.metadata["Version"])
        }
        if let filetype = self["filetype"], filetype != (distribution.name.kind == .wheel ? "bdist_wheel" : "sdist") {
            throw mismatch(fileName, "filetype", filetype, distribution.name.kind == .wheel ? "bdist_wheel" : "sdist")
        }
        for (field, header) in UploadForm.single {
            guard let given = self[field] else { continue }
            let inside = distribution.metadata[header]
            guard UploadForm.folded(given) == UploadForm.folded(inside ?? "") else { throw mismatch(fileName, field, given, inside) }
        }
        for (field, header) in UploadForm.multiple {
            let given = Set(all(field).map(UploadForm.folded))
            guard !given.isEmpty else { continue }
            let inside = Set(distribution.metadata.all(header).map(UploadForm.folded))
            guard given == inside else {
                throw mismatch(fileName, field, given.subtracting(inside).sorted().first, inside.subtracting(given).sorted().first)
            }
        }
        // A list in one field, separated by commas or by spaces as its writer liked.
        let keywords = { (text: String) in Set(text.split { $0 == "," || $0.isWhitespace }) }
        if let given = self["keywords"], keywords(given) != keywords(distribution.metadata["Keywords"] ?? "") {
            throw mismatch(fileName, "keywords", given, distribution.metadata["Keywords"])
        }
        // Older metadata folds the description into a header, which every reader unfolds in a way of its own.
        if let given = self["description"], let inside = distribution.metadata.body, UploadForm.folded(given) != UploadForm.folded(inside) {
            throw mismatch(fileName, "description", given, inside)
        }
    }

    /// White space differs between a folded header and a form field (`Label,URL` becomes `Label, URL`), and says nothing.
    private static func folded(_ text: String) -> String { text.filter { !$0.isWhitespace } }

    private func mismatch(_ fileName: String, _ field: String, _ given: String?, _ inside: String?) -> RegistryError {
        Distribution.refused(
            fileName,
            "the form says \(field): \(String((given ?? "nothing").prefix(200))), "
                + "the metadata inside says \(String((inside ?? "nothing").prefix(200)))"
        )
    }
}

/// The provenance object of PEP 740: the attestations a publisher sent along, under the publisher we saw.
struct Provenance {
    let encoded: [UInt8]

    /// - Throws: `invalid` unless every attestation is of version 1 and its statement names this file with this digest.
    init(_ attestations: String, of fileName: String, _ blob: BlobID, publisher: String) throws(RegistryError) {
        let parsed = try JSON.parse(attestations)
        guard let list = parsed.array, !list.isEmpty, list.count <= 16 else {
            throw Distribution.refused(fileName, "attestations must be a list of 1 to 16 attestation objects (PEP 740)")
        }
        for attestation in list { try Provenance.check(attestation, fileName, blob) }
        let bundle = JSON.object(
            .init([("publisher", .object(.init([("kind", JSON("Granary")), ("user", JSON(publisher))]))), ("attestations", .array(list))]))
        encoded = JSON.object(.init([("version", JSON(1)), ("attestation_bundles", .array([bundle]))])).encoded()
    }

    private static func check(_ attestation: JSON, _ fileName: String, _ blob: BlobID) throws(RegistryError) {
        guard attestation["version"]?.int == 1, attestation["verification_material"]?.object != nil,
            attestation["envelope"]?["signature"]?.string != nil, let text = attestation["envelope"]?["statement"]?.string,
            let statement = Base64.decode(text).flatMap({ try? JSON.parse($0) })
        else { throw Distribution.refused(fileName, "an attestation is not of the form PEP 740 gives, version 1") }
        guard let subjects = statement["subject"]?.array, subjects.count == 1, subjects[0]["digest"]?["sha256"]?.string == blob.hex,
            let name = subjects[0]["name"]?.string, DistributionName(name, of: nil) == DistributionName(fileName, of: nil)
        else { throw Distribution.refused(fileName, "an attestation is about another file: its subject is not \(fileName) with sha256 \(blob.hex)") }
    }
}
