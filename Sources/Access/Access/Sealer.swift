public import Core
import Crypto
import Parsing

/// Keeps secrets we must be able to read again (an upstream's password) unreadable at rest: AES-256-GCM under a key file.
///
/// The text is `sealed:1:` and base64url of nonce (12), ciphertext and tag (16). The place it belongs to is authenticated with it: a sealed
/// text moved to another repository or field does not open there.
public struct Sealer: Sendable {
    static let prefix = "sealed:1:"
    public static let keyBytes = 32
    private static let nonceBytes = 12

    private let key: SymmetricKey
    private let world: World

    /// - Throws: `invalid` unless the key has 32 bytes.
    public init(key: [UInt8], world: World) throws(RegistryError) {
        guard key.count == Sealer.keyBytes else {
            throw RegistryError(.invalid, subject: .configuration("sealing key"), reason: "the key that seals secrets has \(Sealer.keyBytes) bytes")
        }
        self.key = SymmetricKey(data: key)
        self.world = world
    }

    public static func isSealed(_ text: String) -> Bool { text.hasPrefix(prefix) }

    /// - Parameter place: what the secret belongs to, for instance `repository/<id>/upstream_password`.
    public func seal(_ secret: Secret, for place: String) throws(RegistryError) -> String {
        do {
            let nonce = try AES.GCM.Nonce(data: world.randomBytes(Sealer.nonceBytes))
            let box = try AES.GCM.seal(Array(secret.revealed.utf8), using: key, nonce: nonce, authenticating: Array(place.utf8))
            return Sealer.prefix + Base64.encode(Array(nonce) + Array(box.ciphertext) + Array(box.tag), .url)
        } catch {
            throw RegistryError(.internal, subject: .configuration("sealing key"), reason: "a secret could not be sealed", cause: "\(error)")
        }
    }

    /// - Throws: `corrupt` when the text was not sealed with this key for this place.
    public func open(_ text: String, for place: String) throws(RegistryError) -> Secret {
        let damaged = RegistryError(
            .corrupt, subject: .configuration("sealing key"), reason: "a sealed secret does not open: was the key file replaced?")
        guard Sealer.isSealed(text), let bytes = Base64.decode(text.dropFirst(Sealer.prefix.count), .url) else { throw damaged }
        guard let box = try? AES.GCM.SealedBox(combined: bytes),
            let opened = try? AES.GCM.open(box, using: key, authenticating: Array(place.utf8)),
            let secret = String(validating: opened, as: UTF8.self)
        else { throw damaged }
        return Secret(secret)
    }
}
