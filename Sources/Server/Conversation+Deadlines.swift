import Core
import NIOCore

/// What a conversation waits for, and until when.
struct DeadlineClock {
    enum Kind {
        /// The rest of a head.
        case head
        /// A next request.
        case idle
        /// Progress of a body that is wanted; how much had arrived when the span began.
        case body(since: Int64)
        /// The client to take bytes; what was on the way when the span began.
        case answer(Progress)
        /// The client to end its side as well.
        case linger
    }

    struct Progress: Equatable {
        var sent: Int64
        var buffered: Int
    }

    fileprivate(set) var kind: Kind?
    fileprivate var deadline = NIODeadline.distantFuture
    fileprivate var timer: Scheduled<Void>?
    fileprivate var timerAt = NIODeadline.distantFuture

    /// No further deadline, and no timer that would keep the conversation alive.
    mutating func cancel() {
        kind = nil
        timer?.cancel()
        timer = nil
    }
}

/// One timer per connection, which finds out when it fires whether the deadline has moved: arming costs a clock reading, no allocation.
extension Conversation {
    func arm(_ kind: DeadlineClock.Kind, seconds: Double) {
        guard let loop = context?.eventLoop else { return }
        clock.kind = kind
        clock.deadline = .now() + .nanoseconds(Int64(max(0.001, min(seconds, 1e6)) * 1e9))
        if clock.timer == nil || clock.timerAt > clock.deadline { schedule(on: loop) }
    }

    func disarm() { clock.kind = nil }

    private func schedule(on loop: any EventLoop) {
        clock.timer?.cancel()
        clock.timerAt = clock.deadline
        clock.timer = loop.assumeIsolated().scheduleTask(deadline: clock.deadline) { self.timerFired() }
    }

    private func timerFired() {
        clock.timer = nil
        guard let kind = clock.kind, let loop = context?.eventLoop else { return }
        if NIODeadline.now() < clock.deadline { schedule(on: loop) } else { expired(kind) }
    }

    private func expired(_ kind: DeadlineClock.Kind) {
        clock.kind = nil
        switch kind {
        case .head: expiredHead()
        case .idle, .linger: context?.close(promise: nil)
        case .body(let before): checkBody(since: before)
        case .answer(let before):
            let now = progress()
            // A stream whose source has nothing to send is not the client's fault.
            if now == before, now.buffered > 0 { giveUp("the client takes no bytes") } else { watchAnswer() }
        }
    }

    /// A wanted body must keep coming.
    func watchBody() {
        guard let exchange else { return }
        arm(.body(since: exchange.arrivals?.received ?? 0), seconds: shared.options.bodyStallSeconds)
    }

    private func checkBody(since before: Int64) {
        guard let exchange, !exchange.isReceived, exchange.answer == .awaited else { return }
        let wanted = Double(shared.options.bodyProgressBytesPerSecond) * shared.options.bodyStallSeconds
        if Double((exchange.arrivals?.received ?? 0) - before) >= wanted { return watchBody() }
        exchange.closes = true
        exchange.arrivals?.fail(RegistryError(.invalid, subject: .request, reason: "the body came too slowly; try again"))
    }

    func watchAnswer() { arm(.answer(progress()), seconds: shared.options.writeStallSeconds) }

    private func progress() -> DeadlineClock.Progress {
        var buffered = exchange?.isWriting == true ? 1 : 0
        if transport != .stream, let options = context?.channel.syncOptions,
            let count = try? options.getOption(.bufferedWritableBytes)
        {
            buffered = count
        }
        return DeadlineClock.Progress(sent: exchange?.bytesSent ?? 0, buffered: buffered)
    }
}
