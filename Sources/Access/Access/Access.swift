public import Catalog
public import Core
public import Logging
import Synchronization

/// What an administrator may set about access.
public struct AccessOptions: Sendable {
    /// Signs tokens: at least 32 bytes of random text. Without a configured one, `KeyFile` makes one.
    public var jwtSecret: Secret
    public var accessMinutes: Int64
    public var refreshDays: Int64
    public var registryTokenSeconds: Int64
    public var passwordCost: PasswordCost
    /// Password hashes computed at one time.
    public var hashesAtOnceMax: Int
    public var passwordLengthMin: Int
    public var guessLimits: GuessLimits
    /// How many earlier passwords a new one must differ from, beside the current one.
    public var passwordHistory: Int
    /// nil: what administrators say over REST.
    public var totpPolicy: TOTPPolicy?
    /// How long after a login its session makes tokens and changes second factors; 0: as long as it lasts.
    public var freshLoginMinutes: Int64
    /// Seals the secrets of second factors; without it there are none.
    public var sealer: Sealer?
    /// Off: nobody reads anything without credentials, public or not.
    public var guestAccess: Bool
    /// Verified credentials kept in memory.
    public var verifiedMax: Int
    /// Of several nodes this one's number, which its tickets name; 0: there is one.
    public var node: UInt16 = 0

    public init(
        jwtSecret: Secret, accessMinutes: Int64 = 30, refreshDays: Int64 = 7, registryTokenSeconds: Int64 = 300,
        passwordCost: PasswordCost = PasswordCost(), hashesAtOnceMax: Int = 2, passwordLengthMin: Int = 8, guessLimits: GuessLimits = GuessLimits(),
        passwordHistory: Int = 4, totpPolicy: TOTPPolicy? = nil, freshLoginMinutes: Int64 = 60, sealer: Sealer? = nil,
        guestAccess: Bool = true, verifiedMax: Int = 8192
    ) {
        self.jwtSecret = jwtSecret
        self.accessMinutes = accessMinutes
        self.refreshDays = refreshDays
        self.registryTokenSeconds = registryTokenSeconds
        self.passwordCost = passwordCost
        self.hashesAtOnceMax = hashesAtOnceMax
        self.passwordLengthMin = passwordLengthMin
        self.guessLimits = guessLimits
        self.passwordHistory = passwordHistory
        self.totpPolicy = totpPolicy
        self.freshLoginMinutes = freshLoginMinutes
        self.sealer = sealer
        self.guestAccess = guestAccess
        self.verifiedMax = verifiedMax
    }
}

/// Who is calling, and what they may do.
public final class Access: Sendable {
    /// What of the setup lock changes while we run.
    struct Setup {
        var required = false
        /// Where the first administrator's password waits to be read; removed once it was changed.
        var passwordFile: String?
    }

    let catalog: any Catalog
    let world: World
    public let options: AccessOptions
    let log: Logger
    /// nil: nobody keeps what is decided.
    let decisions: (any DecisionLog)?
    let signer: TokenSigner
    let hasher: PasswordHasher
    let policy: PasswordPolicy
    let verified: VerifiedCache
    let guesses: Guesses
    let proofs = ProofsUnderWay()
    /// Wrong codes of second factors.
    let codeGuesses: Guesses
    /// What an unknown user's password is compared with.
    let decoyHash: String
    let setup = Mutex(Setup())
    let tickets = TicketBox(countMax: Access.ticketsMax)
    let uses = TokenUses()
    /// Of the marks that stand in the audit log for names that are no account's.
    let markSalt: [UInt8]

    /// - Throws: `invalid` for options no server should start with.
    public init(
        catalog: any Catalog, world: World, options: AccessOptions, decisions: (any DecisionLog)? = nil, log: Logger
    ) throws(RegistryError) {
        func refuse(_ key: String, _ reason: String) -> RegistryError { RegistryError(.invalid, subject: .configuration(key), reason: reason) }
        guard (1...1440).contains(options.accessMinutes) else { throw refuse("access_token_minutes", "1 to 1440") }
        guard (1...365).contains(options.refreshDays) else { throw refuse("refresh_token_days", "1 to 365") }
        guard (60...3600).contains(options.registryTokenSeconds) else { throw refuse("registry_token_seconds", "60 to 3600") }
        guard (8...128).contains(options.passwordLengthMin) else { throw refuse("password_min_length", "8 to 128") }
        guard options.hashesAtOnceMax >= 1, options.verifiedMax >= 1 else { throw refuse("access", "at least one") }
        guard options.guessLimits.failuresMax >= 1, options.guessLimits.failuresPerAddressMax >= 1, options.guessLimits.seconds >= 1 else {
            throw refuse("lockout_failures", "at least one")
        }
        guard (0...24).contains(options.passwordHistory) else { throw refuse("password_history", "0 to 24") }
        guard (0...10_080).contains(options.freshLoginMinutes) else { throw refuse("fresh_login_minutes", "0 to 10080") }
        guard options.totpPolicy ?? .disabled == .disabled || options.sealer != nil else {
            throw refuse("totp_policy", "second factors need a sealing key")
        }
        self.catalog = catalog
        self.world = world
        self.options = options
        self.log = log
        self.decisions = decisions
        signer = try TokenSigner(secret: options.jwtSecret)
        hasher = PasswordHasher(cost: options.passwordCost, atOnceMax: options.hashesAtOnceMax)
        policy = PasswordPolicy(lengthMin: options.passwordLengthMin)
        verified = VerifiedCache(entriesMax: options.verifiedMax, salt: world.randomBytes(32))
        guesses = Guesses(limits: options.guessLimits)
        codeGuesses = Guesses(limits: options.guessLimits)
        decoyHash = hasher.decoy(from: world)
        markSalt = world.randomBytes(32)
    }

    /// Everything but health, login and the password change is to be refused: the first administrator's password was not changed yet.
    public var setupRequired: Bool { setup.withLock { $0.required } }

    /// Whether anybody reads anything without credentials.
    public var guestAccess: Bool { options.guestAccess }

    /// Whether every read is to be decided where it is kept: nothing may be answered from memory then.
    public var keepsReads: Bool { decisions?.keepsReads ?? false }

    /// Commits a change of accounts, and makes it count: what was remembered of them is forgotten before this returns.
    /// - Parameter accounts: and groups, whose rows change.
    func commit(_ parts: [Change.Part], of accounts: [EntityID], by actor: Actor, requestID: String) async throws(RegistryError) {
        try keep("change accounts", account: nil, detail: Access.words(for: parts), by: actor, asked: nil, requestID: requestID)
        do {
            try await catalog.apply(Change(actor: actor, at: world.now(), requestID: requestID, parts: parts))
        } catch {
            // A failed commit may still have become durable: forgetting too much costs a hash, forgetting too little is a hole.
            for account in accounts { verified.advance(account) }
            throw error
        }
        for account in accounts { verified.advance(account) }
    }

    /// `put user 0198..., delete token 0198.../0198...`
    private static func words(for parts: [Change.Part]) -> String {
        parts.compactMap { part in
            switch part {
            case .putRecord(let record, _): "put \(record.kind) \(record.id)"
            case .deleteRecord(let kind, let id): "delete \(kind) \(id)"
            case .putQuota(let project, let bytes): "\(bytes == nil ? "delete" : "put") quota \(project)"
            default: nil
            }
        }.joined(separator: ", ")
    }

    /// All records of a kind whose id begins with `prefix`.
    func records(_ kind: Record.Kind, prefix: String) async throws(RegistryError) -> [Record] {
        let pageCount = 256
        var found: [Record] = []
        var after = prefix
        while true {
            let page = try await catalog.records(kind, after: after, limit: pageCount)
            let matching = page.prefix { $0.id.hasPrefix(prefix) }
            found.append(contentsOf: matching)
            guard matching.count == pageCount, let last = matching.last else { return found }
            after = last.id
        }
    }

    func claims(
        for user: User?, purpose: TokenPurpose, lifetimeSeconds: Int64, jti: EntityID, family: EntityID? = nil, root: CredentialRoot = .none,
        access: [RegistryScope]? = nil
    ) -> Claims {
        let now = world.now()
        return Claims(
            subject: user?.id.description ?? Actor.anonymous.name, username: user?.username ?? Actor.anonymous.name, email: user?.email ?? "",
            isAdmin: user?.isAdmin ?? false, issued: now, expires: Timestamp(seconds: now.adding(seconds: lifetimeSeconds).seconds),
            purpose: purpose, jti: jti, family: family, root: root, access: access)
    }
}
