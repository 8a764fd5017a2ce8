public import Catalog
public import Core
public import FrontendKit

/// How documents are signed, as far as the engine knows: keys and their library are the composition root's.
public struct Signing: Sendable {
    /// What names the repository's present key; another string once another key signs. nil: the repository has none, and its signatures do
    /// not exist.
    public var key: @Sendable (Repository) async throws(RegistryError) -> String?
    /// Signs with that key. Takes itself off the thread it is called on.
    public var sign: @Sendable ([UInt8], SignatureForm, Repository) async throws(RegistryError) -> [UInt8]
    /// The public half, in ASCII armour.
    public var publicKey: @Sendable (Repository) async throws(RegistryError) -> [UInt8]?

    public init(
        key: @escaping @Sendable (Repository) async throws(RegistryError) -> String?,
        sign: @escaping @Sendable ([UInt8], SignatureForm, Repository) async throws(RegistryError) -> [UInt8],
        publicKey: @escaping @Sendable (Repository) async throws(RegistryError) -> [UInt8]?
    ) {
        self.key = key
        self.sign = sign
        self.publicKey = publicKey
    }

    /// Nothing is signed.
    public static let none = Signing(
        key: { _ in nil },
        sign: { _, _, repository throws(RegistryError) in
            throw RegistryError(.internal, subject: .repository(repository.key.text), reason: "there is no key to sign with")
        }, publicKey: { _ in nil })
}
