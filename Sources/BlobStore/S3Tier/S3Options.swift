import Core
public import Outbound

/// Where a bucket is, and who we are there.
public struct S3Options: Sendable {
    public var bucket: String
    public var region: String
    /// `https://host[:port]`; nil: Amazon's own for the region.
    public var endpoint: String?
    /// Before every object's name, without slashes at its ends; empty for none.
    public var prefix: String
    public var credentials: S3Credentials
    /// `https://endpoint/bucket/key` rather than `https://bucket.endpoint/key`; nil: for every endpoint but Amazon's.
    public var pathStyle: Bool?
    /// Loopback and private networks are reached only when the operator says so.
    public var addressPolicy: AddressPolicy
    /// Bodies up to this length go in one request, longer ones in parts of it (or more, so that 10,000 do).
    public var partBytes: Int64 = 32 << 20
    /// Parts under way at once.
    public var partsAtOnce = 3
    /// One request and its repetitions.
    public var triesMax = 5

    public init(
        bucket: String, region: String = "us-east-1", endpoint: String? = nil, prefix: String = "", credentials: S3Credentials,
        pathStyle: Bool? = nil, addressPolicy: AddressPolicy = .publicOnly
    ) {
        self.bucket = bucket
        self.region = region
        self.endpoint = endpoint
        self.prefix = prefix
        self.credentials = credentials
        self.pathStyle = pathStyle
        self.addressPolicy = addressPolicy
    }
}

/// The URLs of a bucket.
struct S3Address: Sendable {
    let origin: Origin
    /// As the `Host` field and the signature have it.
    let host: String
    private let base: String
    private let prefix: String

    /// - Throws: `invalid` naming the setting.
    init(_ options: S3Options) throws(RegistryError) {
        let bucket = options.bucket
        let isName = bucket.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F }
        guard (3...63).contains(bucket.utf8.count), isName, bucket.first != ".", bucket.first != "-" else {
            throw S3Address.refused("s3_bucket", "is no bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens")
        }
        guard !options.region.isEmpty, options.region.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") }) else {
            throw S3Address.refused("s3_region", "is no region's name")
        }
        guard !options.credentials.accessKey.isEmpty, !options.credentials.secretKey.isEmpty else {
            throw S3Address.refused("s3_access_key_id", "and s3_secret_access_key must both be given")
        }
        let parts = options.prefix.split(separator: "/", omittingEmptySubsequences: false)
        guard options.prefix.isEmpty || parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }), options.prefix.utf8.count <= 512 else {
            throw S3Address.refused("s3_prefix", "must be path segments with single slashes between them")
        }
        let endpoint = options.endpoint ?? "https://s3.\(options.region).amazonaws.com"
        guard endpoint.contains("://"), let given = Origin(endpoint.hasSuffix("/") ? String(endpoint.dropLast()) : endpoint) else {
            throw S3Address.refused("s3_endpoint", "must be http:// or https:// with a host and perhaps a port, and nothing behind it")
        }
        // A certificate for *.endpoint is none for a name with a dot more.
        let isPathStyle = options.pathStyle ?? (options.endpoint != nil || bucket.contains("."))
        let text = isPathStyle ? given.description : given.description.replacing(first: "://", by: "://\(bucket).")
        guard let origin = Origin(text) else { throw S3Address.refused("s3_bucket", "cannot stand in a host's name: set s3_path_style") }
        self.origin = origin
        host = String(origin.description.dropFirst(origin.scheme.rawValue.utf8.count + 3))
        base = isPathStyle ? "/\(Percent.encode(bucket, in: .strict))" : ""
        prefix = options.prefix.isEmpty ? "" : options.prefix + "/"
    }

    /// The key of an object by its name below the prefix.
    func key(_ name: String) -> String { prefix + name }
    /// The name below the prefix; nil for a key elsewhere.
    func name(ofKey key: String) -> String? { key.hasPrefix(prefix) ? String(key.dropFirst(prefix.count)) : nil }

    /// Percent-encoded as the signature wants it; nil: that of the bucket itself.
    func path(_ name: String?) -> String {
        guard let name else { return base.isEmpty ? "/" : base }
        return base + "/"
            + key(name).split(separator: "/", omittingEmptySubsequences: false).map { Percent.encode($0, in: .strict) }.joined(separator: "/")
    }

    static func refused(_ setting: String, _ reason: String) -> RegistryError {
        RegistryError(.invalid, subject: .configuration(setting), reason: "\(setting) \(reason)")
    }
}

extension String {
    fileprivate func replacing(first text: String, by other: String) -> String {
        firstRange(of: text).map { replacingCharacters(in: $0, with: other) } ?? self
    }
    private func replacingCharacters(in range: Range<String.Index>, with other: String) -> String {
        self[..<range.lowerBound] + other + self[range.upperBound...]
    }
}
