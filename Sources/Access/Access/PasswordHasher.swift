import CArgon2
import Core
import Parsing
import Synchronization

/// What one guess of a password costs (RFC 9106 section 4; the figures are OWASP's minimum for Argon2id).
public struct PasswordCost: Sendable, Hashable {
    public var memoryKiB: UInt32
    public var iterations: UInt32
    public var parallelism: UInt32

    public init(memoryKiB: UInt32 = 19_456, iterations: UInt32 = 2, parallelism: UInt32 = 1) {
        self.memoryKiB = memoryKiB
        self.iterations = iterations
        self.parallelism = parallelism
    }
}

/// Argon2id, a few at once: each holds megabytes and a core for tens of milliseconds, so neither an event loop nor a crowd of guesses may
/// run it freely. Stored hashes are PHC strings (`$argon2id$v=19$m=..,t=..,p=..$salt$hash`).
final class PasswordHasher: Sendable {
    private static let saltBytes = 16
    private static let hashBytes = 32

    /// What one hash takes goes back to the system: the allocator would keep it, for every thread that ever had one, from the first that is freed on
    /// (mallopt(3), "dynamic mmap threshold").
    private static let givesMemoryBack: Void = {
        mallopt(M_MMAP_THRESHOLD, 8 << 20)
        mallopt(M_TRIM_THRESHOLD, 2 << 20)
    }()

    private let cost: PasswordCost
    private let pool: BlockingPool
    /// Hashes asked for and not answered yet: a flood of logins is refused, not remembered.
    private let pending = Mutex(0)
    private let pendingMax: Int

    init(cost: PasswordCost, atOnceMax: Int, pendingMax: Int = 256) {
        self.cost = cost
        self.pendingMax = pendingMax
        PasswordHasher.givesMemoryBack
        pool = BlockingPool(threads: atOnceMax, name: "argon2")
    }

    func salt(from world: World) -> [UInt8] { world.randomBytes(PasswordHasher.saltBytes) }

    func hash(_ password: Secret, salt: [UInt8]) async throws(RegistryError) -> String {
        let cost = cost
        return try await run { () throws(RegistryError) in try PasswordHasher.hash(password, salt: salt, cost: cost) }
    }

    /// Whether the password is the one that was hashed.
    func verify(_ password: Secret, against stored: String) async throws(RegistryError) -> Bool {
        try await run { () throws(RegistryError) in try PasswordHasher.verify(password, against: stored) }
    }

    /// A hash no password has: verified against it, an unknown user costs as much as a known one.
    func decoy(from world: World) -> String {
        let salt = PasswordHasher.unpadded(world.randomBytes(PasswordHasher.saltBytes))
        let hash = PasswordHasher.unpadded(world.randomBytes(PasswordHasher.hashBytes))
        return "$argon2id$v=19$m=\(cost.memoryKiB),t=\(cost.iterations),p=\(cost.parallelism)$\(salt)$\(hash)"
    }

    /// Base 64 as PHC strings have it.
    private static func unpadded(_ bytes: [UInt8]) -> Substring { Base64.encode(bytes).prefix { $0 != "=" } }

    /// No password is longer than the policy allows: a longer guess is cut just past that, so that it costs no more and cannot match.
    static func bounded(_ password: Secret) -> Secret {
        guard password.revealed.utf8.count > PasswordPolicy.bytesMax else { return password }
        return Secret(String(decoding: password.revealed.utf8.prefix(PasswordPolicy.bytesMax + 1), as: UTF8.self))
    }

    private func run<Value: Sendable>(
        _ work: @escaping @Sendable () throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        let isAdmitted = pending.withLock { pending in
            guard pending < pendingMax else { return false }
            pending += 1
            return true
        }
        guard isAdmitted else {
            throw RegistryError(.unavailable, subject: .request, reason: "too many logins at once: try again", retryAfterSeconds: 1)
        }
        defer { pending.withLock { $0 -= 1 } }
        return try await pool.run(work)
    }

    private static func hash(_ password: Secret, salt: [UInt8], cost: PasswordCost) throws(RegistryError) -> String {
        let password = Array(password.revealed.utf8)
        let capacity = argon2_encodedlen(
            cost.iterations, cost.memoryKiB, cost.parallelism, UInt32(salt.count), UInt32(hashBytes), Argon2_id)
        var encoded = [CChar](repeating: 0, count: capacity)
        let status = unsafe argon2id_hash_encoded(
            cost.iterations, cost.memoryKiB, cost.parallelism, password, password.count, salt, salt.count, hashBytes, &encoded, capacity)
        guard status == ARGON2_OK.rawValue else { throw failure(status) }
        return String(decoding: encoded.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func verify(_ password: Secret, against stored: String) throws(RegistryError) -> Bool {
        let password = Array(password.revealed.utf8)
        let status = unsafe argon2id_verify(stored, password, password.count)
        if status == ARGON2_OK.rawValue { return true }
        if status == ARGON2_VERIFY_MISMATCH.rawValue { return false }
        throw failure(status)
    }

    private static func failure(_ status: Int32) -> RegistryError {
        RegistryError(
            .internal, subject: .request, reason: "the password could not be checked", cause: unsafe String(cString: argon2_error_message(status)))
    }
}
