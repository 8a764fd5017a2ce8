import Core
import FrontendKit
import HTTPTypes
import NIOCore
import NIOHTTP1
#if canImport(Glibc)
    import Glibc
#endif

/// From a head to the last byte of its answer.
extension Conversation {
    /// Content up to here leaves in one flush with its head; larger files by sendfile or in slices.
    static let inlineBytesMax: Int64 = 64 << 10

    // MARK: Asking

    func begin(_ head: HTTPRequestHead) {
        let requestID = RequestID.choose(from: head.headers) ?? shared.newRequestID().description
        let reading: HeadReading
        do throws(HeadReading.Refusal) {
            reading = try HeadReading(head, over: transport, peer: peer, forwarded: forwarding, options: shared.options, requestID: requestID)
        } catch {
            return refuse(error, head: head, requestID: requestID)
        }
        let announced = reading.announced
        let exchange = Exchange(
            request: reading.request, head: head, requestID: requestID, began: shared.world.monotonicNanoseconds(), announced: announced,
            arrivals: announced == 0 ? nil : arrivals(announced), expectsContinue: reading.expectsContinue,
            closes: reading.closes || shared.isDraining)
        self.exchange = exchange
        buffers?.expectBody(false)
        shared.meters.requestBegan()
        disarm()
        if let response = shared.responder.respondNow(to: reading.request) {
            if response.content.isStreamed { run(exchange, reading.request, ready: response) } else { answer(response, for: exchange) }
        } else {
            run(exchange, reading.request, ready: nil)
        }
    }

    private func arrivals(_ announced: Int64?) -> Arrivals? {
        guard let loop = context?.eventLoop else { return nil }
        return Arrivals(announced: announced, allowance: shared.allowance, loop: loop) { [weak self] in self?.bodyWanted() }
    }

    /// Somebody asked for the body: the client may be told to go on, and the socket is read.
    private func bodyWanted() {
        guard let exchange, let context, exchange.answer == .awaited else { return }
        if exchange.expectsContinue {
            exchange.expectsContinue = false
            context.writeAndFlush(Self.wrapOutboundOut(.head(HTTPResponseHead(version: exchange.version, status: .continue))), promise: nil)
        }
        buffers?.expectBody(true)
        watchBody()
        reopen()
    }

    /// An answer to what never became a request.
    func refuse(_ refusal: HeadReading.Refusal, head: HTTPRequestHead?, requestID: String? = nil) {
        let id = requestID ?? shared.newRequestID().description
        let shown = head ?? HTTPRequestHead(version: .http1_1, method: .RAW(value: "-"), uri: "-")
        let length = head.flatMap { $0.headers.first(name: "content-length") }.flatMap { Int64($0) }
        let exchange = Exchange(
            request: nil, head: shown, requestID: id, began: shared.world.monotonicNanoseconds(), announced: length, arrivals: nil,
            expectsContinue: false, closes: refusal.closes || head?.isKeepAlive != true || shared.isDraining)
        self.exchange = exchange
        shared.meters.requestBegan()
        disarm()
        var response = shared.responder.respond(toUnreadable: refusal.failure)
        response.status = refusal.status
        answer(response, for: exchange)
    }

    /// The one place where a request becomes a task. It ends with its answer, and is cancelled when the connection ends.
    private func run(_ exchange: Exchange, _ request: RequestHead, ready: Response?) {
        guard let loop = context?.eventLoop else { return }
        let body =
            exchange.arrivals.map { Body(length: exchange.announced, source: InboundBody($0, on: loop)) } ?? .empty
        let mine = NIOLoopBound((self, exchange), eventLoop: loop)
        let shared = shared
        shared.meters.taskBegan()
        exchange.task = Task {
            defer { shared.meters.taskEnded() }
            let response: Response
            if let ready { response = ready } else { response = await shared.responder.respond(to: request, body: body) }
            guard response.content.isStreamed else {
                return loop.execute { mine.value.0.answer(response, for: mine.value.1) }
            }
            await Conversation.stream(response, to: mine)
        }
    }

    // MARK: Answering

    /// Sends the head, and the content if it is at hand. A stream's content follows through `stream`.
    func answer(_ response: Response, for exchange: Exchange) {
        guard self.exchange === exchange, exchange.answer == .awaited else { return }
        let (plan, head) = start(response, for: exchange)
        remember(head, response, plan.bytes, for: exchange)
        switch response.content {
        case _ where plan.bytes == nil, .none: end(exchange)
        case .bytes(let buffer): sendInline(.memory(buffer), plan.bytes, exchange)
        case .blob(let blob): sendInline(blob.storage, plan.bytes, exchange)
        case .stream: break
        }
    }

    private func start(_ response: Response, for exchange: Exchange) -> (Conditional.Plan, HTTPResponseHead) {
        let plan: Conditional.Plan
        if let request = exchange.request {
            plan = Conditional.evaluate(request, response)
        } else {
            plan = Conditional.Plan(
                status: response.status, fields: response.fields, bytes: 0..<(response.content.length ?? 0), contentLength: response.content.length)
        }
        exchange.arrivals?.abandon()
        exchange.answer = .sending
        exchange.status = plan.status.code
        exchange.failure = response.failure ?? plan.refusal
        if !exchange.isReceived, !exchange.isWorthDiscarding(shared.options.discardBytesMax) { exchange.closes = true }
        if plan.bytes != nil, plan.contentLength == nil, exchange.version.isBefore11 { exchange.closes = true }
        if plan.bytes != nil { exchange.bytesOwed = plan.contentLength }
        let head = shared.head(plan, for: exchange, over: transport)
        context?.write(Self.wrapOutboundOut(.head(head)), promise: nil)
        return (plan, head)
    }

    private func sendInline(_ storage: BlobContent.Storage, _ bytes: Range<Int64>?, _ exchange: Exchange) {
        guard let context, let bytes else { return }
        switch storage {
        case .memory(let buffer):
            let slice = buffer.getSlice(at: buffer.readerIndex + Int(bytes.lowerBound), length: Int(bytes.upperBound - bytes.lowerBound))
            guard let slice else { return giveUp("the content is shorter than it said") }
            write(slice, exchange, promise: nil)
            end(exchange)
        case .streamed: giveUp("what is streamed needs a task of its own")
        case .extents(let extents):
            exchange.files = FileCursor(extents, bytes)
            guard bytes.upperBound - bytes.lowerBound <= Conversation.inlineBytesMax else {
                guard FileCursor.areWhole(extents) else { return giveUp("a stored file is shorter than it should be") }
                if transport.isHTTP1, bytes.upperBound - bytes.lowerBound > Int64(UnsentLimit.bytesMin) {
                    exchange.large = UnsentLimit.Answer(shared.largeAnswers)
                }
                watchAnswer()
                return sendFiles()
            }
            var buffer = context.channel.allocator.buffer(capacity: Int(bytes.upperBound - bytes.lowerBound))
            while let slice = exchange.files?.next(upTo: Int(Conversation.inlineBytesMax)) {
                guard read(slice, into: &buffer) else { return }
            }
            exchange.files = nil
            write(buffer, exchange, promise: nil)
            end(exchange)
        }
    }

    private func write(_ buffer: ByteBuffer, _ exchange: Exchange, promise: EventLoopPromise<Void>?) {
        exchange.bytesSent += Int64(buffer.readableBytes)
        shared.meters.bytesOut.add(UInt64(buffer.readableBytes))
        context?.write(Self.wrapOutboundOut(.body(.byteBuffer(buffer))), promise: promise)
    }

    /// False: the file does not hold what it should; the conversation is over then.
    private func read(_ slice: FileCursor.Slice, into buffer: inout ByteBuffer) -> Bool {
        var failure: RegistryError?
        let count = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: slice.length) { target in
            let target = unsafe UnsafeMutableRawBufferPointer(rebasing: target[0..<slice.length])
            do throws(RegistryError) { return try unsafe slice.file.read(at: slice.offset, into: target) } catch {
                failure = error
                return 0
            }
        }
        if count == slice.length { return true }
        giveUp("a stored file cannot be read", failure)
        return false
    }

    /// The next slices of a file: by sendfile one at a time, so that connections take turns; otherwise as long as the socket takes them.
    func sendFiles() {
        guard let exchange, let context, exchange.answer == .sending, exchange.files != nil, !exchange.isWriting else { return }
        guard let slice = exchange.files?.next(upTo: transport.sliceBytesMax) else {
            (exchange.files, exchange.large) = (nil, nil)
            return end(exchange)
        }
        exchange.isWriting = true
        if exchange.large != nil { limitUnsent() }
        let promise = context.eventLoop.makePromise(of: Void.self)
        let mine = NIOLoopBound((self, exchange), eventLoop: context.eventLoop)
        if transport.allowsSendfile {
            sendRegion(slice, exchange, context, promise)
        } else {
            var buffer = context.channel.allocator.buffer(capacity: slice.length)
            guard read(slice, into: &buffer) else { return promise.succeed() }
            write(buffer, exchange, promise: promise)
        }
        promise.futureResult.whenSuccess {
            mine.value.1.isWriting = false
            // Not at once: other connections of this loop come first.
            mine.eventLoop.execute { mine.value.0.sendFiles() }
        }
        context.flush()
    }

    private func limitUnsent() {
        let limit = shared.largeAnswers.limit
        guard limit != unsentLimit else { return }
        unsentLimit = limit
        // Only speed hangs on it.
        try? context?.channel.syncOptions?.setOption(.tcpOption(UnsentLimit.option), value: limit)
    }

    private func sendRegion(_ slice: FileCursor.Slice, _ exchange: Exchange, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>) {
        // NIO wants to own the descriptor; ours is shared. The handle borrows it and gives it back, and the closure keeps the file open.
        let handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: slice.file.descriptor)
        let file = slice.file
        promise.futureResult.whenComplete { _ in
            _ = try? handle.takeDescriptorOwnership()
            withExtendedLifetime(file) {}
        }
        exchange.bytesSent += Int64(slice.length)
        shared.meters.bytesOut.add(UInt64(slice.length))
        let region = FileRegion(fileHandle: handle, readerIndex: Int(slice.offset), endIndex: Int(slice.offset) + slice.length)
        context.write(Self.wrapOutboundOut(.body(.fileRegion(region))), promise: promise)
    }

    /// The answer's last part. Only when something hangs on it are its bytes waited for: the end of a connection, or of a stream.
    private func end(_ exchange: Exchange) {
        guard let context, self.exchange === exchange else { return }
        if let owed = exchange.bytesOwed, owed != exchange.bytesSent { return giveUp("the content has not the length it said") }
        guard exchange.closes || transport == .stream else {
            context.write(Self.wrapOutboundOut(.end(nil)), promise: nil)
            flushSoon()
            return sent(exchange)
        }
        let promise = context.eventLoop.makePromise(of: Void.self)
        let mine = NIOLoopBound((self, exchange), eventLoop: context.eventLoop)
        promise.futureResult.whenSuccess { mine.value.0.sent(mine.value.1) }
        watchAnswer()
        context.write(Self.wrapOutboundOut(.end(nil)), promise: promise)
        flushSoon()
    }

    private func sent(_ exchange: Exchange) {
        guard self.exchange === exchange, exchange.answer == .sending else { return }
        exchange.answer = .sent
        if exchange.isReceived { return complete(exchange) }
        if exchange.closes || exchange.bytesDropped > shared.options.discardBytesMax { return leave() }
        arm(.linger, seconds: shared.options.bodyStallSeconds)
        reopen()
    }

    /// An answer that cannot be completed must not look complete.
    func giveUp(_ reason: String, _ cause: RegistryError? = nil) {
        guard let exchange, let context else { return }
        exchange.failure = exchange.failure ?? cause ?? RegistryError(.internal, subject: .request, reason: reason)
        context.close(promise: nil)
    }

    /// A head that did not come in time. Nothing came at all: no answer either.
    func expiredHead() {
        guard headBegan else { context?.close(promise: nil); return }
        refuse(HeadReading.Refusal(.requestTimeout, "the header section took too long"), head: nil)
    }

    // MARK: Streams

    /// Pulls a stream slice by slice; the next is asked for when the socket takes more.
    private static func stream(_ response: Response, to mine: NIOLoopBound<(Conversation, Exchange)>) async {
        let bytes = await onLoop(mine) { $0.startStream(response, $1, $2) }
        guard let bytes, let source = response.content.stream(of: bytes) else { return }
        var failure: RegistryError?
        do throws(RegistryError) {
            while let slice = try await source.next() {
                guard await onLoop(mine, { $0.send(slice, $1, $2) }) else { return }
            }
        } catch {
            failure = error
        }
        let result = failure
        mine.eventLoop.execute {
            let (conversation, exchange) = mine.value
            guard conversation.exchange === exchange else { return }
            if let result { conversation.giveUp("the content ended early", result) } else { conversation.end(exchange) }
        }
    }

    private static func onLoop<Result: Sendable>(
        _ mine: NIOLoopBound<(Conversation, Exchange)>,
        _ body: @escaping @Sendable (Conversation, Exchange, CheckedContinuation<Result, Never>) -> Void
    ) async -> Result {
        await withCheckedContinuation { done in mine.eventLoop.execute { body(mine.value.0, mine.value.1, done) } }
    }

    /// Resumes with the bytes that are to follow, nil for none.
    private func startStream(_ response: Response, _ exchange: Exchange, _ done: CheckedContinuation<Range<Int64>?, Never>) {
        guard self.exchange === exchange, exchange.answer == .awaited else { return done.resume(returning: nil) }
        let (plan, _) = start(response, for: exchange)
        if plan.bytes == nil {
            end(exchange)
        } else {
            watchAnswer()
            // The content may be long in coming.
            context?.flush()
        }
        done.resume(returning: plan.bytes)
    }

    private func send(_ slice: ByteBuffer, _ exchange: Exchange, _ done: CheckedContinuation<Bool, Never>) {
        guard self.exchange === exchange, exchange.answer == .sending, let context else { return done.resume(returning: false) }
        if let owed = exchange.bytesOwed, exchange.bytesSent + Int64(slice.readableBytes) > owed {
            giveUp("the content is longer than it said")
            return done.resume(returning: false)
        }
        write(slice, exchange, promise: nil)
        context.flush()
        if context.channel.isWritable { done.resume(returning: true) } else { exchange.parked = done }
    }

    // MARK: Keeping record

    func record(_ exchange: Exchange, wasCut: Bool) {
        let nanoseconds = shared.world.monotonicNanoseconds() &- exchange.began
        shared.meters.requestEnded(exchange.request?.method, status: wasCut ? nil : exchange.status, nanoseconds: nanoseconds)
        shared.access.write(
            AccessLog.Entry(
                method: exchange.method, target: exchange.target, status: exchange.status, bytes: exchange.bytesSent, nanoseconds: nanoseconds,
                requestID: exchange.requestID, peer: peer, client: exchange.request?.client, wasCut: wasCut, failure: exchange.failure))
    }
}

extension FileCursor {
    /// Whether every file is as long as its extents say. sendfile past the end of a file sends nothing and says nothing.
    static func areWhole(_ extents: [Extent]) -> Bool {
        extents.allSatisfy {
            var status = stat()
            return unsafe fstat($0.file.descriptor, &status) == 0 && Int64(status.st_size) >= $0.offset + $0.length
        }
    }
}
