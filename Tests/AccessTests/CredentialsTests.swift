import Testing

@testable import Access

@Suite struct CredentialsTests {
    private func read(_ fields: [String: [String]], allowCookie: Bool = true) -> String {
        let credentials = Credentials.from(fields: { fields[$0] ?? [] }, allowCookie: allowCookie)
        let carrier = "\(credentials.carrier)"
        return switch credentials.presented {
        case .none: "\(carrier) none"
        case .malformed: "\(carrier) malformed"
        case .ticket(_, let path): "\(carrier) ticket \(path)"
        case .token(let token): "\(carrier) token \(token.revealed)"
        case .password(let user, let password): "\(carrier) \(user)|\(password.revealed)"
        }
    }

    @Test(
        "every carrier clients use is read",
        arguments: [
            ("Bearer abc", "bearer token abc"), ("bearer  abc ", "bearer token abc"), ("Token abc", "bearer token abc"),
            ("ApiKey abc", "bearer token abc"), ("abc", "bearer token abc"), ("Basic YTpiOmM=", "basic a|b:c"), ("Basic YTpiOmM", "basic a|b:c"),
            ("Basic YTo=", "basic a|"), ("Bearer YTpi", "bearerBasic a|b"), ("Basic eDpncmFuYXJ5X2Zm", "basic token granary_ff"),
            ("Bearer granary_ff", "bearer token granary_ff"), ("", "none none"), ("Bearer anonymous", "none none"),
        ])
    func carriers(field: String, expected: String) {
        #expect(read(["authorization": [field]]) == expected)
    }

    @Test(
        "what is no credential of ours is refused, not skipped",
        arguments: [
            "Basic", "Basic !!!", "Basic YWI=", "Basic YTpi YTpi", "Basic YQpiOmM=", "Negotiate abc", "AWS4-HMAC-SHA256 Credential=a", "Bearer a b",
            "Basic YTpiOg=",
        ])
    func malformed(field: String) {
        let result = read(["authorization": [field], "x-api-key": ["good"], "cookie": ["granary_access_token=good"]])
        #expect(result == "bearer malformed")
    }

    @Test("two Authorization fields are ambiguous, so neither counts")
    func twice() {
        #expect(read(["authorization": ["Bearer a", "Bearer b"]]) == "bearer malformed")
        #expect(read(["x-api-key": ["a", "b"]]) == "apiKey malformed")
    }

    @Test("keys come after Authorization, cookies last and only where the route takes them")
    func order() {
        #expect(read(["authorization": ["Bearer a"], "x-api-key": ["b"]]) == "bearer token a")
        #expect(read(["x-api-key": [" b "], "cookie": ["granary_access_token=c"]]) == "apiKey token b")
        #expect(read(["x-nuget-apikey": ["b"]]) == "apiKey token b")
        #expect(read(["cookie": ["x=1; granary_access_token=c; y=2"]]) == "cookie token c")
        #expect(read(["cookie": ["ak_access_token=c"]]) == "cookie token c")
        #expect(read(["cookie": ["granary_access_token=c"]], allowCookie: false) == "none none")
        #expect(read(["cookie": ["notgranary_access_token=c"]]) == "none none")
    }

    @Test("a secret prints as nothing, whatever prints it")
    func redaction() {
        let secret = Secret("canary-7319")
        var dumped = ""
        dump(["s": Optional(secret)], to: &dumped)
        let credentials = Credentials.basic(user: "u", password: "canary-7319")
        for text in [
            "\(secret)", String(reflecting: secret), String(describing: [secret]), dumped, "\(credentials)", String(reflecting: credentials),
        ] {
            #expect(!text.contains("canary"))
        }
    }
}
