import Core
import Parsing

/// What a POM says it is of (POM reference, "Maven Coordinates"): what it leaves out, it has from its parent.
struct ProjectModel: Sendable, Hashable {
    static let bytesMax = 1 << 20

    let group: String?
    let artifact: String?
    let version: String?

    /// - Throws: `invalid` when the bytes are no POM.
    init(_ bytes: [UInt8]) throws(RegistryError) {
        let root = try XMLElement(parsing: bytes, unknownEntities: .verbatim)
        guard XML.localName(root.name) == "project" else {
            throw RegistryError(.invalid, subject: .field("pom"), reason: "its root is <\(root.name)>, a POM's is <project>")
        }
        let parent = root["parent"]
        group = root.text(of: "groupId") ?? parent?.text(of: "groupId")
        artifact = root.text(of: "artifactId")
        version = root.text(of: "version") ?? parent?.text(of: "version")
    }

    /// What the POM says otherwise than the path it is put at; nil when they agree. A value with a property in it says nothing.
    func contradiction(to file: MavenFile) -> String? {
        func differs(_ stated: String?, _ wanted: [String]) -> Bool { stated.map { !$0.contains("${") && !wanted.contains($0) } ?? true }
        if differs(group, [file.group]) { return ProjectModel.says("groupId", group, file.group) }
        if differs(artifact, [file.artifact]) { return ProjectModel.says("artifactId", artifact, file.artifact) }
        let stamped = file.build.map { "\(file.version.text.dropLast(MavenFile.snapshot.count))-\($0.text)" }
        if differs(version, [file.version.text] + [stamped].compactMap { $0 }) { return ProjectModel.says("version", version, file.version.text) }
        return nil
    }

    private static func says(_ name: String, _ stated: String?, _ wanted: String) -> String {
        stated.map { "the POM says \(name) \($0), the path says \(wanted)" } ?? "the POM has no \(name), the path says \(wanted)"
    }
}
