public import Core
public import Logging
import NIOCore
public import Outbound
import Parsing

/// One bucket (or what is below a prefix of it) over the one outgoing client: single requests, signed, repeated within a budget, their refusals
/// told in words. Names are those below the prefix.
public final class S3Client: Sendable {
    /// One request, less its signature and its time.
    struct Ask: Sendable {
        var method: FetchRequest.Method
        /// nil: the bucket itself.
        var name: String?
        var query: [(name: String, value: String)] = []
        var fields: [(name: String, value: String)] = []
        var body: S3Body?
        /// For the error: "the object store did not ...".
        var action: String
    }

    private enum Outcome {
        case answer(FetchResponse)
        case refused(S3Failure)
        case failed(RegistryError)
    }

    let options: S3Options
    let address: S3Address
    /// Reads what is sent.
    let pool = BlockingPool(threads: 3, name: "s3")
    private let signer: SignatureV4
    private let outbound: OutboundClient
    private let budget = RetryBudget()
    private let world: World
    let log: Logger

    /// - Throws: `invalid` naming the setting that cannot work.
    public init(_ options: S3Options, outbound: OutboundClient, world: World, log: Logger) throws(RegistryError) {
        self.options = options
        address = try S3Address(options)
        signer = SignatureV4(credentials: options.credentials, region: options.region)
        self.outbound = outbound
        self.world = world
        self.log = log
    }

    /// Where the bucket is, for people.
    public var place: String { "\(address.origin)\(address.path(nil))" }

    // MARK: Sending

    /// - Returns: the answer of a 2xx status, its body unread.
    /// - Throws: `notFound` when there is no such object; `upstreamFailed` otherwise, with `retryAfterSeconds` when it may pass.
    func send(_ ask: Ask) async throws(RegistryError) -> FetchResponse {
        var repetition = 0
        while true {
            let error: RegistryError
            let isPassing: Bool
            switch await attempt(ask) {
            case .answer(let response):
                budget.succeeded()
                return response
            case .refused(let failure): (error, isPassing) = (failure.error(ask.action, subject(of: ask)), failure.isPassing)
            case .failed(let failure): (error, isPassing) = (failure, failure.code == .upstreamFailed && failure.retryAfterSeconds != nil)
            }
            repetition += 1
            guard isPassing, repetition < options.triesMax, !Task.isCancelled, budget.spend() else { throw error }
            log.debug("the object store is asked again", metadata: ["repetition": "\(repetition)", "error": "\(error)"])
            try? await Task.sleep(for: .milliseconds(RetryBudget.pause(before: repetition, random: world.random())))
        }
    }

    /// As `send`, for an answer that is a document. Some of them say only in the document that they failed.
    func document(_ ask: Ask) async throws(RegistryError) -> XMLElement {
        let response = try await send(ask)
        let bytes = try await response.body.collect()
        let document = try XMLElement(parsing: Array(bytes.readableBytesView), budget: S3Client.documentBudget)
        guard XML.localName(document.name) != "Error" else {
            throw S3Failure(status: 500, document, requestID: response["x-amz-request-id"]).error(ask.action, subject(of: ask))
        }
        return document
    }

    private static let documentBudget = Budget(bytes: Body.collectBytesMax, items: 200_000)

    func subject(of ask: Ask) -> RegistryError.Subject { .upstream(url(ask.name)) }

    private func url(_ name: String?) -> String { "\(address.origin)\(address.path(name))" }

    private func attempt(_ ask: Ask) async -> Outcome {
        let signed = SignatureV4.Request(
            ask.method.rawValue, host: address.host, path: address.path(ask.name), query: ask.query, fields: ask.fields + (ask.body?.fields ?? []))
        let added = signer.fields(for: signed, ask.body.map { .digest($0.sha256) } ?? .empty, at: world.now())
        let query = SignatureV4.encoded(ask.query)
        var request = FetchRequest(ask.method, url: url(ask.name) + (query.isEmpty ? "" : "?\(query)"))
        request.fields = (signed.fields + added).map { ($0.name, $0.value) }
        request.body = ask.body?.stream(on: pool)
        request.addressPolicy = options.addressPolicy
        // The operator named it.
        request.addressPolicy.allowedNames.append(address.origin.host)
        // What is signed is for this host alone. Failures are counted by the budget here: one slow prefix is no dead store.
        request.limits.redirectsMax = 0
        request.countsFailures = false
        request.limits.stallSeconds = 60
        do throws(RegistryError) {
            let response = try await outbound.fetch(request)
            guard (200..<300).contains(response.status) else { return .refused(await S3Failure(response)) }
            return .answer(response)
        } catch {
            return .failed(error)
        }
    }

    /// A URL with which anybody may read the object until it expires, sent as a download of that name.
    public func presignedURL(of name: String, expiresSeconds: Int64, disposition: String, contentType: String) -> String {
        let request = SignatureV4.Request(
            "GET", host: address.host, path: address.path(name),
            query: [("response-content-disposition", disposition), ("response-content-type", contentType)])
        return "\(url(name))?\(signer.presignedQuery(for: request, expiresSeconds: expiresSeconds, at: world.now()))"
    }
}

/// A range of stored bytes as the body of a request, with its checksums.
struct S3Body: Sendable {
    let source: any RandomAccessBytes
    let range: Range<Int64>
    let sha256: Digest
    private let md5: Digest

    private static let sliceBytes = 512 << 10

    /// Reads the range once, on the pool.
    /// - Throws: what reading throws, and `corrupt` when there are fewer bytes.
    init(_ source: any RandomAccessBytes, _ range: Range<Int64>, on pool: BlockingPool) async throws(RegistryError) {
        self.source = source
        self.range = range
        let digests = try await pool.run { () throws(RegistryError) in
            var hasher = MultiHasher(DigestSet([.md5]))
            var at = range.lowerBound
            while at < range.upperBound {
                let slice = try S3Body.slice(of: source, at, range)
                slice.withUnsafeReadableBytes { unsafe hasher.update($0) }
                at += Int64(slice.readableBytes)
            }
            return hasher.finish()
        }
        (sha256, md5) = (digests[0], digests[1])
    }

    /// Stores that do not check the signed SHA-256 check this.
    var fields: [(name: String, value: String)] { [("Content-MD5", Base64.encode(md5.bytes))] }

    func stream(on pool: BlockingPool) -> Body { Body(length: Int64(range.count), source: Reading(body: self, pool: pool)) }

    private static func slice(of source: any RandomAccessBytes, _ at: Int64, _ range: Range<Int64>) throws(RegistryError) -> ByteBuffer {
        let slice = try source.buffer(at: at, count: Int(min(Int64(sliceBytes), range.upperBound - at)))
        guard slice.readableBytes > 0 else { throw RegistryError(.corrupt, subject: .store, reason: "a file is shorter than it was") }
        return slice
    }

    private actor Reading: BodySource {
        private let body: S3Body
        private let pool: BlockingPool
        private var at: Int64

        init(body: S3Body, pool: BlockingPool) {
            self.body = body
            self.pool = pool
            at = body.range.lowerBound
        }

        func next() async throws(RegistryError) -> ByteBuffer? {
            guard at < body.range.upperBound else { return nil }
            let (body, at) = (body, at)
            let slice = try await pool.run { () throws(RegistryError) in try S3Body.slice(of: body.source, at, body.range) }
            self.at = at + Int64(slice.readableBytes)
            return slice
        }
    }
}
