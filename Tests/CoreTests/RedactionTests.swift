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

    @Test("of a target tokens in its path and the values of secret parameters are struck out, however their names are written")
    func targets() {
        let digest = "sha256:" + String(repeating: "0a", count: 32)
        let cases = [
            ("/v2/a/blobs/uploads/0193?digest=\(digest)", "/v2/a/blobs/uploads/0193?digest=\(digest)"),
            ("/v2/a/blobs/\(digest)", "/v2/a/blobs/\(digest)"),
            ("/-/user/token/\(Self.token)", "/-/user/token/***"), ("/x/\(Self.signed)/y?a", "/x/***/y?a"), ("/\(Self.token)?a=1", "/***?a=1"),
            ("/x?ticket=1&a=2", "/x?ticket=***&a=2"), ("/x?a=2&TOKEN=1", "/x?a=2&TOKEN=***"), ("/x?%74icket=1", "/x?%74icket=***"),
            ("/x?a=%74+1", "/x?a=%74+1"),
            ("/x?token", "/x?token"), ("?", "?"), ("", ""), ("//?&&=", "//?&&="),
        ]
        for (target, wanted) in cases { #expect(Redaction.target(target) == wanted) }
        #expect(Redaction.target("/" + String(repeating: "a", count: 4000)).utf8.count == 2048)
    }
}
