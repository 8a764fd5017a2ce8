import BlobStore
import Catalog
public import Core

/// Why a blob lives, or when it goes.
public struct SweepExplanation: Sendable, Hashable {
    public var blob: BlobID
    /// nil when the store has no such blob.
    public var length: Int64?
    /// In words: `segment 3, offset 4096`.
    public var place: String?
    /// One sentence for each reason it lives, or for when it goes; never empty.
    public var reasons: [String]
    /// Nothing holds it, and its time of grace is over or running.
    public var isDying: Bool
    /// When the next sweep may take it; nil while something holds it, or nobody noted yet since when nothing does.
    public var goesAt: Timestamp?
}

extension Sweeper {
    private static let pinsMax = 100

    public func explain(_ blob: BlobID) async throws(RegistryError) -> SweepExplanation {
        let whereabouts = try await blobs.whereabouts(of: blob)
        let pins = try await catalog.pins(of: blob, limit: Sweeper.pinsMax + 1)
        var reasons: [String] = []
        for pin in pins.prefix(Sweeper.pinsMax) { reasons.append(try await words(for: pin)) }
        if pins.count > Sweeper.pinsMax { reasons.append("and more") }
        if whereabouts.isLeased { reasons.append("bytes staged by a request under way hold it") }
        var explanation = SweepExplanation(
            blob: blob, length: whereabouts.length, place: whereabouts.place, reasons: reasons, isDying: false, goesAt: nil)
        guard whereabouts.length != nil else {
            if pins.isEmpty {
                explanation.reasons.append("it is not stored")
            } else {
                explanation.reasons.append("it is named, but NOT STORED: run a check")
            }
            return explanation
        }
        guard reasons.isEmpty else { return explanation }
        explanation.isDying = true
        guard let since = try await catalog.unpinned(among: [blob]).first?.since else {
            explanation.reasons = ["nothing holds it; the next sweep notes that, and the time of grace begins"]
            return explanation
        }
        let end = since.adding(seconds: options.graceSeconds)
        explanation.goesAt = end
        explanation.reasons = ["nothing holds it since \(since); the first sweep after \(end) removes it"]
        return explanation
    }

    private func words(for pin: Pin) async throws(RegistryError) -> String {
        let words = try await catalog.words(for: pin)
        return pin.reason.isTrash ? "kept by \(words)" : words
    }
}

extension Catalog {
    /// What names a blob, for a human: `the artifact a/1/f of files`.
    func words(for pin: Pin) async throws(RegistryError) -> String {
        func name(_ id: RepositoryID) async throws(RegistryError) -> String {
            try await repository(id: id)?.key.text ?? "\(id)"
        }
        return switch pin.reason {
        case .asset(let id, let path): "the artifact \(path) of \(try await name(id))"
        case .manifest(let id, let package, let version): "the manifest of \(package) \(version) in \(try await name(id))"
        case .learned(let id, let view): "what \(try await name(id)) learned of its upstream's \(view)"
        case .trash(let id): try await words(for: id, in: try await name(id.repository))
        }
    }
    private func words(for id: DeletionID, in name: String) async throws(RegistryError) -> String {
        // Restored or purged a moment ago, perhaps.
        guard let deletion = try await deletion(id) else { return "the trash of \(name)" }
        return "the trash of \(name) until \(deletion.until): deletion \(id.revision) by \(deletion.actor) at \(deletion.at)"
    }
}
