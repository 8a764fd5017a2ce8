import Access
import BlobStore
import Catalog
import Core
import FrontendKit

// Writing to a virtual repository: the member it was told to publish to takes it, under the caller's rights on both.

extension Registry {
    /// The setting: the id of the member that publishing goes to.
    static let deployMember = "deploy_member"

    /// The session at the deploy member.
    /// - Throws: `invalid` when the virtual repository has none, `forbidden` when the caller may not do this to it.
    func deploySession(of session: RepositorySession) async throws(RegistryError) -> RepositorySession {
        let virtual = session.authorized.repository
        guard let id = virtual.settings[Registry.deployMember].flatMap({ EntityID($0) }), let member = try await catalog.repository(id: id),
            virtual.members.contains(where: { $0.repository == id })
        else {
            throw RegistryError(
                .invalid, subject: .repository(virtual.key.text),
                reason: "\(virtual.key) is a virtual repository without a deploy member: publish to one of its members, or set deploy_member_key")
        }
        // Members cannot hold each other; should two changes at once have made them, this ends here.
        guard !session.through.contains(where: { $0.repository.id == id }) else {
            throw RegistryError(
                .invalid, subject: .repository(virtual.key.text), reason: "\(virtual.key) publishes to itself: set another deploy member")
        }
        guard let authorized = access.authorize(member: member, through: session.authorized) else { throw Registry.mayNotWrite(through: virtual) }
        return session.entering(authorized)
    }

    static func mayNotWrite(through virtual: Repository) -> RegistryError {
        RegistryError(
            .forbidden, subject: .repository(virtual.key.text),
            reason: "you may not change the member that \(virtual.key) publishes to: ask for the right on that repository as well")
    }

    /// An edit that came through a virtual repository may build on what its members have: blobs that the client saw there and did not send again
    /// are linked into the deploy member along with it.
    func completed(_ edit: Edit, for session: RepositorySession) async throws(RegistryError) -> (Edit, [any StagedBytes]) {
        guard !session.through.isEmpty else { return (edit, []) }
        var completed = edit
        completed.preconditions = []
        var linked: [Mutation] = []
        var staged: [any StagedBytes] = []
        for precondition in edit.preconditions {
            guard case .present(let path) = precondition, try await catalog.asset(at: path, in: session.authorized.repository.id) == nil,
                let asset = try await session.entrance.asset(at: path), asset.version == nil
            else {
                completed.preconditions.append(precondition)
                continue
            }
            try await gate(asset.blob, as: path)
            guard let blob = try await blobs.staged(asset.blob) else { continue }
            staged.append(blob)
            let draft = AssetDraft(
                path: path, blob: asset.blob, size: asset.size, digests: asset.digests, contentType: asset.contentType, package: asset.package,
                attributes: asset.attributes)
            linked.append(.putAsset(draft, overwrite: .allowed))
        }
        completed.mutations = linked + edit.mutations
        return (completed, staged)
    }
}
