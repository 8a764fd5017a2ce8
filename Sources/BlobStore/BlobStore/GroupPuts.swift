import Core
import NIOCore
import Synchronization

/// Small blobs on their way to a tier, many in one object. Who comes while others are being put waits, and goes with the next group: the object
/// store is asked once for all who came together, never once for each.
///
final class GroupPuts: Sendable {
    struct Group: Sendable {
        let segment: UInt64
        let records: [SmallSegment.Record]
    }

    private enum Outcome {
        /// It is this one's turn to put a group.
        case leads
        case ended(Result<Void, RegistryError>)
        /// Who led the group hung up.
        case again
    }
    private typealias Waiter = CheckedContinuation<Outcome, Never>
    private struct Waiting {
        let record: SmallSegment.Record
        let segment: UInt64
        let waiter: Waiter
    }
    private struct State {
        var queue: [Waiting] = []
        var leaders = 0
    }

    /// Groups under way at once.
    private static let groupsAtOnce = 3
    static let groupBytesMax: Int64 = 16 << 20
    static let groupRecordsMax = 1024

    private let state = Mutex(State())

    /// How many wait for the next group.
    var waiting: Int { state.withLock { $0.queue.count } }

    /// The record is where `send` brings a group when this returns.
    func put(
        _ record: SmallSegment.Record, of segment: UInt64, send: (Group) async throws(RegistryError) -> Void
    ) async throws(RegistryError) {
        while true {
            let outcome = await withCheckedContinuation { (waiter: Waiter) in
                let leads = state.withLock { state in
                    guard state.leaders < GroupPuts.groupsAtOnce else {
                        state.queue.append(Waiting(record: record, segment: segment, waiter: waiter))
                        return false
                    }
                    state.leaders += 1
                    return true
                }
                if leads { waiter.resume(returning: .leads) }
            }
            switch outcome {
            case .leads: return try await lead(record, of: segment, send).get()
            case .ended(let result): return try result.get()
            case .again: continue
            }
        }
    }

    private func lead(
        _ record: SmallSegment.Record, of segment: UInt64, _ send: (Group) async throws(RegistryError) -> Void
    ) async -> Result<Void, RegistryError> {
        let followers = state.withLock { state in GroupPuts.takeFollowers(of: record, segment, from: &state.queue) }
        let result: Result<Void, RegistryError>
        do throws(RegistryError) {
            result = .success(try await send(Group(segment: segment, records: [record] + followers.map(\.record))))
        } catch { result = .failure(error) }
        let next: Waiting? = state.withLock { state in
            guard state.queue.isEmpty else { return state.queue.removeFirst() }
            state.leaders -= 1
            return nil
        }
        next?.waiter.resume(returning: .leads)
        var outcome = Outcome.ended(result)
        if case .failure = result, Task.isCancelled { outcome = .again }
        for follower in followers { follower.waiter.resume(returning: outcome) }
        return result
    }

    /// Those of the same segment, in the order they came, as many as one object takes.
    private static func takeFollowers(of record: SmallSegment.Record, _ segment: UInt64, from queue: inout [Waiting]) -> [Waiting] {
        var bytes = record.footprint
        var taken: [Waiting] = []
        queue.removeAll { waiting in
            guard waiting.segment == segment, taken.count + 1 < groupRecordsMax, bytes + waiting.record.footprint <= groupBytesMax else {
                return false
            }
            bytes += waiting.record.footprint
            taken.append(waiting)
            return true
        }
        return taken
    }
}
