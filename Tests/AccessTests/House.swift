import Catalog
import Core
import Logging
import Synchronization

@testable import Access

/// An access room over an empty catalog, with a clock of its own and hashes that cost little.
final class House: Sendable {
    static let secret = Secret("k3JxQ0v9TzR7mW2pLs8dYb4NfHc6UgEa")
    static let password = "a long enough phrase"

    let catalog = AccountCatalog()
    let access: Access
    private let clock = SharedClock()

    init(guestAccess: Bool = true, log: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) throws {
        let options = AccessOptions(
            jwtSecret: House.secret, passwordCost: PasswordCost(memoryKiB: 64, iterations: 1, parallelism: 1),
            sealer: try Sealer(key: Array(repeating: 7, count: Sealer.keyBytes), world: clock.world),
            guestAccess: guestAccess)
        access = try Access(catalog: catalog, world: clock.world, options: options, log: log)
    }

    var now: Timestamp { clock.now }
    func pass(seconds: Int64) { clock.pass(seconds: seconds) }

    @discardableResult
    func user(_ name: String, admin: Bool = false) async throws -> User {
        try await access.createUser(
            username: name, email: "\(name)@example.org", password: House.password, isAdmin: admin, by: .system, requestID: "test"
        ).user
    }

    func caller(_ name: String, password: String = House.password) async throws -> Caller {
        try await access.authenticate(.basic(user: name, password: password))
    }

    func login(_ name: String, password: String = House.password) async throws -> Session {
        guard case .session(let session) = try await access.login(username: name, password: password, requestID: "test") else {
            throw RegistryError(.unauthenticated, subject: .account(name), reason: "there is a second factor")
        }
        return session
    }

    func repository(_ key: String, isPublic: Bool = false, members: [RepositoryID] = []) async throws -> Repository {
        guard let parsed = RepositoryKey(key) else { throw RegistryError(.invalid, subject: .field("key"), reason: key) }
        let repository = Repository(
            id: clock.world.newID(), key: parsed, name: key, format: "docker", kind: members.isEmpty ? .local : .virtual, isPublic: isPublic,
            members: members.map { .init(id: clock.world.newID(), repository: $0, priority: 0) }, created: now)
        try await catalog.apply(Change(actor: .system, at: now, requestID: "test", parts: [.putRepository(repository)]))
        return repository
    }

    func token(
        of caller: Caller, scopes: [String]?, repositories: Set<RepositoryID>? = nil, days: Int64? = nil
    ) async throws -> (text: Secret, token: APIToken) {
        guard let account = caller.account else { throw RegistryError(.invalid, subject: .request, reason: "nobody") }
        return try await access.createToken(
            for: account, name: "ci", scopes: scopes, repositories: repositories, expiresInDays: days, by: caller, requestID: "test")
    }
}

/// Time that passes when told to; randomness is the machine's.
final class SharedClock: Sendable {
    private let time = Mutex(Timestamp(seconds: 1_795_000_000))

    var now: Timestamp { time.withLock { $0 } }
    func pass(seconds: Int64) { time.withLock { $0 = $0.adding(seconds: seconds) } }
    var world: World {
        World(now: { self.now }, monotonicNanoseconds: { UInt64(clamping: self.now.milliseconds) &* 1_000_000 }, random: World.real.random)
    }
}

/// Code, subject and reason: what a caller can see of a failure.
struct Refusal: Equatable, CustomStringConvertible {
    var code: RegistryError.Code
    var subject: String
    var reason: String
    var description: String { "\(code): \(subject): \(reason)" }
}

/// How the work is refused; nil when it is not.
func refusal<T>(_ work: () async throws -> T) async throws -> Refusal? {
    do { _ = try await work() } catch let error as RegistryError {
        return Refusal(code: error.code, subject: error.subject.description, reason: error.reason)
    }
    return nil
}
