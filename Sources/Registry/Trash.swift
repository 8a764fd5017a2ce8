import Access
public import Catalog
public import Core
import FrontendKit

// The trash of a repository: what people deleted, whichever route they took, for as long as the settings say. The catalog keeps and restores it;
// here is who may ask, and what goes there at all (docs/internals/trash.md).

extension Registry {
    /// The setting of a repository, instead of the server's.
    static let trashDays = "trash_days"
    public static let trashDaysMax: Int64 = 3650

    /// So many days what is deleted from the repository can be restored; 0: it has no trash. Copies of a remote and entries of a build cache may
    /// be lost at any time, and a virtual repository holds nothing.
    public func trashDays(of repository: Repository) -> Int64 {
        guard isLocal(repository), frontend(for: repository.format)?.format.isCache != true else { return 0 }
        return repository.settings[Registry.trashDays].flatMap { Int64($0) } ?? options.trashDays
    }

    /// - Throws: `invalid` for a setting that is no such number.
    static func checkTrash(_ repository: Repository) throws(RegistryError) {
        guard let text = repository.settings[trashDays] else { return }
        guard let days = Int64(text), (0...trashDaysMax).contains(days) else {
            throw RegistryError(
                .invalid, subject: .field(trashDays),
                reason: "a number of days from 0, which is no trash, to \(trashDaysMax); a negative one is the server's setting")
        }
    }

    /// The edit as a change by somebody, whose deletions go to the trash if the repository has one.
    func change(_ repository: Repository, _ edit: Edit, by actor: Actor, _ requestID: String) -> Change {
        var change = Change(actor: actor, at: world.now(), requestID: requestID, parts: [.edit(repository.id, edit)])
        // Asked of deletions alone: what is put costs nothing more.
        if edit.mutations.contains(where: \.isDeletion) {
            let days = trashDays(of: repository)
            if days > 0 { change.keepsDeletedUntil = change.at.adding(seconds: days * 86_400) }
        }
        return change
    }

    // MARK: Asked for

    private func trashed(_ key: RepositoryKey, _ permission: Permission, by origin: RequestOrigin) async throws(RegistryError) -> Repository {
        let repository = try await authorize(origin.caller, permission, in: key).repository
        guard isLocal(repository) else {
            throw RegistryError(
                .invalid, subject: .repository(key.text),
                reason: "\(key) is a \(repository.kind.rawValue) repository, which has no trash: ask the repository that holds what you look for")
        }
        return repository
    }

    /// What may be restored, the newest first, and how much there is in all; for who may delete.
    public func trash(
        of key: RepositoryKey, before: Revision?, skip: Int, limit: Int, by origin: RequestOrigin
    ) async throws(RegistryError) -> (deletions: [Deletion], usage: Usage) {
        let repository = try await trashed(key, .delete, by: origin)
        var (last, left) = (before, skip)
        while left > 0 {
            let page = try await catalog.trash(of: repository.id, before: last, limit: min(left, 100))
            guard let end = page.last else { return ([], try await catalog.usage(of: repository.id)) }
            (last, left) = (end.revision, left - page.count)
        }
        let deletions = try await catalog.trash(of: repository.id, before: last, limit: limit)
        return (deletions, try await catalog.usage(of: repository.id))
    }

    public func deletion(_ revision: Revision, in key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) -> Deletion {
        let repository = try await trashed(key, .delete, by: origin)
        guard let deletion = try await catalog.deletion(DeletionID(repository.id, revision)) else {
            throw RegistryError(
                .notFound, subject: .repository(key.text),
                reason: "the trash of \(key) has no deletion \(revision): it was restored, or its time is over")
        }
        return deletion
    }

    /// Puts a deletion back, or some of its artifacts with their versions; for who may delete.
    /// - Returns: what came back.
    public func restore(
        _ revision: Revision, only paths: Set<AssetPath>?, in key: RepositoryKey, by origin: RequestOrigin
    ) async throws(RegistryError) -> Deletion {
        let deletion = try await deletion(revision, in: key, by: origin)
        try await catalog.apply(
            Change(
                actor: origin.caller.actor, at: world.now(), requestID: origin.requestID, parts: [.restore(deletion.id, only: paths)]))
        return paths.flatMap { deletion.split(at: $0)?.taken } ?? deletion
    }

    /// Forgets a deletion for good; for the repository's administrators.
    public func purge(_ revision: Revision, in key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) {
        _ = try await trashed(key, .admin, by: origin)
        let id = try await deletion(revision, in: key, by: origin).id
        try await catalog.apply(Change(actor: origin.caller.actor, at: world.now(), requestID: origin.requestID, parts: [.purge(id)]))
    }

    /// The same of everything that is there now.
    /// - Returns: how many deletions.
    public func emptyTrash(of key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) -> Int {
        // As for one deletion: a token for settings alone destroys no content.
        _ = try await trashed(key, .admin, by: origin)
        let repository = try await trashed(key, .delete, by: origin)
        var last: Revision?
        var count = 0
        while true {
            let page = try await catalog.trash(of: repository.id, before: last, limit: 50)
            guard let end = page.last else { return count }
            try await catalog.apply(
                Change(actor: origin.caller.actor, at: world.now(), requestID: origin.requestID, parts: page.map { .purge($0.id) }))
            count += page.count
            last = end.revision
        }
    }
}

extension Sweeper {
    private static let purgedAtOnce = 50

    /// Forgets what lay its time in the trash; its blobs are the sweep's then.
    func purgeTrash() async throws(RegistryError) {
        while !Task.isCancelled {
            let now = world.now()
            let over = try await catalog.deletionsOver(by: now, limit: Sweeper.purgedAtOnce)
            guard !over.isEmpty else { return }
            try await catalog.apply(Change(actor: .system, at: now, requestID: "trash", parts: over.map { .purge($0) }))
        }
    }
}

extension Mutation {
    /// It takes away what somebody named.
    var isDeletion: Bool {
        switch self {
        case .deleteVersion, .deleteAsset, .deleteTag, .deleteLink: true
        case .putPackage, .putVersion, .ensureVersion, .setState, .putAsset, .discardAsset, .putTag, .putLink: false
        }
    }
}
