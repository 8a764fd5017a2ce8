import CCurl

/// What a result code of libcurl means to us: words for the error, and whose doing it is.
struct CurlFailure {
    let reason: String
    let fault: Fault
    /// Trying again later may help: it did not answer, or broke off.
    let isPassing: Bool

    /// - Parameter answered: whether any byte of an answer had arrived.
    init(_ code: CURLcode, answered: Bool) {
        let passing = answered ? Fault.upstream : .passing
        isPassing = CurlFailure.passing.contains(code.rawValue)
        (reason, fault) =
            switch code {
            case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: ("its name does not resolve", .upstream)
            case CURLE_COULDNT_CONNECT: ("it accepts no connection", passing)
            case CURLE_OPERATION_TIMEDOUT: ("it took too long", .upstream)
            case CURLE_SSL_CONNECT_ERROR: ("the TLS handshake failed", .upstream)
            case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_INVALIDCERTSTATUS: ("its certificate is not trusted", .upstream)
            case CURLE_SSL_CACERT_BADFILE: ("the file of trusted certificates cannot be read", .ours)
            case CURLE_PARTIAL_FILE: ("the answer ended before its announced length", .upstream)
            case CURLE_GOT_NOTHING: ("it closed the connection without an answer", passing)
            case CURLE_SEND_ERROR, CURLE_RECV_ERROR: ("the connection was reset", passing)
            case CURLE_HTTP2, CURLE_HTTP2_STREAM: ("the HTTP/2 stream was reset", passing)
            case CURLE_WEIRD_SERVER_REPLY, CURLE_UNSUPPORTED_PROTOCOL: ("the answer is not HTTP", .upstream)
            case CURLE_BAD_CONTENT_ENCODING: ("the answer's content coding is damaged", .upstream)
            case CURLE_OUT_OF_MEMORY: ("memory ran out", .ours)
            default: ("the transfer failed", .upstream)
            }
    }

    private static let passing: Set<UInt32> = Set(
        [
            CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_CONNECT, CURLE_OPERATION_TIMEDOUT, CURLE_PARTIAL_FILE,
            CURLE_GOT_NOTHING, CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_HTTP2, CURLE_HTTP2_STREAM,
        ].map(\.rawValue))
}
