public import Catalog
public import Core
import Synchronization

/// Work that one node at a time does for all: a lease in the catalog names who has it and until when. Who has it renews it; of a node that is gone
/// another takes it over once its time is over. Work that is under way on this node is not begun on it a second time. Two nodes may be at work for a
/// moment, where a clock is wrong or a node hung: whatever is done under a lease must be right even then, so leases spare work and keep nothing safe.
///
/// `Record(.lease, id: <name>)`: format number (1 byte), holder's run (16), its number (2), end in milliseconds since 1970 (8).
public final class Leases: Sendable {
    private static let formatNumber: UInt8 = 1
    private struct Held {
        let name: String
        var revision: Revision
    }

    private let catalog: any Catalog
    private let node: UInt16
    /// Of this process: after a restart it is another's.
    private let run: EntityID
    /// How long a lease is good without being renewed.
    private let seconds: Int64
    private let world: World
    /// What this process is at.
    private let underWay = Mutex<Set<String>>([])

    public init(catalog: any Catalog, node: UInt16, seconds: Int64 = 60, world: World) {
        self.catalog = catalog
        self.node = node
        self.seconds = seconds
        self.world = world
        run = world.newID()
    }

    /// Does the work, which goes on until its task is cancelled, on one node at a time: on this one whenever no other does. Ends when cancelled.
    public func keeping(_ name: String, _ work: @escaping @Sendable () async -> Void) async {
        while !Task.isCancelled {
            // What a database that is away refuses, it gives later.
            _ = try? await holding(name) { () async throws(RegistryError) in await work() }
            try? await Task.sleep(for: pause)
        }
    }

    /// Between two renewals: two of them may fail.
    private var pause: Duration { .milliseconds(seconds * 1000 / 3) }

    /// Does the work if no other node has the lease, and gives it back after. The work is cancelled when the lease is lost on the way.
    /// - Returns: nil when another has it, or this one is at it already.
    @discardableResult
    public func holding<R: Sendable>(
        _ name: String, _ work: @escaping @Sendable () async throws(RegistryError) -> R
    ) async throws(RegistryError) -> R? {
        guard catalog.isShared else { return try await work() }
        guard underWay.withLock({ $0.insert(name).inserted }) else { return nil }
        defer { underWay.withLock { _ = $0.remove(name) } }
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

    /// - Parameter isRenewal: nobody waits for it.
    private func put(_ held: Held, until end: Timestamp? = nil, isRenewal: Bool = false) async throws(RegistryError) -> Held {
        var writer = BinaryWriter()
        writer.write(Leases.formatNumber)
        writer.write(run)
        writer.write(raw: [UInt8(truncatingIfNeeded: node >> 8), UInt8(truncatingIfNeeded: node)])
        let now = world.now()
        writer.write(end ?? now.adding(seconds: seconds))
        let record = Record(kind: .lease, id: held.name, value: writer.bytes)
        let change = Change(
            actor: .system, at: now, requestID: "lease \(held.name)", parts: [.putRecord(record, ifRevision: held.revision)],
            isPatient: isRenewal)
        return Held(name: held.name, revision: try await catalog.apply(change))
    }

    /// Until the task is cancelled, or the lease is another's.
    private func renew<R>(_ held: Held) async -> Step<R> {
        var held = held
        var failures = 0
        while true {
            do { try await Task.sleep(for: pause) } catch { return .kept(held) }
            do throws(RegistryError) {
                held = try await put(held, isRenewal: true)
                failures = 0
            } catch {
                failures += 1
                // A database that is away for a moment takes nothing from us; one that is away for longer than the lease does.
                if error.code == .conflict || failures > 2 { return .kept(held) }
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
