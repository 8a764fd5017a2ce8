import Access
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Second factors (conventions, section 3): the second half of a login, setting one up before or after it, and who needs one.
enum TOTPEndpoints {
    static let table: [Endpoint] = [
        .raw(.post, "/api/v1/auth/totp/verify", "verify_totp", "auth", .public, request: .of(TotpVerifyRequest.self), reply: .of(LoginResponse.self))
        {
            call throws(RegistryError) in
            let request = try await call.decode(TotpVerifyRequest.self)
            return try AuthEndpoints.answer(
                try await call.access.verify(
                    request.totp_token, code: request.code, requestID: call.head.requestID, for: Asked(call.head)), call)
        },
        .json(.post, "/api/v1/auth/totp/enroll/setup", "enroll_setup", "auth", .public) {
            (call, request: TotpEnrollSetupRequest) throws(RegistryError) -> TotpSetupResponse in
            TotpSetupResponse(try await call.access.setUpTOTP(enrolling: request.totp_token, requestID: call.head.requestID))
        },
        .raw(
            .post, "/api/v1/auth/totp/enroll/complete", "enroll_complete", "auth", .public, request: .of(TotpVerifyRequest.self),
            reply: .of(TotpEnrollCompleteResponse.self)
        ) { call throws(RegistryError) in
            let request = try await call.decode(TotpVerifyRequest.self)
            let (session, codes) = try await call.access.enableTOTP(
                enrolling: request.totp_token, code: request.code, requestID: call.head.requestID, for: Asked(call.head))
            var response = try Response.json(TotpEnrollCompleteResponse(session, codes))
            response.fields[values: .setCookie] = AuthEndpoints.cookies(of: session, call)
            return response
        },
        .json(.post, "/api/v1/auth/totp/setup", "setup_totp", "auth", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> TotpSetupResponse in
            TotpSetupResponse(try await call.access.setUpTOTP(for: call.caller, requestID: call.head.requestID))
        },
        .json(.post, "/api/v1/auth/totp/enable", "enable_totp", "auth", .authenticated) {
            (call, request: TotpCodeRequest) throws(RegistryError) -> TotpEnableResponse in
            let codes = try await call.access.enableTOTP(
                for: call.caller, code: request.code, requestID: call.head.requestID, for: Asked(call.head))
            return TotpEnableResponse(backup_codes: codes.map(\.revealed))
        },
        .json(.post, "/api/v1/auth/totp/disable", "disable_totp", "auth", .authenticated) {
            (call, request: TotpDisableRequest) throws(RegistryError) -> Nothing in
            try await call.access.disableTOTP(
                for: call.caller, password: request.password, code: request.code, requestID: call.head.requestID, for: Asked(call.head))
            return Nothing()
        },
        .json(.get, "/api/v1/admin/settings/totp-policy", "get_totp_policy", "admin", .admin) {
            (call, _: Nothing) throws(RegistryError) -> TotpPolicyResponse in
            try await policy(call)
        },
        .json(.put, "/api/v1/admin/settings/totp-policy", "update_totp_policy", "admin", .admin) {
            (call, request: UpdateTotpPolicyRequest) throws(RegistryError) -> TotpPolicyResponse in
            guard let wanted = TOTPPolicy(rawValue: request.policy) else {
                let words = TOTPPolicy.allCases.map(\.rawValue).joined(separator: ", ")
                throw RegistryError(.invalid, subject: .field("policy"), reason: "the policy is one of \(words)")
            }
            try await call.access.setTOTPPolicy(wanted, by: call.caller.actor, requestID: call.head.requestID)
            return try await policy(call)
        },
    ]

    private static func policy(_ call: Call) async throws(RegistryError) -> TotpPolicyResponse {
        let users = try await UserEndpoints.all(call).filter(\.isActive)
        let admins = users.filter(\.isAdmin)
        let isConfigured = call.access.options.totpPolicy != nil
        return TotpPolicyResponse(
            policy: try await call.access.totpPolicy().rawValue, source: isConfigured ? "environment" : "database", editable: !isConfigured,
            local_admins: Int64(admins.count), local_admins_with_totp: Int64(admins.count(where: \.hasTOTP)), local_users: Int64(users.count),
            local_users_with_totp: Int64(users.count(where: \.hasTOTP)),
            caller_totp_enabled: try await AuthEndpoints.currentUser(call).hasTOTP)
    }
}

struct TotpVerifyRequest: Codable, Sendable { let totp_token, code: String }
struct TotpEnrollSetupRequest: Codable, Sendable { let totp_token: String }
struct TotpCodeRequest: Codable, Sendable { let code: String }
struct TotpDisableRequest: Codable, Sendable { let password, code: String }
struct TotpSetupResponse: Codable, Sendable {
    let secret, qr_code_url: String
    init(_ setup: TOTPSetup) {
        secret = setup.secret.revealed
        qr_code_url = setup.uri.revealed
    }
}
struct TotpEnableResponse: Codable, Sendable { let backup_codes: [String] }
struct TotpEnrollCompleteResponse: Codable, Sendable {
    let access_token, refresh_token: String
    let expires_in: Int64
    let token_type: String
    let must_change_password: Bool
    let backup_codes: [String]
    init(_ session: Session, _ codes: [Secret]) {
        access_token = session.accessToken.revealed
        refresh_token = session.refreshToken.revealed
        expires_in = session.expiresIn
        token_type = "Bearer"
        must_change_password = session.mustChangePassword
        backup_codes = codes.map(\.revealed)
    }
}
struct TotpPolicyResponse: Codable, Sendable {
    let policy, source: String
    let editable: Bool
    let local_admins, local_admins_with_totp, local_users, local_users_with_totp: Int64
    let caller_totp_enabled: Bool
}
struct UpdateTotpPolicyRequest: Codable, Sendable { let policy: String }
