import Core

/// Which passwords are accepted.
struct PasswordPolicy: Sendable {
    /// Longer ones would make a hash an attack.
    static let bytesMax = 1024

    let lengthMin: Int

    /// - Throws: `invalid`, with what to do better.
    func check(_ password: Secret, for username: String) throws(RegistryError) {
        let text = password.revealed
        func refuse(_ reason: String) -> RegistryError { RegistryError(.invalid, subject: .field("password"), reason: reason) }
        guard text.count >= lengthMin else { throw refuse("a password has at least \(lengthMin) characters") }
        guard text.utf8.count <= PasswordPolicy.bytesMax else { throw refuse("a password has at most \(PasswordPolicy.bytesMax) bytes") }
        guard !PasswordPolicy.isTrivial(password), text.lowercased() != username.lowercased() else {
            throw refuse("this password is among the first to be guessed: choose another")
        }
        guard !TokenText.isToken(text) else { throw refuse("a password may not look like a token") }
    }

    /// Blank, or one of the words every scanner tries.
    static func isTrivial(_ password: Secret) -> Bool {
        let text = password.revealed.filter { !$0.isWhitespace }.lowercased()
        return text.isEmpty || trivial.contains(text) || Set(text).count == 1
    }

    private static let trivial: Set<String> = [
        "admin", "password", "changeme", "admin123", "password1", "letmein", "welcome", "123456", "admin1234", "default", "12345678",
        "123456789", "1234567890", "password123", "qwertyuiop", "administrator", "granary", "secret", "admin@123",
    ]
}
