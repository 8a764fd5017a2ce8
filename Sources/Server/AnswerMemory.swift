import Core
import Crypto
import FrontendKit
import HTTPTypes
import NIOCore
import NIOHTTP1

/// Answers of one event loop that can be given again: to the very bytes they were given for, for as long as their responder says that they hold.
///
/// Nothing is parsed to find one. What is compared is a keyed digest of a whole request, as it came from the socket and as the codec once
/// understood it, so the answer is the one that parsing, identity, rights and conditionals arrived at; and no credential stays in memory.
final class AnswerMemory {
    struct Answer {
        fileprivate let key: Key
        /// The head without its end, and without what differs between two answers: Date and the request's id.
        fileprivate let head: [UInt8]
        fileprivate let body: ByteBuffer?
        let currency: Response.Currency
        let method: HTTPRequest.Method
        /// For the access log.
        let target: String
        let status: Int
        let bodyBytes: Int
        /// In monotonic nanoseconds. Bytes that were verified when they were read do not stay here longer.
        let expires: UInt64
    }

    struct Key: Equatable {
        fileprivate let words: (UInt64, UInt64, UInt64, UInt64)
        static func == (a: Key, b: Key) -> Bool { a.words == b.words }
    }

    static let secondsMax: UInt64 = 10
    /// A longer request is not looked up.
    private static let requestBytesMax = 2048
    private static let answersMax = 2048
    private static let bytesMax = 16 << 20
    private static let crossing: [UInt8] = Array("\r\n\r\n".utf8)

    private let salt: [UInt8]
    /// Each answer has one place it can be in.
    private var answers = [Answer?](repeating: nil, count: answersMax)
    private var bytes = 0
    /// Where room is made next.
    private var hand = 0
    private var scratch = ByteBuffer()

    init(salt: [UInt8]) { self.salt = salt }

    /// nil for what is not worth looking up.
    func key(of request: ByteBuffer) -> Key? {
        guard (16...AnswerMemory.requestBytesMax).contains(request.readableBytes) else { return nil }
        return request.withUnsafeReadableBytes { bytes in
            guard unsafe bytes[0] == UInt8(ascii: "G") || bytes[0] == UInt8(ascii: "H") else { return nil }
            var hasher = SHA256()
            hasher.update(data: salt)
            unsafe hasher.update(bufferPointer: bytes)
            return hasher.finalize().withUnsafeBytes { digest in
                let word = { unsafe digest.loadUnaligned(fromByteOffset: $0, as: UInt64.self) }
                return Key(words: (word(0), word(8), word(16), word(24)))
            }
        }
    }

    /// Whether bytes that begin a head are that head and not a byte more: their end is their only empty line.
    static func isOneHead(_ request: ByteBuffer) -> Bool {
        let bytes = request.readableBytesView
        guard bytes.suffix(4).elementsEqual(crossing) else { return false }
        var rest = bytes.dropLast(2)
        while let feed = rest.firstIndex(of: 0x0A) {
            rest = rest[(feed + 1)...]
            if let next = rest.first, next == 0x0D || next == 0x0A { return false }
        }
        return true
    }

    func find(_ key: Key, at now: UInt64) -> Answer? {
        let place = AnswerMemory.place(of: key)
        guard let answer = answers[place], answer.key == key else { return nil }
        if now < answer.expires, answer.currency.holds() { return answer }
        remove(place)
        return nil
    }

    func remember(
        _ key: Key, _ head: HTTPResponseHead, _ body: ByteBuffer?, _ currency: Response.Currency, method: HTTPRequest.Method, target: String,
        status: Int, at now: UInt64
    ) {
        var text = "HTTP/1.1 \(head.status.code) \(head.status.reasonPhrase)\r\n"
        for (name, value) in head.headers where !AnswerMemory.differing.contains(name) { text += "\(name): \(value)\r\n" }
        let answer = Answer(
            key: key, head: Array(text.utf8), body: body.map { ByteBuffer(bytes: $0.readableBytesView) }, currency: currency, method: method,
            target: target, status: status, bodyBytes: body?.readableBytes ?? 0,
            expires: now &+ AnswerMemory.secondsMax * 1_000_000_000)
        let place = AnswerMemory.place(of: key)
        remove(place)
        bytes += answer.footprint
        answers[place] = answer
        while bytes > AnswerMemory.bytesMax {
            hand = (hand + 1) % AnswerMemory.answersMax
            if hand != place { remove(hand) }
        }
    }

    private func remove(_ place: Int) {
        guard let old = answers[place] else { return }
        bytes -= old.footprint
        answers[place] = nil
    }

    private static func place(of key: Key) -> Int { Int(truncatingIfNeeded: key.words.0 % UInt64(answersMax)) }

    private static let differing: Set<String> = ["Date", "X-Request-ID", "X-Correlation-ID"]

    /// The answer as it leaves, in one piece.
    func rendered(_ answer: Answer, date: String, requestID: EntityID) -> ByteBuffer {
        // Written in place once the one before has left.
        scratch.clear(minimumCapacity: answer.head.count + 160 + answer.bodyBytes)
        scratch.writeBytes(answer.head)
        scratch.writeStaticString("Date: ")
        scratch.writeString(date)
        scratch.writeStaticString("\r\nX-Request-ID: ")
        scratch.write(requestID)
        scratch.writeStaticString("\r\nX-Correlation-ID: ")
        scratch.write(requestID)
        scratch.writeStaticString("\r\n\r\n")
        if let body = answer.body { scratch.writeImmutableBuffer(body) }
        return scratch
    }
}

extension ByteBuffer {
    fileprivate mutating func write(_ id: EntityID) {
        writeWithUnsafeMutableBytes(minimumWritableBytes: EntityID.textBytes) { unsafe id.write(into: $0) }
    }
}

extension AnswerMemory.Answer {
    fileprivate var footprint: Int { head.count + bodyBytes + target.utf8.count + 256 }
}
