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
            guard var request = try await request(.blob(blob), at: NodeBlobs.path(of: blob), to: holder, as: access) else {
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

// What nodes ask each other.

extension Nodes {
    /// A question that a node answers to nodes alone, with what proves that one asks; nil when nobody knows where it is.
    func request(_ question: NodeQuestion, at path: String, to node: UInt16, as access: Access) async throws(RegistryError) -> FetchRequest? {
        guard let url = try await url(of: node) else { return nil }
        var request = FetchRequest(url: (url.hasSuffix("/") ? String(url.dropLast()) : url) + path)
        request.fields = [
            (HTTPField.Name.granaryNode.rawName, String(number)),
            (NodeBlobs.proofField, access.nodeProof(of: question, from: number, to: node)),
        ]
        // A node is where the administrator put it.
        request.addressPolicy = AddressPolicy(allowPrivate: true)
        request.countsFailures = false
        return request
    }
}

extension Registry {
    /// Whether another node asks this, and shows that it is one.
    func isAsked(_ question: NodeQuestion, by head: RequestHead) -> Bool {
        guard let nodes = options.nodes, let name = HTTPField.Name(NodeBlobs.proofField), let proof = head.fields[name],
            let asker = head.fields[.granaryNode].flatMap({ UInt16($0) }), asker != nodes.number
        else { return false }
        return access.isNodeProof(proof, of: question, from: asker, to: nodes.number)
    }
}

/// Gives other nodes what this one's disk has. To everybody else there is nothing here.
struct NodeBlobs: Responder {
    static let prefix = "/nodes/blobs"
    static let proofField = "X-Granary-Proof"
    static func path(of blob: BlobID) -> String { "\(prefix)/\(blob.hex)" }

    let registry: Registry

    func respond(to head: RequestHead, body: Body) async -> Response {
        guard head.method == .get, let blob = blob(head), registry.isAsked(.blob(blob), by: head) else {
            return respond(toUnreadable: RegistryError(.notFound, subject: .request, reason: "nothing is served at \(head.path)"))
        }
        do throws(RegistryError) {
            guard let content = try await registry.blobs.contentHere(of: blob) else { return Response(.gone) }
            return Response(.ok, fields: [.contentType: "application/octet-stream", .cacheControl: "no-store"], content: .blob(content))
        } catch {
            registry.log.error("another node cannot be given a blob", metadata: ["blob": "\(blob)", "error": "\(error)"])
            guard error.code == .corrupt else { return respond(toUnreadable: error) }
            return Response(.gone, failure: error)
        }
    }

    private func blob(_ head: RequestHead) -> BlobID? {
        let segments = head.path.segments
        guard segments.count == 3, let bytes = Hex.decode(segments[2]), let blob = BlobID(bytes: bytes), blob.hex == segments[2] else { return nil }
        return blob
    }
}
