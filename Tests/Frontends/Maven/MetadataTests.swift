import Core
import FrontendKit
import HTTPTypes
import Maven
import NIOCore
import TestSupport
import Testing

@Suite("Maven: metadata") struct MetadataTests {
    private let frontend = MavenFrontend()
    private let context: RenderContext

    init() throws { context = RenderContext(baseURL: "https://granary.test", repository: try #require(RepositoryKey("m"))) }

    private func metadata(_ house: MavenHouse, _ folder: String) async -> String { await house.get("\(folder)/maven-metadata.xml").text }

    @Test("an artifact's metadata tells the versions in their order, the release and the latest, whatever order they came in")
    func versions() async throws {
        let house = MavenHouse()
        for version in ["1.10", "1.9", "2.0-rc1", "2.0-SNAPSHOT", "1.9.1"] { try await house.release("app", version) }
        let text = await metadata(house, "org/example/app")
        #expect(values("version", in: text) == ["1.9", "1.9.1", "1.10", "2.0-rc1", "2.0-SNAPSHOT"])
        #expect(values("latest", in: text) == ["2.0-SNAPSHOT"])
        #expect(values("release", in: text) == ["2.0-rc1"])
        #expect(values("groupId", in: text) == ["org.example"])
        #expect(values("artifactId", in: text) == ["app"])
        #expect(values("lastUpdated", in: text).map(\.count) == [14])
    }

    @Test("what a publisher calls the release counts, and no version is lost to a publisher who did not see it")
    func called() async throws {
        let house = MavenHouse()
        try await house.release("app", "1.0")
        try await house.release("app", "2.0")
        // A fix of an old line, by somebody who read the metadata before 2.0 came.
        try await house.release("app", "1.0.1")
        try await house.deploy(
            "org/example/app/maven-metadata.xml",
            """
            <metadata><groupId>org.example</groupId><artifactId>app</artifactId><versioning><release>1.0.1</release>
            <versions><version>1.0</version><version>1.0.1</version><version>never put</version></versions><lastUpdated>20240101000000</lastUpdated>
            </versioning></metadata>
            """)
        let text = await metadata(house, "org/example/app")
        #expect(values("version", in: text) == ["1.0", "1.0.1", "2.0"])
        #expect(values("release", in: text) == ["1.0.1"])
        #expect(values("latest", in: text) == ["2.0"])
    }

    @Test("a group's metadata tells the prefixes of plugins that are there; two publishers' lists add up")
    func plugins() async throws {
        let house = MavenHouse()
        try await house.release("a-maven-plugin", "1.0")
        try await house.release("b-maven-plugin", "1.0")
        func list(_ letter: String) -> String {
            "<metadata><plugins><plugin><name>Plugin \(letter)</name><prefix>\(letter)</prefix><artifactId>\(letter)-maven-plugin</artifactId></plugin></plugins></metadata>"
        }
        for letter in ["a", "b", "absent"] { try await house.deploy("org/example/maven-metadata.xml", list(letter)) }
        let text = await metadata(house, "org/example")
        #expect(
            text == """
                <?xml version="1.0" encoding="UTF-8"?>
                <metadata modelVersion="1.1.0">
                  <plugins>
                    <plugin>
                      <name>Plugin a</name>
                      <prefix>a</prefix>
                      <artifactId>a-maven-plugin</artifactId>
                    </plugin>
                    <plugin>
                      <name>Plugin b</name>
                      <prefix>b</prefix>
                      <artifactId>b-maven-plugin</artifactId>
                    </plugin>
                  </plugins>
                </metadata>

                """)
        // A folder can be an artifact too.
        try await house.release("example", "1.0", of: "org")
        let both = await metadata(house, "org/example")
        #expect(values("version", in: both) == ["1.0"])
        #expect(values("prefix", in: both) == ["a", "b"])
    }

    @Test("a snapshot's metadata tells the newest build of each file, once its POM is there")
    func builds() async throws {
        let house = MavenHouse()
        try await house.build("20240131.120000-1")
        try await house.deploy("org/example/app/1.0-SNAPSHOT/app-1.0-20240131.120000-1-sources.jar", "sources")
        try await house.deploy("org/example/app/1.0-SNAPSHOT/app-1.0-20240131.120000-1.jar.asc", "signature")
        try await house.build("20240201.080000-2")
        try await house.build("20240202.080000-3", withPOM: false)
        let text = await metadata(house, "org/example/app/1.0-SNAPSHOT")
        #expect(values("timestamp", in: text) == ["20240201.080000"])
        #expect(values("buildNumber", in: text) == ["2"])
        #expect(values("extension", in: text) == ["jar", "jar.asc", "pom", "jar"])
        #expect(values("classifier", in: text) == ["sources"])
        let first = "1.0-20240131.120000-1"
        let second = "1.0-20240201.080000-2"
        #expect(values("value", in: text) == [second, first, second, first])
        #expect(values("updated", in: text) == ["20240201080000", "20240131120000", "20240201080000", "20240131120000"])
        let whole = await house.get("org/example/app/1.0-SNAPSHOT/maven-metadata.xml")
        #expect(await house.get("org/example/app/1.0-SNAPSHOT/maven-metadata.xml.sha256").text == Digest.of(.sha256, whole.body).hex)
    }

    @Test("a snapshot without builds is told of by its own name")
    func overwritten() async throws {
        let house = MavenHouse()
        try await house.deploy("org/example/app/1.0-SNAPSHOT/app-1.0-SNAPSHOT.jar", "jar")
        let text = await metadata(house, "org/example/app/1.0-SNAPSHOT")
        #expect(values("value", in: text) == ["1.0-SNAPSHOT"])
        #expect(values("timestamp", in: text) == [])
    }

    @Test(
        "metadata that is none, or of elsewhere, is refused",
        arguments: [
            ("org/example/app", "<metadata", "line 1"), ("org/example/app", "<project/>", "no Maven metadata"),
            ("org/example/app", "<metadata><groupId>org.other</groupId><artifactId>app</artifactId></metadata>", "groupId org.other"),
            ("org/example/app", "<metadata><groupId>org.example</groupId><artifactId>b</artifactId></metadata>", "artifactId b"),
            ("org/example/app/1-SNAPSHOT", "<metadata><artifactId>app</artifactId><version>2-SNAPSHOT</version></metadata>", "version 2-SNAPSHOT"),
            ("a:b", "<metadata/>", "no folder"), ("org/example/app", "<!DOCTYPE a><metadata/>", "document types"),
        ])
    func refused(folder: String, text: String, why: String) async {
        let answer = await MavenHouse().put("\(folder)/maven-metadata.xml", text)
        #expect(answer.status == 400)
        #expect(answer.text.contains(why), "\(answer.text)")
    }

    // MARK: Laws

    private func view(_ folder: String) async throws -> View {
        let path = try RequestPath(parsing: "/\(folder)/maven-metadata.xml")
        let head = try RequestHead(method: .get, target: path.description, fields: [:], requestID: "1", peer: "", isSecure: false)
        for route in frontend.routes {
            guard case .view(let identify) = route.kind, let match = route.pattern.match(path, in: nil) else { continue }
            return try identify(Request(head: head, match: match, body: Body(.init())))
        }
        throw RegistryError(.internal, subject: .request, reason: "no view")
    }

    private func learned(_ view: View, _ text: String) throws -> Facts {
        var facts = Facts()
        try frontend.learn(view, from: Document(bytes: Array(text.utf8), contentType: nil, url: "https://up.test/x/maven-metadata.xml"), into: &facts)
        return facts
    }

    private func rendered(_ view: View, _ facts: Facts) throws -> String {
        var page = Page()
        try frontend.render(view, from: facts, in: context, into: &page)
        return String(decoding: page.bytes, as: UTF8.self)
    }

    @Test("what we render is learned and rendered again byte for byte, at all three levels")
    func renderLaw() async throws {
        let house = MavenHouse()
        for version in ["1.0", "2.0-rc1", "1.1-SNAPSHOT", "3.0"] { try await house.release("app", version) }
        try await house.deploy("org/example/app/maven-metadata.xml", "<metadata><versioning><release>1.0</release></versioning></metadata>")
        try await house.release("x-maven-plugin", "1.0")
        try await house.deploy(
            "org/example/maven-metadata.xml",
            "<metadata><plugins><plugin><prefix>x &amp; y</prefix><artifactId>x-maven-plugin</artifactId></plugin></plugins></metadata>")
        for build in ["20240131.120000-1", "20240201.080000-2"] { try await house.build(build) }
        try await house.deploy("org/example/app/1.0-SNAPSHOT/app-1.0-20240131.120000-1-jdk1.5.tar.gz", "odd")
        for folder in ["org/example/app", "org/example", "org/example/app/1.0-SNAPSHOT", "org/example/app/1.1-SNAPSHOT"] {
            let view = try await view(folder)
            let text = await metadata(house, folder)
            #expect(try rendered(view, learned(view, text)) == text, "\(folder)")
        }
    }

    /// As Maven Central, Nexus, Maven 2 and a careless hand write them.
    private static let foreign: [(String, String)] = [
        (
            "org/apache/commons/commons-lang3",
            """
            <?xml version="1.0" encoding="UTF-8"?>
            <metadata>
              <groupId>org.apache.commons</groupId>
              <artifactId>commons-lang3</artifactId>
              <versioning>
                <latest>3.14.0</latest>
                <release>3.14.0</release>
                <versions>
                  <version>3.9</version>
                  <version>3.0</version>
                  <version>3.14.0</version>
                  <version>3.10</version>
                </versions>
                <lastUpdated>20231118012213</lastUpdated>
              </versioning>
            </metadata>
            """
        ),
        (
            "org/apache/maven/plugins",
            """
            <metadata><plugins>
            <plugin><name>Apache Maven Clean Plugin</name><prefix>clean</prefix><artifactId>maven-clean-plugin</artifactId></plugin>
            <plugin><name>Twice</name><prefix>clean2</prefix><artifactId>maven-clean-plugin</artifactId></plugin>
            <plugin><prefix>a/b</prefix><artifactId>../x</artifactId></plugin>
            </plugins></metadata>
            """
        ),
        (
            "com/acme/app/2.0-SNAPSHOT",
            """
            <metadata modelVersion="1.1.0"><groupId>com.acme</groupId><artifactId>app</artifactId><version>2.0-SNAPSHOT</version><versioning>
            <snapshot><timestamp>20240105.101010</timestamp><buildNumber>3</buildNumber></snapshot><lastUpdated>20240105101011</lastUpdated>
            <snapshotVersions>
            <snapshotVersion><extension>jar</extension><value>2.0-20240105.101010-3</value><updated>20240105101011</updated></snapshotVersion>
            <snapshotVersion><classifier>jdk1.5</classifier><extension>jar</extension><value>2.0-20240105.101010-3</value></snapshotVersion>
            <snapshotVersion><extension>pom</extension><value>2.0-20240104.101010-2</value><updated>20240104101010</updated></snapshotVersion>
            <snapshotVersion><extension>zip</extension><value>../../evil</value></snapshotVersion>
            </snapshotVersions></versioning></metadata>
            """
        ),
        (
            "com/acme/old/1-SNAPSHOT",
            """
            <metadata><groupId>com.acme</groupId><artifactId>old</artifactId><version>1-SNAPSHOT</version><versioning>
            <snapshot><timestamp>20060105.101010</timestamp><buildNumber>3</buildNumber></snapshot><lastUpdated>20060105.101010</lastUpdated>
            </versioning></metadata>
            """
        ),
        ("com/acme/odd", "<metadata><versioning><versions><version>1</version><version>1.0</version></versions></versioning></metadata>"),
    ]

    @Test("what upstreams write is learned the same from what we render of it", arguments: foreign)
    func learnLaw(folder: String, text: String) async throws {
        let view = try await view(folder)
        let facts = try learned(view, text)
        #expect(!facts.isEmpty)
        func sorted(_ facts: Facts) -> Facts {
            var facts = facts
            facts.versions.sort { $0.name < $1.name }
            facts.listed.sort { $0.path < $1.path }
            return facts
        }
        // What a document leaves out, ours says: which versions are the latest and the release, and when a build was made.
        let once = try learned(view, rendered(view, facts))
        #expect(sorted(try learned(view, rendered(view, once))) == sorted(once))
        #expect(once.versions.map(\.name).sorted() == facts.versions.map(\.name).sorted())
        #expect(once.listed.map(\.path).sorted() == facts.listed.map(\.path).sorted())
    }

    @Test("a snapshot's files are listed from what an upstream says, and nothing that leads elsewhere")
    func listed() async throws {
        let (folder, text) = Self.foreign[2]
        let facts = try learned(try await view(folder), text)
        #expect(
            facts.listed.map(\.path.fileName) == [
                "app-2.0-20240105.101010-3.jar", "app-2.0-20240105.101010-3-jdk1.5.jar", "app-2.0-20240104.101010-2.pom",
            ])
    }

    @Test("upstream is asked at the same paths, and for a file's checksum beside it")
    func upstream() async throws {
        for folder in ["org/apache/commons/commons-lang3", "org/apache/maven/plugins", "com/acme/my.app/1.0-SNAPSHOT", "junit"] {
            #expect(frontend.upstream(for: .view(try await view(folder)), given: Facts())?.url == "\(folder)/maven-metadata.xml")
        }
        let request = frontend.upstream(for: .file(try #require(AssetPath("a/b/1+2/b-1+2.jar"))), given: Facts())
        #expect(request?.url == "a/b/1+2/b-1+2.jar")
        #expect(request?.statedIn.first == DigestDocument(.sha1, url: "a/b/1+2/b-1+2.jar.sha1"))
        let package = try #require(PackageName("org.apache.commons:commons-lang3"))
        #expect(frontend.source(of: .package(package)) == (try await view("org/apache/commons/commons-lang3")))
    }
}
