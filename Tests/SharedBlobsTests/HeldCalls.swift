import BlobStore
import Core
import NIOCore
import PostgresCatalog
import Synchronization

/// What nodes of one process ask each other, in place of their sockets; and a move of rows that fails when a test says so.
final class HeldCalls: Sendable {
    enum Step: Sendable {
        case beforeMove, afterMove
    }

    private struct State {
        var nodes: [UInt16: Weak] = [:]
        var questions = 0
        var failing: Step?
    }

    private struct Weak: Sendable {
        weak let node: Node?
    }

    private let state = Mutex(State())

    var questions: Int { state.withLock { $0.questions } }

    func join(_ node: Node, as number: UInt16) { if number > 0 { state.withLock { $0.nodes[number] = Weak(node: node) } } }
    /// Away, as one whose machine is off.
    func leave(_ number: UInt16) { state.withLock { $0.nodes[number] = nil } }
    func fail(_ step: Step?) { state.withLock { $0.failing = step } }

    var question: HolderQuestion {
        { [self] blob, _, holder async throws(RegistryError) in
            let weak = state.withLock { state in
                state.questions += 1
                return state.nodes[holder]
            }
            guard let node = weak?.node else { throw BlobStore.silentHolder(holder, cause: nil) }
            guard let content = try await node.blobs.contentHere(of: blob) else {
                throw RegistryError(.notFound, subject: .blob(blob.description), reason: "node \(holder) does not have it")
            }
            return Body(ByteBuffer(bytes: try content.bytes(at: 0, count: Int(content.length))))
        }
    }

    func watching(_ catalog: PostgresCatalog) -> any SharedLocations { WatchedLocations(catalog: catalog, calls: self) }

    fileprivate func pass(_ step: Step) throws(RegistryError) {
        guard state.withLock({ $0.failing == step }) else { return }
        throw RegistryError(.unavailable, subject: .store, reason: "the process ends here")
    }
}

/// The rows of the database, with a failure before or after they move.
private struct WatchedLocations: SharedLocations {
    let catalog: PostgresCatalog
    let calls: HeldCalls

    func sharedStoreID() async throws(RegistryError) -> EntityID { try await catalog.sharedStoreID() }
    func locations(of blobs: [BlobID]) async throws(RegistryError) -> [BlobID: SharedLocation] { try await catalog.locations(of: blobs) }
    func locations(using blobs: [BlobID], at time: Timestamp) async throws(RegistryError) -> [BlobID: SharedLocation] {
        try await catalog.locations(using: blobs, at: time)
    }
    func locations(after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow] {
        try await catalog.locations(after: blob, limit: limit)
    }
    func life(of objects: [EntityID]) async throws(RegistryError) -> [EntityID: SharedLife] { try await catalog.life(of: objects) }
    func rows(naming object: EntityID, after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow] {
        try await catalog.rows(naming: object, after: blob, limit: limit)
    }
    func objects(after object: EntityID?, limit: Int) async throws(RegistryError) -> [EntityID] {
        try await catalog.objects(after: object, limit: limit)
    }
    func held() async throws(RegistryError) -> [UInt16: SharedLife] { try await catalog.held() }
    func rows(heldBy node: UInt16, after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow] {
        try await catalog.rows(heldBy: node, after: blob, limit: limit)
    }
    func move(_ moves: [SharedMove]) async throws(RegistryError) -> Set<BlobID> {
        try calls.pass(.beforeMove)
        let moved = try await catalog.move(moves)
        try calls.pass(.afterMove)
        return moved
    }
}
