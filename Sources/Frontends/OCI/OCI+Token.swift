import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Parsing

// The mount's own rows: the version check (distribution-spec 1.1, end-1) and Docker Registry v2 token authentication, both its GET form
// ("Token Authentication Specification") and its POST form ("OAuth2 Token Authentication").
extension OCIFrontend {
    /// What challenges and token requests call this registry.
    static let service = "granary"
    /// What a client asks for to read the catalogue.
    static let catalogScope = "registry:catalog:*"

    /// Clients learn here how to log in: without a credential this is always the challenge, public repositories or not.
    static func base(_ request: Request, _ port: any MountPort) async throws(RegistryError) -> Reply {
        guard !port.caller.isAnonymous || request.head.fields[.authorization] != nil else {
            throw RegistryError(.unauthenticated, subject: .request, reason: "authentication required")
        }
        return .json(Array("{}".utf8), .ok, [.dockerDistributionAPIVersion: "registry/2.0"])
    }

    static func token(_ request: Request, _ port: any MountPort) async throws(RegistryError) -> Reply {
        var parameters = request.head.query
        var login: (name: String, password: String)?
        if request.head.method == .post {
            let form = try await request.body.collect(upTo: formBytesMax)
            parameters = Query(parsing: String(decoding: form.readableBytesView, as: UTF8.self))
            login = try self.login(parameters)
        }
        if let service = parameters["service"], service != self.service {
            throw RegistryError(.invalid, subject: .field("service"), reason: "the service is \"\(self.service)\"")
        }
        let asked = parameters.all("scope").flatMap { $0.split(separator: " ") }.prefix(scopesMax)
        let grant = try await port.token(
            for: asked.compactMap(ResourceScope.init(parsing:)), listing: asked.contains { $0 == catalogScope }, login: login)
        let document: JSON = [
            "token": .string(grant.token), "access_token": .string(grant.token), "expires_in": JSON(grant.expiresInSeconds),
            "issued_at": .string(grant.issued.description),
        ]
        return .json(document.encoded(), .ok, [.cacheControl: "no-store"])
    }

    private static let formBytesMax = 64 << 10
    private static let scopesMax = 64

    /// nil when the form names no grant: the request's own credentials count then.
    private static func login(_ form: Query) throws(RegistryError) -> (name: String, password: String)? {
        switch form["grant_type"] {
        case nil: return nil
        case "password": return (form["username"] ?? "", form["password"] ?? "")
        // What clients keep as a refresh token is an API token: it needs no name.
        case "refresh_token": return ("<token>", form["refresh_token"] ?? "")
        default:
            throw RegistryError(.invalid, subject: .field("grant_type"), reason: "grant_type is \"password\" or \"refresh_token\"")
        }
    }
}

extension ResourceScope {
    /// `repository:NAME:ACTIONS`; NAME may hold a colon. nil for other resource types and for names that cannot exist here.
    init?(parsing text: some StringProtocol) {
        guard let first = text.firstIndex(of: ":"), let last = text.lastIndex(of: ":"), first < last else { return nil }
        let type = text[..<first].prefix { $0 != "(" }
        let name = String(text[text.index(after: first)..<last])
        guard type == "repository", let image = Image(fullName: name) else { return nil }
        var permissions: Set<Permission> = []
        for action in text[text.index(after: last)...].split(separator: ",") {
            switch action {
            case "pull": permissions.insert(.read)
            case "push": permissions.insert(.write)
            case "delete": permissions.insert(.delete)
            case "*": permissions.formUnion([.read, .write, .delete])
            default: break
            }
        }
        self.init(repository: image.repository, name: name, permissions: permissions)
    }
}
