import NIOCore
import NIOHPACK
import NIOHTTP2

/// Whom a request over HTTP/2 is for, made to look one way. It stands in front of the codec of a stream, which insists on `:authority`, and drops it
/// where there is a `Host`.
///
/// - A proxy that translates HTTP/1 leaves `:authority` out and hands on `Host` (RFC 9113, section 8.3.1): then that is it.
/// - Where the two differ the request could be for either: both go on, and two hosts are refused as they are over HTTP/1.
final class StreamHost: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias InboundOut = HTTP2Frame.FramePayload

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Trailers have no method.
        guard case .headers(var head) = Self.unwrapInboundIn(data), head.headers.contains(name: ":method") else {
            return context.fireChannelRead(data)
        }
        let hosts = head.headers["host"]
        guard let host = hosts.first else { return context.fireChannelRead(data) }
        if let authority = head.headers.first(name: ":authority") {
            guard authority.lowercased() != host.lowercased() else { return context.fireChannelRead(data) }
            head.headers.add(name: "host", value: authority)
        } else {
            head.headers.add(name: ":authority", value: host)
        }
        context.fireChannelRead(Self.wrapInboundOut(.headers(head)))
    }
}
