public import Core
public import FrontendKit
public import HTTPTypes
import NIOCore
public import Parsing
import Synchronization
public import TestSupport

/// With what a request comes.
public enum Credential: Sendable {
    case none
    case admin
    case password(String, String)
    case bearer(String)
    case fields([(String, String)])

    var fields: [(String, String)] {
        func basic(_ user: String, _ password: String) -> [(String, String)] {
            [("Authorization", "Basic " + Base64.encode(Array("\(user):\(password)".utf8)))]
        }
        return switch self {
        case .none: []
        case .admin: basic("admin", House.password)
        case .password(let user, let password): basic(user, password)
        case .bearer(let token): [("Authorization", "Bearer \(token)")]
        case .fields(let fields): fields
        }
    }
}

extension Credential {
    /// Whether it comes in the field that every surface takes: docker's takes no other.
    public var isAuthorization: Bool { fields.contains { $0.0.lowercased() == "authorization" } }
}

/// What came back.
public struct Answer: Sendable {
    public let status: Int
    public let fields: HTTPFields
    public let body: [UInt8]
    public let validator: Response.Validator?

    public var text: String { String(decoding: body, as: UTF8.self) }
    public var json: JSON { (try? JSON.parse(body)) ?? .null }
    public func field(_ name: String) -> String? { HTTPField.Name(name).flatMap { fields[$0] } }
    public func values(_ name: String) -> [String] { HTTPField.Name(name).map { fields[values: $0] } ?? [] }
    /// `409 CONFLICT`: the status and the code of the envelope, for errors.
    public var outcome: String { json["code"]?.string.map { "\(status) \($0)" } ?? "\(status)" }
    /// Status, fields in order of their names, and the body.
    public var transcript: String {
        (["\(status)"] + fields.map { "\($0.name.canonicalName): \($0.value)" }.sorted() + ["", text]).joined(separator: "\n")
    }
}

extension House {
    /// One request; the whole answer. A target that cannot be read is answered as the server answers it.
    @discardableResult
    public func send(
        _ method: HTTPRequest.Method, _ target: String, as who: Credential = .admin, _ more: [(String, String)] = [], body: [UInt8] = [],
        from client: String = "127.0.0.1"
    ) async -> Answer {
        await send(method, target, as: who, more, streaming: Body(ByteBuffer(bytes: body)), from: client)
    }

    @discardableResult
    public func send(
        _ method: HTTPRequest.Method, _ target: String, as who: Credential = .admin, _ more: [(String, String)] = [], streaming body: Body,
        from client: String = "127.0.0.1"
    ) async -> Answer {
        var fields = HTTPFields()
        for (name, value) in who.fields + more {
            if let name = HTTPField.Name(name) { fields.append(HTTPField(name: name, value: value)) }
        }
        do throws(RegistryError) {
            let head = try RequestHead(method: method, target: target, fields: fields, requestID: "test", peer: client, isSecure: false)
            // As the server asks: what was answered before and still holds, then what memory can answer.
            let request = "\(method) \(target) \(who.fields + more)"
            if let known = remembered.withLock({ $0[request] }), known.currency?.holds() == true {
                known.currency?.given()
                return await answer(known)
            }
            if let response = responder.respondNow(to: head) {
                if response.currency != nil { remembered.withLock { $0[request] = response } }
                return await answer(response)
            }
            return await answer(await responder.respond(to: head, body: body))
        } catch {
            return await answer(responder.respond(toUnreadable: error))
        }
    }

    /// The same with a JSON body.
    @discardableResult
    public func send(
        _ method: HTTPRequest.Method, _ target: String, as who: Credential = .admin, json: JSON, from client: String = "127.0.0.1"
    ) async -> Answer {
        await send(method, target, as: who, [("Content-Type", "application/json")], body: json.encoded(), from: client)
    }

    private func answer(_ response: Response) async -> Answer {
        var bytes: [UInt8] = []
        switch response.content {
        case .none: break
        case .bytes(let buffer): bytes = Array(buffer.readableBytesView)
        case .blob(let content): bytes = (try? content.bytes(at: 0, count: Int(content.length))) ?? Array("unreadable".utf8)
        case .stream(let body): bytes = (try? await body.collect()).map { Array($0.readableBytesView) } ?? Array("unreadable".utf8)
        }
        return Answer(status: response.status.code, fields: response.fields, body: bytes, validator: response.validator)
    }

    // MARK: What most tests begin with

    @discardableResult
    public func repository(_ key: String, format: String = "generic", isPublic: Bool = false, _ more: [(String, JSON)] = []) async -> Answer {
        let members: [(String, JSON)] = [
            ("key", .string(key)), ("name", .string(key)), ("format", .string(format)), ("repo_type", "local"), ("is_public", .bool(isPublic)),
        ]
        var request = JSON.object(.init(members))
        for (name, value) in more { request[name] = value }
        return await send(.post, "/api/v1/repositories", json: request)
    }

    /// A remote of an upstream on this machine.
    @discardableResult
    public func remote(_ key: String, format: String, of url: String, _ more: [(String, JSON)] = []) async -> Answer {
        await repository(
            key, format: format, isPublic: true,
            [("repo_type", "remote"), ("upstream_url", .string(url)), ("upstream_allow_private", true)] + more)
    }

    /// A user with the usual password; their id.
    @discardableResult
    public func user(_ name: String) async -> String {
        let made = await send(
            .post, "/api/v1/users",
            json: ["username": .string(name), "email": .string("\(name)@example.org"), "password": .string(House.password)])
        return made.json["user"]?["id"]?.string ?? ""
    }

    /// Gives a user actions on a repository.
    @discardableResult
    public func grant(_ actions: [String], on key: String, to user: String) async -> Answer {
        let repository = await send(.get, "/api/v1/repositories/\(key)").json["id"] ?? .null
        return await send(
            .post, "/api/v1/permissions",
            json: [
                "principal_type": "user", "principal_id": .string(user), "target_type": "repository", "target_id": repository,
                "actions": .array(actions.map { .string($0) }),
            ])
    }

    @discardableResult
    public func put(
        _ text: String, at path: String, in key: String, as who: Credential = .admin, _ more: [(String, String)] = []
    ) async -> Answer {
        await send(.put, "/api/v1/repositories/\(key)/artifacts/\(path)", as: who, more, body: Array(text.utf8))
    }

    public func token(_ scopes: [String], as who: Credential = .admin) async -> String {
        let request: JSON = ["name": "ci", "scopes": .array(scopes.map { .string($0) })]
        return await send(.post, "/api/v1/auth/tokens", as: who, json: request).json["token"]?.string ?? ""
    }
}

extension Credential {
    public static func user(_ name: String) -> Credential { .password(name, House.password) }
}

extension TemporaryDirectory {
    /// nil when there is no such file.
    public func firstLine(of name: String) -> String? {
        text(of: name)?.split(separator: "\n").first.map(String.init)
    }
}
