public import Access
public import BlobStore
import Core
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import Outbound

// Where uploads go behind, a node has blobs that are not in the bucket yet; the others ask it for them, node to node. docs/internals/shared-blobs.md.

extension Nodes {
    /// Brings a blob from the node that has it.
    public func holderQuestion(as access: Access) -> HolderQuestion {
        { [self] blob, length, holder async throws(RegistryError) in
            guard var request = try await request(.blob(blob), to: holder, as: access) else {
                throw BlobStore.silentHolder(holder, cause: nil)
            }
            request.limits = Limits(bodyBytesMax: max(length, 1), connectSeconds: 5, stallSeconds: 30, redirectsMax: 0)
            let answer: FetchResponse
            do throws(RegistryError) { answer = try await client.fetch(request) } catch { throw BlobStore.silentHolder(holder, cause: error) }
            switch answer.status {
            case 200: return answer.body
            // It is that node, and says that the blob is not there.
            case 410: throw RegistryError(.notFound, subject: .blob(blob.description), reason: "node \(holder) does not have it")
            default:
                throw BlobStore.silentHolder(
                    holder, cause: RegistryError(.upstreamFailed, subject: .request, reason: "it answered \(answer.status)"))
            }
        }
    }
}

extension Registry {
    /// What this node's disk has of a blob, for another node.
    func held(_ blob: BlobID) async throws(RegistryError) -> Response {
        do throws(RegistryError) {
            guard let content = try await blobs.contentHere(of: blob) else { return Response(.gone) }
            return Response(.ok, fields: [.contentType: "application/octet-stream", .cacheControl: "no-store"], content: .blob(content))
        } catch {
            guard error.code == .corrupt else { throw error }
            log.error("another node cannot be given a blob", metadata: ["blob": "\(blob)", "error": "\(error)"])
            return Response(.gone, failure: error)
        }
    }
}
