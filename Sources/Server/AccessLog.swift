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
                "method": "\(entry.method)", "target": "\(AccessLog.redacted(entry.target))", "status": "\(entry.status ?? 0)",
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
                    "code": "\(failure.code.rawValue)", "subject": "\(failure.subject)", "reason": "\(failure.reason)",
                    "cause": "\(failure.cause ?? "")", "at": "\(failure.location)", "request": "\(entry.requestID)",
                ])
        }
    }

    /// Parameters whose values open doors.
    private static let secrets: Set<String> = ["ticket", "token", "access_token", "refresh_token", "password", "secret", "signature", "sig", "code"]

    /// The target with tokens in its path (`npm logout`) and the values of secret parameters struck out, and bounded.
    static func redacted(_ target: String) -> String {
        let mark = target.firstIndex(of: "?") ?? target.endIndex
        let path = target[..<mark].split(separator: "/", omittingEmptySubsequences: false).map { isToken($0) ? "***" : $0 }
        guard mark < target.endIndex else { return String(path.joined(separator: "/").prefix(2048)) }
        let query = target[target.index(after: mark)...].split(separator: "&", omittingEmptySubsequences: false).map { pair -> Substring in
            guard let equals = pair.firstIndex(of: "=") else { return pair }
            let name = Percent.decodeBytes(pair[..<equals].utf8, plusIsSpace: true).map { String(decoding: $0, as: UTF8.self) }
            return secrets.contains((name ?? "").lowercased()) ? pair[...equals] + "***" : pair
        }
        return String((path.joined(separator: "/") + "?" + query.joined(separator: "&")).prefix(2048))
    }

    /// An API token of ours, or a JWT (three parts of base64url, the first an object's).
    private static func isToken(_ segment: Substring) -> Bool {
        guard segment.utf8.count >= 40 else { return false }
        return segment.hasPrefix("granary_")
            || segment.hasPrefix("eyJ") && segment.split(separator: ".", omittingEmptySubsequences: false).count == 3
    }
}
