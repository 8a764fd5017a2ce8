public import Core

#if canImport(Glibc)
    import Glibc
#endif

/// A certificate authority for one test, and a server certificate for `localhost` that it signed. Made by the `openssl` command in a
/// directory of its own, which goes with it.
public final class ThrowawayCA: Sendable {
    private let folder: String
    public var caFile: String { "\(folder)/ca.pem" }
    public var certificateFile: String { "\(folder)/server.pem" }
    public var keyFile: String { "\(folder)/server.key" }

    public init() throws(RegistryError) {
        folder = "/tmp/granary-ca-\(World.real.newID())"
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        let status = unsafe system(
            """
            set -e; umask 077; mkdir '\(folder)'; cd '\(folder)'; exec >log 2>&1
            openssl req -x509 \(key) -keyout ca.key -out ca.pem -days 2 -subj '/CN=Throwaway CA'
            openssl req \(key) -keyout server.key -out server.csr -subj '/CN=localhost'
            echo subjectAltName=DNS:localhost >names
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem
            """)
        guard status == 0 else {
            throw RegistryError(.internal, subject: .configuration("openssl"), reason: "the test's certificates cannot be made")
        }
    }

    deinit { _ = unsafe system("rm -rf '\(folder)'") }
}
