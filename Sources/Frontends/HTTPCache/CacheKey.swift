import Core
import FrontendKit

/// The name of an entry: a path, whose last two segments `cas/{SHA-256}` promise what is in it.
struct CacheKey: Sendable {
    let path: AssetPath
    /// The digest the name promises; nil for a key that may hold anything.
    let promised: Digest?

    init(_ path: AssetPath) {
        self.path = path
        promised = CacheKey.digest(in: path.segments)
    }

    /// - Throws: `invalid` for a path that is no asset's, and for a name under `cas/` that is no SHA-256 in lower-case hex.
    init(_ match: Match) throws(RegistryError) {
        let name = match["digest"]
        let text = name.isEmpty ? match["key"] : [match["prefix"], "cas", name].filter { !$0.isEmpty }.joined(separator: "/")
        guard let path = AssetPath(text) else {
            throw RegistryError(.invalid, subject: .field("key"), reason: "a key has at most 2048 bytes and no empty, '.' or '..' segment")
        }
        self.init(path)
        if !name.isEmpty, promised == nil {
            throw RegistryError(.invalid, subject: .path(text), reason: "an entry under cas/ is named by its SHA-256 in lower-case hex")
        }
    }

    private static func digest(in segments: [Substring]) -> Digest? {
        guard segments.count >= 2, segments[segments.count - 2] == "cas", let name = segments.last else { return nil }
        return Digest(parsing: "sha256:\(name)")
    }

    /// - Throws: `digestMismatch` when the bytes are not those the name promises.
    func check(_ blob: any StagedBytes) throws(RegistryError) {
        guard let promised, promised != blob.id.digest else { return }
        throw RegistryError(
            .digestMismatch, subject: .path(path.text), reason: "the bytes have the digest \(blob.id.hex), which is not their name; nothing was kept")
    }

    /// The last writer wins, and a deleted or evicted entry leaves nothing behind.
    func putting(_ blob: any StagedBytes, contentType: String?) -> Mutation {
        .putAsset(
            AssetDraft(path: path, blob: blob.id, size: blob.size, contentType: CacheKey.inertType(contentType)), overwrite: .allowed)
    }

    /// Gradle asks for the type it sent; what a browser would show or run is kept as plain bytes.
    private static func inertType(_ declared: String?) -> String {
        guard let declared, declared.hasPrefix("application/"), !declared.contains("form"), !declared.contains("html"),
            !declared.contains("script")
        else { return "application/octet-stream" }
        return declared
    }
}

/// What a PUT does where an entry is already: the repository's setting `cache_overwrite`. Content named by its digest is the same anyway.
enum OverwriteRule: String {
    /// The last writer wins: ccache's manifests grow.
    case replace
    /// The same bytes succeed again, others are refused.
    case same
    /// Whoever comes second is refused, before the body is read.
    case never

    init(_ settings: [String: String]) {
        self = settings["cache_overwrite"].flatMap(OverwriteRule.init) ?? .replace
    }

    func refusal(of path: AssetPath) -> RegistryError {
        RegistryError(
            .conflict, subject: .path(path.text), reason: "there is an entry already, and this repository's cache_overwrite is \(rawValue)")
    }
}
