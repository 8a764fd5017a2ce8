import Core
import Synchronization

/// Files an upstream said it has not, believed for a while, so that a client that asks again and again does not ask the upstream each time.
final class Absences: Sendable {
    private static let namesMax = 16_384
    private let until = Mutex<[String: Timestamp]>([:])

    func contains(_ name: String, at now: Timestamp) -> Bool {
        until.withLock { until in
            guard let end = until[name] else { return false }
            if end <= now { until[name] = nil }
            return end > now
        }
    }

    func forget(_ name: String) { until.withLock { $0[name] = nil } }

    func remember(_ name: String, until end: Timestamp) {
        until.withLock { until in
            // A full memory is emptied: forgetting costs one question.
            if until.count >= Absences.namesMax { until = [:] }
            until[name] = end
        }
    }
}
