public import Core
import NIOCore

/// Where a backup is kept that is no directory: a bucket. A name's bytes are replaced as a whole, or not at all.
///
/// Errors: `notFound` for what is not there, `upstreamFailed` otherwise, with `retryAfterSeconds` when it may pass by itself.
public protocol BackupShelf: Sendable {
    /// For people.
    var place: String { get }
    /// The bytes are there when this returns, durable and whole. Reads `bytes` on threads of its own.
    func put(_ name: String, _ bytes: any RandomAccessBytes) async throws(RegistryError)
    /// Exactly the range, which lies inside.
    func read(_ name: String, _ range: Range<Int64>) async throws(RegistryError) -> Body
    /// nil when there is no such thing.
    func length(of name: String) async throws(RegistryError) -> Int64?
    /// What is not there is as good as removed.
    func remove(_ name: String) async throws(RegistryError)
    /// Names that begin so, in pages.
    func list(_ prefix: String, page: String?) async throws(RegistryError) -> ShelfPage
    /// Removes what `put`s begun before then left behind when they failed.
    func removeLeftovers(before time: Timestamp) async throws(RegistryError)
}

public struct ShelfPage: Sendable {
    public let objects: [(name: String, length: Int64)]
    /// Where to go on; nil at the end.
    public let next: String?
    public init(objects: [(name: String, length: Int64)], next: String?) {
        self.objects = objects
        self.next = next
    }
}

/// What a backup is kept in.
public enum BackupTarget: Sendable {
    case directory(String)
    case shelf(any BackupShelf)
}

/// Objects of a shelf from beginning to end; what breaks off is asked for again from there.
enum ShelfReading {
    private static let triesMax = 5

    static func read(
        _ name: String, _ length: Int64, from shelf: any BackupShelf, _ body: (ByteBuffer) async throws(RegistryError) -> Void
    ) async throws(RegistryError) {
        var at: Int64 = 0
        var tries = 1
        while at < length {
            let before = at
            do throws(RegistryError) {
                let answer = try await shelf.read(name, at..<length)
                while let slice = try await answer.next() {
                    guard Int64(slice.readableBytes) <= length - at else { throw short }
                    try await body(slice)
                    at += Int64(slice.readableBytes)
                }
                guard at == length else { throw short }
            } catch {
                tries = at > before ? 1 : tries + 1
                guard tries < triesMax, error.retryAfterSeconds != nil, !Task.isCancelled else { throw error }
            }
        }
    }

    private static var short: RegistryError {
        RegistryError(.upstreamFailed, subject: .store, reason: "the store gave another length than it has", retryAfterSeconds: 5)
    }
}
