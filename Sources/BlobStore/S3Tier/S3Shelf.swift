public import BlobStore
public import Core

/// A bucket as a place for backups.
public final class S3Shelf: BackupShelf {
    private let client: S3Client

    public init(_ client: S3Client) { self.client = client }

    /// Asks the bucket something that needs the right to list it.
    /// - Throws: `invalid` when only another configuration can help, in words; what the client throws otherwise.
    public func check() async throws(RegistryError) {
        do throws(RegistryError) { _ = try await client.list(prefix: "backup") } catch {
            guard error.code == .upstreamFailed, error.retryAfterSeconds == nil else { throw error }
            throw RegistryError(
                .invalid, subject: .configuration("backup_s3_bucket"), reason: "the bucket \(place) cannot be used: \(error.reason)",
                cause: error.cause)
        }
    }

    public var place: String { client.place }

    public func put(_ name: String, _ bytes: any RandomAccessBytes) async throws(RegistryError) { try await client.put(name, bytes) }

    public func read(_ name: String, _ range: Range<Int64>) async throws(RegistryError) -> Body { try await client.get(name, range) }

    public func length(of name: String) async throws(RegistryError) -> Int64? { try await client.length(of: name) }

    public func remove(_ name: String) async throws(RegistryError) { try await client.delete(name) }

    public func list(_ prefix: String, page: String?) async throws(RegistryError) -> ShelfPage {
        let found = try await client.list(prefix: prefix, page: page)
        return ShelfPage(objects: found.objects, next: found.next)
    }

    public func removeLeftovers(before time: Timestamp) async throws(RegistryError) {
        for upload in try await client.uploads(prefix: "") where upload.name.hasPrefix("store/") || upload.name.hasPrefix("moment-") {
            guard let begun = upload.begun, begun < time else { continue }
            try await client.abort(upload)
        }
    }
}
