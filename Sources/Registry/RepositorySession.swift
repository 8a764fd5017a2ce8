import Access
import BlobStore
import Catalog
import Core
import FrontendKit
import NIOCore
import Synchronization

/// One request's hold on one repository: everything it opens was authorized for this very target.
struct RepositorySession: RepositoryPort {
    let registry: Registry
    let authorized: Authorized
    let frontend: any Frontend
    let requestID: String
    /// Virtual repositories on the way to this one, the one that was asked first. Empty when this is what was asked.
    private(set) var through: [Authorized] = []

    init(registry: Registry, authorized: Authorized, frontend: any Frontend, requestID: String) {
        self.registry = registry
        self.authorized = authorized
        self.frontend = frontend
        self.requestID = requestID
    }

    private init(_ member: Authorized, of virtual: RepositorySession) {
        self.init(registry: virtual.registry, authorized: member, frontend: virtual.frontend, requestID: virtual.requestID)
        through = virtual.through + [virtual.authorized]
    }

    /// The same request at a member of this virtual repository.
    func entering(_ member: Authorized) -> RepositorySession { RepositorySession(member, of: self) }

    /// The request at what was asked for.
    var entrance: RepositorySession {
        guard let asked = through.first else { return self }
        return RepositorySession(registry: registry, authorized: asked, frontend: frontend, requestID: requestID)
    }

    private var repository: Repository { authorized.repository }

    var caller: CallerName { CallerName(name: authorized.caller.actor.name, isAnonymous: authorized.caller.isAnonymous) }
    /// Of the repository, under the name the client knows.
    var context: RenderContext {
        var context = registry.context(of: repository)
        context.repository = through.first?.repository.key ?? repository.key
        return context
    }

    // MARK: Facts

    func facts(in scope: Scope, after: String?, limit: Int) async throws(RegistryError) -> Facts {
        try checkMayRead(scope.package)
        return try await registry.facts(in: scope, after: after, limit: limit, self)
    }

    func version(_ name: VersionName, of package: PackageName) async throws(RegistryError) -> Version? {
        try checkMayRead(package)
        return try await registry.version(name, of: package, self)
    }

    func tag(_ name: TagName, of package: PackageName) async throws(RegistryError) -> Tag? {
        try checkMayRead(package)
        return try await registry.tag(name, of: package, self)
    }

    func asset(at path: AssetPath) async throws(RegistryError) -> Asset? {
        for step in steps where step.subject == .unknown { try registry.access.require(step, for: path.text) }
        return try await registry.asset(at: path, self)
    }

    func bytes(of asset: Asset) async throws(RegistryError) -> [UInt8] {
        try await registry.gate(asset.blob, as: asset.path)
        guard asset.size <= Int64(Body.collectBytesMax) else {
            throw RegistryError(.tooLarge, subject: .path(asset.path.text), reason: "\(asset.path) is too large to be read into memory")
        }
        return try await registry.storedBytes(asset.blob, size: asset.size)
    }

    // MARK: Bytes in

    func offload<Result: Sendable>(_ work: @escaping @Sendable () throws(RegistryError) -> Result) async throws(RegistryError) -> Result {
        try await registry.workers.run(work)
    }

    func stage(_ bytes: [UInt8]) async throws(RegistryError) -> any StagedBytes {
        precondition(bytes.count <= Body.collectBytesMax, "derived bytes are bounded by the format")
        return try await registry.blobs.stage(.init(bytes: bytes), digests: .sha256)
    }

    func receive(_ body: Body, as form: BodyForm, digests: DigestSet) async throws(RegistryError) -> [Part] {
        try await registry.refuseOverQuota(body.length, in: repository)
        switch form {
        case .raw:
            let staging = try registry.blobs.stage(expectedLength: body.length, digests: digests)
            try await body.drain(into: CappedSink(staging, bytesMax: registry.uploadBytesMax(in: repository)))
            let staged = try await staging.finish()
            if body.length == nil { try await registry.refuseOverQuota(staged.size, in: repository) }
            return [Part(name: "", fileName: nil, contentType: nil, content: .staged(staged))]
        case .multipart(let contentType):
            let receiver = try MultipartReceiver(contentType: contentType, digests: digests, blobs: registry.blobs)
            try await body.drain(into: CappedSink(receiver, bytesMax: registry.options.uploadBytesMax))
            return try await receiver.finish()
        case .json(let member, let isFile):
            let receiver = JSONReceiver(filesIn: member, isFile: isFile, digests: digests, blobs: registry.blobs)
            try await body.drain(into: CappedSink(receiver, bytesMax: registry.options.uploadBytesMax))
            return try await receiver.finish()
        }
    }

    func beginUpload(purpose: String, totalBytes: Int64?) async throws(RegistryError) -> UploadProgress {
        let target = try await registry.writable(self)
        try await registry.refuseOverQuota(totalBytes, in: target.repository)
        return UploadProgress(try await registry.blobs.beginUpload(context: target.owner(purpose).encoded, totalBytes: totalBytes))
    }

    func upload(_ id: EntityID, purpose: String) async throws(RegistryError) -> UploadProgress { UploadProgress(try await status(of: id, purpose)) }

    func append(_ body: Body, to upload: EntityID, at offset: Int64?, purpose: String) async throws(RegistryError) -> UploadProgress {
        let status = try await status(of: upload, purpose)
        try await registry.refuseOverQuota(body.length.map { $0.addingReportingOverflow(status.received).partialValue }, in: repository)
        return UploadProgress(try await registry.blobs.append(upload, at: offset, from: body))
    }

    func finish(_ upload: EntityID, digests: DigestSet, purpose: String) async throws(RegistryError) -> any StagedBytes {
        _ = try await status(of: upload, purpose)
        return try await registry.blobs.finishUpload(upload, digests: digests)
    }

    func cancel(_ upload: EntityID, purpose: String) async throws(RegistryError) {
        _ = try await status(of: upload, purpose)
        try await registry.blobs.cancelUpload(upload)
    }

    private func owner(_ purpose: String) -> UploadOwner {
        UploadOwner(repository: repository.id, account: authorized.caller.account, purpose: purpose)
    }

    /// A session of another caller, repository or protocol is one that does not exist.
    func status(of id: EntityID, _ purpose: String) async throws(RegistryError) -> UploadStatus {
        let target = try await registry.writable(self)
        guard let status = try await registry.blobs.upload(id), status.context == target.owner(purpose).encoded else {
            throw RegistryError(.notFound, subject: .upload(id.description), reason: "there is no such upload: it is over, expired, or never began")
        }
        return status
    }

    func link(_ path: AssetPath, of name: String, from other: RepositoryKey) async throws(RegistryError) -> (any StagedBytes)? {
        let subject = Subject.name(name)
        guard let source = try await registry.catalog.repository(other), frontend.format.answers(to: source.format),
            registry.access.mayRead(authorized.caller, source, about: subject)
        else { return nil }
        let there = RepositorySession(
            registry: registry, authorized: try registry.access.authorize(authorized.caller, .read, on: source, about: subject),
            frontend: frontend, requestID: requestID)
        guard let asset = try await there.asset(at: path) else { return nil }
        try await registry.gate(asset.blob, as: path)
        return try await registry.blobs.staged(asset.blob)
    }

    // MARK: Authority and the durable step

    func publicKey() async throws(RegistryError) -> [UInt8]? { try await registry.options.signing.publicKey(repository) }

    func require(_ permission: Permission) async throws(RegistryError) {
        guard let asked = through.first else {
            let given = try registry.access.authorize(authorized.caller, permission, on: repository, about: authorized.subject)
            // What it is about was not told: a right that is limited to names cannot be decided.
            if given.subject == .unknown { try registry.access.require(given, for: nil) }
            return
        }
        // As the request itself was: in full at what was asked, then the account's own right on every step of the way.
        var step = try registry.access.authorize(authorized.caller, permission, on: asked.repository, about: asked.subject)
        if step.subject == .unknown { try registry.access.require(step, for: nil) }
        for next in through.dropFirst().map(\.repository) + [repository] {
            guard let reached = registry.access.authorize(member: next, through: step) else { throw Registry.mayNotWrite(through: asked.repository) }
            if reached.subject == .unknown { try registry.access.require(reached, for: nil) }
            step = reached
        }
    }

    @discardableResult
    func commit(_ edit: Edit, staged: [any StagedBytes]) async throws(RegistryError) -> Revision {
        precondition(authorized.permission != .read, "a route that commits needs more than read")
        let target = try await registry.writable(self)
        let (edit, shared) = try await registry.completed(edit, for: target)
        for step in target.steps { try registry.requireNames(of: edit, step) }
        return try await registry.catalog.apply(
            registry.change(target.repository, edit, by: authorized.caller.actor, requestID), staged: staged + shared)
    }
}

/// Whom a resumable upload belongs to, kept durably with it.
struct UploadOwner: Sendable, Hashable {
    let repository: RepositoryID
    let account: EntityID?
    let purpose: String

    private static let formatNumber: UInt8 = 1

    var encoded: [UInt8] {
        var writer = BinaryWriter()
        writer.write(UploadOwner.formatNumber)
        writer.write(repository)
        writer.write(account) { $0.write($1) }
        writer.write(purpose)
        return writer.bytes
    }
}

extension UploadProgress {
    init(_ status: UploadStatus) { self.init(id: status.id, received: status.received, totalBytes: status.totalBytes) }
}

extension Registry {
    /// A whole blob in memory; the caller has bounded its size.
    func storedBytes(_ blob: BlobID, size: Int64) async throws(RegistryError) -> [UInt8] {
        guard let content = try await blobs.content(of: blob) else {
            throw RegistryError(.corrupt, subject: .blob(blob.description), reason: "the bytes are missing from the store")
        }
        return try await workers.run { () throws(RegistryError) -> [UInt8] in try content.bytes(at: 0, count: Int(size)) }
    }

    /// The most one upload to the repository may have.
    func uploadBytesMax(in repository: Repository) -> Int64 {
        let limits = CacheLimits(repository)
        return [options.uploadBytesMax, limits.entryBytesMax, limits.bytesMax].compactMap { $0 }.min() ?? options.uploadBytesMax
    }

    /// Refuses what cannot fit before its body is read; the commit decides for good.
    func refuseOverQuota(_ length: Int64?, in repository: Repository) async throws(RegistryError) {
        if let length, length > options.uploadBytesMax {
            throw RegistryError(.tooLarge, subject: .request, reason: "an upload may have at most \(options.uploadBytesMax) bytes")
        }
        if let length, isLocal(repository) { try await makeRoom(for: length, in: repository) }
        guard let length else { return }
        func refuse(_ owner: String, _ quota: Int64, _ used: Int64) -> RegistryError {
            RegistryError(
                .noSpace, subject: .repository(repository.key.text), reason: "\(owner) has a quota of \(quota) bytes, of which \(used) are used")
        }
        if let quota = repository.quotaBytes {
            let used = try await catalog.usage(of: repository.id).bytes
            guard length <= quota - min(used, quota) else { throw refuse(repository.key.text, quota, used) }
        }
        if let project = repository.project, let quota = try await catalog.quota(of: project), !quota.fits(length) {
            throw refuse("the project of \(repository.key)", quota.bytes, quota.used)
        }
    }
}

/// Ends a transfer that grows past what one upload may have, for bodies that do not announce their length.
final class CappedSink: ByteSink {
    private let sink: any ByteSink
    private let bytesMax: Int64
    private let received = Mutex<Int64>(0)

    init(_ sink: any ByteSink, bytesMax: Int64) {
        self.sink = sink
        self.bytesMax = bytesMax
    }

    func write(_ slice: ByteBuffer) throws(RegistryError) {
        let total = received.withLock { received in
            received += Int64(slice.readableBytes)
            return received
        }
        guard total <= bytesMax else {
            throw RegistryError(.tooLarge, subject: .request, reason: "an upload may have at most \(bytesMax) bytes")
        }
        try sink.write(slice)
    }
}
