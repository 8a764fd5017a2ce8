public import Core
public import FrontendKit
import HTTPTypes
import Logging
import Outbound

// What another node has in its memory or on its disk, an upload under way or a ticket, is asked of that node: the whole request goes there, and its
// answer comes back, both as they stream. Identity and rights are that node's to judge, so that they are judged, and recorded, once.

extension Registry {
    /// The answer of the node that has the upload, or made the ticket that the request came with.
    /// - Parameter upload: the session's id, as the path has it.
    /// - Returns: nil when that is this node, or nobody knows.
    /// - Throws: `notFound` about the upload when its node is gone: a client begins anew then.
    public func relayed(_ head: RequestHead, _ body: Body, upload: String?) async throws(RegistryError) -> Response? {
        // Passed on once is enough.
        guard let nodes = options.nodes, !head.fields.contains(where: { $0.name == .granaryNode }) else { return nil }
        let node: UInt16
        if let upload, let id = EntityID(upload) {
            node = id.node
        } else if let ticket = head.query["ticket"], let maker = ticket.split(separator: "-").last.flatMap({ UInt16($0) }) {
            node = maker
        } else {
            return nil
        }
        guard node != nodes.number else { return nil }
        let gone =
            upload.map {
                RegistryError(.notFound, subject: .upload(String($0.prefix(100))), reason: "there is no such upload: its node is gone; begin another")
            } ?? RegistryError(.unauthenticated, subject: .request, reason: "the credentials are not valid")
        guard let url = try await nodes.url(of: node), let request = Relay.request(head, body, to: url, from: nodes.number) else { throw gone }
        do throws(RegistryError) { return Relay.response(try await nodes.client.fetch(request)) } catch {
            log.warning("another node cannot be asked", metadata: ["node": "\(node)", "request": "\(head.requestID)", "error": "\(error)"])
            throw gone
        }
    }

    /// The answer of the first node that has what a GET or HEAD asks for, where this one has not; nil when none has.
    func answered(byOthers head: RequestHead) async throws(RegistryError) -> Response? {
        guard let nodes = options.nodes, !head.fields.contains(where: { $0.name == .granaryNode }) else { return nil }
        for node in try await nodes.others() {
            guard let url = try await nodes.url(of: node), var request = Relay.request(head, .empty, to: url, from: nodes.number) else { continue }
            request.limits.stallSeconds = 30
            do throws(RegistryError) {
                let answer = try await nodes.client.fetch(request)
                if [200, 206, 304].contains(answer.status) { return Relay.response(answer) }
            } catch {
                log.info("another node cannot be asked", metadata: ["node": "\(node)", "request": "\(head.requestID)", "error": "\(error)"])
            }
        }
        return nil
    }
}

/// A request on its way to another node, and its answer on the way back.
private enum Relay {
    /// RFC 9110 section 7.6.1, and what is said anew for the next hop.
    private static let ownOfHop: Set<String> = [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        "content-length", "date", "x-request-id", "x-correlation-id",
    ]
    private static let ownOfRequest: Set<String> = ["host", "expect", "forwarded", "x-forwarded-for", "x-forwarded-proto", "user-agent"]
    private static let ownOfAnswer: Set<String> = ["server", "x-content-type-options", "referrer-policy", "strict-transport-security"]

    /// nil for a method that carries no such request.
    static func request(_ head: RequestHead, _ body: Body, to url: String, from node: UInt16) -> FetchRequest? {
        guard let method = FetchRequest.Method(rawValue: head.method.rawValue) else { return nil }
        var request = FetchRequest(method, url: url + head.target)
        let words = head.fields[values: .connection].flatMap { $0.split(separator: ",") }
        let named = Set(words.map { word in word.filter { $0 != " " && $0 != "\t" }.lowercased() })
        for field in head.fields where !(ownOfHop.union(ownOfRequest).union(named)).contains(field.name.canonicalName) {
            request.fields.append((field.name.rawName, field.value))
        }
        request.fields += [
            ("X-Forwarded-For", head.client), ("X-Forwarded-Proto", head.isSecure ? "https" : "http"), ("X-Request-ID", head.requestID),
            (HTTPField.Name.granaryNode.rawName, String(node)),
        ]
        if let agent = head.fields[.userAgent] { request.userAgent = agent }
        if method != .get, method != .head, method != .delete, body.length != 0 { request.body = body }
        // A node is where the administrator put it.
        request.addressPolicy = AddressPolicy(allowPrivate: true)
        // It may have to read a large upload again before it answers.
        request.limits = Limits(bodyBytesMax: .max, connectSeconds: 5, stallSeconds: 600)
        request.countsFailures = false
        return request
    }

    static func response(_ answer: FetchResponse) -> Response {
        var fields = HTTPFields()
        for (name, value) in answer.fields where !ownOfHop.union(ownOfAnswer).contains(name.lowercased()) {
            guard let name = HTTPField.Name(name) else { continue }
            fields.append(HTTPField(name: name, value: value))
        }
        return Response(
            HTTPResponse.Status(code: answer.status), fields: fields, content: answer.body.length == 0 ? .none : .stream(answer.body))
    }
}

extension HTTPField.Name {
    /// Which node passed the request on, or asks.
    static let granaryNode = HTTPField.Name("X-Granary-Node") ?? .via
}
