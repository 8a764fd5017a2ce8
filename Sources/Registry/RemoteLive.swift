import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Outbound
import Parsing

extension Registry {
    /// Asks the upstream what only it can answer (a search of all it has, an audit): the question goes on as it came, but for who asks.
    /// Nothing of it is kept.
    /// - Throws: `unavailable` or `upstreamFailed` for anything but 200: an upstream that cannot answer has not said "nothing found".
    func liveResponse(_ request: Request, in session: RepositorySession) async throws(RegistryError) -> Response {
        let repository = session.authorized.repository
        let head = request.head
        let mounts = session.frontend.format.mounts.map { $0.split(separator: "/").count }
        guard let depth = mounts.first(where: { head.path.segments.dropFirst($0).first == repository.key.text }) else {
            preconditionFailure("a route of a repository lies below its key")
        }
        var url = head.path.dropping(depth + 1).segments.map { Percent.encode($0, in: .segment) }.joined(separator: "/")
        if let mark = head.target.firstIndex(of: "?") { url += head.target[mark...] }
        var question = try fetchRequest(
            UpstreamRequest(url: url, accept: head.fields[.accept]), to: repository, bodyBytesMax: Int64(options.learnedDocumentBytesMax))
        if head.method == .post {
            question.method = .post
            question.body = Body(try await request.body.collect())
            for name in [HTTPField.Name.contentType, .contentEncoding] {
                if let value = head.fields[name] { question.fields.append((name.canonicalName, value)) }
            }
        }
        let answer = try await ask(question, for: repository)
        guard answer.status == 200 else { throw unexpected(answer.status, from: repository) }
        let isJSON = MediaType(parsing: answer["Content-Type"] ?? "").map { $0.type == "application" && $0.subtype.hasSuffix("json") } ?? false
        let fields: HTTPFields = [
            .contentType: isJSON ? "application/json" : "application/octet-stream", .cacheControl: "no-store",
            .contentSecurityPolicy: "default-src 'none'; sandbox",
        ]
        return Response(.ok, fields: fields, content: head.method == .head ? .none : .stream(answer.body))
    }
}
