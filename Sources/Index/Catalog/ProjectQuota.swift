public import Core

/// How many logical bytes the repositories of a project may hold together, and how many they hold: set with `Change.Part.putQuota`, and kept by the
/// catalog with every change that moves them. It is the row `Record(.quota, id: <project>)`, which nobody else writes.
public struct ProjectQuota: Sendable, Hashable {
    private static let format: UInt8 = 1

    public let project: EntityID
    public let bytes: Int64
    public let used: Int64

    package init(project: EntityID, bytes: Int64, used: Int64) {
        self.project = project
        self.bytes = bytes
        self.used = used
    }

    package func record(_ revision: Revision) -> Record {
        var writer = BinaryWriter()
        writer.write(ProjectQuota.format)
        writer.write(bytes)
        writer.write(used)
        return Record(kind: .quota, id: project.description, value: writer.bytes, revision: revision)
    }

    package init(_ record: Record) throws(RegistryError) {
        var reader = BinaryReader(record.value)
        guard try reader.readUInt8() == ProjectQuota.format, let project = EntityID(record.id) else { throw BinaryReader.damaged }
        self.init(project: project, bytes: try reader.readInt64(), used: try reader.readInt64())
    }

    /// Whether so many bytes more are within it.
    public func fits(_ more: Int64) -> Bool { more <= bytes - min(used, bytes) }
}

extension Repository {
    private static let projectSetting = "project_id"

    /// The project it belongs to. One that is deleted has no repositories, and its id never comes back.
    public var project: EntityID? {
        get { settings[Repository.projectSetting].flatMap { EntityID($0) } }
        set { settings[Repository.projectSetting] = newValue?.description }
    }
}

extension Catalog {
    public func quota(of project: EntityID) async throws(RegistryError) -> ProjectQuota? {
        try await record(.quota, id: project.description).map { (record) throws(RegistryError) in try ProjectQuota(record) }
    }
}
