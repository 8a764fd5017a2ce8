import CCurl
import Core

#if canImport(Glibc)
    import Glibc
#endif

/// One easy handle and what its callbacks need. Lives and dies on the curl thread, held by `CurlThread`'s table from before the handle
/// joins the multi handle until after it left: so the unretained pointer the callbacks get is always good.
final class Transfer {
    let exchange: Exchange
    let easy: UnsafeMutableRawPointer
    /// Nanoseconds; nil while connecting, which has a limit of its own.
    private(set) var lastProgress: UInt64?
    /// When an answer nobody wants is given up.
    private(set) var giveUpAt: UInt64?

    private unowned let thread: CurlThread
    private let errorText: UnsafeMutablePointer<CChar>
    private var fieldList: UnsafeMutablePointer<curl_slist>?
    private var head: HeadReader
    private var hasAnswered = false
    /// Why we ended it ourselves.
    private var refusal: String?
    private var refusedAddress: String?
    private var call: Call { exchange.call }

    init?(_ exchange: Exchange, on thread: CurlThread) {
        guard let easy = unsafe curl_easy_init() else { return nil }
        self.exchange = exchange
        self.thread = thread
        self.easy = unsafe easy
        head = HeadReader(bytesMax: exchange.call.limits.headerBytesMax)
        errorText = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
        unsafe errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        guard configure() else { return nil }
    }

    deinit {
        unsafe curl_easy_cleanup(easy)
        unsafe curl_slist_free_all(fieldList)
        unsafe errorText.deallocate()
    }

    // MARK: Options

    private func configure() -> Bool {
        var setup = EasySetup(easy: unsafe easy)
        configureConnection(&setup)
        configureRequest(&setup)
        configureCallbacks(&setup)
        return setup.isComplete
    }

    private func configureConnection(_ setup: inout EasySetup) {
        let options = thread.options
        setup.set(CURLOPT_NOSIGNAL, 1)
        // A cancelled fetch must not wait for the resolver's thread.
        setup.set(CURLOPT_QUICK_EXIT, 1)
        setup.set(CURLOPT_PROTOCOLS_STR, "http,https")
        setup.set(CURLOPT_FOLLOWLOCATION, 0)
        setup.set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_2TLS))
        setup.set(CURLOPT_TCP_KEEPALIVE, 1)
        setup.set(CURLOPT_BUFFERSIZE, 64 << 10)
        setup.set(CURLOPT_SSL_VERIFYPEER, 1)
        setup.set(CURLOPT_SSL_VERIFYHOST, 2)
        setup.set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        // The extra file takes the place of the system's bundle, and the system's folder stays: together they are both.
        if let caFile = options.caFile {
            setup.set(CURLOPT_CAINFO, caFile)
            setup.set(CURLOPT_CAPATH, CurlThread.systemCAFolder)
        }
        // Both are set always: an unset one would be read from the environment.
        if case .proxy(let proxy) = call.route {
            setup.set(CURLOPT_PROXY, proxy)
            setup.set(CURLOPT_NOPROXY, "")
            setup.set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
            if let caFile = options.caFile {
                setup.set(CURLOPT_PROXY_CAINFO, caFile)
                setup.set(CURLOPT_PROXY_CAPATH, CurlThread.systemCAFolder)
            }
        } else {
            setup.set(CURLOPT_PROXY, "")
            setup.set(CURLOPT_NOPROXY, "*")
        }
        setup.set(CURLOPT_CONNECTTIMEOUT_MS, Transfer.milliseconds(call.limits.connectSeconds))
        if let total = call.limits.totalSeconds { setup.set(CURLOPT_TIMEOUT_MS, Transfer.milliseconds(total)) }
    }

    private func configureRequest(_ setup: inout EasySetup) {
        setup.set(CURLOPT_URL, call.url.description)
        setup.set(CURLOPT_PATH_AS_IS, 1)
        setup.set(CURLOPT_USERAGENT, call.userAgent)
        if call.decodesContent { setup.set(CURLOPT_ACCEPT_ENCODING, "gzip, deflate") }
        // libcurl repeats a request when a connection it used again turns out to be dead: a POST may have been acted on.
        if call.method == .post { setup.set(CURLOPT_FRESH_CONNECT, 1) }
        if let length = call.upload {
            setup.set(CURLOPT_UPLOAD, 1)
            setup.set(CURLOPT_CUSTOMREQUEST, call.method.rawValue)
            setup.set(offset: CURLOPT_INFILESIZE_LARGE, length ?? -1)
        } else if call.method == .head {
            setup.set(CURLOPT_NOBODY, 1)
        } else if call.method == .delete {
            setup.set(CURLOPT_CUSTOMREQUEST, call.method.rawValue)
        } else if call.method != .get {
            // An empty body, announced as such.
            setup.set(CURLOPT_POST, 1)
            setup.set(offset: CURLOPT_POSTFIELDSIZE_LARGE, 0)
            setup.set(CURLOPT_CUSTOMREQUEST, call.method.rawValue)
        }
        for line in call.fieldLines {
            guard let list = unsafe curl_slist_append(fieldList, line) else { return setup.fail() }
            unsafe fieldList = list
        }
        if let fieldList = unsafe fieldList { unsafe setup.check(ccurl_set_list(easy, CURLOPT_HTTPHEADER, fieldList)) }
    }

    private func configureCallbacks(_ setup: inout EasySetup) {
        let user = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe setup.check(ccurl_set_private(easy, user))
        unsafe setup.check(ccurl_set_error_text(easy, errorText))
        unsafe setup.check(ccurl_set_write(easy, { unsafe Transfer.of($3).received(UnsafeRawBufferPointer(start: $0, count: $1 &* $2)) }, user))
        unsafe setup.check(ccurl_set_header(easy, { unsafe Transfer.of($3).headerLine(UnsafeRawBufferPointer(start: $0, count: $1 &* $2)) }, user))
        unsafe setup.check(ccurl_set_read(easy, { unsafe Transfer.of($3).provide(UnsafeMutableRawBufferPointer(start: $0, count: $1 &* $2)) }, user))
        unsafe setup.check(ccurl_set_open_socket(easy, { user, _, target in unsafe Transfer.of(user).openSocket(target) }, user))
        unsafe setup.check(ccurl_set_before_request(easy, { user, remote, _, _, _ in unsafe Transfer.of(user).connected(to: remote) }, user))
    }

    private static func of(_ user: UnsafeMutableRawPointer?) -> Transfer {
        guard let user = unsafe user else { preconditionFailure("libcurl lost its user pointer") }
        return unsafe Unmanaged<Transfer>.fromOpaque(user).takeUnretainedValue()
    }

    static func milliseconds(_ seconds: Double) -> Int { seconds > 0 ? Int(min(seconds, 1e9) * 1000) + 1 : 1 }

    // MARK: Callbacks

    private func received(_ bytes: UnsafeRawBufferPointer) -> Int {
        progress()
        switch unsafe exchange.receive(bytes) {
        case .taken:
            thread.arrived(self)
            return bytes.count
        case .pause:
            thread.arrived(self)
            return Int(CURL_WRITEFUNC_PAUSE)
        case .abort(let reason):
            refusal = refusal ?? reason
            return 0
        }
    }

    private func headerLine(_ line: UnsafeRawBufferPointer) -> Int {
        progress()
        hasAnswered = true
        switch head.take(unsafe line) {
        case .more: break
        case .refuse(let reason):
            refusal = reason
            return 0
        case .complete:
            var final = head.head
            if let announced = final.bodyLength(for: call.method), announced > call.limits.bodyBytesMax {
                refusal = "the answer announces \(announced) bytes, more than \(call.limits.bodyBytesMax)"
                return 0
            }
            // The coding is undone here, so the fields that describe the coded bytes would lie.
            if call.decodesContent, final.first("content-encoding") != nil {
                final.fields.removeAll { equalIgnoringCase($0.name, "content-encoding") || equalIgnoringCase($0.name, "content-length") }
            }
            exchange.arrived(final)
        }
        return line.count
    }

    private func provide(_ target: UnsafeMutableRawBufferPointer) -> Int {
        progress()
        return switch unsafe exchange.provide(into: target) {
        case .bytes(let count): count
        case .end: 0
        case .pause: Int(CURL_READFUNC_PAUSE)
        case .abort: Int(CURL_READFUNC_ABORT)
        }
    }

    /// The one place where a socket is made, for the very address it will be connected to.
    private func openSocket(_ target: UnsafeMutablePointer<curl_sockaddr>?) -> curl_socket_t {
        guard let target = unsafe target, let address = unsafe ccurl_address(target) else { return CURL_SOCKET_BAD }
        if case .direct(let policy) = call.route {
            let length = Int(unsafe target.pointee.addrlen)
            guard unsafe policy.permits(address, length: length) else {
                refusedAddress = unsafe IPAddress(address, length: length)?.description ?? "not an IP address"
                return CURL_SOCKET_BAD
            }
        }
        return unsafe socket(target.pointee.family, target.pointee.socktype | Int32(SOCK_CLOEXEC.rawValue), target.pointee.protocol)
    }

    /// Just before the request is written, on a connection old or new. A connection that another request opened under a wider policy
    /// must not carry this one.
    private func connected(to remote: UnsafeMutablePointer<CChar>?) -> Int32 {
        progress()
        thread.watch(until: deadline)
        guard case .direct(let policy) = call.route else { return CURL_PREREQFUNC_OK }
        let text = unsafe remote.map { unsafe String(cString: $0) } ?? ""
        guard let address = IPAddress(text), policy.permits(address) else {
            refusedAddress = text
            return CURL_PREREQFUNC_ABORT
        }
        return CURL_PREREQFUNC_OK
    }

    private func progress() { lastProgress = thread.now }

    // MARK: The loop's questions

    /// The exchange changed on the other side.
    /// - Returns: why it must end, if so.
    func attend() -> RegistryError? {
        switch exchange.attention() {
        case .none: return nil
        case .end(let error): return error
        case .unpause(let receive, let send):
            progress()
            if exchange.isDiscarding, giveUpAt == nil { giveUpAt = thread.now.addingReportingOverflow(2_000_000_000).partialValue }
            unsafe curl_easy_pause(easy, (receive ? 0 : CURLPAUSE_RECV) | (send ? 0 : CURLPAUSE_SEND))
            return nil
        }
    }

    /// When this transfer has waited too long, if nothing moves until then.
    var deadline: UInt64? {
        if let giveUpAt { return giveUpAt }
        guard let lastProgress, !exchange.waitsForConsumer else { return nil }
        let stall = UInt64(Transfer.milliseconds(call.limits.stallSeconds)) * 1_000_000
        return lastProgress.addingReportingOverflow(stall).overflow ? nil : lastProgress + stall
    }

    var stalled: RegistryError { call.failed("nothing moved for \(call.limits.stallSeconds) seconds", retryAfterSeconds: 1) }

    /// libcurl is through with it.
    func end(_ code: CURLcode) {
        if let cancellation = exchange.cancellation { return exchange.end(.failure(cancellation)) }
        guard code != CURLE_OK else { return exchange.end(.success(())) }
        let text = unsafe String(cString: errorText)
        let cause = "libcurl \(code.rawValue)" + (text.isEmpty ? "" : ": \(text)")
        if let refusal { return exchange.end(.failure(call.failed(refusal, cause: cause)), fault: .ours) }
        if let refusedAddress {
            let reason = "its address is in a range that requests to it may not reach"
            return exchange.end(.failure(call.failed(reason, cause: refusedAddress)), fault: .ours)
        }
        let failure = CurlFailure(code, answered: hasAnswered)
        let error = call.failed(failure.reason, cause: cause, retryAfterSeconds: failure.isPassing ? 1 : nil)
        exchange.end(.failure(error), fault: failure.fault)
    }
}

/// Sets options and remembers whether all were taken: a libcurl too old for one of them must not run without it.
private struct EasySetup {
    let easy: UnsafeMutableRawPointer
    private(set) var isComplete = true

    init(easy: UnsafeMutableRawPointer) { unsafe self.easy = easy }

    mutating func set(_ option: CURLoption, _ value: Int) { check(unsafe ccurl_set_long(easy, option, value)) }
    mutating func set(_ option: CURLoption, _ value: String) { check(unsafe ccurl_set_text(easy, option, value)) }
    mutating func set(offset option: CURLoption, _ value: Int64) { check(unsafe ccurl_set_offset(easy, option, curl_off_t(value))) }
    mutating func check(_ code: CURLcode) { if code != CURLE_OK { fail() } }
    mutating func fail() { isComplete = false }
}
