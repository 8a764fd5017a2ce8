import Core

/// What the server said no with, as one of our errors.
enum Refusal {
    static func lost(_ cause: String) -> RegistryError {
        RegistryError(.unavailable, subject: .store, reason: "the database cannot be reached; try again", cause: cause, retryAfterSeconds: 1)
    }

    static func slow(_ what: String) -> RegistryError {
        RegistryError(.unavailable, subject: .store, reason: "the database took too long; try again", cause: what, retryAfterSeconds: 2)
    }

    /// By SQLSTATE (PostgreSQL, appendix A).
    static func of(_ state: String, _ message: String) -> RegistryError {
        let cause = "\(state) \(message)"
        switch state {
        case "53100": return RegistryError(.noSpace, subject: .store, reason: "the database's disk is full", cause: cause)
        case "57014", "55P03": return slow(cause)
        case "25006":
            return RegistryError(
                .unavailable, subject: .store, reason: "the database takes no changes; try again", cause: cause, retryAfterSeconds: 2)
        // Idle in a transaction for too long: the session is ended.
        case "25P03": return lost(cause)
        // Serialization failure, deadlock.
        case "40001", "40P01": return RegistryError(.unavailable, subject: .store, reason: "try again", cause: cause, retryAfterSeconds: 1)
        default: break
        }
        switch state.prefix(2) {
        // The connection, who may connect, insufficient resources, the operator's intervention.
        case "", "08", "28", "3D", "53", "57": return lost(cause)
        default: return RegistryError(.internal, subject: .store, reason: "the database refused a statement", cause: cause)
        }
    }
}
