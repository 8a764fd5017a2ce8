import Core

/// Which passwords are accepted: long enough, and not among the first that are tried. No rules on kinds of characters (NIST SP 800-63B section
/// 5.1.1.2): they make passwords alike.
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
        guard !PasswordPolicy.isTrivial(password), !PasswordPolicy.isCommon(text), PasswordPolicy.core(of: text) != PasswordPolicy.core(of: username)
        else { throw refuse("this password is among the first to be guessed: choose another") }
        guard !TokenText.isToken(text) else { throw refuse("a password may not look like a token") }
    }

    /// Blank, or one of the words every scanner tries.
    static func isTrivial(_ password: Secret) -> Bool {
        let text = password.revealed.filter { !$0.isWhitespace }.lowercased()
        return text.isEmpty || trivial.contains(text) || Set(text).count == 1
    }

    /// A well-known word with the usual trimmings (`P@ssw0rd2026!`), a row of the keyboard or the alphabet, or a short text over and over.
    static func isCommon(_ text: String) -> Bool {
        let core = core(of: text)
        if core.utf8.count < 4 || words.contains(core) { return text.utf8.count < 16 }
        let plain = Array(text.lowercased().utf8)
        if rows.contains(where: { $0.contains(String(decoding: plain, as: UTF8.self)) }) { return true }
        return (1...max(1, plain.count / 2)).contains { period in
            period <= 4 && plain.indices.dropFirst(period).allSatisfy { plain[$0] == plain[$0 - period] }
        }
    }

    /// What is left without the digits and signs around it, and with letters for what stands for them.
    private static func core(of text: String) -> String {
        let isLetter: (UInt8) -> Bool = { (0x61...0x7A).contains($0) }
        let lowered = Array(text.lowercased().utf8)
        // Signs that stand for letters do so inside a word; around it they are trimmings.
        let first = lowered.firstIndex(where: isLetter) ?? lowered.endIndex
        let last = lowered.lastIndex(where: isLetter) ?? lowered.startIndex
        guard first <= last, first < lowered.endIndex else { return "" }
        return String(decoding: lowered[first...last].map { stands[$0] ?? $0 }, as: UTF8.self)
    }

    private static let stands: [UInt8: UInt8] = {
        var table: [UInt8: UInt8] = [:]
        for (sign, letter) in zip("@4301$5!7".utf8, "aaeoissit".utf8) { table[sign] = letter }
        return table
    }()

    private static let rows = [
        "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm", "1qaz2wsx3edc4rfv5tgb", "q1w2e3r4t5y6u7i8o9p0", "1q2w3e4r5t6y7u8i9o0p",
        "abcdefghijklmnopqrstuvwxyz", "zyxwvutsrqponmlkjihgfedcba", "12345678901234567890", "98765432109876543210", "qwertyuiopasdfghjklzxcvbnm",
        "qazwsxedcrfvtgbyhnujmikolp", "01234567890123456789",
    ]

    private static let trivial: Set<String> = [
        "admin", "password", "changeme", "admin123", "password1", "letmein", "welcome", "123456", "admin1234", "default", "12345678",
        "123456789", "1234567890", "password123", "qwertyuiop", "administrator", "granary", "secret", "admin@123",
    ]

    /// Cores of the passwords that head every list of leaked ones, and of what installers suggest.
    private static let words: Set<String> = Set(
        """
        password passwort passwd pass passw motdepasse contrasena senha parola haslo wachtwoord admin administrator adminadmin root toor sysadmin
        superuser superadmin supervisor changeme changethis changeit changemenow letmein letmeinnow welcome willkommen bienvenue bienvenido
        default secret topsecret mysecret secretpassword mypassword thepassword yourpassword newpassword oldpassword temppassword temp temporary
        guest user username login logon test tester testing testtest demo example sample server database mysql postgres oracle docker registry
        artifact artifactory nexus granary harbor gitlab github jenkins kubernetes iloveyou ilovegod loveyou lovely love monkey dragon master
        shadow sunshine princess football baseball basketball soccer hockey superman batman spiderman pokemon starwars trustno trustnoone welcomeback
        whatever freedom charlie michael jordan jessica jennifer ashley michelle daniel andrew thomas robert hunter killer ginger pepper summer
        winter spring autumn january february march april june july august september october november december monday friday sunday hello
        helloworld hallo qwerty qwertz azerty qwert asdf asdfgh zxcv zxcvbn qazwsx qweasd qweasdzxc qwe abc abcd abcde abcdef abcabc aaaa
        computer internet samsung apple google microsoft windows linux ubuntu debian liverpool arsenal chelsea barcelona juventus london
        america canada orange banana cheese cookie chocolate butterfly flower purple yellow silver golden diamond thunder mustang corvette
        ferrari porsche mercedes harley access accesso private enter please nothing mustchange company corporate office manager support service
        """.split(whereSeparator: \.isWhitespace).map(String.init))
}
