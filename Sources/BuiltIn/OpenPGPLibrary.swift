import Core
import FrontendKit
import OpenPGP
public import Registry

extension SigningLibrary {
    /// Keys and signatures of OpenPGP.
    public static let openPGP = SigningLibrary(
        make: { userID, now throws(RegistryError) in
            let key = try OpenPGPKey(for: userID, at: now)
            return Pair(secret: key.secret, fingerprint: key.fingerprint)
        },
        sign: { bytes, form, pairs, now throws(RegistryError) in
            let keys = pairs.map { OpenPGPKey(secret: $0.secret, fingerprint: $0.fingerprint) }
            return switch form {
            case .clearsigned: try OpenPGP.clearsigned(bytes, by: keys, at: now)
            case .detached: try OpenPGP.signature(over: bytes, by: keys, at: now)
            }
        },
        publicKeys: { pairs throws(RegistryError) in
            try OpenPGP.publicKeys(of: pairs.map { OpenPGPKey(secret: $0.secret, fingerprint: $0.fingerprint) })
        })
}
