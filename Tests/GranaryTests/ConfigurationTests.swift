import Core
import TestSupport
import Testing

@testable import granary

@Suite("configuration") struct ConfigurationTests {
    private func load(
        _ environment: [String: String] = [:], flags: [(name: String, value: String)] = [], file: String? = nil
    ) throws -> Configuration {
        guard let file else { return try Configuration.load(file: nil, environment: environment, flags: flags) }
        let directory = try TemporaryDirectory()
        try TextFile.write(file, to: directory.file("granary.yaml"))
        return try Configuration.load(file: directory.file("granary.yaml"), environment: environment, flags: flags)
    }

    private func refusal(
        _ environment: [String: String] = [:], flags: [(name: String, value: String)] = [], file: String? = nil
    ) -> String? {
        do {
            _ = try load(environment, flags: flags, file: file)
            return nil
        } catch { return (error as? RegistryError)?.reason }
    }

    @Test("a flag wins over the environment, which wins over the file, which wins over the default")
    func precedence() throws {
        let file = "log_level: error\ngraceful_seconds: 5\n"
        #expect(try load().logLevel == "info")
        #expect(try load(file: file).logLevel == "error")
        #expect(try load(["LOG_LEVEL": "debug"], file: file).logLevel == "debug")
        #expect(try load(["LOG_LEVEL": "debug"], flags: [("log_level", "trace")], file: file).logLevel == "trace")
        #expect(try load(["LOG_LEVEL": "debug"], file: file).gracefulSeconds == 5)
    }

    @Test("a bucket is set by the names other deployments use; what does not go together is refused")
    func bucket() throws {
        let keys = ["S3_ACCESS_KEY_ID": "key", "S3_SECRET_ACCESS_KEY": "secret"]
        let all = try load(keys.merging(["S3_BUCKET": "b", "S3_PREFIX": "p/q", "S3_ENDPOINT": "http://127.0.0.1:1"]) { a, _ in a })
        #expect(all.s3Bucket == "b")
        #expect(all.s3Prefix == "p/q")
        #expect(all.effective.contains("s3_secret_access_key: <set>\n"))
        #expect(!all.effective.contains("secret\n"))
        #expect(try load().s3Bucket == nil)
        let refusals: [([(name: String, value: String)], String)] = [
            ([("s3_bucket", "b")], "s3_access_key_id: a bucket needs both s3_access_key_id and s3_secret_access_key"),
            ([("s3_access_key_id", "k")], "s3_access_key_id: a bucket needs both s3_access_key_id and s3_secret_access_key"),
            (
                [("s3_bucket", "b"), ("s3_access_key_id", "k"), ("s3_secret_access_key", "s"), ("tier_directory", "/d")],
                "tier_directory: a store has one tier: a bucket or a directory"
            ),
            (
                [("tier_policy", "write-through")],
                "tier_policy: nothing can be written through without a tier: set s3_bucket or tier_directory"
            ),
            (
                [("shared_uploads", "behind")],
                "shared_uploads: only nodes that share a database share a bucket: set database_url, or see tier_policy"
            ),
            ([("presigned_downloads", "true")], "presigned_downloads: only a bucket can be downloaded from: set s3_bucket"),
        ]
        for (flags, reason) in refusals { #expect(refusal(flags: flags) == reason) }
    }

    @Test("names of other deployments and ours set the same; an empty variable is none")
    func names() throws {
        #expect(try load(["STORAGE_PATH": "/srv/a"]).data == "/srv/a")
        #expect(try load(["GRANARY_DATA": "/srv/b"]).data == "/srv/b")
        let listens = try load(["BIND_ADDRESS": "[::1]:9000"])
        #expect(listens.listenHost == "::1")
        #expect(listens.listenPort == 9000)
        #expect(try load(["MAX_UPLOAD_SIZE": "5"]).uploadBytesMax == 5)
        #expect(try load(["ADMIN_PASSWORD": "", "JWT_SECRET": "", "LOG_LEVEL": ""]).jwtSecret == nil)
    }

    @Test("what is wrong is said: the setting, the value, what is accepted, and where it came from")
    func refusals() {
        #expect(refusal(flags: [("nonesuch", "1")]) == "nonesuch: there is no such setting (flag)")
        #expect(refusal(file: "nonesuch: 1\n")?.hasPrefix("nonesuch: there is no such setting (file ") == true)
        #expect(
            refusal(["LOG_LEVEL": "loud"])
                == "log_level: 'loud' is not one of trace, debug, info, notice, warning, error, critical (environment LOG_LEVEL)")
        #expect(refusal(flags: [("listen", "nowhere")]) == "listen: 'nowhere' is not HOST:PORT (flag)")
        #expect(refusal(flags: [("graceful_seconds", "-1")]) == "graceful_seconds: '-1' is not a whole number from 0 to 3600 (flag)")
        #expect(refusal(flags: [("tls_key", "k.pem")]) == "tls_certificate: TLS needs both tls_certificate and tls_key")
        #expect(refusal(file: "- a\n")?.contains("must hold a mapping") == true)
        #expect(refusal(file: "log_level: [a]\n") == "log_level: a setting has one plain value")
        for bad in ["*.internal", "http://a", "a:80", "a/b", "[::1]", "."] {
            #expect(refusal(flags: [("outbound_allowed_names", bad)])?.contains("is not host names and domains with commas") == true, "\(bad)")
        }
        #expect(refusal(flags: [("jwt_secret", " ")]) == "jwt_secret: the value is not a text: leave it out, or give one (flag)")
    }

    @Test("what is set and not served is said, and does not stop the start")
    func warnings() throws {
        let loaded = try load(["SMTP_HOST": "canary", "OIDC_ISSUER": "x", "GRANARY_TYPO": "x", "HOME": "/root"])
        #expect(loaded.warnings.map { String($0.split(separator: " ")[0]) } == ["GRANARY_TYPO", "OIDC_ISSUER", "SMTP_HOST"])
        #expect(!loaded.warnings.joined().contains("canary"))
    }

    @Test("a node that shares a database says what it lacks, and how others reach it") func node() throws {
        let database = ["DATABASE_URL": "postgres://u:canary@h/d"]
        #expect(refusal(database)?.hasPrefix("database_url: nodes that share a database share their bytes, too") == true)
        #expect(refusal(["GRANARY_NODE_URL": "http://a"])?.hasPrefix("node_url: only nodes that share a database") == true)
        let shared = database.merging(["GRANARY_TIER_DIRECTORY": "/srv/objects"]) { $1 }
        #expect(refusal(shared.merging(["BIND_ADDRESS": "0.0.0.0:80"]) { $1 })?.hasPrefix("node_url: other nodes must know") == true)
        #expect(refusal(shared.merging(["GRANARY_NODE_URL": "a:80"]) { $1 })?.hasPrefix("node_url: a URL") == true)
        let loaded = try load(shared.merging(["BIND_ADDRESS": "[::1]:0"]) { $1 })
        #expect(loaded.nodeURL(port: 90) == "http://[::1]:90")
        #expect(loaded.effective.contains("database_url: <set>\n") && !loaded.effective.contains("canary"))
        #expect(throws: RegistryError.self) { try loaded.requireOwnCatalog() }
        #expect(try load(shared.merging(["GRANARY_NODE_URL": "https://n", "BIND_ADDRESS": "0.0.0.0:80"]) { $1 }).nodeURL(port: 80) == "https://n")
    }

    @Test("the effective settings name every setting and show no secret")
    func effective() throws {
        let shown = try load(["ADMIN_PASSWORD": "canary-one", "JWT_SECRET": "canary-two-canary-two-canary-two-canary"]).effective
        #expect(!shown.contains("canary"))
        #expect(shown.contains("admin_password: <set>\n"))
        #expect(shown.contains("listen: 127.0.0.1:8080\n"))
        #expect(shown.split(separator: "\n").map { String($0.prefix { $0 != ":" }) } == Setting.all.map(\.name))
    }
}
