/// What of a request may be written down.
public enum Redaction {
    /// Parameters whose values open doors.
    private static let secrets: Set<String> = ["ticket", "token", "access_token", "refresh_token", "password", "secret", "signature", "sig", "code"]

    /// The target with tokens in its path (`npm logout`) and the values of secret parameters struck out, and bounded.
    public static func target(_ target: String) -> String {
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
