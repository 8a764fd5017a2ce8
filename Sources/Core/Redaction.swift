/// What of a request may be written down.
public enum Redaction {
    /// Parameters whose values open doors.
    private static let secrets: Set<String> = ["ticket", "token", "access_token", "refresh_token", "password", "secret", "signature", "sig", "code"]

    private static let targetMax = 2048
    private static let tokenMin = 40
    private static let tokenPrefixes = ["granary_", "eyJ"]
    /// What npm's login puts before a name, which may be a password typed into the wrong field.
    private static let loginPrefix = "org.couchdb.user"

    /// The target with tokens in its path (`npm logout`), names that are logged in with there (`npm login`) and the values of secret parameters
    /// struck out, and bounded.
    public static func target(_ target: String) -> String {
        if target.utf8.count <= targetMax, target.utf8.withContiguousStorageIfAvailable(isHarmless) ?? false { return target }
        let mark = target.firstIndex(of: "?") ?? target.endIndex
        let path = target[..<mark].split(separator: "/", omittingEmptySubsequences: false).map { segment -> Substring in
            if segment.hasPrefix(loginPrefix) { return "\(loginPrefix):***" }
            return isToken(segment) ? "***" : segment
        }
        guard mark < target.endIndex else { return String(path.joined(separator: "/").prefix(targetMax)) }
        let query = target[target.index(after: mark)...].split(separator: "&", omittingEmptySubsequences: false).map { pair -> Substring in
            guard let equals = pair.firstIndex(of: "=") else { return pair }
            let name = Percent.decodeBytes(pair[..<equals].utf8, plusIsSpace: true).map { String(decoding: $0, as: UTF8.self) }
            return secrets.contains((name ?? "").lowercased()) ? pair[...equals] + "***" : pair
        }
        return String((path.joined(separator: "/") + "?" + query.joined(separator: "&")).prefix(targetMax))
    }

    /// No segment that begins as a token does, and no parameter that could be a secret: nearly all targets.
    private static func isHarmless(_ target: some Collection<UInt8>) -> Bool {
        let path = target.prefix { $0 != UInt8(ascii: "?") }
        for segment in path.split(separator: UInt8(ascii: "/")) where segment.count >= loginPrefix.utf8.count {
            if segment.starts(with: loginPrefix.utf8) { return false }
            if segment.count >= tokenMin, tokenPrefixes.contains(where: { segment.starts(with: $0.utf8) }) { return false }
        }
        for pair in target[path.endIndex...].dropFirst().split(separator: UInt8(ascii: "&")) {
            let name = pair.prefix { $0 != UInt8(ascii: "=") }
            if name.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }) { return false }
            if secrets.contains(String(decoding: name, as: UTF8.self).lowercased()) { return false }
        }
        return true
    }

    /// An API token of ours, or a JWT (three parts of base64url, the first an object's).
    private static func isToken(_ segment: Substring) -> Bool {
        guard segment.utf8.count >= tokenMin else { return false }
        return segment.hasPrefix(tokenPrefixes[0])
            || segment.hasPrefix(tokenPrefixes[1]) && segment.split(separator: ".", omittingEmptySubsequences: false).count == 3
    }
}
