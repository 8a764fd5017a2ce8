import Catalog
public import Core

/// Who needs a second factor to log in with a password.
public enum TOTPPolicy: String, Sendable, CaseIterable {
    /// Whoever set one up.
    case disabled
    case requiredForAdmins = "required_for_admins"
    case requiredForAll = "required_for_all"

    func requires(_ user: User) -> Bool {
        switch self {
        case .disabled: false
        case .requiredForAdmins: user.isAdmin
        case .requiredForAll: true
        }
    }
}

/// How far a right password got.
public enum Login: Sendable {
    case session(Session)
    /// The code is still to come, with this token, within five minutes.
    case needsCode(Secret)
    /// A second factor has to be set up, with this token, within ten minutes.
    case needsEnrolment(Secret)
}

/// What an account's authenticator is told, once.
public struct TOTPSetup: Sendable {
    /// In base 32.
    public let secret: Secret
    /// Holds the secret too.
    public let uri: Secret
}

// A second factor guards passwords: where one is on, or the policy wants one, a password alone opens nothing but the way to the code. Tokens are
// secrets of their own and go on as they are.
extension Access {
    static let recoveryCodes = 10
    private static let codeSeconds: Int64 = 300
    private static let enrolmentSeconds: Int64 = 600

    /// - Returns: what holds as long as the policy does.
    /// - Throws: `unauthenticated` where the password alone is not enough.
    func requireNoSecondFactor(_ row: UserRow) async throws(RegistryError) -> Stamps.Mark {
        let mark = verified.epoch(of: Access.totpPolicyKey)
        let isRequired = try await totpPolicy().requires(row.user)
        guard row.user.hasTOTP || isRequired else { return mark }
        throw RegistryError(.unauthenticated, subject: .request, reason: "this account logs in with a second factor: use an API token here")
    }

    /// After the password.
    func proceed(_ row: UserRow, requestID: String, for asked: Asked?) async throws(RegistryError) -> Login {
        let isRequired = try await totpPolicy().requires(row.user)
        let isWhole = !row.user.hasTOTP && !isRequired
        try keepLogin(of: row, isWhole ? nil : "a second factor is to come", requestID: requestID, for: asked)
        if row.user.hasTOTP { return .needsCode(pending(.totpPending, Access.codeSeconds, row)) }
        if isRequired { return .needsEnrolment(pending(.totpEnrolment, Access.enrolmentSeconds, row)) }
        return .session(try await open(for: row, requestID: requestID))
    }

    private func keepLogin(of row: UserRow, _ detail: String?, requestID: String, for asked: Asked?) throws(RegistryError) {
        let actor = Actor(name: row.user.username, account: row.user.id)
        try keep("log in", account: row.user.username, detail: detail, by: actor, asked: asked, requestID: requestID)
    }

    private func pending(_ purpose: TokenPurpose, _ seconds: Int64, _ row: UserRow) -> Secret {
        let root = CredentialRoot.password(epoch: row.credentialEpoch)
        return Secret(signer.sign(claims(for: row.user, purpose: purpose, lifetimeSeconds: seconds, jti: world.newID(), root: root)))
    }

    /// The account a pending login is of, if its password is still the one that was given.
    private func row(behind token: String, _ purpose: TokenPurpose) async throws(RegistryError) -> UserRow {
        guard let claims = signer.verify(Secret(token), for: [purpose], at: world.now()), let account = EntityID(claims.subject),
            let row = try await userRow(account), row.user.isActive, claims.root == .password(epoch: row.credentialEpoch)
        else { throw Access.badCredentials }
        return row
    }

    /// The second half of a login.
    /// - Parameter code: six digits, or a recovery code, which is spent.
    /// - Throws: `unauthenticated`; `rateLimited` after five wrong codes, wherever they came from.
    public func verify(_ token: String, code: String, requestID: String, for asked: Asked? = nil) async throws(RegistryError) -> Session {
        let row = try await row(behind: token, .totpPending)
        do {
            let row = try await spend(code, of: row, requestID: requestID, for: asked)
            try keepLogin(of: row, "with a second factor", requestID: requestID, for: asked)
            return try await open(for: row, requestID: requestID)
        } catch {
            if Access.isGuessed(error) {
                try keep("log in", account: row.user.username, detail: "second factor", refusal: error.code, asked: asked, requestID: requestID)
            }
            throw error
        }
    }

    // MARK: The policy

    static let totpPolicySetting = "totp_policy"
    private static let totpPolicyFormat: UInt8 = 1
    /// Stands for the policy among the accounts whose changes are waited for.
    static let totpPolicyKey = EntityID(high: 0, low: 1)

    /// Who needs a second factor: what the configuration says, else what an administrator said last.
    public func totpPolicy() async throws(RegistryError) -> TOTPPolicy {
        if let policy = options.totpPolicy { return policy }
        guard let record = try await catalog.record(.setting, id: Access.totpPolicySetting) else { return .disabled }
        var reader = try Rows.reader(record, format: Access.totpPolicyFormat)
        return try BinaryReader.checked(TOTPPolicy(rawValue: try reader.readString()))
    }

    /// Counts from the next request on that comes with a password. Sessions and tokens go on.
    /// - Throws: `conflict` where the configuration says another; `unsupported` without a sealing key.
    public func setTOTPPolicy(_ policy: TOTPPolicy, by actor: Actor, requestID: String) async throws(RegistryError) {
        if let configured = options.totpPolicy {
            guard configured == policy else {
                throw RegistryError(.conflict, subject: .field("policy"), reason: "the configuration says it: totp_policy is \(configured.rawValue)")
            }
            return
        }
        guard policy == .disabled || options.sealer != nil else { throw Access.noSealer }
        var writer = BinaryWriter()
        writer.write(Access.totpPolicyFormat)
        writer.write(policy.rawValue)
        let record = Record(kind: .setting, id: Access.totpPolicySetting, value: writer.bytes)
        try await commit([.putRecord(record, ifRevision: nil)], of: [Access.totpPolicyKey], by: actor, requestID: requestID)
    }

    private static var noSealer: RegistryError {
        RegistryError(.unsupported, subject: .configuration("seal"), reason: "without a sealing key there are no second factors")
    }

    // MARK: Setting up

    /// Another secret for the caller's authenticator; it counts once a code of it was shown.
    /// - Throws: `conflict` when one is on.
    public func setUpTOTP(for caller: Caller, requestID: String) async throws(RegistryError) -> TOTPSetup {
        try await setUp(try await interactive(caller), requestID: requestID)
    }

    public func setUpTOTP(enrolling token: String, requestID: String) async throws(RegistryError) -> TOTPSetup {
        try await setUp(try await row(behind: token, .totpEnrolment), requestID: requestID)
    }

    /// Turns the second factor on.
    /// - Returns: recovery codes, each good once; nobody sees them again.
    /// - Throws: `unauthenticated` for a wrong code, `conflict` when none was set up or one is on.
    public func enableTOTP(for caller: Caller, code: String, requestID: String, for asked: Asked? = nil) async throws(RegistryError) -> [Secret] {
        try await enable(try await interactive(caller), code, requestID: requestID, for: asked).codes
    }

    public func enableTOTP(
        enrolling token: String, code: String, requestID: String, for asked: Asked? = nil
    ) async throws(RegistryError) -> (session: Session, codes: [Secret]) {
        let (row, codes) = try await enable(try await row(behind: token, .totpEnrolment), code, requestID: requestID, for: asked)
        try keepLogin(of: row, "with a second factor", requestID: requestID, for: asked)
        return (try await open(for: row, requestID: requestID), codes)
    }

    /// Turns it off. Needs what it guards and what it is: password and code.
    /// - Throws: `unauthenticated`; `conflict` where the policy wants one.
    public func disableTOTP(
        for caller: Caller, password: String, code: String, requestID: String, for asked: Asked? = nil
    ) async throws(RegistryError) {
        let row = try await interactive(caller)
        guard row.user.hasTOTP else { throw Access.noSecondFactor }
        guard try await !totpPolicy().requires(row.user) else {
            throw RegistryError(.conflict, subject: .request, reason: "this server wants a second factor of this account")
        }
        try await reprove(Secret(password), of: row, from: asked?.peer ?? "")
        _ = try await spend(code, of: row, requestID: requestID, for: asked)
        try await dropTOTP(of: row.user.id, by: caller.actor, requestID: requestID)
    }

    /// An administrator's way back in for who lost both authenticator and recovery codes.
    /// - Throws: `notFound`.
    public func dropTOTP(of id: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        try await modify(id, by: actor, requestID: requestID) { row in
            row.secondFactor = nil
            row.user.hasTOTP = false
        }
    }

    /// A token may not change how its owner logs in: whoever stole one would lock them out.
    private func interactive(_ caller: Caller) async throws(RegistryError) -> UserRow {
        guard caller.credentialKind == .session || caller.credentialKind == .password, let account = caller.account,
            let row = try await userRow(account)
        else { throw RegistryError(.forbidden, subject: .request, reason: "log in for this: a token may not change a second factor") }
        try requireFreshLogin(caller)
        return row
    }

    private func setUp(_ row: UserRow, requestID: String) async throws(RegistryError) -> TOTPSetup {
        guard let sealer = options.sealer else { throw Access.noSealer }
        let bytes = world.randomBytes(TOTP.secretBytes)
        let text = Secret(Base32.encode(bytes))
        let sealed = try sealer.seal(text, for: SecondFactor.place(row.user.id))
        try await modify(row.user.id, by: Actor(name: row.user.username, account: row.user.id), requestID: requestID) { (row) throws(RegistryError) in
            guard !row.user.hasTOTP else {
                throw RegistryError(.conflict, subject: .request, reason: "a second factor is on: turn it off first")
            }
            row.secondFactor = SecondFactor(sealed: sealed, lastStep: 0, recovery: [])
        }
        return TOTPSetup(secret: text, uri: Secret(TOTP.uri(bytes, account: row.user.username)))
    }

    private func enable(
        _ row: UserRow, _ code: String, requestID: String, for asked: Asked?
    ) async throws(RegistryError) -> (row: UserRow, codes: [Secret]) {
        let codes = (0..<Access.recoveryCodes).map { _ in SecondFactor.recoveryCode(world) }
        let now = world.now()
        let attempt = try codeGuesses.begin(at: row.user.id.description, from: "", at: now)
        let actor = Actor(name: row.user.username, account: row.user.id)
        let changed = try await counted(attempt, by: codeGuesses) { () throws(RegistryError) in
            try await modify(row.user.id, by: actor, requestID: requestID) { (row) throws(RegistryError) in
                guard var factor = row.secondFactor, !row.user.hasTOTP else { throw Access.noSecondFactor }
                guard let step = TOTP.step(of: code, try secret(factor, of: row), at: now, after: factor.lastStep) else { throw Access.wrongCode }
                factor.lastStep = step
                factor.recovery = codes.map(SecondFactor.fingerprint)
                row.secondFactor = factor
                row.user.hasTOTP = true
            }
        }
        return (changed, codes)
    }

    // MARK: Codes

    /// The row after the code was used: of two users of one code one loses.
    private func spend(_ code: String, of row: UserRow, requestID: String, for asked: Asked?) async throws(RegistryError) -> UserRow {
        let isCode = code.utf8.count == TOTP.digits
        // Six digits are guessed by many at once: five tries for all of them together. Recovery codes cannot be guessed, and must work even then.
        let attempt =
            isCode
            ? try codeGuesses.begin(at: row.user.id.description, from: "", at: world.now())
            : try codeGuesses.begin(at: "r \(row.user.id)", from: asked?.peer ?? "", at: world.now())
        let actor = Actor(name: row.user.username, account: row.user.id)
        let now = world.now()
        return try await counted(attempt, by: codeGuesses) { () throws(RegistryError) in
            try await modify(row.user.id, by: actor, requestID: requestID) { (row) throws(RegistryError) in
                guard var factor = row.secondFactor, row.user.hasTOTP else { throw Access.wrongCode }
                if isCode {
                    guard let step = TOTP.step(of: code, try secret(factor, of: row), at: now, after: factor.lastStep) else {
                        throw Access.wrongCode
                    }
                    factor.lastStep = step
                } else {
                    let fingerprint = SecondFactor.fingerprint(Secret(code))
                    guard let index = factor.recovery.firstIndex(of: fingerprint) else { throw Access.wrongCode }
                    factor.recovery.remove(at: index)
                }
                row.secondFactor = factor
            }
        }
    }

    private func secret(_ factor: SecondFactor, of row: UserRow) throws(RegistryError) -> [UInt8] {
        guard let sealer = options.sealer, let bytes = Base32.decode(try sealer.open(factor.sealed, for: SecondFactor.place(row.user.id)).revealed)
        else { throw RegistryError(.corrupt, subject: .configuration("seal"), reason: "a second factor cannot be read without its sealing key") }
        return bytes
    }

    private static var wrongCode: RegistryError { RegistryError(.unauthenticated, subject: .request, reason: "the code is not valid") }
    private static var noSecondFactor: RegistryError {
        RegistryError(.conflict, subject: .request, reason: "there is no second factor for that: set one up first")
    }
}

/// What is kept of an account's authenticator.
struct SecondFactor: Sendable, Hashable {
    /// The secret in base 32, sealed for `place`.
    var sealed: String
    /// The latest step whose code was used: it and all before are void.
    var lastStep: Int64
    /// SHA-256 of the recovery codes that are left, in hex.
    var recovery: [String]

    static func place(_ account: EntityID) -> String { "user/\(account)/totp" }

    /// 80 random bits, in four groups of four.
    static func recoveryCode(_ world: World) -> Secret {
        let text = Array(Base32.encode(world.randomBytes(10)).lowercased())
        return Secret(stride(from: 0, to: text.count, by: 4).map { String(text[$0..<min($0 + 4, text.count)]) }.joined(separator: "-"))
    }

    /// So many bits need no slow hash. Dashes, blanks and case are how somebody copied it.
    static func fingerprint(_ code: Secret) -> String {
        Digest.of(.sha256, code.revealed.lowercased().filter { $0 != "-" && $0 != " " }.utf8).hex
    }
}
