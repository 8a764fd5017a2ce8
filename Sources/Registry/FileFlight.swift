import BlobStore
import Core
import FrontendKit
import NIOCore
import Synchronization

/// A file of an upstream on its way: fetched once, for everybody who wants it. It fills at the upstream's pace and belongs to no request; those
/// who read along follow what has arrived, from where it is stored, each at a pace of its own. So neither a slow reader nor their number costs
/// the fetch anything, and none of them holds more than one slice.
///
/// The last bytes are held back until the file was verified and committed: of a file that is refused no client ever gets a whole body.
///
/// Where it arrives from another node it may break off, and begin anew from elsewhere: readers go on where they are, once the bytes that they have
/// came again, and were the same.
final class FileFlight: Sendable {
    /// What is known of the file before its bytes are.
    struct Head: Sendable {
        var path: AssetPath
        var contentType: String
        /// nil: upstream did not say.
        var length: Int64?
        /// What the index promised.
        var expected: [Digest]

        /// The blob it will be; nil when no index says.
        var blob: BlobID? { expected.lazy.compactMap { BlobID($0) }.first }
    }

    /// Of an attempt that broke off.
    private struct Given {
        let staging: Staging
        let count: Int64
    }

    static let heldBackBytes: Int64 = 16 << 10
    private static let sliceBytesMax = 256 << 10
    private static let sliceBytesMin = 32 << 10
    /// What all readers of one file together hold, as long as slices can be made smaller.
    private static let slicesBytesMax = 32 << 20

    private struct State {
        var head: Head?
        var staging: Staging?
        /// Once the bytes are complete.
        var content: BlobContent?
        var received: Int64 = 0
        /// What readers may have.
        var released: Int64 = 0
        /// What readers may have of an attempt that broke off, until the next has brought as much.
        var given: Given?
        var outcome: Result<Asset, RegistryError>?
        var readers = 0
        var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter: UInt64 = 0
    }

    private let state = Mutex(State())

    // MARK: The fetch

    /// Bytes begin to arrive; whoever can do with a head goes on. Called again after an attempt that broke off.
    /// - Throws: `upstreamFailed` when this cannot be the file that readers have the beginning of.
    func begin(_ head: Head, into staging: Staging) throws(RegistryError) {
        if let before = state.withLock({ $0.head }), before.blob != head.blob || before.length != nil && before.length != head.length {
            throw FileFlight.changed(head)
        }
        change { state in
            state.given = state.given ?? state.staging.map { Given(staging: $0, count: state.released) }
            state.head = head
            state.staging = staging
            (state.received, state.released) = (0, 0)
        }
    }

    /// Takes the next bytes.
    func write(_ slice: ByteBuffer, to staging: Staging) throws(RegistryError) {
        let (given, received) = state.withLock { ($0.given, $0.received) }
        if let given { try compare(slice, at: received, with: given) }
        try staging.write(slice)
        change { state in
            state.received += Int64(slice.readableBytes)
            state.released = max(0, state.received - FileFlight.heldBackBytes)
            if let given = state.given, state.released >= given.count { state.given = nil }
        }
    }

    /// The bytes are complete, and not yet judged.
    /// - Parameter isCopy: another node stores them.
    func finish(_ staging: Staging, isCopy: Bool = false) async throws(RegistryError) -> any StagedBytes {
        let (given, received, head) = state.withLock { state in
            // Readers wait while the bytes move to their place.
            state.staging = nil
            return (state.given, state.received, state.head)
        }
        if let given, received < given.count { throw FileFlight.changed(head) }
        let staged = isCopy ? try await staging.finishCopy() : try await staging.finish()
        let content = try staged.content()
        change { $0.content = content }
        return staged
    }

    /// It broke off and did not begin anew.
    var isBroken: Bool { state.withLock { $0.head != nil && $0.content == nil && $0.outcome == nil } }

    /// The rest of what broke off is that of these bytes, which are stored.
    /// - Throws: `upstreamFailed` when they are others.
    func complete(_ blob: BlobID, with content: BlobContent) throws(RegistryError) {
        let (head, given) = state.withLock { state in
            (state.head, state.given ?? state.staging.map { Given(staging: $0, count: state.released) })
        }
        guard let head, head.blob ?? blob == blob, head.length ?? content.length == content.length else { throw FileFlight.changed(head) }
        if let given {
            var offset: Int64 = 0
            while offset < given.count {
                let count = Int(min(given.count - offset, Int64(FileFlight.sliceBytesMax)))
                let slice = try content.buffer(at: offset, count: count)
                guard slice.readableBytes == count else { throw FileFlight.changed(head) }
                try compare(slice, at: offset, with: given)
                offset += Int64(count)
            }
        }
        change { state in
            state.content = content
            state.staging = nil
            state.received = content.length
        }
    }

    /// Nobody gets the beginning of one file and the end of another.
    private func compare(_ slice: ByteBuffer, at offset: Int64, with given: Given) throws(RegistryError) {
        let count = Int(min(Int64(slice.readableBytes), given.count - offset))
        guard count > 0 else { return }
        guard let known = try given.staging.arrived(at: offset, upTo: count), known == slice.getSlice(at: slice.readerIndex, length: count) else {
            throw FileFlight.changed(state.withLock { $0.head })
        }
    }

    private static func changed(_ head: Head?) -> RegistryError {
        let name = head.map { "\($0.path)" } ?? "the file"
        return RegistryError(
            .upstreamFailed, subject: head.map { .path($0.path.text) } ?? .request,
            reason: "the bytes of \(name) broke off, and are others now than those that came before")
    }

    func end(_ outcome: Result<Asset, RegistryError>) {
        change { state in
            state.outcome = outcome
            state.staging = nil
            state.given = nil
            if case .success = outcome { state.released = state.received } else { state.content = nil }
        }
    }

    private func change(_ body: (inout sending State) -> Void) {
        let waiting = state.withLock { state in
            body(&state)
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        for continuation in waiting { continuation.resume() }
    }

    // MARK: Those who wait

    /// The file as it was committed, or was there all along.
    func asset() async throws(RegistryError) -> Asset {
        try await wait { $0.outcome }.get()
    }

    /// What is known once bytes arrive; nil when it turned out that none need to.
    func begun() async throws(RegistryError) -> Head? {
        try await wait { state in
            if let outcome = state.outcome { return outcome.map { _ in nil } }
            return state.head.map { .success($0) }
        }.get()
    }

    /// What a reader finds at its place.
    fileprivate enum Reading: Sendable {
        case arriving(Staging, count: Int)
        case complete(BlobContent, count: Int)
        case end
        case failed(RegistryError)
    }

    fileprivate func reading(at offset: Int64) async throws(RegistryError) -> Reading {
        await wait { state in
            if case .failure(let error)? = state.outcome { return .failed(error) }
            let slice = min(FileFlight.sliceBytesMax, max(FileFlight.sliceBytesMin, FileFlight.slicesBytesMax / max(1, state.readers)))
            let count = Int(min(Int64(slice), state.released - offset))
            if count > 0, let content = state.content { return .complete(content, count: count) }
            if count > 0, let staging = state.staging { return .arriving(staging, count: count) }
            return state.outcome != nil && offset >= state.released ? .end : nil
        } ?? .failed(RegistryError(.invalid, subject: .request, reason: "the request was given up"))
    }

    fileprivate func joined() { state.withLock { $0.readers += 1 } }
    fileprivate func left() { state.withLock { $0.readers -= 1 } }

    private func wait<Value: Sendable>(_ look: (borrowing State) -> Result<Value, RegistryError>?) async -> Result<Value, RegistryError> {
        await wait(look) ?? .failure(RegistryError(.invalid, subject: .request, reason: "the request was given up"))
    }

    /// What `look` sees as soon as it sees something; nil when the waiting task was cancelled.
    private func wait<Value: Sendable>(_ look: (borrowing State) -> Value?) async -> Value? {
        while true {
            if let seen = state.withLock({ look($0) }) { return seen }
            if Task.isCancelled { return nil }
            let number = state.withLock { state in
                state.nextWaiter += 1
                return state.nextWaiter
            }
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isReady = state.withLock { state in
                        if Task.isCancelled || look(state) != nil { return true }
                        state.waiting[number] = continuation
                        return false
                    }
                    if isReady { continuation.resume() }
                }
            } onCancel: {
                state.withLock { $0.waiting.removeValue(forKey: number) }?.resume()
            }
        }
    }
}

/// One client's way through a file that is arriving.
final class FlightReader: BodySource {
    private let flight: FileFlight
    private let offset = Mutex<Int64>(0)

    init(_ flight: FileFlight) {
        self.flight = flight
        flight.joined()
    }

    deinit { flight.left() }

    func next() async throws(RegistryError) -> ByteBuffer? {
        let start = offset.withLock { $0 }
        while true {
            let slice: ByteBuffer?
            switch try await flight.reading(at: start) {
            case .end: return nil
            case .failed(let error): throw error
            case .arriving(let staging, let count): slice = try staging.arrived(at: start, upTo: count)
            case .complete(let content, let count): slice = try content.buffer(at: start, count: count)
            }
            // Nothing: the bytes moved to their place just now.
            guard let slice else { continue }
            guard slice.readableBytes > 0 else {
                throw RegistryError(.corrupt, subject: .store, reason: "a file that arrives is shorter than what was received of it")
            }
            offset.withLock { $0 += Int64(slice.readableBytes) }
            return slice
        }
    }
}

/// Where a flight's bytes go.
final class FlightSink: ByteSink {
    private let flight: FileFlight
    private let staging: Staging
    private let pace: FetchTurns.Pace?
    private let failed = Mutex<RegistryError?>(nil)

    init(_ flight: FileFlight, _ staging: Staging, _ pace: FetchTurns.Pace? = nil) {
        self.flight = flight
        self.staging = staging
        self.pace = pace
    }

    /// What went wrong here, and not where the bytes come from.
    var failure: RegistryError? { failed.withLock { $0 } }

    func write(_ slice: ByteBuffer) throws(RegistryError) {
        pace?.arrived()
        do throws(RegistryError) { try flight.write(slice, to: staging) } catch {
            failed.withLock { $0 = error }
            throw error
        }
    }
}

/// The files under way, by name.
final class FileFlights: Sendable {
    private let flights = Mutex<[String: FileFlight]>([:])
    /// Those that this node fetches for all, by the SHA-256 of what their turn is called.
    private let offered = Mutex<[Digest: FileFlight]>([:])

    /// From now on other nodes may read it along.
    func offer(_ flight: FileFlight, as turn: Digest) { offered.withLock { $0[turn] = flight } }
    /// Who reads it along goes on.
    func withdraw(_ turn: Digest) { offered.withLock { $0[turn] = nil } }
    func offered(as turn: Digest) -> FileFlight? { offered.withLock { $0[turn] } }

    /// The flight of that name: the one under way, else a new one that does the work.
    func join(_ name: String, _ work: @escaping @Sendable (FileFlight) async throws(RegistryError) -> Asset) -> FileFlight {
        flights.withLock { flights in
            if let flight = flights[name] { return flight }
            let flight = FileFlight()
            flights[name] = flight
            // Unstructured on purpose: it belongs to no request. It ends by itself, since every fetch has limits in bytes and time.
            _ = Task { () async -> Void in
                let outcome: Result<Asset, RegistryError>
                do throws(RegistryError) { outcome = .success(try await work(flight)) } catch { outcome = .failure(error) }
                self.flights.withLock { $0[name] = nil }
                flight.end(outcome)
            }
            return flight
        }
    }
}
