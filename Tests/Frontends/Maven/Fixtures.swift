import Core
import FrontendKit
import HTTPTypes
import Maven
import TestSupport
import Testing

/// A repository `m`, asked as clients ask.
struct MavenHouse {
    let harness = FrontendHarness(MavenFrontend(), repositories: ["m"])

    func put(_ path: String, _ body: some Sequence<UInt8>) async -> FrontendHarness.Answer {
        await harness.send(.put, "/maven/m/\(path)", body: Array(body))
    }
    func put(_ path: String, _ text: String) async -> FrontendHarness.Answer { await put(path, text.utf8) }
    func get(_ path: String) async -> FrontendHarness.Answer { await harness.send(.get, "/maven/m/\(path)") }

    /// What must succeed, or the test is about nothing.
    func deploy(_ path: String, _ text: String) async throws {
        let answer = await put(path, text)
        try #require(answer.status == 201, "\(answer.text)")
    }

    static func pom(_ group: String, _ artifact: String, _ version: String) -> String {
        """
        <?xml version="1.0" encoding="UTF-8"?>
        <project xmlns="http://maven.apache.org/POM/4.0.0">
          <modelVersion>4.0.0</modelVersion>
          <groupId>\(group)</groupId>
          <artifactId>\(artifact)</artifactId>
          <version>\(version)</version>
        </project>
        """
    }

    /// A jar and its POM.
    func release(_ artifact: String, _ version: String, of group: String = "org.example") async throws {
        let folder = "\(group.replacing(".", with: "/"))/\(artifact)/\(version)"
        try await deploy("\(folder)/\(artifact)-\(version).jar", "jar of \(artifact) \(version)")
        try await deploy("\(folder)/\(artifact)-\(version).pom", Self.pom(group, artifact, version))
    }

    /// A build of `org.example:app:1.0-SNAPSHOT`.
    func build(_ stamp: String, withPOM: Bool = true) async throws {
        try await deploy("org/example/app/1.0-SNAPSHOT/app-1.0-\(stamp).jar", "jar of \(stamp)")
        if withPOM { try await deploy("org/example/app/1.0-SNAPSHOT/app-1.0-\(stamp).pom", Self.pom("org.example", "app", "1.0-SNAPSHOT")) }
    }
}

/// The values of all elements of a name, in order: enough to look into the small documents of this format.
func values(_ name: String, in text: String) -> [String] {
    text.split(separator: "<\(name)>").dropFirst().map { String($0.prefix { $0 != "<" }) }
}
