import HTTPTypes
import OCI
import TestSupport
import Testing

@Suite("OCI tokens") struct TokenTests {
    let harness = FrontendHarness(OCIFrontend(), repositories: ["lib", "other"])

    private func post(_ form: String) async -> FrontendHarness.Answer {
        await harness.send(
            .post, "/v2/token", [.contentType: "application/x-www-form-urlencoded"], body: Array(form.utf8), as: .anonymous)
    }

    @Test("a token holds of every wanted scope what the caller has")
    func get() async {
        let target = "/v2/token?service=granary&account=alice&scope=repository:lib/app:pull,push&scope=repository:other/x:pull%20repository:lib:*"
        #expect(
            await harness.send(.get, target, as: .reader).transcript == """
                200
                cache-control: no-store
                content-type: application/json

                {"token":"bob;lib/app=read;other/x=read;lib=read","access_token":"bob;lib/app=read;other/x=read;lib=read",\
                "expires_in":300,"issued_at":"2027-01-15T08:00:00.000Z"}
                """)
    }

    @Test("without a credential there is a token for what everybody may read")
    func anonymous() async {
        let answer = await harness.send(.get, "/v2/token?scope=repository:lib/app:pull,push", as: .anonymous)
        #expect(answer.text.hasPrefix(#"{"token":"anonymous;lib/app=read""#))
    }

    @Test("the form takes a password, or an API token as refresh token")
    func form() async {
        let password = await post("grant_type=password&service=granary&client_id=x&username=carol&password=correct&scope=repository%3Alib%3Apull")
        #expect(password.text.hasPrefix(#"{"token":"carol;lib=read""#))
        let refresh = await post("grant_type=refresh_token&refresh_token=correct&service=granary")
        #expect(refresh.text.hasPrefix(#"{"token":"<token>""#))
        #expect(await post("").text.hasPrefix(#"{"token":"anonymous""#))
    }

    @Test("a wrong password, grant or service is refused")
    func refused() async {
        let wrong = await post("grant_type=password&username=carol&password=guess")
        #expect(wrong.outcome == "401 UNAUTHORIZED")
        #expect(wrong.field("www-authenticate") == #"Basic realm="granary""#)
        #expect(await post("grant_type=authorization_code").outcome == "400 UNSUPPORTED")
        #expect(await harness.send(.get, "/v2/token?service=elsewhere").outcome == "400 UNSUPPORTED")
        #expect(await post(String(repeating: "x", count: 70_000)).outcome == "413 SIZE_INVALID")
    }
}
