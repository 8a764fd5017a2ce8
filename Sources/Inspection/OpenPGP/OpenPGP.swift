// OpenPGP: keys that sign the documents we publish, and signatures as gpgv takes them (RFC 9580; version 4 keys, as clients in use know them).
// It keeps no key and no state: who calls it says where a secret key lives.
public import Core

/// An OpenPGP key pair. The secret half is a transferable secret key without a password: whoever keeps it seals it.
public struct OpenPGPKey: Sendable, Hashable {
    public let secret: [UInt8]
    /// Upper-case hex.
    public let fingerprint: String

    /// Makes an Ed25519 key that signs and certifies and does not expire.
    /// - Parameter userID: `name <address>`, for people.
    public init(for userID: String, at now: Timestamp) throws(RegistryError) {
        let session = try RnpSession()
        try session.setTime(now)
        (secret, fingerprint) = try session.generate(for: userID)
    }

    /// One that was kept.
    public init(secret: [UInt8], fingerprint: String) {
        self.secret = secret
        self.fingerprint = fingerprint
    }
}

public enum OpenPGP {
    /// The text and its signatures in one (RFC 9580 section 7). It must be text: lines of UTF-8, each ended by a line feed.
    /// White space at the end of a line is not signed, and so must not be there.
    public static func clearsigned(_ text: [UInt8], by keys: [OpenPGPKey], at now: Timestamp) throws(RegistryError) -> [UInt8] {
        // The line feed before the signature is the frame's, and the last line's at once.
        try RnpSession().sign(text.last == 0x0A ? text.dropLast() : text, by: keys, at: now, .cleartext)
    }

    /// Signatures over the bytes, in ASCII armour.
    public static func signature(over bytes: [UInt8], by keys: [OpenPGPKey], at now: Timestamp) throws(RegistryError) -> [UInt8] {
        try RnpSession().sign(bytes, by: keys, at: now, .detached)
    }

    /// The public halves, in one block of ASCII armour.
    public static func publicKeys(of keys: [OpenPGPKey]) throws(RegistryError) -> [UInt8] { try RnpSession().publicKeys(of: keys) }
}
