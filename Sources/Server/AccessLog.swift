import Core
import FrontendKit
import Logging

/// One line per request, and one more for a failure worth reading.
struct AccessLog: Sendable {
    struct Entry {
        var method: String
        var target: String
        /// nil: nothing was answered.
        var status: Int?
        var bytes: Int64
        var nanoseconds: UInt64
        var requestID: String
        var peer: String
        /// Who asked, where that is another than the peer.
        var client: String?
        /// The connection ended before the answer did.
        var wasCut: Bool
        var failure: RegistryError?
    }

    let log: Logger
    let isOn: Bool

    func write(_ entry: Entry) {
        if isOn {
            var metadata: Logger.Metadata = [
                "method": "\(entry.method)", "target": "\(Redaction.target(entry.target))", "status": "\(entry.status ?? 0)",
                "bytes": "\(entry.bytes)", "ms": "\(Double(entry.nanoseconds / 1000) / 1000)", "request": "\(entry.requestID)",
                "peer": "\(entry.peer)", "outcome": entry.wasCut ? "cut" : "complete",
            ]
            if let client = entry.client, client != entry.peer { metadata["client"] = "\(client)" }
            log.info("request", metadata: metadata)
        }
        if let failure = entry.failure {
            let level: Logger.Level = failure.code.status >= 500 ? .error : .info
            log.log(
                level: level, "request failed",
                metadata: [
                    "code": "\(failure.code.rawValue)", "subject": "\(Redaction.text("\(failure.subject)"))",
                    "reason": "\(Redaction.text(failure.reason))",
                    "cause": "\(Redaction.text(failure.cause ?? ""))", "at": "\(failure.location)", "request": "\(entry.requestID)",
                ])
        }
    }
}
