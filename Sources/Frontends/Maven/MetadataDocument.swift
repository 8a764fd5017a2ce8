import Core
import Parsing

/// A maven-metadata.xml as somebody published it (maven-repository-metadata, model 1.1.0). Rows that cannot be are left out.
struct PublishedMetadata: Sendable, Hashable {
    struct Plugin: Sendable, Hashable {
        let artifact: String
        let prefix: String
        let name: String?

        var attributes: [String: String] {
            var attributes = [Attribute.pluginPrefix: prefix]
            attributes[Attribute.pluginName] = name
            return attributes
        }
    }

    struct File: Sendable, Hashable {
        let classifier: String
        let ending: String
        /// What stands for the version in the file's name.
        let value: String
        let updated: Timestamp?
    }

    let group: String?
    let artifact: String?
    let version: String?
    let versions: [VersionName]
    let called: [MovingName: VersionName]
    let lastUpdated: Timestamp?
    let plugins: [Plugin]
    /// The newest build of a snapshot.
    let build: SnapshotBuild?
    let files: [File]

    /// - Throws: `invalid` when the bytes are no such document.
    init(_ bytes: [UInt8], budget: Budget) throws(RegistryError) {
        let root = try XMLElement(parsing: bytes, budget: budget)
        guard XML.localName(root.name) == "metadata" else {
            throw RegistryError(.invalid, subject: .field("metadata"), reason: "the document is no Maven metadata: its root is <\(root.name)>")
        }
        (group, artifact, version) = (root.text(of: "groupId"), root.text(of: "artifactId"), root.text(of: "version"))
        let versioning = root["versioning"]
        versions = versioning?["versions"]?.all("version").compactMap { MavenFile.isVersion($0.text) ? VersionName($0.text) : nil } ?? []
        var called: [MovingName: VersionName] = [:]
        for name in MovingName.allCases { called[name] = versioning?.text(of: name.rawValue).flatMap { VersionName($0) } }
        self.called = called
        lastUpdated = versioning?.text(of: "lastUpdated").flatMap { MetadataTime.timestamp(of: $0) }
        plugins =
            root["plugins"]?.all("plugin").compactMap { plugin in
                guard let artifact = plugin.text(of: "artifactId"), MavenFile.isIdentifier(artifact), let prefix = plugin.text(of: "prefix") else {
                    return nil
                }
                return Plugin(artifact: artifact, prefix: String(prefix.prefix(256)), name: plugin.text(of: "name").map { String($0.prefix(512)) })
            } ?? []
        let snapshot = versioning?["snapshot"]
        build = snapshot?.text(of: "timestamp").flatMap { time in
            snapshot?.text(of: "buildNumber").flatMap { SnapshotBuild(timestamp: time, number: $0) }
        }
        files =
            versioning?["snapshotVersions"]?.all("snapshotVersion").compactMap { row in
                guard let ending = row.text(of: "extension"), let value = row.text(of: "value") else { return nil }
                return File(
                    classifier: row.text(of: "classifier") ?? "", ending: ending, value: value,
                    updated: row.text(of: "updated").flatMap { MetadataTime.timestamp(of: $0) })
            } ?? []
    }
}

/// `yyyyMMddHHmmss`, UTC.
enum MetadataTime {
    /// nil for the beginning of time, which stands for an unknown one.
    static func text(of time: Timestamp) -> String? {
        time.milliseconds <= 0 ? nil : String(time.description.filter { ("0"..."9").contains($0) }.prefix(14))
    }

    /// Some wrote a dot between day and time.
    static func timestamp(of text: String) -> Timestamp? {
        let digits = Array(text.replacing(".", with: "").utf8)
        guard digits.count == 14, digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        func part(_ range: Range<Int>) -> String { String(decoding: digits[range], as: UTF8.self) }
        return Timestamp(rfc3339: "\(part(0..<4))-\(part(4..<6))-\(part(6..<8))T\(part(8..<10)):\(part(10..<12)):\(part(12..<14))Z")
    }
}

/// A document of nested elements with text, indented as Maven does.
struct MetadataWriter {
    private var text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata modelVersion=\"1.1.0\">\n"
    private var depth = 1

    mutating func open(_ name: String) {
        line("<\(name)>")
        depth += 1
    }

    mutating func close(_ name: String) {
        depth -= 1
        line("</\(name)>")
    }

    mutating func element(_ name: String, _ value: some StringProtocol) { line("<\(name)>\(XML.escape(value))</\(name)>") }

    func finish() -> String { text + "</metadata>\n" }

    private mutating func line(_ line: String) {
        text += String(repeating: "  ", count: depth)
        text += line
        text += "\n"
    }
}
