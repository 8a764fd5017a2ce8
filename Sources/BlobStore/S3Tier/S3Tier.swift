public import BlobStore
public import Core

/// A bucket as a tier of the blob store.
public final class S3Tier: SegmentTier {
    private let client: S3Client

    public init(_ client: S3Client) { self.client = client }

    /// Asks the bucket something that needs the right to list it.
    /// - Throws: `invalid` when only another configuration can help, in words; what the client throws otherwise.
    public func check() async throws(RegistryError) {
        do throws(RegistryError) { _ = try await client.list(prefix: "segments/") } catch {
            guard error.code == .upstreamFailed, error.retryAfterSeconds == nil else { throw error }
            throw RegistryError(
                .invalid, subject: .configuration("s3_bucket"), reason: "the bucket \(place) cannot be used: \(error.reason)", cause: error.cause)
        }
    }

    public var place: String { client.place }

    public func put(_ name: TierName, _ bytes: any RandomAccessBytes) async throws(RegistryError) { try await client.put("\(name)", bytes) }

    public func read(_ name: TierName, _ range: Range<Int64>) async throws(RegistryError) -> Body { try await client.get("\(name)", range) }

    public func length(of name: TierName) async throws(RegistryError) -> Int64? { try await client.length(of: "\(name)") }

    public func remove(_ name: TierName) async throws(RegistryError) { try await client.delete("\(name)") }

    public func list(_ kind: TierName.Kind, page: String?) async throws(RegistryError) -> TierPage {
        let found = try await client.list(prefix: "\(kind.rawValue)/", page: page)
        return TierPage(
            objects: found.objects.compactMap { object in TierName(object.name).map { TierObject(name: $0, length: object.length) } },
            next: found.next)
    }

    public func removeLeftovers(before time: Timestamp) async throws(RegistryError) {
        for upload in try await client.uploads(prefix: "") where TierName(upload.name) != nil {
            guard let begun = upload.begun, begun < time else { continue }
            try await client.abort(upload)
        }
    }

    public func url(of name: TierName, expiresSeconds: Int64, disposition: String, contentType: String) -> String? {
        client.presignedURL(of: "\(name)", expiresSeconds: expiresSeconds, disposition: disposition, contentType: contentType)
    }
}
