import Core
import HTTPTypes
import Synchronization

/// The server's own series, made once: a request touches atomics only.
final class ServerMeters: Sendable {
    private static let methods: [HTTPRequest.Method] = [.get, .head, .put, .post, .patch, .delete, .options]
    private static let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "cut"]

    private let requests: [Counter]
    private let seconds: Histogram
    let bytesIn: Counter
    let bytesOut: Counter
    let connectionsRefused: Counter
    let connectionsBroken: Counter
    private let connections = Atomic<Int>(0)
    private let inFlight = Atomic<Int>(0)
    private let tasks = Atomic<Int>(0)

    init(_ metrics: Metrics, allowance: Allowance) {
        var requests: [Counter] = []
        for method in ServerMeters.methods.map(\.rawValue) + ["other"] {
            for status in ServerMeters.classes {
                requests.append(
                    metrics.counter(
                        "granary_http_requests_total", help: "Requests answered, by method and class of status; cut: the client left first.",
                        labels: [("method", method), ("status", status)]))
            }
        }
        self.requests = requests
        seconds = metrics.histogram("granary_http_request_seconds", help: "From a request's head to the last byte of its answer.")
        bytesIn = metrics.counter("granary_http_received_bytes_total", help: "Bytes of request bodies received.")
        bytesOut = metrics.counter("granary_http_sent_bytes_total", help: "Bytes of response bodies handed to the network.")
        connectionsRefused = metrics.counter(
            "granary_http_connections_refused_total", help: "Connections closed at once because there were too many.")
        connectionsBroken = metrics.counter(
            "granary_http_connections_broken_total",
            help: "Connections of HTTP/2 ended because the client broke the protocol, or sent too much of what is cheap to send.")
        metrics.gauge("granary_http_connections", help: "Open connections.") { [self] in Double(openConnections) }
        metrics.gauge("granary_http_requests_in_flight", help: "Requests being received or answered.") { [self] in
            Double(inFlight.load(ordering: .relaxed))
        }
        metrics.gauge("granary_http_body_slices_in_flight", help: "Slices of request bodies that consumers hold.") { Double(allowance.taken) }
    }

    var openConnections: Int { connections.load(ordering: .relaxed) }
    var runningTasks: Int { tasks.load(ordering: .relaxed) }

    func connectionOpened() { connections.wrappingAdd(1, ordering: .relaxed) }
    func connectionClosed() { connections.wrappingSubtract(1, ordering: .relaxed) }
    func requestBegan() { inFlight.wrappingAdd(1, ordering: .relaxed) }
    func taskBegan() { tasks.wrappingAdd(1, ordering: .relaxed) }
    func taskEnded() { tasks.wrappingSubtract(1, ordering: .relaxed) }

    /// `status` nil: the connection ended before the answer did.
    func requestEnded(_ method: HTTPRequest.Method?, status: Int?, nanoseconds: UInt64) {
        inFlight.wrappingSubtract(1, ordering: .relaxed)
        let row = method.flatMap { ServerMeters.methods.firstIndex(of: $0) } ?? ServerMeters.methods.count
        let column = status.map { min(max($0 / 100, 1), 5) - 1 } ?? 5
        requests[row * ServerMeters.classes.count + column].add()
        seconds.observe(Double(nanoseconds) / 1e9)
    }
}
