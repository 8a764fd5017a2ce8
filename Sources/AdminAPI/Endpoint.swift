import Access
import Core
import FoundationEssentials
import FrontendKit
import HTTPTypes
import NIOCore
import Registry

/// One row of the REST API.
struct Endpoint: Sendable {
    /// The least a caller must be; what they may do to a thing is asked where the thing is opened.
    enum Floor: String, Sendable {
        case `public`, optional, authenticated, admin
        /// Authenticated, and open to who must change a password first.
        case passwordChange
    }

    struct Parameter: Sendable {
        let name: String
        let type: String
    }

    let method: HTTPRequest.Method
    let path: String
    let operation: String
    let tag: String
    let access: Floor
    let scope: TokenScope?
    let query: [Parameter]
    /// Shapes of the JSON body and of the success answer; nil where there is none, or where it is bytes.
    let request: Schema?
    let reply: Schema?
    let status: Int
    let handle: @Sendable (Call) async throws(RegistryError) -> Response
    let pattern: PathPattern

    /// HEAD is served wherever GET is; the server leaves the body out.
    func answers(_ asked: HTTPRequest.Method) -> Bool { method == asked || method == .get && asked == .head }

    /// An endpoint that takes and gives JSON.
    static func json<Input: Decodable & Sendable, Output: Encodable & Decodable & Sendable>(
        _ method: HTTPRequest.Method, _ path: String, _ operation: String, _ tag: String, _ access: Floor, scope: TokenScope? = nil,
        query: [Parameter] = [], status: Int = 200, _ handle: @escaping @Sendable (Call, Input) async throws(RegistryError) -> Output
    ) -> Endpoint {
        Endpoint(
            method: method, path: path, operation: operation, tag: tag, access: access, scope: scope, query: query,
            request: Input.self == Nothing.self ? nil : Schema.of(Input.self), reply: Output.self == Nothing.self ? nil : Schema.of(Output.self),
            status: status,
            handle: { call throws(RegistryError) in
                let input = try await call.decode(Input.self)
                return try Response.json(try await handle(call, input), status: status)
            }, pattern: PathPattern(stringLiteral: path))
    }

    /// An endpoint whose answer is more than JSON.
    static func raw(
        _ method: HTTPRequest.Method, _ path: String, _ operation: String, _ tag: String, _ access: Floor, scope: TokenScope? = nil,
        query: [Parameter] = [], request: Schema? = nil, reply: Schema? = nil, status: Int = 200,
        _ handle: @escaping @Sendable (Call) async throws(RegistryError) -> Response
    ) -> Endpoint {
        Endpoint(
            method: method, path: path, operation: operation, tag: tag, access: access, scope: scope, query: query, request: request, reply: reply,
            status: status, handle: handle, pattern: PathPattern(stringLiteral: path))
    }
}

/// No body.
struct Nothing: Codable, Sendable {}

/// One call of an endpoint.
struct Call: Sendable {
    let api: AdminAPI
    let head: RequestHead
    let match: Match
    let body: Body
    let origin: RequestOrigin

    var registry: Registry { api.registry }
    var access: Access { api.registry.access }
    var caller: Caller { origin.caller }

    /// - Throws: `invalid` naming the field that does not fit.
    func decode<Input: Decodable>(_ type: Input.Type) async throws(RegistryError) -> Input {
        if let nothing = Nothing() as? Input { return nothing }
        let buffer = try await body.collect()
        do {
            return try JSONDecoder().decode(type, from: Data(buffer.readableBytes == 0 ? Array("{}".utf8) : Array(buffer.readableBytesView)))
        } catch {
            throw RegistryError(.invalid, subject: .request, reason: Call.words(for: error))
        }
    }

    private static func words(for error: any Error) -> String {
        func place(_ path: [any CodingKey]) -> String { path.isEmpty ? "the body" : path.map(\.stringValue).joined(separator: ".") }
        switch error {
        case DecodingError.keyNotFound(let key, _): return "the field \(key.stringValue) is missing"
        case DecodingError.typeMismatch(_, let context): return "\(place(context.codingPath)) has the wrong type"
        case DecodingError.valueNotFound(_, let context): return "\(place(context.codingPath)) must not be null"
        default: return "the body is not JSON of the expected shape"
        }
    }

    func id(_ name: String = "id") throws(RegistryError) -> EntityID {
        guard let id = EntityID(match[name]) else { throw RegistryError(.invalid, subject: .field(name), reason: "\(match[name]) is no UUID") }
        return id
    }

    /// A key that cannot exist is one that does not.
    func repositoryKey(_ text: String? = nil) throws(RegistryError) -> RepositoryKey {
        guard let key = RepositoryKey(text ?? match["key"]) else {
            if caller.isAnonymous { try access.requireAccount(caller) }
            throw RegistryError(.notFound, subject: .request, reason: "there is no such repository, or you may not see it")
        }
        return key
    }

    func artifactPath() throws(RegistryError) -> AssetPath {
        guard let path = AssetPath(match["path"]) else { throw Registry.invalidPath(match["path"]) }
        return path
    }
}

/// `page` from 1, `per_page` 20 by default and 100 at most.
struct PageWindow: Sendable {
    let page: Int
    let perPage: Int

    init(_ query: Query) throws(RegistryError) {
        func number(_ name: String, _ fallback: Int, _ range: ClosedRange<Int>) throws(RegistryError) -> Int {
            guard let text = query[name] else { return fallback }
            guard let value = Int(text), value >= range.lowerBound else {
                throw RegistryError(.invalid, subject: .field(name), reason: "\(name) is a whole number from \(range.lowerBound)")
            }
            return min(value, range.upperBound)
        }
        page = try number("page", 1, 1...1_000_000)
        perPage = try number("per_page", 20, 1...100)
    }

    var skip: Int { (page - 1) * perPage }

    func of<Element>(_ all: [Element]) -> ArraySlice<Element> { all.dropFirst(skip).prefix(perPage) }

    func pagination(total: Int) -> Pagination {
        Pagination(page: page, per_page: perPage, total: total, total_pages: (total + perPage - 1) / perPage)
    }

    static let parameters = [Endpoint.Parameter(name: "page", type: "integer"), .init(name: "per_page", type: "integer")]
}

struct Pagination: Codable, Sendable {
    let page, per_page, total, total_pages: Int
}

extension Response {
    static func json(_ value: some Encodable, status: Int = 200) throws(RegistryError) -> Response {
        if value is Nothing { return Response(.init(code: status)) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes, .sortedKeys]
        do {
            let bytes = try encoder.encode(value)
            return Response(
                .init(code: status), fields: [.contentType: "application/json", .cacheControl: "no-store"], content: .bytes(ByteBuffer(bytes: bytes)))
        } catch {
            throw RegistryError(.internal, subject: .request, reason: "the answer cannot be encoded", cause: "\(error)")
        }
    }
}
