import Core
import FrontendKit
import HTTPTypes
import NIOCore
import NIOHTTP1

/// One request and its answer. Touched on its event loop only.
final class Exchange {
    enum Answer {
        case awaited
        case sending
        case sent
    }

    /// nil: the head was refused before it became one of ours.
    let request: RequestHead?
    let method: String
    let target: String
    let requestID: String
    let version: HTTPVersion
    let began: UInt64
    /// The client asked for the connection's end after this request.
    let clientSaidClose: Bool
    let announced: Int64?
    let arrivals: Arrivals?

    /// The client waits for 100 before it sends the body.
    var expectsContinue: Bool
    /// The connection ends after this answer.
    var closes: Bool
    var isReceived = false
    var answer = Answer.awaited
    var status: Int?
    var bytesSent: Int64 = 0
    /// What a Content-Length promised and has not been sent.
    var bytesOwed: Int64?
    var bytesDropped = 0
    var failure: RegistryError?
    var task: Task<Void, Never>?
    var files: FileCursor?
    /// While `files` are sent, if they are more than every socket may hold.
    var large: UnsentLimit.Answer?
    /// A slice of a file is on its way.
    var isWriting = false
    /// A stream that waits for the socket to take more.
    var parked: CheckedContinuation<Bool, Never>?

    init(
        request: RequestHead?, head: HTTPRequestHead, requestID: String, began: UInt64, announced: Int64?, arrivals: Arrivals?,
        expectsContinue: Bool, closes: Bool
    ) {
        self.request = request
        method = head.method.rawValue
        target = head.uri
        version = head.version
        clientSaidClose = !head.isKeepAlive
        self.requestID = requestID
        self.began = began
        self.announced = announced
        self.arrivals = arrivals
        self.expectsContinue = expectsContinue
        self.closes = closes
    }

    /// Whether what is left of the body is worth reading for the sake of the connection.
    func isWorthDiscarding(_ bytesMax: Int) -> Bool {
        guard let announced else { return true }
        return announced - (arrivals?.received ?? 0) <= Int64(bytesMax)
    }
}
