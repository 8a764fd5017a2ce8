import Catalog
import Core
import Parsing
import Testing

@testable import Access

@Suite("One-time codes") struct TOTPTests {
    @Test("the codes are those of RFC 6238, appendix B")
    func vectors() {
        let secret = Array("12345678901234567890".utf8)
        let wanted: [(seconds: Int64, code: String)] = [
            (59, "287082"), (1_111_111_109, "081804"), (1_111_111_111, "050471"), (1_234_567_890, "005924"), (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ]
        for (seconds, code) in wanted {
            #expect(TOTP.code(secret, step: TOTP.step(at: Timestamp(seconds: seconds))) == code)
        }
    }

    @Test("base 32 is RFC 4648's, without padding, and comes back")
    func base32() {
        let wanted = ["": "", "f": "MY", "fo": "MZXQ", "foo": "MZXW6", "foob": "MZXW6YQ", "fooba": "MZXW6YTB", "foobar": "MZXW6YTBOI"]
        for (text, encoded) in wanted {
            #expect(Base32.encode(Array(text.utf8)) == encoded)
            #expect(Base32.decode(encoded) == Array(text.utf8))
        }
        #expect(Base32.decode("MZXW1") == nil)
    }

    @Test("a code is taken one step early and late, once, and none before it any more")
    func once() throws {
        let secret = Array("12345678901234567890".utf8)
        let now = Timestamp(seconds: 1_795_000_000)
        let step = TOTP.step(at: now)
        let taken = (-2...2).map { TOTP.step(of: TOTP.code(secret, step: step + $0), secret, at: now, after: 0).map { $0 - step } }
        #expect(taken == [nil, -1, 0, 1, nil])
        #expect(TOTP.step(of: TOTP.code(secret, step: step), secret, at: now, after: step) == nil)
        #expect(TOTP.step(of: TOTP.code(secret, step: step - 1), secret, at: now, after: step) == nil)
        for text in ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦"] { #expect(TOTP.step(of: text, secret, at: now, after: 0) == nil) }
    }

    @Test("of 32 logins with one code at the same moment one wins")
    func race() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        let secret = try await Self.enable(house, "ada").secret
        house.pass(seconds: 60)
        let code = TOTP.code(secret, step: TOTP.step(at: house.now))
        let token = try await Self.pending(house, "ada")
        let won = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<32 {
                group.addTask { (try? await house.access.verify(token, code: code, requestID: "t")) != nil }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(won <= 1)
        #expect(try await house.access.user(ada.id)?.hasTOTP == true)
    }

    @Test("five wrong codes end it for all addresses, the right one too; a recovery code still works, once")
    func fiveTries() async throws {
        let house = try House()
        try await house.user("ada")
        let (secret, codes) = try await Self.enable(house, "ada")
        house.pass(seconds: 60)
        let right = TOTP.code(secret, step: TOTP.step(at: house.now))
        let wrong = right == "000000" ? "000001" : "000000"
        var seen: [RegistryError.Code?] = []
        for number in 0..<6 {
            let asked = Asked(method: "POST", target: "/", peer: "192.0.2.\(number)", requestID: "t")
            let token = try await Self.pending(house, "ada")
            seen.append(
                try await refusal { try await house.access.verify(token, code: number < 5 ? wrong : right, requestID: "t", for: asked) }?.code)
        }
        #expect(seen == Array(repeating: .unauthenticated, count: 5) + [.rateLimited])
        let token = try await Self.pending(house, "ada")
        _ = try await house.access.verify(token, code: codes[3].revealed.uppercased(), requestID: "t")
        #expect(try await refusal { try await house.access.verify(token, code: codes[3].revealed, requestID: "t") }?.code == .unauthenticated)
    }

    @Test("neither the secret nor a recovery code is stored as it is, and a changed password voids a pending login")
    func atRest() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        let (secret, codes) = try await Self.enable(house, "ada")
        let stored = String(decoding: house.catalog.everything, as: UTF8.self)
        for canary in [Base32.encode(secret)] + codes.map(\.revealed) + codes.map({ $0.revealed.filter { $0 != "-" } }) {
            #expect(!stored.contains(canary))
        }
        house.pass(seconds: 60)
        let token = try await Self.pending(house, "ada")
        try await house.access.setPassword(of: ada.id, current: House.password, new: "another long phrase", by: .system, requestID: "t")
        let code = TOTP.code(secret, step: TOTP.step(at: house.now))
        #expect(try await refusal { try await house.access.verify(token, code: code, requestID: "t") }?.code == .unauthenticated)
    }

    @Test("a token of a half login opens nothing else, and a row from before second factors is read")
    func purposes() async throws {
        let house = try House()
        try await house.user("ada")
        _ = try await Self.enable(house, "ada")
        let token = try await Self.pending(house, "ada")
        #expect(try await refusal { try await house.access.authenticate(.bearer(token)) }?.code == .unauthenticated)
        #expect(try await refusal { try await house.access.refresh(token, requestID: "t") }?.code == .unauthenticated)
        #expect(try await refusal { try await house.access.setUpTOTP(enrolling: token, requestID: "t") }?.code == .unauthenticated)
        // A row as it was written before: without hashes of earlier passwords, flag and factor.
        var record = try #require(try await house.catalog.record(.user, unique: "ada"))
        let row = try UserRow(record)
        var plain = row
        (plain.secondFactor, plain.user.hasTOTP) = (nil, false)
        record.value = [2] + plain.record.value.dropFirst().dropLast(3)
        #expect(try UserRow(record) == plain)
        // The password alone is no credential any more, wherever it is sent.
        #expect(try await refusal { try await house.caller("ada") }?.code == .unauthenticated)
    }

    // MARK: What they begin with

    static func enable(_ house: House, _ name: String) async throws -> (secret: [UInt8], codes: [Secret]) {
        let caller = try await house.caller(name)
        let setup = try await house.access.setUpTOTP(for: caller, requestID: "t")
        let secret = try #require(Base32.decode(setup.secret.revealed))
        let code = TOTP.code(secret, step: TOTP.step(at: house.now))
        return (secret, try await house.access.enableTOTP(for: caller, code: code, requestID: "t"))
    }

    static func pending(_ house: House, _ name: String) async throws -> String {
        guard case .needsCode(let token) = try await house.access.login(username: name, password: House.password, requestID: "t") else {
            throw RegistryError(.internal, subject: .account(name), reason: "no code was asked for")
        }
        return token.revealed
    }
}

@Suite("Password policy") struct PasswordPolicyTests {
    @Test("what is tried first is refused, whatever it is trimmed with; a phrase or something random is not")
    func common() throws {
        let policy = PasswordPolicy(lengthMin: 8)
        let bad = [
            "password", "Password123!", "P@ssw0rd2026", "welcome1!", "qwertyuiop", "12345678", "87654321", "aaaaaaaa", "abcabcabc", "Summer2026!",
            "adminadmin", "iloveyou2", "ada.lovelace", "Ada.Lovelace1", "1qaz2wsx3edc", "--------", "granary_2026",
        ]
        for text in bad { #expect(throws: RegistryError.self, "\(text)") { try policy.check(Secret(text), for: "ada.lovelace") } }
        for text in ["a long enough phrase", "correct horse battery", "k3JxQ0v9TzR7", "xkcd-936-staple", "Zürich im Regen", "9f86d081884c"] {
            try policy.check(Secret(text), for: "ada.lovelace")
        }
    }

    @Test("none of the last five passwords comes back; an older one may")
    func history() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        var current = House.password
        func change(_ next: String) async throws -> RegistryError.Code? {
            let code = try await refusal {
                try await house.access.setPassword(of: ada.id, current: current, new: next, by: .system, requestID: "t")
            }?.code
            if code == nil { current = next }
            return code
        }
        for number in 1...4 { #expect(try await change("another long phrase \(number)") == nil) }
        for old in [House.password, "another long phrase 1", "another long phrase 4"] { #expect(try await change(old) == .invalid) }
        #expect(try await change("another long phrase 5") == nil)
        #expect(try await change(House.password) == nil)
    }
}
