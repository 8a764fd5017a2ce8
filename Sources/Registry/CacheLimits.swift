import Catalog
import Core
import FrontendKit

/// What bounds a repository whose assets may be lost: the copies of a remote, the entries of a build cache.
struct CacheLimits: Sendable, Hashable {
    /// By REST field name.
    static let names: Set<String> = ["cache_bytes_max", "cache_idle_seconds", "cache_entry_bytes_max", "cache_overwrite"]
    /// Those that only a repository somebody writes to has.
    private static let writerNames: Set<String> = ["cache_entry_bytes_max", "cache_overwrite"]
    /// How long what was answered to a client stays: a build that was told "it is there" comes for it.
    static let leaseSeconds: Int64 = 600

    /// Logical bytes the repository should hold at most.
    let bytesMax: Int64?
    /// What nobody asked for that long goes.
    let idleSeconds: Int64?
    /// The most one entry may have.
    let entryBytesMax: Int64?

    init(_ repository: Repository) {
        func number(_ name: String) -> Int64? { repository.settings[name].flatMap { Int64($0) } }
        bytesMax = number("cache_bytes_max")
        idleSeconds = number("cache_idle_seconds")
        entryBytesMax = number("cache_entry_bytes_max")
    }

    /// Cheap enough for every hit.
    static func evicts(_ repository: Repository) -> Bool {
        !repository.settings.isEmpty && (repository.settings["cache_bytes_max"] != nil || repository.settings["cache_idle_seconds"] != nil)
    }

    /// Eviction begins above nine tenths of the budget, so that writers do not meet it full, and ends at eight.
    static func highWater(_ bytesMax: Int64) -> Int64 { bytesMax - bytesMax / 10 }
    static func lowWater(_ bytesMax: Int64) -> Int64 { bytesMax - bytesMax / 5 }

    /// - Throws: `invalid` for a limit on what may not be lost, or one that is no number.
    static func check(_ repository: Repository, of format: Format) throws(RegistryError) {
        for name in names.intersection(repository.settings.keys).sorted() {
            let isWriter = writerNames.contains(name)
            let isBounded = format.isCache && (repository.kind == .local || repository.kind == .staging) || !isWriter && repository.kind == .remote
            guard isBounded else {
                throw RegistryError(
                    .invalid, subject: .field(name),
                    reason: "\(name) is for build caches\(isWriter ? "" : " and remote repositories"): what \(repository.key) holds may not be lost")
            }
            let value = repository.settings[name] ?? ""
            if name == "cache_overwrite" {
                guard ["replace", "same", "never"].contains(value) else {
                    throw RegistryError(.invalid, subject: .field(name), reason: "replace, same or never")
                }
            } else if Int64(value).map({ $0 > 0 }) != true {
                throw RegistryError(.invalid, subject: .field(name), reason: "a number above zero, or zero for no limit")
            }
        }
    }
}
