// Access: who is calling, and what they may do. It proves identity (passwords, sessions, API tokens, docker's tokens), computes a caller's
// effective rights once per request, and alone can make an `Authorized`, without which no other room opens a repository.
// All truth lies in the catalog's records (docs/internals/accounts.md); memory holds only a cache of what was verified.
// It opens no socket, and knows no HTTP status, no format and no blob.

/// Text that must not reach a log, an error or a metric: it prints as `<secret>`, whatever prints it.
public struct Secret: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The text itself. Whoever reads this decides where it goes.
    public let revealed: String

    public init(_ text: String) { revealed = text }

    public var isEmpty: Bool { revealed.isEmpty }
    public var description: String { "<secret>" }
    public var debugDescription: String { "<secret>" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension Secret: Equatable {
    /// Takes the same time wherever the texts first differ; their lengths are not hidden.
    public static func == (a: Secret, b: Secret) -> Bool { equalInConstantTime(Array(a.revealed.utf8), Array(b.revealed.utf8)) }
}

/// Looks at every byte, so that the time taken does not tell where two secrets differ.
func equalInConstantTime(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    guard a.count == b.count else { return false }
    var difference: UInt8 = 0
    for index in a.indices { difference |= a[index] ^ b[index] }
    return difference == 0
}
