public import Catalog
public import Core

/// Work that one node at a time does for all: a lease in the catalog names who has it and until when. Who has it renews it; of a node that is gone
/// another takes it over once its time is over. Two may be at work for a moment, where a clock is wrong or a node hung: whatever is done under a
/// lease must be right even then, so leases spare work and keep nothing safe.
///
/// `Record(.lease, id: <name>)`: format number (1 byte), holder's run (16), its number (2), end in milliseconds since 1970 (8).
public final class Leases: Sendable {
    private static let formatNumber: UInt8 = 1
    static let seconds: Int64 = 60

    private struct Held {
        let name: String
        var revision: Revision
    }

    private let catalog: any Catalog
    private let node: UInt16
    /// Of this process: after a restart it is another's.
    private let run: EntityID
    private let world: World

    public init(catalog: any Catalog, node: UInt16, world: World) {
        self.catalog = catalog
        self.node = node
        self.world = world
        run = world.newID()
    }

    /// Does the work, which goes on until its task is cancelled, on one node at a time: on this one whenever no other does. Ends when cancelled.
    public func keeping(_ name: String, _ work: @escaping @Sendable () async -> Void) async {
        while !Task.isCancelled {
            // What a database that is away refuses, it gives later.
            _ = try? await holding(name) { () async throws(RegistryError) in await work() }
            try? await Task.sleep(for: .seconds(Leases.seconds / 4))
        }
    }

    /// Does the work if no other node has the lease, and gives it back after. The work is cancelled when the lease is lost on the way.
    /// - Returns: nil when another has it.
    @discardableResult
    public func holding<R: Sendable>(
        _ name: String, _ work: @escaping @Sendable () async throws(RegistryError) -> R
    ) async throws(RegistryError) -> R? {
        guard catalog.isShared else { return try await work() }
        guard let held = try await take(name) else { return nil }
        let (result, last) = await withTaskGroup(of: Step<R>.self, returning: (Result<R, RegistryError>, Held).self) { group in
            group.addTask {
                do throws(RegistryError) { return .done(.success(try await work())) } catch { return .done(.failure(error)) }
            }
            group.addTask { await self.renew(held) }
            var last = held
            while let step = await group.next() {
                switch step {
                case .done(let result):
                    group.cancelAll()
                    if case .kept(let held)? = await group.next() { last = held }
                    return (result, last)
                // Lost, or nobody wants it any more.
                case .kept(let held):
                    last = held
                    group.cancelAll()
                }
            }
            preconditionFailure("the work ends before its group")
        }
        try await giveBack(last)
        return try result.get()
    }

    private enum Step<R: Sendable>: Sendable {
        case done(Result<R, RegistryError>)
        case kept(Held)
    }

    private func take(_ name: String) async throws(RegistryError) -> Held? {
        let record = try await catalog.record(.lease, id: name)
        if let record {
            var reader = BinaryReader(record.value)
            if try reader.readUInt8() == Leases.formatNumber {
                let holder = try reader.readEntityID()
                _ = try reader.readBytes(2)
                guard try reader.readTimestamp() <= world.now() || holder == run else { return nil }
            }
        }
        do throws(RegistryError) { return try await put(Held(name: name, revision: record?.revision ?? .zero)) } catch {
            guard error.code == .conflict else { throw error }
            return nil
        }
    }

    private func put(_ held: Held, until end: Timestamp? = nil) async throws(RegistryError) -> Held {
        var writer = BinaryWriter()
        writer.write(Leases.formatNumber)
        writer.write(run)
        writer.write(raw: [UInt8(truncatingIfNeeded: node >> 8), UInt8(truncatingIfNeeded: node)])
        let now = world.now()
        writer.write(end ?? now.adding(seconds: Leases.seconds))
        let record = Record(kind: .lease, id: held.name, value: writer.bytes)
        let change = Change(
            actor: .system, at: now, requestID: "lease \(held.name)", parts: [.putRecord(record, ifRevision: held.revision)])
        return Held(name: held.name, revision: try await catalog.apply(change))
    }

    /// Until the task is cancelled, or the lease is another's.
    private func renew<R>(_ held: Held) async -> Step<R> {
        var held = held
        var failures = 0
        while true {
            do { try await Task.sleep(for: .seconds(Leases.seconds / 4)) } catch { return .kept(held) }
            do throws(RegistryError) {
                held = try await put(held)
                failures = 0
            } catch {
                failures += 1
                // A database that is away for a moment takes nothing from us; one that is away for longer than the lease does.
                if error.code == .conflict || failures > 3 { return .kept(held) }
            }
        }
    }

    private func giveBack(_ held: Held) async throws(RegistryError) {
        do throws(RegistryError) { _ = try await put(held, until: Timestamp(milliseconds: 0)) } catch {
            // It was taken over.
            guard error.code == .conflict else { throw error }
        }
    }
}
