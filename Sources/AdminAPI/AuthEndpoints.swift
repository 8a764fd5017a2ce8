import Registry
import Access
import Core
import FrontendKit
import HTTPTypes

/// Sessions and the caller's own tokens (conventions, section 3).
enum AuthEndpoints {
    static let table: [Endpoint] = [
        .raw(.post, "/api/v1/auth/login", "login", "auth", .public, request: .of(LoginRequest.self), reply: .of(LoginResponse.self)) {
            call throws(RegistryError) in
            let login = try await call.decode(LoginRequest.self)
            switch try await call.access.login(
                username: login.username, password: login.password, requestID: call.head.requestID, for: Asked(call.head))
            {
            case .session(let session): return try answer(session, call)
            case .needsCode(let token): return try Response.json(LoginResponse(pending: token, isEnrolment: false))
            case .needsEnrolment(let token): return try Response.json(LoginResponse(pending: token, isEnrolment: true))
            }
        },
        .raw(.post, "/api/v1/auth/refresh", "refresh_token", "auth", .public, request: .of(RefreshTokenRequest.self), reply: .of(LoginResponse.self))
        {
            call throws(RegistryError) in
            guard let token = try await call.decode(RefreshTokenRequest.self).refresh_token ?? refreshCookie(call) else {
                throw RegistryError(.unauthenticated, subject: .request, reason: "there is no refresh token in the body or the cookie")
            }
            return try answer(try await call.access.refresh(token, requestID: call.head.requestID), call)
        },
        .raw(.post, "/api/v1/auth/logout", "logout", "auth", .public) { call throws(RegistryError) in
            if let token = try await call.decode(RefreshTokenRequest.self).refresh_token ?? refreshCookie(call) {
                try await call.access.logout(refreshToken: token, requestID: call.head.requestID)
            } else if let caller = try? await call.access.authenticate(.from(call.head)), !caller.isAnonymous {
                try await call.access.logout(caller, requestID: call.head.requestID)
            }
            var response = Response(.ok)
            response.fields[values: .setCookie] = cookies(access: "", refresh: "", accessAge: 0, refreshAge: 0, isSecure: isSecure(call))
            return response
        },
        .json(.get, "/api/v1/auth/me", "get_current_user", "auth", .passwordChange) { (call, _: Nothing) throws(RegistryError) -> UserResponse in
            UserResponse(try await currentUser(call))
        },
        .json(.post, "/api/v1/auth/tokens", "create_api_token", "auth", .authenticated) {
            (call, request: CreateApiTokenRequest) throws(RegistryError) -> CreateApiTokenResponse in
            try await createToken(for: try await currentUser(call).id, request, call)
        },
        .json(.delete, "/api/v1/auth/tokens/{token_id}", "revoke_api_token", "auth", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            let user = try await currentUser(call)
            try await call.access.revokeToken(try call.id("token_id"), of: user.id, by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
    ]

    static func currentUser(_ call: Call) async throws(RegistryError) -> User {
        guard let account = call.caller.account, let user = try await call.access.user(account) else {
            throw RegistryError(.unauthenticated, subject: .request, reason: "this needs credentials: log in, or send a token")
        }
        return user
    }

    static func createToken(
        for account: EntityID, _ request: CreateApiTokenRequest, _ call: Call
    ) async throws(RegistryError) -> CreateApiTokenResponse {
        let (text, token) = try await call.access.createToken(
            for: account, name: request.name, scopes: request.scopes, expiresInDays: request.expires_in_days, by: call.caller,
            requestID: call.head.requestID)
        return CreateApiTokenResponse(id: token.id.description, token: text.revealed, name: token.name)
    }

    static func answer(_ session: Session, _ call: Call) throws(RegistryError) -> Response {
        var response = try Response.json(
            LoginResponse(
                access_token: session.accessToken.revealed, refresh_token: session.refreshToken.revealed, expires_in: session.expiresIn,
                token_type: "Bearer",
                must_change_password: session.mustChangePassword))
        response.fields[values: .setCookie] = cookies(of: session, call)
        return response
    }

    static func cookies(of session: Session, _ call: Call) -> [String] {
        cookies(
            access: session.accessToken.revealed, refresh: session.refreshToken.revealed, accessAge: session.expiresIn,
            refreshAge: session.refreshExpiresIn, isSecure: isSecure(call))
    }

    /// A cookie that was set over HTTPS, or is to be used over it only, never leaves in clear text.
    private static func isSecure(_ call: Call) -> Bool { call.head.isSecure || call.api.options.enforceHTTPS }

    private static func cookies(access: String, refresh: String, accessAge: Int64, refreshAge: Int64, isSecure: Bool) -> [String] {
        let secure = isSecure ? "; Secure" : ""
        return [
            "granary_access_token=\(access); Path=/; Max-Age=\(accessAge); HttpOnly; SameSite=Strict\(secure)",
            "granary_refresh_token=\(refresh); Path=/api/v1/auth; Max-Age=\(refreshAge); HttpOnly; SameSite=Strict\(secure)",
        ]
    }

    private static func refreshCookie(_ call: Call) -> String? {
        for field in call.head.fields[values: .cookie] {
            for pair in field.split(separator: ";") {
                let halves = pair.split(separator: "=", maxSplits: 1).map { $0.trimmingPrefix(while: { $0 == " " }) }
                if halves.count == 2, halves[0] == "granary_refresh_token" || halves[0] == "ak_refresh_token", !halves[1].isEmpty {
                    return String(halves[1])
                }
            }
        }
        return nil
    }
}

struct LoginRequest: Codable, Sendable { let username, password: String }
struct RefreshTokenRequest: Codable, Sendable { let refresh_token: String? }
struct LoginResponse: Codable, Sendable {
    let access_token, refresh_token: String
    let expires_in: Int64
    let token_type: String
    let must_change_password: Bool
    var totp_required: Bool?
    var totp_enrollment_required: Bool?
    var totp_token: String?
}
extension LoginResponse {
    /// Half a login: no tokens, no cookies.
    init(pending token: Secret, isEnrolment: Bool) {
        self.init(
            access_token: "", refresh_token: "", expires_in: 0, token_type: "Bearer", must_change_password: false,
            totp_required: isEnrolment ? nil : true, totp_enrollment_required: isEnrolment ? true : nil, totp_token: token.revealed)
    }
}
struct UserResponse: Codable, Sendable {
    let id, username, email: String
    let display_name: String?
    let is_admin, totp_enabled: Bool
    init(_ user: User) {
        id = user.id.description
        username = user.username
        email = user.email
        display_name = user.displayName
        is_admin = user.isAdmin
        totp_enabled = user.hasTOTP
    }
}
struct CreateApiTokenRequest: Codable, Sendable {
    let name: String
    let scopes: [String]
    let expires_in_days: Int64?
}
struct CreateAccessTokenRequest: Codable, Sendable {
    let name: String
    let scopes: [String]?
    let expires_in_days: Int64?
}
struct CreateApiTokenResponse: Codable, Sendable { let id, token, name: String }

extension HTTPField.Name {
    static let xRequestedWith = HTTPField.Name("X-Requested-With") ?? .authorization
}
