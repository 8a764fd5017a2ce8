public import Core
public import FrontendKit
import NIOCore
import Parsing
import Synchronization

/// Repositories of one test, and who may do what: `RepositoryPort` and `MountPort` over memory.
public final class MemoryRegistry: Sendable {
    public static let baseURL = "https://granary.test"
    private let repositories: Mutex<[RepositoryKey: MemoryRepository]>

    public init(_ keys: [String]) {
        let pairs = keys.compactMap { RepositoryKey($0).map { ($0, MemoryRepository($0)) } }
        precondition(pairs.count == keys.count, "a test's repository keys are well formed")
        repositories = Mutex(Dictionary(pairs) { first, _ in first })
    }

    public func repository(_ key: RepositoryKey) -> MemoryRepository? { repositories.withLock { $0[key] } }
    public func repository(_ key: String) -> MemoryRepository? { RepositoryKey(key).flatMap { repository($0) } }
    fileprivate var keys: [RepositoryKey] { repositories.withLock { $0.keys.sorted() } }
}

/// Somebody with rights of a test's choosing.
public struct MemoryCaller: Sendable {
    public var name: String
    public var isAnonymous: Bool
    /// Whether the caller has a permission on a repository.
    public var may: @Sendable (Permission, RepositoryKey) -> Bool

    public init(_ name: String, isAnonymous: Bool = false, may: @escaping @Sendable (Permission, RepositoryKey) -> Bool) {
        self.name = name
        self.isAnonymous = isAnonymous
        self.may = may
    }

    public static let publisher = MemoryCaller("alice") { permission, _ in permission < .admin }
    public static let reader = MemoryCaller("bob") { permission, _ in permission == .read }
    public static let anonymous = MemoryCaller("anonymous", isAnonymous: true) { permission, _ in permission == .read }
}

/// One caller at one repository. Nothing waits and nothing touches a disk; hashes are real.
public struct MemoryPort: RepositoryPort {
    public let registry: MemoryRegistry
    public let repository: MemoryRepository
    public let who: MemoryCaller
    /// The repository's own settings.
    public var settings: [String: String] = [:]

    public init(_ registry: MemoryRegistry, _ repository: MemoryRepository, as who: MemoryCaller = .publisher) {
        self.registry = registry
        self.repository = repository
        self.who = who
    }

    public var caller: CallerName { CallerName(name: who.name, isAnonymous: who.isAnonymous) }
    public var context: RenderContext { RenderContext(baseURL: MemoryRegistry.baseURL, repository: repository.key, settings: settings) }

    public func offload<Result: Sendable>(_ work: @escaping @Sendable () throws(RegistryError) -> Result) async throws(RegistryError) -> Result {
        try work()
    }

    public func stage(_ bytes: [UInt8]) async throws(RegistryError) -> any StagedBytes { MemoryStaged(bytes) }

    public func facts(in scope: Scope, after: String?, limit: Int) async throws(RegistryError) -> Facts {
        repository.facts(in: scope, after: after, limit: limit)
    }

    public func version(_ name: VersionName, of package: PackageName) async throws(RegistryError) -> Version? {
        repository.version(name, of: package)
    }

    public func tag(_ name: TagName, of package: PackageName) async throws(RegistryError) -> Tag? { repository.tag(name, of: package) }

    public func asset(at path: AssetPath) async throws(RegistryError) -> Asset? { repository.asset(at: path) }

    public func bytes(of asset: Asset) async throws(RegistryError) -> [UInt8] {
        guard asset.size <= Int64(Body.collectBytesMax) else {
            throw RegistryError(.tooLarge, subject: .path(asset.path.text), reason: "too large to be read into memory")
        }
        guard let bytes = repository.bytes(of: asset.blob) else {
            throw RegistryError(.corrupt, subject: .blob(asset.blob.description), reason: "the bytes are missing")
        }
        return bytes
    }

    public func receive(_ body: Body, as form: BodyForm, digests: DigestSet) async throws(RegistryError) -> [Part] {
        switch form {
        case .raw:
            return [Part(name: "", fileName: nil, contentType: nil, content: .staged(MemoryStaged(try await body.whole(), digests: digests)))]
        case .multipart(let contentType):
            return try await multipart(body, try Multipart.boundary(ofContentType: contentType), digests)
        case .json(let member, let isFile):
            return try await json(body, JSONFileMachine(member: member, isWanted: isFile), digests)
        }
    }

    private func json(_ body: Body, _ machine: JSONFileMachine, _ digests: DigestSet) async throws(RegistryError) -> [Part] {
        var machine = machine
        var files: [(name: String, bytes: [UInt8])] = []
        while let slice = try await body.next() {
            for event in try machine.receive(slice) {
                switch event {
                case .fileBegan(let name): files.append((name, []))
                case .fileBytes(let bytes): files[files.count - 1].bytes += Array(bytes.readableBytesView)
                case .fileEnded: break
                }
            }
        }
        try machine.end()
        let staged = files.map {
            Part(name: $0.name, fileName: $0.name, contentType: nil, content: .staged(MemoryStaged($0.bytes, digests: digests)))
        }
        return staged + [Part(name: "", fileName: nil, contentType: nil, content: .text(String(decoding: machine.rest, as: UTF8.self)))]
    }

    private func multipart(_ body: Body, _ boundary: String, _ digests: DigestSet) async throws(RegistryError) -> [Part] {
        var machine = try MultipartMachine(boundary: boundary)
        var parts: [Part] = []
        var current: (part: Multipart.Part, bytes: [UInt8])?
        while let slice = try await body.next() {
            for event in try machine.receive(slice) {
                switch event {
                case .partBegan(let part): current = (part, [])
                case .partBytes(let bytes): current?.bytes += Array(bytes.readableBytesView)
                case .partEnded:
                    guard let (part, bytes) = current else { continue }
                    let content: Part.Content =
                        part.filename == nil
                        ? .text(String(decoding: bytes, as: UTF8.self)) : .staged(MemoryStaged(bytes, digests: digests))
                    parts.append(Part(name: part.name, fileName: part.filename, contentType: part.contentType, content: content))
                    current = nil
                case .finished: break
                }
            }
        }
        try machine.end()
        return parts
    }

    // MARK: Uploads

    public func beginUpload(purpose: String, totalBytes: Int64?) async throws(RegistryError) -> UploadProgress {
        try repository.with { state in
            let id = state.newID()
            state.uploads[id] = MemoryRepository.Upload(purpose: purpose, caller: who.name)
            return UploadProgress(id: id, received: 0, totalBytes: totalBytes)
        }
    }

    public func upload(_ id: EntityID, purpose: String) async throws(RegistryError) -> UploadProgress {
        UploadProgress(id: id, received: Int64(try uploaded(id, purpose).count), totalBytes: nil)
    }

    public func append(_ body: Body, to upload: EntityID, at offset: Int64?, purpose: String) async throws(RegistryError) -> UploadProgress {
        let received = Int64(try uploaded(upload, purpose).count)
        guard offset ?? received == received else {
            throw RegistryError(.rangeUnsatisfiable, subject: .upload(upload.description), reason: "the upload ends at \(received)")
        }
        var failure: RegistryError?
        var bytes: [UInt8] = []
        do throws(RegistryError) {
            while let slice = try await body.next() { bytes += Array(slice.readableBytesView) }
        } catch {
            failure = error
        }
        let arrived = bytes
        // What arrived before a cut is kept.
        let progress = try repository.with { (state) throws(RegistryError) in
            state.uploads[upload]?.bytes += arrived
            return UploadProgress(id: upload, received: Int64(state.uploads[upload]?.bytes.count ?? 0), totalBytes: nil)
        }
        if let failure { throw failure }
        return progress
    }

    public func finish(_ upload: EntityID, digests: DigestSet, purpose: String) async throws(RegistryError) -> any StagedBytes {
        let bytes = try uploaded(upload, purpose)
        try repository.with { state in state.uploads[upload] = nil }
        return MemoryStaged(bytes, digests: digests)
    }

    public func cancel(_ upload: EntityID, purpose: String) async throws(RegistryError) {
        _ = try uploaded(upload, purpose)
        try repository.with { state in state.uploads[upload] = nil }
    }

    private func uploaded(_ id: EntityID, _ purpose: String) throws(RegistryError) -> [UInt8] {
        try repository.with { (state) throws(RegistryError) in
            guard let upload = state.uploads[id], upload.purpose == purpose, upload.caller == who.name else {
                throw RegistryError(.notFound, subject: .upload(id.description), reason: "there is no such upload")
            }
            return upload.bytes
        }
    }

    // MARK: Authority and the durable step

    public func link(_ path: AssetPath, of name: String, from other: RepositoryKey) async throws(RegistryError) -> (any StagedBytes)? {
        guard who.may(.read, other), let source = registry.repository(other), let asset = source.asset(at: path) else { return nil }
        return source.bytes(of: asset.blob).map { MemoryStaged($0) }
    }

    /// A test's repositories are signed by `MemoryEditions.signature`.
    public func publicKey() async throws(RegistryError) -> [UInt8]? { Array("the public key of \(repository.key)\n".utf8) }

    public func require(_ permission: Permission) async throws(RegistryError) {
        guard !who.may(permission, repository.key) else { return }
        throw RegistryError(who.isAnonymous ? .unauthenticated : .forbidden, subject: .repository(repository.key.text), reason: "not allowed")
    }

    @discardableResult
    public func commit(_ edit: Edit, staged: [any StagedBytes]) async throws(RegistryError) -> Revision {
        try repository.commit(edit, staged: staged, by: who.name)
    }
}

/// One caller at a mount.
public struct MemoryMount: MountPort {
    public let registry: MemoryRegistry
    public let who: MemoryCaller

    public init(_ registry: MemoryRegistry, as who: MemoryCaller) {
        self.registry = registry
        self.who = who
    }

    public var caller: CallerName { CallerName(name: who.name, isAnonymous: who.isAnonymous) }
    public var baseURL: String { MemoryRegistry.baseURL }

    public func repositories(after: RepositoryKey?, limit: Int) async throws(RegistryError) -> [RepositoryKey] {
        Array(registry.keys.filter { key in who.may(.read, key) && (after.map { $0 < key } ?? true) }.prefix(limit))
    }

    public func packages(in repository: RepositoryKey, after: String?, limit: Int) async throws(RegistryError) -> [PackageName] {
        guard who.may(.read, repository), let found = registry.repository(repository) else { return [] }
        return try await MemoryPort(registry, found, as: who).facts(in: .packages, after: after, limit: limit).packages.map(\.name)
    }

    /// A readable stand-in: who, and what of the wanted is granted.
    public func token(
        for scopes: [ResourceScope], listing: Bool, login: (name: String, password: String)?
    ) async throws(RegistryError) -> TokenGrant {
        if let login, login.password != "correct" {
            throw RegistryError(.unauthenticated, subject: .account(login.name), reason: "wrong name or password")
        }
        let granted = scopes.map { scope in
            let held = scope.permissions.filter { who.may($0, scope.repository) }.sorted().map { "\($0)" }
            return "\(scope.name)=\(held.joined(separator: "+"))"
        }
        let text = ([login?.name ?? who.name] + granted + (listing ? ["catalogue"] : [])).joined(separator: ";")
        return TokenGrant(token: text, expiresInSeconds: 300, issued: Timestamp(seconds: 1_800_000_000))
    }
}

extension MemoryMount {
    /// A readable stand-in again.
    public func logIn(_ name: String, password: String, label: String) async throws(RegistryError) -> String {
        guard password == "correct" else {
            throw RegistryError(.unauthenticated, subject: .account(name), reason: "wrong name or password")
        }
        return "\(label) of \(name)"
    }

    public func logOut(token: String) async throws(RegistryError) {
        guard token.hasSuffix(" of \(who.name)") else { throw RegistryError(.notFound, subject: .request, reason: "there is no such token") }
    }
}

extension Body {
    fileprivate func whole() async throws(RegistryError) -> [UInt8] {
        var bytes: [UInt8] = []
        while let slice = try await next() { bytes += Array(slice.readableBytesView) }
        return bytes
    }
}
