import Access
import BlobStore
import Core
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import Outbound

// What nodes ask each other, each question with a proof that a node asks it.

extension NodeQuestion {
    var path: String {
        switch self {
        case .blob(let blob): "\(NodeQuestions.prefix)/blobs/\(blob.hex)"
        case .fetch(let name): "\(NodeQuestions.prefix)/fetches/\(name.hex)"
        case .index(let name): "\(NodeQuestions.prefix)/indexes/\(name.hex)"
        }
    }

    fileprivate init?(_ path: RequestPath) {
        let segments = path.segments
        guard segments.count == 3, let digest = Digest(.sha256, hex: segments[2]), digest.hex == segments[2], let blob = BlobID(digest) else {
            return nil
        }
        switch segments[1] {
        case "blobs": self = .blob(blob)
        case "fetches": self = .fetch(digest)
        case "indexes": self = .index(digest)
        default: return nil
        }
    }
}

extension Nodes {
    /// nil when nobody knows where that node is.
    func request(_ question: NodeQuestion, to node: UInt16, as access: Access) async throws(RegistryError) -> FetchRequest? {
        guard let url = try await url(of: node) else { return nil }
        var request = FetchRequest(url: url + question.path)
        request.fields = [
            (HTTPField.Name.granaryNode.rawName, String(number)),
            (NodeQuestions.proofField, access.nodeProof(of: question, from: number, to: node)),
        ]
        // A node is where the administrator put it.
        request.addressPolicy = AddressPolicy(allowPrivate: true)
        request.countsFailures = false
        return request
    }
}

/// Answers other nodes. To everybody else there is nothing here.
struct NodeQuestions: Responder {
    static let prefix = "/nodes"
    static let proofField = "X-Granary-Proof"

    let registry: Registry

    func respond(to head: RequestHead, body: Body) async -> Response {
        guard head.method == .get, let question = NodeQuestion(head.path), let asker = asker(of: question, head) else {
            return respond(toUnreadable: RegistryError(.notFound, subject: .request, reason: "nothing is served at \(head.path)"))
        }
        do throws(RegistryError) {
            switch question {
            case .blob(let blob): return try await registry.held(blob)
            case .fetch(let turn): return await registry.fetched(as: turn)
            case .index(let name): return try await registry.editions.copy(named: name, for: asker) ?? Response(.gone)
            }
        } catch {
            registry.log.error("another node cannot be answered", metadata: ["question": "\(question)", "node": "\(asker)", "error": "\(error)"])
            return respond(toUnreadable: error)
        }
    }

    /// The node that asks this; nil unless it shows that it is one.
    private func asker(of question: NodeQuestion, _ head: RequestHead) -> UInt16? {
        guard let nodes = registry.options.nodes, let name = HTTPField.Name(NodeQuestions.proofField), let proof = head.fields[name],
            let asker = head.fields[.granaryNode].flatMap({ UInt16($0) }), asker != nodes.number,
            registry.access.isNodeProof(proof, of: question, from: asker, to: nodes.number)
        else { return nil }
        return asker
    }
}
