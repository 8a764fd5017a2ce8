import Core
import FrontendKit
import Parsing

// The indexes of a distribution: an edition made of the stanzas its packages contribute.

/// The streams of a distribution. A component has no slash, so that the first segment is it.
enum Stream {
    static let all = "all"
    static func binary(_ component: String, _ architecture: String) -> String { "\(component)/binary-\(architecture)" }
    static func installer(_ component: String, _ architecture: String) -> String { "\(component)/debian-installer/binary-\(architecture)" }
    static func contents(_ component: String, _ architecture: String) -> String { "\(component)/contents-\(architecture)" }
    static func source(_ component: String) -> String { "\(component)/source" }
}

struct ArchiveIndexing: Indexing {
    let recipe: UInt32 = 1
    let digests = DigestSet([.md5])

    func entries(of package: Facts, reading blobs: any BlobReading) async throws(RegistryError) -> [IndexEntry] {
        var entries: [IndexEntry] = []
        // What lost its file is named no more: an index must not list what nobody can fetch.
        let held = Dictionary(package.assets.map { ($0.path.text, $0) }, uniquingKeysWith: { first, _ in first })
        let listed = Set(package.listed.map(\.path.text))
        for version in ArchiveIndexing.ordered(package.versions) {
            guard let path = version.attributes[Attribute.path], held[path] != nil || listed.contains(path),
                let component = version.attributes[Attribute.component]
            else { continue }
            let distributions = package.links.filter { $0.version == version.name && $0.relation == distributionRelation }.map(\.target)
            guard !distributions.isEmpty else { continue }
            let stanza: [UInt8] =
                switch version.manifest {
                case .none: []
                case .inline(let bytes, _): bytes
                case .blob(let blob, _, _): try await blobs.bytes(of: blob)
                }
            guard !stanza.isEmpty else { continue }
            let architecture = version.attributes[Attribute.architecture] ?? Stream.all
            let isBinary = version.attributes[Attribute.kind] == Kind.deb.rawValue
            let stream =
                switch version.attributes[Attribute.kind].flatMap(Kind.init) {
                case .dsc: Stream.source(component)
                case .udeb: Stream.installer(component, architecture)
                case .deb, nil: Stream.binary(component, architecture)
                }
            var contents: [UInt8] = []
            if isBinary, let list = held[path + contentsSuffix] { contents = try await blobs.bytes(of: list.blob) }
            for distribution in distributions {
                entries.append(IndexEntry(edition: distribution, stream: stream, bytes: stanza + [0x0A]))
                guard !contents.isEmpty else { continue }
                entries.append(IndexEntry(edition: distribution, stream: Stream.contents(component, architecture), bytes: contents))
            }
        }
        return entries
    }

    /// Oldest first, as archives have them; architectures of one version by name.
    private static func ordered(_ versions: [Version]) -> [Version] {
        let keyed = versions.map { (version: $0, order: $0.attributes[Attribute.version].flatMap { DebianVersion($0) }) }
        return keyed.sorted { a, b in
            if let x = a.order, let y = b.order, x != y { return x < y }
            return a.version.name < b.version.name
        }.map(\.version)
    }

    func documents(of edition: String, over streams: [IndexStream], in context: RenderContext) throws(RegistryError) -> [IndexDocument] {
        let shape = ArchiveShape(of: edition, streams.map(\.name), context.settings)
        guard shape.exists else { return [] }
        let plain = "text/plain; charset=utf-8"
        var documents: [IndexDocument] = []
        for component in shape.components {
            for architecture in shape.architectures + [Stream.all] {
                let own = Stream.binary(component, architecture)
                let streams = architecture == Stream.all ? [own] : [own, Stream.binary(component, Stream.all)]
                documents.append(IndexDocument("\(own)/Packages", contentType: plain, streams: streams))
                let lists = architecture == Stream.all ? [architecture] : [architecture, Stream.all]
                documents.append(
                    IndexDocument(
                        "\(component)/Contents-\(architecture)", contentType: plain,
                        streams: lists.map { Stream.contents(component, $0) }))
                guard shape.hasInstaller(component), architecture != Stream.all else { continue }
                let installer = Stream.installer(component, architecture)
                documents.append(
                    IndexDocument(
                        "\(installer)/Packages", contentType: plain,
                        streams: [installer, Stream.installer(component, Stream.all)]))
            }
            documents.append(
                IndexDocument("\(component)/source/Sources", contentType: plain, streams: [Stream.source(component)]))
        }
        return documents
    }

    func closing(_ edition: Edition, in context: RenderContext) throws(RegistryError) -> [ClosingDocument] {
        let plain = "text/plain; charset=utf-8"
        return [
            .page(path: "Release", contentType: plain, bytes: Array(release(edition, in: context).text.utf8)),
            .signature(path: "InRelease", contentType: plain, form: .clearsigned, of: "Release"),
            .signature(path: "Release.gpg", contentType: "application/pgp-signature", form: .detached, of: "Release"),
        ]
    }

    private func release(_ edition: Edition, in context: RenderContext) -> Deb822 {
        let shape = ArchiveShape(of: edition.name, edition.streams.map(\.name), context.settings)
        var fields = Deb822()
        fields["Origin"] = context.settings[Setting.origin] ?? context.repository.text
        fields["Label"] = context.settings[Setting.label] ?? context.repository.text
        fields["Suite"] = edition.name
        fields["Codename"] = edition.name
        fields["Version"] = context.settings[Setting.version]
        fields["Date"] = edition.made.httpDate.replacing("GMT", with: "UTC")
        fields["Acquire-By-Hash"] = "yes"
        // A client of an architecture reads its own index only, in which the packages for all of them are too.
        if !shape.architectures.isEmpty { fields["No-Support-for-Architecture-all"] = "Packages" }
        fields["Architectures"] = ([Stream.all] + shape.architectures).joined(separator: " ")
        fields["Components"] = shape.components.joined(separator: " ")
        fields["Description"] = context.settings[Setting.description]
        for (field, algorithm) in [("MD5Sum", DigestAlgorithm.md5), ("SHA256", .sha256)] {
            let lines = edition.files.compactMap { file in file.digest(algorithm).map { "\n \($0.hex) \(file.size) \(file.path)" } }
            fields[field] = lines.joined()
        }
        return fields
    }
}

/// What a version is.
enum Kind: String, Sendable, Hashable { case deb, udeb, dsc }

/// The repository's settings that indexes depend on, by REST field name; lists are parted by spaces.
enum Setting {
    static let origin = "apt_origin"
    static let label = "apt_label"
    static let version = "apt_release_version"
    static let description = "apt_description"
    static let distributions = "debian.distribution_paths"
    static let components = "debian.components"
    static let architectures = "debian.architectures"

    static func list(_ name: String, _ settings: [String: String]) -> [String] { (settings[name] ?? "").split(separator: " ").map(String.init) }
}

/// Which components and architectures a distribution has: what is in it, and what its settings want to be there though empty.
struct ArchiveShape: Sendable, Hashable {
    let exists: Bool
    /// `main` first, as everybody writes it; at least one.
    let components: [String]
    /// Without `all`.
    let architectures: [String]
    private let installers: Set<String>

    init(of edition: String, _ streams: [String], _ settings: [String: String]) {
        exists = !streams.isEmpty || Setting.list(Setting.distributions, settings).contains(edition)
        var components = Set(Setting.list(Setting.components, settings))
        var architectures = Set(Setting.list(Setting.architectures, settings))
        var installers: Set<String> = []
        for stream in streams {
            let parts = stream.split(separator: "/").map(String.init)
            guard parts.count >= 2, let last = parts.last else { continue }
            components.insert(parts[0])
            if last.hasPrefix("binary-") { architectures.insert(String(last.dropFirst("binary-".count))) }
            if parts.count == 3 { installers.insert(parts[0]) }
        }
        architectures.remove(Stream.all)
        if components.isEmpty { components = [defaultComponent] }
        self.components = components.sorted { a, b in
            (a == defaultComponent) != (b == defaultComponent) ? a == defaultComponent : a.utf8.lexicographicallyPrecedes(b.utf8)
        }
        self.architectures = architectures.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        self.installers = installers
    }

    func hasInstaller(_ component: String) -> Bool { installers.contains(component) }
}

let defaultComponent = "main"
let defaultDistribution = "stable"
