import Catalog
import Core
import Logging
import Synchronization

/// When API tokens were last used. Kept in memory and written in batches: a crash may lose the last minutes, and only those.
final class TokenUses: Sendable {
    /// Different tokens between two flushes; uses of further ones are not noted.
    private static let countMax = 100_000

    private let latest = Mutex<[APIToken.Place: Timestamp]>([:])

    /// Nothing for who came with anything else.
    func note(_ place: APIToken.Place?, at now: Timestamp) {
        guard let place else { return }
        latest.withLock { latest in
            guard latest[place] != nil || latest.count < TokenUses.countMax else { return }
            latest[place] = max(now, latest[place] ?? now)
        }
    }

    /// The token, with the latest use that is known.
    func told(_ token: APIToken) -> APIToken {
        var token = token
        token.lastUsed = [token.lastUsed, latest.withLock { $0[token.place] }].compactMap { $0 }.max()
        return token
    }

    fileprivate func take() -> [(place: APIToken.Place, at: Timestamp)] {
        latest.withLock { latest in
            defer { latest = [:] }
            return latest.map { ($0.key, $0.value) }
        }
    }
}

extension Caller {
    /// The API token they came with.
    var apiToken: APIToken.Place? {
        guard credentialKind == .apiToken, case .apiToken(let token) = root, let account else { return nil }
        return APIToken.Place(account: account, token: token)
    }
}

extension Access {
    private static let usesPerChange = 500

    /// Writes what was noted since the last time. What cannot be written is kept for the next.
    func flushTokenUses() async throws(RegistryError) {
        let taken = uses.take()
        for start in stride(from: 0, to: taken.count, by: Access.usesPerChange) {
            do throws(RegistryError) { try await write(taken[start..<min(start + Access.usesPerChange, taken.count)]) } catch {
                for use in taken[start...] { uses.note(use.place, at: use.at) }
                throw error
            }
        }
    }

    private func write(_ used: ArraySlice<(place: APIToken.Place, at: Timestamp)>) async throws(RegistryError) {
        var parts: [Change.Part] = []
        for (place, at) in used {
            // A token that was revoked meanwhile has no row, and gets none.
            guard let record = try await catalog.record(.token, id: place.recordID) else { continue }
            var token = try APIToken(record)
            guard token.lastUsed.map({ $0 < at }) ?? true else { continue }
            token.lastUsed = at
            parts.append(.putRecord(token.record(fingerprint: record.unique), ifRevision: record.revision))
        }
        guard !parts.isEmpty else { return }
        // Nobody's rights change by it: no epoch advances, and nothing was decided.
        try await catalog.apply(Change(actor: .system, at: world.now(), requestID: "token uses", parts: parts))
    }

    /// Every five minutes until its task is cancelled, and once more then.
    public func flushTokenUsesOnSchedule() async {
        repeat {
            try? await Task.sleep(for: .seconds(300))
            do throws(RegistryError) { try await flushTokenUses() } catch {
                log.warning("when tokens were used stays in memory for now", metadata: ["error": "\(error)"])
            }
        } while !Task.isCancelled
    }
}
