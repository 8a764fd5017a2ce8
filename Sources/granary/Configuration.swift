import AdminAPI
import Core
import Outbound
import Yams

/// Every setting, typed. Made from three sources, later ones winning: the file, the environment, the flags.
struct Configuration: Sendable {
    var data = "./data"
    var listenHost = "127.0.0.1"
    var listenPort = 8080
    var portFile: String?
    var baseURL: String?
    var adminPassword: String?
    var skipAdminProvisioning = false
    var jwtSecret: String?
    var accessTokenMinutes: Int64 = 30
    var refreshTokenDays: Int64 = 7
    var guestAccess = true
    var passwordLengthMin = 8
    var setupCIDRs = ["127.0.0.0/8", "::1"].compactMap { CIDR($0) }
    var passwordHistory = 4
    var totpPolicy: String?
    var freshLoginMinutes: Int64 = 60
    var corsOrigins: [String] = []
    var demoMode = false
    var enforceHTTPS = false
    var lockoutFailures = 5
    var lockoutMinutes: Int64 = 30
    var trustedProxies: [CIDR] = []
    var rateLimits = RequestLimits()
    var rateLimitExempt: [String] = []
    var uploadBytesMax: Int64 = 10 << 30
    var tlsCertificate: String?
    var tlsKey: String?
    var logLevel = "info"
    var accessLog = true
    var detailedHealth = false
    var eventLoopThreads = 0
    var connectionsMax = 10_000
    var connectionsPerAddressMax = 5_000
    var gracefulSeconds: Int64 = 30
    var blockCacheBytes = 32 << 20
    var viewCacheBytes = 16 << 20
    var ownFileBytesMin: Int64 = 8 << 20
    var uploadLifetimeHours: Int64 = 24
    var segmentBytesMax: Int64 = 256 << 20
    var verifyWindowHours: Int64 = 24
    var strictReads = false
    var chunking = true
    var archiveOpening = true
    var archiveColdHours: Int64 = 7 * 24
    var archiveBytesMax: Int64 = 64 << 20
    var archiveBytesPerSecondMax: Int64 = 8 << 20
    var chunkDelaySeconds: Int64 = 60
    var chunkBytesPerSecondMax: Int64 = 32 << 20
    var backupDirectory: String?
    var backupS3Bucket: String?
    var backupS3Region: String?
    var backupS3Endpoint: String?
    var backupS3Prefix: String?
    var backupS3AccessKey: String?
    var backupS3SecretKey: String?
    var backupS3SessionToken: String?
    var backupS3PathStyle = "auto"
    var scrubIntervalDays: Int64 = 14
    var auditDays: Int64 = 400
    var auditReads = false
    var scrubBytesPerSecondMax: Int64 = 16 << 20
    var scrubTierIntervalDays: Int64 = 90
    var sweepIntervalMinutes: Int64 = 60
    var sweepGraceMinutes: Int64 = 60
    var trashDays: Int64 = 7
    var sweepLivePercentMin = 50
    var sweepBytesPerSecondMax: Int64 = 32 << 20
    var outboundCAFile: String?
    var outboundProxy: String?
    var outboundProxyExceptions: [String] = []
    var outboundAllowedCIDRs: [CIDR] = []
    var outboundAllowedNames: [String] = []
    var databaseURL: String?
    var keysDirectory: String?
    var nodeURL: String?
    var sharedCacheBytesMax: Int64 = 0
    var sharedUploads = "before"
    var sharedUploadsBehindBytesMax: Int64 = 4 << 30
    var tierDirectory: String?
    var tierPolicy = "write-behind"
    var tierDelaySeconds: Int64 = 300
    var tierDiskBytesMax: Int64 = 0
    var tierColdHours: Int64 = 720
    var tierDeleteDelayMinutes: Int64 = 1440
    var tierIntervalSeconds: Int64 = 5
    var s3Bucket: String?
    var s3Region = "us-east-1"
    var s3Endpoint: String?
    var s3Prefix: String?
    var s3AccessKey: String?
    var s3SecretKey: String?
    var s3SessionToken: String?
    var s3PathStyle = "auto"
    var s3AllowPrivate = false
    var presignedDownloads = false
    var presignedDownloadsSeconds: Int64 = 60
    /// What was given but is not served by this version: said at start-up.
    var warnings: [String] = []

    /// - Throws: `invalid` naming the setting, the value and what is accepted.
    static func load(file: String?, environment: [String: String], flags: [(name: String, value: String)]) throws(RegistryError) -> Configuration {
        var configuration = Configuration()
        if let file {
            for (name, value) in try values(ofFile: file) { try configuration.set(name, to: value, from: "file \(file)") }
        }
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) {
            if let setting = Setting.all.first(where: { $0.environment.contains(name) }) {
                // An empty variable is one that was not set: compose files pass them on like that.
                if !value.isEmpty { try configuration.set(setting.name, to: value, from: "environment \(name)") }
            } else if Setting.unbuilt.contains(name) || Setting.unbuiltPrefixes.contains(where: name.hasPrefix) {
                configuration.warnings.append("\(name) is set, but this version does not serve what it configures")
            } else if name.hasPrefix("GRANARY_"), !Setting.reserved.contains(name) {
                // The environment is shared with scripts and other programs: a typing error is said, not fatal.
                configuration.warnings.append("\(name) is set, but there is no such setting")
            }
        }
        for (name, value) in flags { try configuration.set(name, to: value, from: "flag") }
        try configuration.check()
        return configuration
    }

    private mutating func set(_ name: String, to value: String, from source: String) throws(RegistryError) {
        guard let setting = Setting.all.first(where: { $0.name == name }) else {
            throw Configuration.refused(name, "there is no such setting (\(source))")
        }
        guard setting.read(value, &self) else {
            throw Configuration.refused(name, "\(setting.isSecret ? "the value" : "'\(value)'") is not \(setting.accepts) (\(source))")
        }
    }

    private func check() throws(RegistryError) {
        guard (tlsCertificate == nil) == (tlsKey == nil) else {
            throw Configuration.refused("tls_certificate", "TLS needs both tls_certificate and tls_key")
        }
        try checkTier()
        try checkNode()
        try checkBackup()
    }

    private static func values(ofFile path: String) throws(RegistryError) -> [(String, String)] {
        guard let text = TextFile.read(path) else { throw refused("config", "the file \(path) cannot be read") }
        let root: Yams.Node?
        do { root = try Yams.compose(yaml: text) } catch {
            throw RegistryError(.invalid, subject: .configuration("config"), reason: "the file \(path) is not YAML", cause: "\(error)")
        }
        guard let root else { return [] }
        guard let mapping = root.mapping else { throw refused("config", "the file \(path) must hold a mapping of settings") }
        var values: [(String, String)] = []
        for (key, value) in mapping {
            guard let name = key.string, let scalar = value.scalar else { throw refused(key.string ?? "config", "a setting has one plain value") }
            values.append((name, scalar.string))
        }
        return values
    }

    static func refused(_ name: String, _ reason: String) -> RegistryError {
        RegistryError(.invalid, subject: .configuration(name), reason: "\(name): \(reason)")
    }

    /// One `name: value` line per setting, in the order of the table; secrets say only whether they are set.
    var effective: String {
        Setting.all.map { setting in
            let value = setting.show(self)
            return setting.isSecret ? "\(setting.name): \(value.isEmpty ? "" : "<set>")\n" : "\(setting.name): \(value)\n"
        }.joined()
    }
}
