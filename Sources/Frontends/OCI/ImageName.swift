import Core
import FrontendKit

/// An image's name inside its repository: distribution-spec 1.1, "Pulling manifests", and at most 255 bytes.
struct ImageName: Hashable {
    enum Kind: String { case manifest = "manifests", blob = "blobs" }

    static let bytesMax = 255

    let text: String
    let package: PackageName

    /// nil for what the grammar does not allow.
    init?(_ text: some StringProtocol) {
        let text = String(text)
        guard text.utf8.count <= ImageName.bytesMax, text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy(ImageName.isComponent)
        else { return nil }
        self.init(checked: text)
    }

    /// The image a one-segment name means. A key's own grammar holds here: it may have upper-case letters.
    init(of repository: RepositoryKey) { self.init(checked: repository.text) }

    private init(checked text: String) {
        guard let package = PackageName(text) else { preconditionFailure("an image name is a package name") }
        self.text = text
        self.package = package
    }

    func path(of kind: Kind, _ digest: Digest) -> AssetPath {
        guard let path = AssetPath("\(text)/\(kind.rawValue)/\(digest)") else { preconditionFailure("an image name is a path") }
        return path
    }

    /// Where a remote keeps what its upstream has under a tag.
    func path(of tag: TagName) -> AssetPath {
        guard let path = AssetPath("\(text)/\(Kind.manifest.rawValue)/\(tag)") else { preconditionFailure("an image name and a tag are a path") }
        return path
    }

    /// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
    private static func isComponent(_ text: Substring) -> Bool {
        var separator: [UInt8] = []
        var letters = 0
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x61...0x7A:
                guard isSeparator(separator) else { return false }
                separator = []
                letters += 1
            case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                guard letters > 0 else { return false }
                separator.append(byte)
            default: return false
            }
        }
        return letters > 0 && separator.isEmpty
    }

    private static func isSeparator(_ bytes: [UInt8]) -> Bool {
        switch bytes.first {
        case nil: true
        case UInt8(ascii: "."): bytes.count == 1
        case UInt8(ascii: "_"): bytes.count <= 2 && bytes.allSatisfy { $0 == UInt8(ascii: "_") }
        default: bytes.allSatisfy { $0 == UInt8(ascii: "-") }
        }
    }
}

/// An image as a URL names it.
struct Image {
    let repository: RepositoryKey
    let name: ImageName
    /// `KEY/image`, or only `KEY` when the URL said no more.
    let fullName: String

    init(repository: RepositoryKey, path: some StringProtocol) throws(RegistryError) {
        self.repository = repository
        if path.isEmpty {
            name = ImageName(of: repository)
            fullName = repository.text
        } else {
            guard let name = ImageName(path) else {
                throw RegistryError(
                    .invalid, subject: .package(String(path.prefix(300))), reason: "not an image name: lower-case letters, digits and . _ -")
            }
            self.name = name
            fullName = "\(repository)/\(path)"
        }
    }

    init(_ match: Match) throws(RegistryError) {
        guard let repository = match.repository else {
            throw RegistryError(.internal, subject: .request, reason: "the route was matched without its repository")
        }
        try self.init(repository: repository, path: match["image"])
    }

    /// `KEY/image` as a mount names its source; nil when it is no name.
    init?(fullName: String) {
        let halves = fullName.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = halves.first, let repository = RepositoryKey(first) else { return nil }
        do throws(RegistryError) { try self.init(repository: repository, path: halves.count > 1 ? halves[1] : "") } catch { return nil }
    }

    /// A link that clients may follow: an absolute path.
    func link(_ rest: String) -> String { "/v2/\(fullName)/\(rest)" }
}

/// What names a manifest in a URL.
enum Reference {
    case tag(TagName)
    case digest(Digest)

    /// Of a manifest that should be there: what cannot be a tag is not found, rather than wrong.
    init(existing text: String) throws(RegistryError) {
        guard !text.contains(":") else {
            self = .digest(try Digest(oci: text))
            return
        }
        guard let tag = Reference.tagName(text) else {
            throw RegistryError(.notFound, subject: .path(text), reason: "there is no manifest of this name")
        }
        self = .tag(tag)
    }

    /// Of a manifest to be put.
    init(new text: String) throws(RegistryError) {
        self = text.contains(":") ? .digest(try Digest(oci: text)) : .tag(try Reference.newTag(text))
    }

    static func newTag(_ text: String) throws(RegistryError) -> TagName {
        guard let tag = tagName(text) else {
            throw RegistryError(.invalid, subject: .field("tag"), reason: "a tag has at most 128 letters, digits and . _ -, no . or - first")
        }
        return tag
    }

    /// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
    static func tagName(_ text: String) -> TagName? {
        let isWord: (UInt8) -> Bool = { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "_"): true
            default: false
            }
        }
        guard (1...128).contains(text.utf8.count), text.utf8.first.map(isWord) == true,
            text.utf8.allSatisfy({ isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") })
        else { return nil }
        return TagName(text)
    }
}

extension Digest {
    /// image-spec 1.1, "Digests": the two registered algorithms.
    init(oci text: String) throws(RegistryError) {
        guard let digest = Digest(parsing: text), digest.algorithm == .sha256 || digest.algorithm == .sha512 else {
            throw RegistryError(.invalid, subject: .blob(String(text.prefix(200))), reason: "not a digest: sha256 or sha512, a colon, lower-case hex")
        }
        self = digest
    }
}

/// A place in a repository taken apart: `<image>/manifests/<tag or digest>` or `<image>/blobs/<digest>`.
struct ContentPath {
    let image: ImageName
    let kind: ImageName.Kind
    let reference: Reference

    /// nil for every other path.
    init?(_ path: AssetPath) {
        let segments = path.segments
        guard segments.count >= 3, let kind = ImageName.Kind(rawValue: String(segments[segments.count - 2])) else { return nil }
        let name = segments.dropLast(2).joined(separator: "/")
        // The image of a one-segment name is called like its repository, which may have upper-case letters.
        guard let image = ImageName(name) ?? RepositoryKey(name).map(ImageName.init(of:)) else { return nil }
        do throws(RegistryError) { reference = try Reference(new: String(path.fileName)) } catch { return nil }
        if kind == .blob, case .tag = reference { return nil }
        self.kind = kind
        self.image = image
    }
}
