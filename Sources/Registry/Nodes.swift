public import Catalog
public import Core
public import Logging
public import Outbound
import Synchronization

/// The nodes that share a catalog, and which of them this one is. Its number is in the id of every upload session it begins, so that each node knows
/// whose it is; another one passes a request about it on.
///
/// `Record(.node, id: <number>)`: format number (1 byte), identity (16), URL, when it started and when it was last seen (8 each).
public final class Nodes: Sendable {
    /// After so long its number goes to another: no session lives longer.
    private static let forgottenSeconds: Int64 = 30 * 86_400
    /// One that did not say for so long that it is there is not asked.
    private static let silentSeconds: Int64 = 150
    private static let numbers = 1...UInt16.max

    struct Entry: Sendable {
        var number: UInt16
        /// Of its data directory.
        var identity: EntityID
        var url: String
        var started: Timestamp
        var seen: Timestamp
        var revision: Revision = .zero
    }

    public let number: UInt16
    let client: OutboundClient
    private let catalog: any Catalog
    private let world: World
    private let mine: Mutex<Entry>

    /// Takes the number that this data directory had, or the first that is free.
    /// - Parameter client: asks other nodes; without a proxy.
    public static func joining(
        _ catalog: any Catalog, as identity: EntityID, client: OutboundClient, world: World
    ) async throws(RegistryError) -> Nodes {
        for _ in 0..<16 {
            do throws(RegistryError) {
                return Nodes(try await join(catalog, as: identity, at: world.now()), of: catalog, client: client, world: world)
            } catch {
                // Another that starts at this moment took it.
                guard error.code == .conflict else { throw error }
            }
        }
        throw RegistryError(.unavailable, subject: .store, reason: "too many nodes start at once; try again", retryAfterSeconds: 1)
    }

    private init(_ entry: Entry, of catalog: any Catalog, client: OutboundClient, world: World) {
        number = entry.number
        mine = Mutex(entry)
        self.catalog = catalog
        self.client = client
        self.world = world
    }

    private static func all(in catalog: any Catalog) async throws(RegistryError) -> [Entry] {
        var known: [Entry] = []
        var last: String?
        repeat {
            let page = try await catalog.records(.node, after: last, limit: 500)
            for record in page { known.append(try Entry(record)) }
            last = page.last?.id
        } while last != nil
        return known
    }

    private static func join(_ catalog: any Catalog, as identity: EntityID, at now: Timestamp) async throws(RegistryError) -> Entry {
        let known = try await all(in: catalog)
        var entry = Entry(number: 0, identity: identity, url: "", started: now, seen: now)
        let free = known.first { $0.seen.adding(seconds: forgottenSeconds) < now }
        if let before = known.first(where: { $0.identity == identity }) ?? free {
            (entry.number, entry.revision) = (before.number, before.revision)
        } else {
            let taken = Set(known.map(\.number))
            guard let number = numbers.first(where: { !taken.contains($0) }) else {
                throw RegistryError(.unavailable, subject: .store, reason: "there are too many nodes")
            }
            entry.number = number
        }
        entry.revision = try await catalog.apply(entry.change)
        return entry
    }

    /// Tells the others where this one is.
    public func announce(_ url: String) async throws(RegistryError) { try await note { $0.url = url } }

    /// Says every minute that this one is there, until the task is cancelled.
    public func remain(_ log: Logger) async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(60)) } catch { return }
            do throws(RegistryError) { try await note { _ in } } catch {
                log.warning("other nodes do not know that this one is there", metadata: ["error": "\(error)"])
            }
        }
    }

    private func note(_ change: (inout Entry) -> Void) async throws(RegistryError) {
        var entry = mine.withLock { $0 }
        change(&entry)
        entry.seen = world.now()
        do throws(RegistryError) { entry.revision = try await catalog.apply(entry.change) } catch {
            guard error.code == .conflict else { throw error }
            throw RegistryError(.conflict, subject: .store, reason: "another process runs on a copy of this node's data directory")
        }
        let next = entry
        mine.withLock { $0 = next }
    }

    /// What a target begins with there, without a slash at its end; nil when there is no such node.
    func url(of number: UInt16) async throws(RegistryError) -> String? {
        guard let url = try await known(number)?.url, !url.isEmpty else { return nil }
        return url.hasSuffix("/") ? String(url.dropLast()) : url
    }

    /// Those that said lately where they are.
    func others() async throws(RegistryError) -> [UInt16] {
        let since = world.now().adding(seconds: -Nodes.silentSeconds)
        return try await Nodes.all(in: catalog).filter { $0.number != number && !$0.url.isEmpty && $0.seen >= since }.map(\.number)
    }

    /// Where a node said it is, and when it did so last; nil when there is no such node.
    public func known(_ number: UInt16) async throws(RegistryError) -> (url: String, seen: Timestamp)? {
        guard let record = try await catalog.record(.node, id: Entry.id(number)) else { return nil }
        let entry = try Entry(record)
        return (entry.url, entry.seen)
    }
}

extension Nodes.Entry {
    private static let formatNumber: UInt8 = 1

    static func id(_ number: UInt16) -> String { String(repeating: "0", count: 5 - String(number).utf8.count) + String(number) }

    var change: Change {
        var writer = BinaryWriter()
        writer.write(Nodes.Entry.formatNumber)
        writer.write(identity)
        writer.write(url)
        writer.write(started)
        writer.write(seen)
        let record = Record(kind: .node, id: Nodes.Entry.id(number), value: writer.bytes)
        return Change(actor: .system, at: seen, requestID: "node \(number)", parts: [.putRecord(record, ifRevision: revision)])
    }

    init(_ record: Record) throws(RegistryError) {
        var reader = BinaryReader(record.value)
        guard try reader.readUInt8() == Nodes.Entry.formatNumber, let number = UInt16(record.id) else { throw BinaryReader.damaged }
        self.number = number
        identity = try reader.readEntityID()
        url = try reader.readString()
        started = try reader.readTimestamp()
        seen = try reader.readTimestamp()
        revision = record.revision
    }
}
