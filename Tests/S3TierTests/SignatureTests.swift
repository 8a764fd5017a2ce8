import Core
import Testing

@testable import S3Tier

/// The published examples: "Examples: Signature Calculations" and "Authenticating Requests: Using Query Parameters" of the S3 API reference, and
/// the Signature Version 4 test suite.
@Suite("Signature V4 gives what is published") struct SignatureTests {
    static let bucket = SignatureV4(
        credentials: S3Credentials(accessKey: "AKIAIOSFODNN7EXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), region: "us-east-1")
    static let suite = SignatureV4(
        credentials: S3Credentials(accessKey: "AKIDEXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), region: "us-east-1",
        service: "service")
    static let day = Timestamp(rfc3339: "2013-05-24T00:00:00Z") ?? Timestamp(milliseconds: 0)
    static let minute = Timestamp(rfc3339: "2015-08-30T12:36:00Z") ?? Timestamp(milliseconds: 0)
    static let host = "examplebucket.s3.amazonaws.com"

    private func authorization(_ request: SignatureV4.Request, _ payload: SignatureV4.Payload = .empty) -> String {
        Self.bucket.fields(for: request, payload, at: Self.day).last?.value ?? ""
    }
    private func line(_ names: String, _ signature: String) -> String {
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=\(names), Signature=\(signature)"
    }

    @Test("an object is read with a range")
    func getObject() {
        let request = SignatureV4.Request("GET", host: Self.host, path: "/test.txt", fields: [("Range", "bytes=0-9")])
        #expect(
            authorization(request)
                == line("host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"))
    }

    @Test("an object is written, its name escaped, its payload signed")
    func putObject() {
        let request = SignatureV4.Request(
            "PUT", host: Self.host, path: "/test%24file.text",
            fields: [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")])
        #expect(
            authorization(request, .digest(Digest.of(.sha256, "Welcome to Amazon S3.".utf8)))
                == line(
                    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"))
    }

    @Test("a query without a value, and one with two")
    func queries() {
        let names = "host;x-amz-content-sha256;x-amz-date"
        #expect(
            authorization(.init("GET", host: Self.host, path: "/", query: [("lifecycle", "")]))
                == line(names, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"))
        #expect(
            authorization(.init("GET", host: Self.host, path: "/", query: [("prefix", "J"), ("max-keys", "2")]))
                == line(names, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"))
    }

    @Test("a presigned URL")
    func presigned() {
        let query = Self.bucket.presignedQuery(for: .init("GET", host: Self.host, path: "/test.txt"), expiresSeconds: 86_400, at: Self.day)
        #expect(
            query
                == "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
                + "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
                + "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    }

    @Test(
        "the algorithm's own test suite",
        arguments: [
            ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", [(String, String)]()),
            ("GET", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500", [("Param2", "value2"), ("Param1", "value1")]),
            ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b", []),
        ])
    func suite(_ method: String, _ signature: String, _ query: [(String, String)]) {
        let request = SignatureV4.Request(method, host: "example.amazonaws.com", path: "/", query: query.map { (name: $0.0, value: $0.1) })
        let authorization = Self.suite.fields(for: request, .empty, at: Self.minute).last?.value ?? ""
        #expect(authorization.hasSuffix("SignedHeaders=host;x-amz-date, Signature=\(signature)"), "\(authorization)")
    }

    @Test("a session token is sent and signed; an unsigned payload says so")
    func tokens() {
        let signer = SignatureV4(credentials: S3Credentials(accessKey: "a", secretKey: "b", sessionToken: "t"), region: "r")
        let fields = signer.fields(for: .init("PUT", host: "h", path: "/k"), .unsigned, at: Self.day)
        #expect(fields.map(\.name) == ["x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "Authorization"])
        #expect(fields.map(\.value).dropLast() == ["20130524T000000Z", "UNSIGNED-PAYLOAD", "t"])
        #expect(fields.last?.value.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,") == true)
    }

    @Test("credentials are never printed")
    func secrecy() {
        let credentials = S3Credentials(accessKey: "AK", secretKey: "topsecret")
        #expect("\(credentials) \(String(reflecting: credentials))".contains("topsecret") == false)
    }
}
