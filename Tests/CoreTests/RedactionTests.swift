import Core
import Testing

@Suite("Redaction") struct RedactionTests {
    private static let token = "granary_" + String(repeating: "0a1b2c3d", count: 8)
    private static let signed = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x"

    @Test("tokens are struck out wherever they stand, and nothing else is")
    func tokens() {
        let cases = [
            (Self.token, "***"), ("nothing is served at /t/\(Self.token)/x", "nothing is served at /t/***/x"), (Self.signed, "***"),
            ("Bearer \(Self.signed), \(Self.token)!", "Bearer ***, ***!"), ("\(Self.token)\(Self.token)", "***"), ("", ""),
            ("the folder granary_data is not empty", "the folder granary_data is not empty"), ("granary_", "granary_"),
            ("eyJ is how it begins, and that is all of it", "eyJ is how it begins, and that is all of it"),
            ("user granary_token_of_a_long_name", "user ***"), ("ä\(Self.token)ä", "ä***ä"),
        ]
        for (text, wanted) in cases { #expect(Redaction.text(text) == wanted) }
    }
}
