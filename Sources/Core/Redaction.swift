/// What of a request may be written down.
public enum Redaction {
    /// Parameters whose values open doors.
    private static let secrets: Set<String> = ["ticket", "token", "access_token", "refresh_token", "password", "secret", "signature", "sig", "code"]

    private static let targetMax = 2048
    private static let tokenMin = 40

    /// The target with tokens in its path (`npm logout`) and the values of secret parameters struck out, and bounded.
    public static func target(_ target: String) -> String {
        if target.utf8.count <= targetMax, isHarmless(target.utf8) { return target }
        let mark = target.firstIndex(of: "?") ?? target.endIndex
        let path = target[..<mark].split(separator: "/", omittingEmptySubsequences: false).map { isToken($0) ? "***" : $0 }
        guard mark < target.endIndex else { return String(path.joined(separator: "/").prefix(targetMax)) }
        let query = target[target.index(after: mark)...].split(separator: "&", omittingEmptySubsequences: false).map { pair -> Substring in
            guard let equals = pair.firstIndex(of: "=") else { return pair }
            let name = Percent.decodeBytes(pair[..<equals].utf8, plusIsSpace: true).map { String(decoding: $0, as: UTF8.self) }
            return secrets.contains((name ?? "").lowercased()) ? pair[...equals] + "***" : pair
        }
        return String((path.joined(separator: "/") + "?" + query.joined(separator: "&")).prefix(targetMax))
    }

    /// No query, and no segment long enough for a token: nearly all targets.
    private static func isHarmless(_ target: String.UTF8View) -> Bool {
        var segmentBytes = 0
        for byte in target {
            if byte == UInt8(ascii: "?") { return false }
            segmentBytes = byte == UInt8(ascii: "/") ? 0 : segmentBytes + 1
            if segmentBytes == tokenMin { return false }
        }
        return true
    }

    /// An API token of ours, or a JWT (three parts of base64url, the first an object's).
    private static func isToken(_ segment: Substring) -> Bool {
        guard segment.utf8.count >= tokenMin else { return false }
        return segment.hasPrefix("granary_")
            || segment.hasPrefix("eyJ") && segment.split(separator: ".", omittingEmptySubsequences: false).count == 3
    }
}
