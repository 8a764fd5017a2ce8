import Catalog
import Core

/// When an edition was made, as nodes that share a catalog agree on it. They make the same documents of the same facts, but for the time in what
/// closes them. Whoever makes them first says when, the others find it: so each of them gives the same Release, and a signature that a client has
/// from one is of the Release that it has from another.
///
/// `Record(.edition, id: <SHA-256 of index and edition>)`: format number (1 byte), repository (16), count (1), then of each generation,
/// oldest first, SHA-256 of what it says but for the time (32) and when it was made (8, milliseconds since 1970).
struct EditionMoments: Sendable {
    private static let formatNumber: UInt8 = 1
    /// Generations remembered: a node that lags finds what the others made before.
    private static let momentsMax = 4
    private static let attemptsMax = 16
    private static let pageLength = 500

    private struct Moment {
        let content: [UInt8]
        let made: Timestamp
    }

    let catalog: any Catalog
    let world: World

    /// - Parameters:
    ///   - content: SHA-256 of what the generation says but for the time.
    ///   - last: of the generation that this node gave before; time never goes back.
    func made(
        _ edition: String, of feed: IndexFeed, after last: Timestamp?, content: () throws(RegistryError) -> Digest
    ) async throws(RegistryError) -> Timestamp {
        let floor = max(world.now(), last ?? world.now())
        guard catalog.isShared else { return floor }
        let content = try content()
        let id = Digest.of(.sha256, Array("\(feed.id) \(edition)".utf8)).hex
        for _ in 0..<EditionMoments.attemptsMax {
            let record = try await catalog.record(.edition, id: id)
            let known = try record.map { record throws(RegistryError) in try EditionMoments.decode(record).moments } ?? []
            if let found = known.last(where: { $0.content == content.bytes }), found.made >= last ?? found.made { return found.made }
            let made = known.reduce(floor) { max($0, $1.made) }
            let moments = (known + [Moment(content: content.bytes, made: made)]).suffix(EditionMoments.momentsMax)
            let next = Record(kind: .edition, id: id, value: EditionMoments.encode(Array(moments), of: feed.repository.id))
            do throws(RegistryError) {
                try await catalog.apply(
                    Change(
                        actor: .system, at: world.now(), requestID: "edition",
                        parts: [.putRecord(next, ifRevision: record?.revision ?? .zero)]))
                return made
            } catch {
                // A catalog that takes no changes for now is read all the same.
                guard error.code == .conflict else { return made }
            }
        }
        throw RegistryError(
            .unavailable, subject: .repository(feed.repository.key.text), reason: "the index is made by many nodes at once; try again",
            retryAfterSeconds: 1)
    }

    /// What repositories that are gone have left; for whoever tends what nodes share.
    func clear() async throws(RegistryError) {
        var last: String?
        repeat {
            let page = try await catalog.records(.edition, after: last, limit: EditionMoments.pageLength)
            for record in page {
                if let repository = try EditionMoments.decode(record).repository, try await catalog.repository(id: repository) == nil {
                    try await catalog.apply(
                        Change(actor: .system, at: world.now(), requestID: "edition", parts: [.deleteRecord(.edition, id: record.id)]))
                }
            }
            last = page.last?.id
        } while last != nil
    }

    private static func encode(_ moments: [Moment], of repository: RepositoryID) -> [UInt8] {
        var writer = BinaryWriter()
        writer.write(formatNumber)
        writer.write(repository)
        writer.write(UInt8(moments.count))
        for moment in moments {
            writer.write(raw: moment.content)
            writer.write(moment.made)
        }
        return writer.bytes
    }

    /// Nothing of a format that another program wrote.
    private static func decode(_ record: Record) throws(RegistryError) -> (repository: RepositoryID?, moments: [Moment]) {
        var reader = BinaryReader(record.value)
        guard try reader.readUInt8() == formatNumber else { return (nil, []) }
        let repository = try reader.readEntityID()
        var moments: [Moment] = []
        for _ in 0..<(try reader.readUInt8()) {
            moments.append(Moment(content: Array(try reader.readBytes(32)), made: try reader.readTimestamp()))
        }
        return (repository, moments)
    }
}
