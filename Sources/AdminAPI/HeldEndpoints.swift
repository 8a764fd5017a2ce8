import BlobStore
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// What nodes have on their disks and the bucket does not have yet: what would be lost with them.
enum HeldEndpoints {
    private static let blobsMax = 100

    static let table: [Endpoint] = [
        .json(.get, "/api/v1/admin/held", "list_held", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> [HeldByNode] in
            var nodes: [HeldByNode] = []
            for (node, life) in try await call.registry.blobs.held().sorted(by: { $0.key < $1.key }) {
                let known = try await call.registry.options.nodes?.known(node)
                nodes.append(
                    HeldByNode(
                        node: Int64(node), url: known?.url, last_seen_at: known?.seen.description, blobs: life.blobs, bytes: life.bytes))
            }
            return nodes
        },
        .json(
            .get, "/api/v1/admin/held/{node}", "list_held_blobs", "admin", .admin,
            query: [.init(name: "after", type: "string")]
        ) { (call, _: Nothing) throws(RegistryError) -> [HeldBlob] in
            guard let node = UInt16(call.match["node"]) else {
                throw RegistryError(.notFound, subject: .request, reason: "a node has a number, \(call.match["node"]) is none")
            }
            var after: BlobID?
            if let text = call.head.query["after"] {
                guard let blob = Digest(parsing: text).flatMap({ BlobID($0) }) else {
                    throw RegistryError(.invalid, subject: .field("after"), reason: "after is a digest, sha256: and 64 hexadecimal digits")
                }
                after = blob
            }
            var blobs: [HeldBlob] = []
            for row in try await call.registry.blobs.held(by: node, after: after, limit: blobsMax) {
                blobs.append(
                    HeldBlob(
                        digest: row.blob.description, bytes: row.location?.length ?? 0,
                        references: await call.registry.catalog.names(of: row.blob)))
            }
            return blobs
        },
    ]
}

struct HeldByNode: Codable, Sendable {
    let node: Int64
    /// Absent when no node has this number any more.
    let url, last_seen_at: String?
    let blobs, bytes: Int64
}
struct HeldBlob: Codable, Sendable {
    let digest: String
    let bytes: Int64
    /// What would be missing.
    let references: [String]
}
