import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Parsing

/// Until the first administrator's generated password was changed, nothing is served but health, login and that change; the last two only to who is
/// on this machine, or where the operator said (reliability and security, B10): the first to come must be the one who can read the file.
enum SetupLock {
    static let failure = RegistryError(
        .forbidden, subject: .request, reason: "this server is not set up yet: log in as admin with the password in admin.password and change it")

    /// The answer to a request that has to wait; nil for one that may go on.
    static func refusal(of head: RequestHead, allowed ranges: [CIDR]) -> Response? {
        let segments = head.path.segments
        guard segments.starts(with: ["api", "v1"]) else { return nil }
        let rest = segments.dropFirst(2)
        if rest.elementsEqual(["setup", "status"]) { return nil }
        guard rest.first == "auth" || rest.count == 3 && rest.first == "users" && rest.last == "password" else { return response(failure) }
        guard isNear(head, ranges) else {
            return response(
                RegistryError(
                    .forbidden, subject: .request,
                    reason: "this server is not set up yet, and is set up from the machine it runs on, or from the addresses in setup_cidrs"))
        }
        return nil
    }

    /// A proxy that is not trusted has the address of this machine, and whoever came through it has not.
    private static func isNear(_ head: RequestHead, _ ranges: [CIDR]) -> Bool {
        guard let address = IPAddress(head.client)?.unmapped, ranges.contains(where: { $0.contains(address) }) else { return false }
        guard head.client == head.peer else { return true }
        return !head.fields.contains { ["x-forwarded-for", "forwarded", "via"].contains($0.name.canonicalName) }
    }

    private static func response(_ failure: RegistryError) -> Response {
        let body = JSON.object(
            .init([
                ("error", "SETUP_REQUIRED"), ("message", JSON(failure.reason)),
                (
                    "instructions",
                    .array([
                        "POST /api/v1/auth/login with the user admin and the first line of admin.password",
                        "POST /api/v1/users/me/password with current_password and new_password",
                    ])
                ),
            ]))
        return Response(.forbidden, fields: [.contentType: "application/json"], content: .bytes(ByteBuffer(bytes: body.encoded())), failure: failure)
    }
}
