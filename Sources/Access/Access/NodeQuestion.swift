public import Core

/// What one node asks another for. A proof is of one question: it is none for another, of whatever kind.
public enum NodeQuestion: Sendable, Hashable, CustomStringConvertible {
    case blob(BlobID)
    /// A file on its way from an upstream, by the SHA-256 of what its fetch is called.
    case fetch(Digest)
    /// An index of a whole repository, by the SHA-256 of what it is called.
    case index(Digest)

    public var description: String {
        switch self {
        case .blob(let blob): "blob \(blob.hex)"
        case .fetch(let name): "fetch \(name.hex)"
        case .index(let name): "index \(name.hex)"
        }
    }
}
