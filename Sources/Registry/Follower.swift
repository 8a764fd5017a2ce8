public import Catalog
public import Core

/// Something that consumes the log: every change reaches it, in order, at least once.
public protocol Follower: Sendable {
    /// Names its cursor; never changes.
    var name: String { get }
    /// Whether the position survives a restart. A follower of memory starts at the head: what it caches is empty then.
    var isDurable: Bool { get }
    /// Takes entries in order. Anything it writes belongs into the returned parts, which are committed together with its position.
    func take(_ entries: [LogEntry]) async throws(RegistryError) -> [Change.Part]
    /// The log no longer reaches back to where it was: start over from facts.
    func startOver() async throws(RegistryError) -> [Change.Part]
}
