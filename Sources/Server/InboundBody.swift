import Core
import NIOCore
import Synchronization

/// A request's body as the responder reads it: every call is one hop to the connection's event loop, none per slice of a drain.
final class InboundBody: BodySource {
    private let arrivals: NIOLoopBound<Arrivals>

    init(_ arrivals: Arrivals, on loop: any EventLoop) { self.arrivals = NIOLoopBound(arrivals, eventLoop: loop) }

    func next() async throws(RegistryError) -> ByteBuffer? {
        let arrivals = arrivals
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { asker in arrivals.eventLoop.execute { arrivals.value.ask(asker) } }
        } onCancel: {
            arrivals.eventLoop.execute { arrivals.value.cancel() }
        }
        return try result.get()
    }

    func drain(into sink: any ByteSink) async throws(RegistryError) {
        let arrivals = arrivals
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { drainer in arrivals.eventLoop.execute { arrivals.value.drain(into: sink, drainer) } }
        } onCancel: {
            arrivals.eventLoop.execute { arrivals.value.cancel() }
        }
        try result.get()
    }
}

/// The loop's side of a body: slices that arrived, and who waits for them. Touched on its event loop only.
final class Arrivals {
    typealias Asker = CheckedContinuation<Result<ByteBuffer?, RegistryError>, Never>
    typealias Drainer = CheckedContinuation<Result<Void, RegistryError>, Never>

    private enum Ending {
        case complete
        case failed(RegistryError)
    }

    private let announced: Int64?
    private let allowance: Allowance
    private let loop: any EventLoop
    /// Bytes are wanted that were not wanted before.
    private let onWant: () -> Void

    private var slices = CircularBuffer<ByteBuffer>()
    private var asker: Asker?
    private var sink: (any ByteSink)?
    private var drainer: Drainer?
    private var ending: Ending?
    private var holdsAllowance = false
    private var waitsForAllowance = false
    private(set) var received: Int64 = 0

    init(announced: Int64?, allowance: Allowance, loop: any EventLoop, onWant: @escaping () -> Void) {
        self.announced = announced
        self.allowance = allowance
        self.loop = loop
        self.onWant = onWant
    }

    /// Someone waits for bytes that are not here: the socket may be read.
    var wantsBytes: Bool { ending == nil && (sink != nil || (asker != nil && !waitsForAllowance)) }
    var isComplete: Bool { if case .complete? = ending { true } else { false } }

    // MARK: The consumer

    func ask(_ asker: Asker) {
        guard self.asker == nil, drainer == nil else {
            return asker.resume(returning: .failure(RegistryError(.internal, subject: .request, reason: "a body has one reader")))
        }
        letGo()
        if let slice = slices.popFirst() { return asker.resume(returning: .success(slice)) }
        switch ending {
        case .complete?: asker.resume(returning: .success(nil))
        case .failed(let error)?: asker.resume(returning: .failure(error))
        case nil:
            self.asker = asker
            reserve()
        }
    }

    func drain(into sink: any ByteSink, _ drainer: Drainer) {
        guard asker == nil, self.drainer == nil else {
            return drainer.resume(returning: .failure(RegistryError(.internal, subject: .request, reason: "a body has one reader")))
        }
        letGo()
        while let slice = slices.popFirst() {
            do throws(RegistryError) { try sink.write(slice) } catch { return drainer.resume(returning: .failure(error)) }
        }
        switch ending {
        case .complete?: drainer.resume(returning: .success(()))
        case .failed(let error)?: drainer.resume(returning: .failure(error))
        case nil:
            self.sink = sink
            self.drainer = drainer
            onWant()
        }
    }

    /// The reading task was cancelled. On the loop, so never in the middle of a sink's `write`.
    func cancel() {
        settle(.failure(RegistryError(.invalid, subject: .request, reason: "the request was given up")))
    }

    // MARK: The connection

    func deliver(_ slice: ByteBuffer) {
        guard ending == nil, slice.readableBytes > 0 else { return }
        received += Int64(slice.readableBytes)
        if let sink {
            do throws(RegistryError) { try sink.write(slice) } catch { settle(.failure(error)) }
        } else if let asker {
            self.asker = nil
            asker.resume(returning: .success(slice))
        } else {
            slices.append(slice)
        }
    }

    func finish() {
        guard ending == nil else { return }
        ending = .complete
        settle(.success(()))
    }

    func fail(_ error: RegistryError) {
        guard ending == nil else { return }
        ending = .failed(error)
        settle(.failure(error))
    }

    /// The connection ended inside the body.
    func cut() {
        let whole = announced.map { " of \($0)" } ?? ""
        fail(RegistryError(.invalid, subject: .request, reason: "the body ended after \(received)\(whole) bytes"))
    }

    /// The answer is on its way: nobody reads any more.
    func abandon() {
        fail(RegistryError(.internal, subject: .request, reason: "the body was read after the request had been answered"))
        slices.removeAll()
        letGo()
    }

    private func settle(_ result: Result<Void, RegistryError>) {
        sink = nil
        waitsForAllowance = false
        if let asker {
            self.asker = nil
            asker.resume(returning: result.map { nil })
        }
        if let drainer {
            self.drainer = nil
            drainer.resume(returning: result)
        }
    }

    private func reserve() {
        let mine = NIOLoopBound(self, eventLoop: loop)
        waitsForAllowance = !allowance.take { mine.eventLoop.execute { mine.value.reserved() } }
        if !waitsForAllowance {
            holdsAllowance = true
            onWant()
        }
    }

    private func reserved() {
        guard waitsForAllowance, asker != nil else { return allowance.give() }
        waitsForAllowance = false
        holdsAllowance = true
        onWant()
    }

    private func letGo() {
        guard holdsAllowance else { return }
        holdsAllowance = false
        allowance.give()
    }

    deinit { if holdsAllowance { allowance.give() } }
}

/// How many slices may be out with consumers at once, over all connections.
final class Allowance: Sendable {
    private struct State {
        var free: Int
        var waiting: [@Sendable () -> Void] = []
    }

    private let state: Mutex<State>
    let total: Int

    init(_ count: Int) {
        total = max(1, count)
        state = Mutex(State(free: total))
    }

    /// True: one is taken. False: `whenFree` is called once, with one taken for it.
    func take(whenFree: @escaping @Sendable () -> Void) -> Bool {
        state.withLock {
            guard $0.free > 0 else {
                $0.waiting.append(whenFree)
                return false
            }
            $0.free -= 1
            return true
        }
    }

    func give() {
        let next: (@Sendable () -> Void)? = state.withLock {
            if !$0.waiting.isEmpty { return $0.waiting.removeFirst() }
            $0.free += 1
            return nil
        }
        next?()
    }

    var taken: Int { state.withLock { total - $0.free } }
}
