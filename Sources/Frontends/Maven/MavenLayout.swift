import Core
import FrontendKit

// Where things are in a Maven repository: `group/as/folders/artifact/version/artifact-version[-classifier].extension`.

/// A build of a snapshot, as its files' names say it: `20240131.235959-7`.
struct SnapshotBuild: Sendable, Hashable, Comparable {
    /// `yyyyMMdd.HHmmss`, UTC.
    let timestamp: String
    let number: Int64

    init?(timestamp: some StringProtocol, number: some StringProtocol) {
        let bytes = Array(timestamp.utf8)
        let digits = bytes.enumerated().allSatisfy { index, byte in index == 8 ? byte == UInt8(ascii: ".") : (0x30...0x39).contains(byte) }
        guard bytes.count == 15, digits, !number.isEmpty, number.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int64(number) else {
            return nil
        }
        self.timestamp = String(timestamp)
        self.number = number
    }

    /// `timestamp-number`.
    init?(_ text: some StringProtocol) {
        guard let dash = text.firstIndex(of: "-") else { return nil }
        self.init(timestamp: text[..<dash], number: text[text.index(after: dash)...])
    }

    var text: String { "\(timestamp)-\(number)" }
    /// `yyyyMMddHHmmss`
    var updated: String { timestamp.replacing(".", with: "") }

    /// By time: numbers begin again where a repository was cleared, and two publishers who did not see each other take the same one.
    static func < (a: SnapshotBuild, b: SnapshotBuild) -> Bool { (a.timestamp, a.number) < (b.timestamp, b.number) }
}

/// A file at coordinates.
struct MavenFile: Sendable, Hashable {
    let path: AssetPath
    let group: String
    let artifact: String
    /// The folder's: `1.0-SNAPSHOT` for every build of it.
    let version: VersionName
    let package: PackageName
    let build: SnapshotBuild?
    let classifier: String
    /// Without the dot; a signature's is `jar.asc`.
    let `extension`: String

    var isSnapshot: Bool { version.text.hasSuffix(MavenFile.snapshot) }

    static let snapshot = "-SNAPSHOT"

    /// - Throws: `invalid` for a path that is no coordinate, with what is wrong about it.
    init(_ path: AssetPath) throws(RegistryError) {
        let segments = path.segments
        guard segments.count >= 4 else {
            throw MavenFile.refused(path, "a file is kept at group/artifact/version/file")
        }
        let folders = segments.dropLast(3)
        let (artifact, folder, name) = (segments[segments.count - 3], segments[segments.count - 2], segments[segments.count - 1])
        guard folders.allSatisfy({ MavenFile.isIdentifier($0) && !$0.contains(".") }), MavenFile.isIdentifier(artifact) else {
            throw MavenFile.refused(path, "group and artifact are made of letters, digits, '_', '-' and '.'")
        }
        let group = folders.joined(separator: ".")
        guard MavenFile.isVersion(folder), let version = VersionName(folder), let package = PackageName("\(group):\(artifact)") else {
            throw MavenFile.refused(path, "\(folder) is no version")
        }
        guard name.hasPrefix("\(artifact)-"), let (build, rest) = MavenFile.afterVersion(name.dropFirst(artifact.count + 1), of: folder) else {
            throw MavenFile.refused(path, "the name of a file in this folder begins with \(artifact)-\(folder)")
        }
        guard let (classifier, ending) = MavenFile.split(rest) else {
            throw MavenFile.refused(path, "the name has no ending, or an empty classifier")
        }
        (self.path, self.group, self.artifact, self.version, self.package) = (path, group, String(artifact), version, package)
        (self.build, self.classifier, self.extension) = (build, classifier, ending)
    }

    static func isIdentifier(_ text: some StringProtocol) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || "._-".utf8.contains(byte)
            }
    }

    /// Anything but the characters that Maven refuses in a version.
    static func isVersion(_ text: some StringProtocol) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { !"\\/:\"<>|?*[](){},&".utf8.contains($0) && $0 > 0x20 }
    }

    /// What follows the version in a file's name, and which build of a snapshot it says.
    private static func afterVersion(_ rest: Substring, of version: Substring) -> (SnapshotBuild?, Substring)? {
        if rest.hasPrefix(version) { return (nil, rest.dropFirst(version.count)) }
        guard version.hasSuffix(snapshot) else { return nil }
        let base = version.dropLast(snapshot.count)
        guard rest.hasPrefix("\(base)-") else { return nil }
        let stamped = rest.dropFirst(base.count + 1)
        let number = stamped.dropFirst(16).prefix { ("0"..."9").contains($0) }
        guard stamped.dropFirst(15).first == "-", let build = SnapshotBuild(timestamp: stamped.prefix(15), number: number) else { return nil }
        return (build, stamped[number.endIndex...])
    }

    /// `-classifier.extension` or `.extension`. A classifier may have dots of its own (`jdk1.5`), an extension has one where it is known to: of
    /// an archive of an archive, and of a signature.
    private static func split(_ rest: Substring) -> (String, String)? {
        if rest.hasPrefix(".") { return rest.count > 1 ? ("", String(rest.dropFirst())) : nil }
        guard rest.hasPrefix("-") else { return nil }
        let signature = rest.hasSuffix(".asc") ? ".asc" : ""
        let unsigned = rest.dropFirst().dropLast(signature.count)
        guard let dot = unsigned.lastIndex(of: ".") else { return nil }
        var start = dot
        if unsigned[..<dot].hasSuffix(".tar"), dot > unsigned.startIndex { start = unsigned.index(dot, offsetBy: -4) }
        let (classifier, ending) = (unsigned[..<start], unsigned[unsigned.index(after: start)...])
        return classifier.isEmpty || ending.isEmpty ? nil : (String(classifier), ending + signature)
    }

    private static func refused(_ path: AssetPath, _ why: String) -> RegistryError {
        RegistryError(.invalid, subject: .path(path.text), reason: "\(path) was refused: \(why)")
    }
}

/// A folder with a maven-metadata.xml in it.
struct MetadataFolder: Sendable, Hashable {
    enum Kind: Sendable, Hashable {
        /// Tells the versions of the artifact of this name, and the plugins of the group of this name: a folder may be both.
        case artifactOrGroup
        /// Tells the builds of a snapshot.
        case snapshot(VersionName)
    }

    let kind: Kind
    let package: PackageName

    /// - Throws: `notFound` for a folder that is none of them.
    init(_ folder: String) throws(RegistryError) {
        var names = folder.split(separator: "/")
        let absent = RegistryError(.notFound, subject: .path(folder), reason: "there is no metadata in \(folder)")
        if names.count >= 3, let last = names.last, last.hasSuffix(MavenFile.snapshot) {
            guard let version = VersionName(last) else { throw absent }
            kind = .snapshot(version)
            names.removeLast()
        } else {
            kind = .artifactOrGroup
        }
        guard names.allSatisfy({ MavenFile.isIdentifier($0) }), names.dropLast().allSatisfy({ !$0.contains(".") }), let artifact = names.last,
            let package = PackageName("\(names.dropLast().joined(separator: ".")):\(artifact)")
        else { throw absent }
        self.package = package
    }

    private init(_ kind: Kind, of package: PackageName) {
        self.kind = kind
        self.package = package
    }

    /// nil for a name that is no `group:artifact`.
    init?(of package: PackageName) {
        guard package.text.contains(":") else { return nil }
        self.init(.artifactOrGroup, of: package)
    }

    /// nil for a view of another kind than `view` makes.
    init?(of view: View) {
        switch view.scope {
        case .family(let package, _) where view.name == MetadataFolder.name: self.init(.artifactOrGroup, of: package)
        case .package(let package):
            guard view.name.hasPrefix(MetadataFolder.snapshotName), let version = VersionName(view.name.dropFirst(MetadataFolder.snapshotName.count))
            else { return nil }
            self.init(.snapshot(version), of: package)
        default: return nil
        }
    }

    private static let name = "metadata"
    private static let snapshotName = "snapshot-metadata/"

    /// - Parameter variant: `xml`, or the checksum of that.
    func view(_ variant: String = "xml") -> View {
        switch kind {
        case .artifactOrGroup: View(name: MetadataFolder.name, scope: .family(package, prefix: groupPrefix), variant: variant)
        case .snapshot(let version): View(name: MetadataFolder.snapshotName + version.text, scope: .package(package), variant: variant)
        }
    }

    var group: Substring { package.text.prefix { $0 != ":" } }
    var artifact: Substring { package.text.drop { $0 != ":" }.dropFirst() }

    /// What the names of the packages begin with that are artifacts of the group of this folder.
    var groupPrefix: String { (group.isEmpty ? "" : "\(group).") + "\(artifact):" }

    /// The folder of the artifact: `org/example/app`.
    var artifactPath: String { (group.isEmpty ? "" : group.replacing(".", with: "/") + "/") + artifact }

    var path: String {
        switch kind {
        case .artifactOrGroup: artifactPath
        case .snapshot(let version): "\(artifactPath)/\(version)"
        }
    }
}
