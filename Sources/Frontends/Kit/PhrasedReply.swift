public import Core
import HTTPTypes

extension Reply {
    /// A failure for clients that show the reason phrase, or the body, or both: either says why. 401 asks for Basic credentials.
    public static func phrased(_ failure: RegistryError) -> Reply {
        var fields: HTTPFields = [:]
        if failure.code == .unauthenticated { fields[.wwwAuthenticate] = "Basic realm=\"granary\", charset=\"UTF-8\"" }
        var reason = failure.reason
        // Several files go up at once: say which of them is taken.
        if failure.code == .immutable, case .path(let path) = failure.subject { reason = "\(path): \(reason)" }
        return .text(reason + "\n", .init(code: failure.code.status, reasonPhrase: phrase(reason)), fields)
    }

    /// A reason phrase is one line of visible ASCII (RFC 9112 section 4).
    private static func phrase(_ reason: String) -> String {
        String(decoding: reason.utf8.prefix(400).map { $0 >= 0x20 && $0 < 0x7F ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }
}
