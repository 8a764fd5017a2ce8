import Core
import Synchronization

/// Questions where blobs lie, many in one: who asks while others are being answered waits, and is asked for together with all who came meanwhile.
final class GatheredQuestions: Sendable {
    typealias Ask = @Sendable ([BlobID]) async throws(RegistryError) -> [BlobID: SharedLocation]

    private enum Turn {
        /// It is this one's turn to ask.
        case asks
        case answered(Result<SharedLocation?, RegistryError>)
    }
    private struct Waiting {
        let blob: BlobID
        let waiter: CheckedContinuation<Turn, Never>
    }
    private struct State {
        var queue: [Waiting] = []
        var asking = 0
    }

    /// Journeys under way at once.
    private static let askingMax = 2
    private static let blobsMax = 256

    private let ask: Ask
    private let state = Mutex(State())

    init(_ ask: @escaping Ask) { self.ask = ask }

    /// nil when the database has no row for the blob.
    func location(of blob: BlobID) async throws(RegistryError) -> SharedLocation? {
        let turn = await withCheckedContinuation { (waiter: CheckedContinuation<Turn, Never>) in
            let asks = state.withLock { state in
                guard state.asking < GatheredQuestions.askingMax else {
                    state.queue.append(Waiting(blob: blob, waiter: waiter))
                    return false
                }
                state.asking += 1
                return true
            }
            if asks { waiter.resume(returning: .asks) }
        }
        if case .answered(let answer) = turn { return try answer.get() }
        let others = state.withLock { state in
            let others = Array(state.queue.prefix(GatheredQuestions.blobsMax - 1))
            state.queue.removeFirst(others.count)
            return others
        }
        let result: Result<[BlobID: SharedLocation], RegistryError>
        do throws(RegistryError) { result = .success(try await ask(Array(Set([blob] + others.map(\.blob))))) } catch { result = .failure(error) }
        let next: Waiting? = state.withLock { state in
            guard state.queue.isEmpty else { return state.queue.removeFirst() }
            state.asking -= 1
            return nil
        }
        next?.waiter.resume(returning: .asks)
        for other in others { other.waiter.resume(returning: .answered(result.map { $0[other.blob] })) }
        return try result.get()[blob]
    }
}
