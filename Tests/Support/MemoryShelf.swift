public import BlobStore
public import Core
import NIOCore
import Synchronization

/// A place for backups in memory, which fails when a test says so.
public final class MemoryShelf: BackupShelf {
    private struct State {
        var objects: [String: [UInt8]] = [:]
        var puts: [String] = []
        var putsLeft: Int?
    }
    private let state = Mutex(State())

    public init() {}

    public let place = "memory"
    public var objects: [String: [UInt8]] { state.withLock { $0.objects } }
    /// Names, in the order in which they were put, since this was asked last.
    public func takePuts() -> [String] {
        state.withLock { state in
            defer { state.puts = [] }
            return state.puts
        }
    }

    /// From now on so many puts succeed; nil: all.
    public func allow(puts: Int?) { state.withLock { $0.putsLeft = puts } }
    public func change(_ name: String, _ body: (inout [UInt8]?) -> Void) { state.withLock { body(&$0.objects[name]) } }

    public func put(_ name: String, _ bytes: any RandomAccessBytes) async throws(RegistryError) {
        let whole = try bytes.bytes(at: 0, count: Int(bytes.size))
        let isAllowed = state.withLock { state in
            if let left = state.putsLeft {
                guard left > 0 else { return false }
                state.putsLeft = left - 1
            }
            state.objects[name] = whole
            state.puts.append(name)
            return true
        }
        if !isAllowed { throw RegistryError(.upstreamFailed, subject: .store, reason: "down", retryAfterSeconds: 1) }
    }

    public func read(_ name: String, _ range: Range<Int64>) async throws(RegistryError) -> Body {
        guard let bytes = objects[name] else { throw RegistryError(.notFound, subject: .store, reason: "no \(name)") }
        return Body(ByteBuffer(bytes: bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
    }

    public func length(of name: String) async throws(RegistryError) -> Int64? { objects[name].map { Int64($0.count) } }
    public func remove(_ name: String) async throws(RegistryError) { state.withLock { _ = $0.objects.removeValue(forKey: name) } }

    public func list(_ prefix: String, page: String?) async throws(RegistryError) -> ShelfPage {
        let names = objects.filter { $0.key.hasPrefix(prefix) && $0.key > page ?? "" }.sorted { $0.key < $1.key }
        let some = names.prefix(7).map { (name: $0.key, length: Int64($0.value.count)) }
        return ShelfPage(objects: some, next: names.count > some.count ? some.last?.name : nil)
    }

    public func removeLeftovers(before time: Timestamp) async throws(RegistryError) {}
}
