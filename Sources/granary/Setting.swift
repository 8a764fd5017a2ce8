import Access
import AdminAPI
import Core
import Outbound
import Registry

/// One row of the configuration: its name in the file, its environment names (ours, then those other products' deployments use), how it is read.
struct Setting: Sendable {
    let name: String
    let environment: [String]
    let accepts: String
    let isSecret: Bool
    let read: @Sendable (String, inout Configuration) -> Bool
    let show: @Sendable (Configuration) -> String

    private static func optional(
        _ name: String, _ also: [String] = [], oneOf allowed: [String]? = nil, secret: Bool = false, mayBeBlank: Bool = true,
        at path: any WritableKeyPath<Configuration, String?> & Sendable
    ) -> Setting {
        Setting(
            name: name, environment: own(name) + also,
            accepts: allowed.map { "one of \($0.joined(separator: ", "))" } ?? (mayBeBlank ? "a text" : "a text: leave it out, or give one"),
            isSecret: secret,
            read: { value, all in
                guard mayBeBlank || value.contains(where: { !$0.isWhitespace }) else { return false }
                guard value.isEmpty || allowed?.contains(value.lowercased()) ?? true else { return false }
                all[keyPath: path] = value.isEmpty ? nil : allowed == nil ? value : value.lowercased()
                return true
            }, show: { $0[keyPath: path] ?? "" })
    }

    private static func text(
        _ name: String, _ also: [String] = [], oneOf allowed: [String]? = nil, at path: any WritableKeyPath<Configuration, String> & Sendable
    ) -> Setting {
        Setting(
            name: name, environment: own(name) + also, accepts: allowed.map { "one of \($0.joined(separator: ", "))" } ?? "a text", isSecret: false,
            read: { value, all in
                guard !value.isEmpty, allowed?.contains(value.lowercased()) ?? true else { return false }
                all[keyPath: path] = allowed == nil ? value : value.lowercased()
                return true
            }, show: { $0[keyPath: path] })
    }

    private static func flag(
        _ name: String, _ also: [String] = [], at path: any WritableKeyPath<Configuration, Bool> & Sendable
    ) -> Setting {
        Setting(
            name: name, environment: own(name) + also, accepts: "true or false", isSecret: false,
            read: { value, all in
                switch value.lowercased() {
                case "true", "1", "yes", "on": all[keyPath: path] = true
                case "false", "0", "no", "off": all[keyPath: path] = false
                default: return false
                }
                return true
            }, show: { String($0[keyPath: path]) })
    }

    private static func number<Value: FixedWidthInteger & Sendable>(
        _ name: String, _ also: [String] = [], in range: ClosedRange<Value>, at path: any WritableKeyPath<Configuration, Value> & Sendable
    ) -> Setting {
        Setting(
            name: name, environment: own(name) + also, accepts: "a whole number from \(range.lowerBound) to \(range.upperBound)", isSecret: false,
            read: { value, all in
                guard let number = Value(value), range.contains(number) else { return false }
                all[keyPath: path] = number
                return true
            }, show: { String($0[keyPath: path]) })
    }

    private static func own(_ name: String) -> [String] { ["GRANARY_\(name.uppercased())"] }

    private static let listen = Setting(
        name: "listen", environment: own("listen") + ["BIND_ADDRESS"], accepts: "HOST:PORT", isSecret: false,
        read: { value, all in
            guard let colon = value.lastIndex(of: ":"), let port = Int(value[value.index(after: colon)...]), (0...65_535).contains(port) else {
                return false
            }
            let host = value[..<colon]
            all.listenHost = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : String(host)
            all.listenPort = port
            return !all.listenHost.isEmpty
        }, show: { $0.listenHost.contains(":") ? "[\($0.listenHost)]:\($0.listenPort)" : "\($0.listenHost):\($0.listenPort)" })

    private static func ranges(
        _ name: String, _ also: [String] = [], at path: any WritableKeyPath<Configuration, [CIDR]> & Sendable
    ) -> Setting {
        Setting(
            name: name, environment: own(name) + also, accepts: "address ranges with commas between them, as 192.0.2.0/24", isSecret: false,
            read: { value, all in
                let words = value.split(separator: ",").map { $0.filter { $0 != " " } }
                let ranges = words.compactMap { CIDR($0) }
                guard ranges.count == words.count else { return false }
                all[keyPath: path] = ranges
                return true
            }, show: { $0[keyPath: path].map { "\($0.base)/\($0.prefix)" }.joined(separator: ",") })
    }

    private static func words(
        _ name: String, _ also: [String] = [], accepts: String, at path: any WritableKeyPath<Configuration, [String]> & Sendable,
        where isGood: @escaping @Sendable (String) -> Bool
    ) -> Setting {
        Setting(
            name: name, environment: own(name) + also, accepts: accepts, isSecret: false,
            read: { value, all in
                let words = value.split(separator: ",").map { $0.filter { $0 != " " } }
                guard words.allSatisfy({ !$0.isEmpty && isGood($0) }) else { return false }
                all[keyPath: path] = words
                return true
            }, show: { $0[keyPath: path].joined(separator: ",") })
    }

    static let all: [Setting] = [
        text("data", ["STORAGE_PATH"], at: \.data), listen, optional("port_file", at: \.portFile),
        optional("base_url", ["AK_EXTERNAL_URL"], at: \.baseURL),
        optional("admin_password", ["ADMIN_PASSWORD"], secret: true, at: \.adminPassword),
        flag("skip_admin_provisioning", ["SKIP_ADMIN_PROVISIONING"], at: \.skipAdminProvisioning),
        optional("jwt_secret", ["JWT_SECRET"], secret: true, mayBeBlank: false, at: \.jwtSecret),
        number("access_token_minutes", ["JWT_ACCESS_TOKEN_EXPIRY_MINUTES"], in: 1...1440, at: \.accessTokenMinutes),
        number("refresh_token_days", ["JWT_REFRESH_TOKEN_EXPIRY_DAYS"], in: 1...365, at: \.refreshTokenDays),
        flag("guest_access", ["AK_GUEST_ACCESS_ENABLED"], at: \.guestAccess),
        number("password_length_min", ["PASSWORD_MIN_LENGTH"], in: 8...128, at: \.passwordLengthMin),
        number("password_history", ["PASSWORD_HISTORY_COUNT"], in: 0...24, at: \.passwordHistory),
        optional("totp_policy", ["TOTP_POLICY"], oneOf: TOTPPolicy.allCases.map(\.rawValue), at: \.totpPolicy),
        number("fresh_login_minutes", in: 0...10_080, at: \.freshLoginMinutes),
        words("cors_origins", ["CORS_ORIGINS"], accepts: "origins with commas between them, as https://ui.example.org; no *", at: \.corsOrigins) {
            BrowserRules.origin($0) != nil
        },
        flag("demo_mode", ["DEMO_MODE"], at: \.demoMode), flag("enforce_https", ["AK_ENFORCE_HTTPS"], at: \.enforceHTTPS),
        ranges("setup_cidrs", at: \.setupCIDRs),
        number("lockout_failures", ["ACCOUNT_LOCKOUT_THRESHOLD"], in: 1...1000, at: \.lockoutFailures),
        number("lockout_minutes", ["ACCOUNT_LOCKOUT_DURATION_MINUTES"], in: 1...10_080, at: \.lockoutMinutes),
        ranges("trusted_proxies", at: \.trustedProxies), flag("rate_limits", ["RATE_LIMIT_ENABLED"], at: \.rateLimits.isOn),
        number("rate_limit_seconds", ["RATE_LIMIT_WINDOW_SECS"], in: 1...86_400, at: \.rateLimits.windowSeconds),
        number("rate_limit_requests", ["RATE_LIMIT_API_PER_MIN"], in: 1...1_000_000_000, at: \.rateLimits.requestsMax),
        number("rate_limit_logins", ["RATE_LIMIT_AUTH_PER_MIN"], in: 1...1_000_000_000, at: \.rateLimits.loginsMax),
        words("rate_limit_exempt_usernames", ["RATE_LIMIT_EXEMPT_USERNAMES"], accepts: "user names with commas between them", at: \.rateLimitExempt) {
            _ in true
        },
        ranges("rate_limit_exempt_cidrs", ["RATE_LIMIT_TRUSTED_CIDRS"], at: \.rateLimits.exemptCIDRs),
        number("upload_bytes_max", ["MAX_UPLOAD_SIZE"], in: 0...Int64.max, at: \.uploadBytesMax), optional("tls_certificate", at: \.tlsCertificate),
        optional("tls_key", at: \.tlsKey),
        text("log_level", ["LOG_LEVEL"], oneOf: ["trace", "debug", "info", "notice", "warning", "error", "critical"], at: \.logLevel),
        flag("access_log", at: \.accessLog), flag("detailed_health", ["EXPOSE_DETAILED_HEALTH"], at: \.detailedHealth),
        number("event_loop_threads", in: 0...256, at: \.eventLoopThreads), number("connections_max", in: 1...1_000_000, at: \.connectionsMax),
        number("connections_per_address_max", in: 1...1_000_000, at: \.connectionsPerAddressMax),
        number("graceful_seconds", in: 0...3600, at: \.gracefulSeconds), number("block_cache_bytes", in: 1 << 20...1 << 40, at: \.blockCacheBytes),
        number("view_cache_bytes", in: 1 << 20...1 << 40, at: \.viewCacheBytes),
        number("own_file_bytes_min", in: 1 << 20...1 << 28, at: \.ownFileBytesMin),
        number("upload_lifetime_hours", in: 1...8760, at: \.uploadLifetimeHours),
        number("segment_bytes_max", in: 1 << 20...1 << 40, at: \.segmentBytesMax),
        number("verify_window_hours", in: 0...8760, at: \.verifyWindowHours), flag("strict_reads", at: \.strictReads),
        flag("chunking", at: \.chunking), number("chunk_delay_seconds", in: 0...31_536_000, at: \.chunkDelaySeconds),
        number("chunk_bytes_per_second_max", in: 0...1 << 40, at: \.chunkBytesPerSecondMax),
        flag("archive_opening", at: \.archiveOpening), number("archive_cold_hours", in: 0...87_600, at: \.archiveColdHours),
        number("archive_bytes_max", in: 1 << 20...1 << 30, at: \.archiveBytesMax),
        number("archive_bytes_per_second_max", in: 0...1 << 40, at: \.archiveBytesPerSecondMax),
        optional("backup_directory", at: \.backupDirectory), optional("backup_s3_bucket", at: \.backupS3Bucket),
        optional("backup_s3_region", at: \.backupS3Region), optional("backup_s3_endpoint", at: \.backupS3Endpoint),
        optional("backup_s3_prefix", at: \.backupS3Prefix),
        optional("backup_s3_access_key_id", secret: true, mayBeBlank: false, at: \.backupS3AccessKey),
        optional("backup_s3_secret_access_key", secret: true, mayBeBlank: false, at: \.backupS3SecretKey),
        optional("backup_s3_session_token", secret: true, mayBeBlank: false, at: \.backupS3SessionToken),
        text("backup_s3_path_style", oneOf: ["auto", "true", "false"], at: \.backupS3PathStyle),
        number("audit_days", in: 0...36_500, at: \.auditDays), flag("audit_reads", at: \.auditReads),
        number("scrub_interval_days", in: 0...3650, at: \.scrubIntervalDays),
        number("scrub_bytes_per_second_max", in: 0...1 << 40, at: \.scrubBytesPerSecondMax),
        number("scrub_tier_interval_days", in: 0...3650, at: \.scrubTierIntervalDays),
        number("sweep_interval_minutes", in: 0...525_600, at: \.sweepIntervalMinutes),
        number("sweep_grace_minutes", in: 0...525_600, at: \.sweepGraceMinutes),
        number("trash_days", in: 0...Registry.trashDaysMax, at: \.trashDays),
        number("sweep_live_percent_min", in: 0...100, at: \.sweepLivePercentMin),
        number("sweep_bytes_per_second_max", in: 0...1 << 40, at: \.sweepBytesPerSecondMax),
        optional("database_url", ["DATABASE_URL"], secret: true, mayBeBlank: false, at: \.databaseURL),
        optional("keys_directory", at: \.keysDirectory), optional("node_url", at: \.nodeURL),
        number("shared_cache_bytes_max", in: 0...1 << 60, at: \.sharedCacheBytesMax),
        text("shared_uploads", oneOf: ["before", "behind"], at: \.sharedUploads),
        number("shared_uploads_behind_bytes_max", in: 0...1 << 60, at: \.sharedUploadsBehindBytesMax),
        optional("tier_directory", at: \.tierDirectory),
        text("tier_policy", oneOf: ["write-behind", "cold-only", "write-through"], at: \.tierPolicy),
        number("tier_delay_seconds", in: 1...86_400, at: \.tierDelaySeconds),
        number("tier_disk_bytes_max", in: 0...1 << 60, at: \.tierDiskBytesMax), number("tier_cold_hours", in: 1...87_600, at: \.tierColdHours),
        number("tier_delete_delay_minutes", in: 1...525_600, at: \.tierDeleteDelayMinutes),
        number("tier_interval_seconds", in: 1...3600, at: \.tierIntervalSeconds), optional("s3_bucket", ["S3_BUCKET"], at: \.s3Bucket),
        text("s3_region", ["S3_REGION"], at: \.s3Region), optional("s3_endpoint", ["S3_ENDPOINT"], at: \.s3Endpoint),
        optional("s3_prefix", ["S3_PREFIX"], at: \.s3Prefix),
        optional("s3_access_key_id", ["S3_ACCESS_KEY_ID"], secret: true, mayBeBlank: false, at: \.s3AccessKey),
        optional("s3_secret_access_key", ["S3_SECRET_ACCESS_KEY"], secret: true, mayBeBlank: false, at: \.s3SecretKey),
        optional("s3_session_token", ["S3_SESSION_TOKEN"], secret: true, mayBeBlank: false, at: \.s3SessionToken),
        text("s3_path_style", oneOf: ["auto", "true", "false"], at: \.s3PathStyle), flag("s3_allow_private", at: \.s3AllowPrivate),
        flag("presigned_downloads", ["PRESIGNED_DOWNLOADS_ENABLED"], at: \.presignedDownloads),
        number("presigned_downloads_seconds", ["PRESIGNED_DOWNLOADS_EXPIRY_SECS"], in: 1...3600, at: \.presignedDownloadsSeconds),
        optional("outbound_ca_file", ["CUSTOM_CA_CERT_PATH"], at: \.outboundCAFile),
        optional("outbound_proxy", at: \.outboundProxy),
        words("outbound_proxy_exceptions", accepts: "hosts and domains with commas between them", at: \.outboundProxyExceptions) {
            !$0.contains("/")
        },
        ranges("outbound_allowed_cidrs", ["AK_SSRF_ALLOW_PRIVATE_CIDRS"], at: \.outboundAllowedCIDRs),
        words("outbound_allowed_names", accepts: "host names and domains with commas between them", at: \.outboundAllowedNames) {
            !$0.hasPrefix("[") && $0.contains { $0 != "." } && Origin($0)?.host == $0.lowercased()
        },
    ]

    /// Names that are ours without being settings: the set-up scripts read them.
    static let reserved: Set<String> = ["GRANARY_DATA_DIR", "GRANARY_TOOLS", "GRANARY_TOKEN"]

    /// Names known from other products' deployments whose feature this version does not serve.
    static let unbuilt: Set<String> = [
        "STORAGE_BACKEND", "SETUP_PASSWORD_HINT", "GLOBAL_MAX_CONCURRENCY",
        "GLOBAL_REQUEST_TIMEOUT_SECS",
        "QUARANTINE_ENABLED", "QUARANTINE_DURATION_MINUTES",
        "GRPC_PORT", "METRICS_PORT",
        "SSO_ENCRYPTION_KEY", "AK_WEBHOOK_SECRET_KEY", "WEBHOOKS_V2_PRODUCER_ENABLED", "PEER_INSTANCE_NAME", "PEER_PUBLIC_ENDPOINT", "PEER_API_KEY",
        "TRIVY_URL", "OPENSCAP_URL", "OPENSEARCH_URL", "DEPENDENCY_TRACK_URL", "DEPENDENCY_TRACK_ENABLED", "PLUGINS_DIR", "PLUGINS_REQUIRE_SIGNED",
        "PLUGINS_TRUSTED_PUBKEY", "GC_SCHEDULE", "BLOB_GC_ENABLED", "LIFECYCLE_CHECK_INTERVAL_SECS", "UPSTREAM_ALLOW_PRIVATE_IPS",
        "AK_DEFAULT_DOCKER_MIRROR_REPO", "RATE_LIMIT_SEARCH_PER_MIN", "RATE_LIMIT_PRESIGN_PER_MIN",
        "RATE_LIMIT_LOGIN_PER_WINDOW", "RATE_LIMIT_LOGIN_WINDOW_SECS",
    ]
    static let unbuiltPrefixes = [
        "GCS_", "AZURE_STORAGE_",
        "PASSWORD_REQUIRE_", "PASSWORD_EXPIRY_", "OIDC_", "LDAP_", "SAML_", "SMTP_", "BACKUP_S3_",
    ]
}
