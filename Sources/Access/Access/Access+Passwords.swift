import Catalog
import Core
import Synchronization

/// Whose password it is.
struct Proven: Sendable {
    let row: UserRow
    /// Read before the row.
    let epoch: Stamps.Mark
}

/// The same password asked for many times at once, as parallel clients do, is checked once: it costs one hash, and counts as one guess.
final class ProofsUnderWay: Sendable {
    struct Key: Hashable {
        let credential: VerifiedCache.Key
        let address: String
    }
    typealias Outcome = Result<Proven, RegistryError>

    private let waiting = Mutex<[Key: [UnsafeContinuation<Outcome?, Never>]]>([:])

    /// Whether the caller is the first, and has to say how it ended.
    func begin(_ key: Key) -> Bool {
        waiting.withLock { waiting in
            guard waiting[key] == nil else { return false }
            waiting[key] = []
            return true
        }
    }

    /// nil when it has ended meanwhile.
    func outcome(of key: Key) async -> Outcome? {
        await withUnsafeContinuation { continuation in
            let isUnderWay = waiting.withLock { waiting in
                guard waiting[key] != nil else { return false }
                waiting[key]?.append(continuation)
                return true
            }
            if !isUnderWay { continuation.resume(returning: nil) }
        }
    }

    func end(_ key: Key, with outcome: Outcome) {
        for continuation in waiting.withLock({ $0.removeValue(forKey: key) }) ?? [] { continuation.resume(returning: outcome) }
    }
}

extension Access {
    /// The account whose password this is.
    /// - Throws: `unauthenticated`, in the same words and after the same work for an unknown user, a wrong password and a disabled account;
    ///   `rateLimited` when too many guesses came from the address.
    func prove(_ username: String, _ password: Secret, from address: String) async throws(RegistryError) -> Proven {
        guard let credential = verified.key(for: .password(user: username, password)) else { throw Access.badCredentials }
        let key = ProofsUnderWay.Key(credential: credential, address: address)
        while !proofs.begin(key) {
            if let outcome = await proofs.outcome(of: key) { return try outcome.get() }
        }
        let outcome: ProofsUnderWay.Outcome
        do throws(RegistryError) { outcome = .success(try await firstProof(username, password, from: address)) } catch { outcome = .failure(error) }
        proofs.end(key, with: outcome)
        return try outcome.get()
    }

    private func firstProof(_ username: String, _ password: Secret, from address: String) async throws(RegistryError) -> Proven {
        let attempt = try guesses.begin(at: username, from: address, at: world.now())
        return try await counted(attempt, by: guesses) { () throws(RegistryError) in
            // The epoch must be read before the rows, and the account is known only after one: the row is read again under its epoch.
            guard let id = try await userRow(named: username)?.user.id else {
                _ = try await hasher.verify(PasswordHasher.bounded(password), against: decoyHash)
                throw Access.badCredentials
            }
            let epoch = verified.epoch(of: id)
            guard let row = try await userRow(id) else { throw Access.badCredentials }
            try await check(password, of: row)
            return Proven(row: row, epoch: epoch)
        }
    }

    /// The current password, asked for again before something grave.
    /// - Throws: as `prove`.
    func reprove(_ password: Secret, of row: UserRow, from address: String) async throws(RegistryError) {
        let attempt = try guesses.begin(at: row.user.username, from: address, at: world.now())
        try await counted(attempt, by: guesses) { () throws(RegistryError) in try await check(password, of: row) }
    }

    func counted<Value: Sendable>(
        _ attempt: Guesses.Attempt, by guesses: Guesses, _ work: () async throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        do throws(RegistryError) {
            let value = try await work()
            guesses.succeeded(attempt)
            return value
        } catch {
            if error.code == .unauthenticated { guesses.failed(attempt, at: world.now()) } else { guesses.withdrawn(attempt) }
            throw error
        }
    }

    /// - Throws: `unauthenticated` unless it is the password of an account that is switched on.
    private func check(_ password: Secret, of row: UserRow) async throws(RegistryError) {
        let holds = try await hasher.verify(PasswordHasher.bounded(password), against: row.passwordHash ?? decoyHash)
        // The hash comes first in every case, so that time tells nothing about the account.
        guard holds, row.passwordHash != nil, row.user.isActive else { throw Access.badCredentials }
    }
}
