import Core
import FrontendKit
import HTTPTypes
import Parsing
import TestSupport
import Testing

@testable import Debian

@Suite struct Publishing {
    private let bench = Bench()

    @Test("a package's stanza is its control data, then what we computed; claims in the control data are dropped")
    func stanza() async throws {
        let deb = Bench.deb("demo", "1:1.0-1", "amd64", more: "Filename: ../../etc/passwd\nSHA256: 00\n")
        #expect(await bench.put(deb, "pool/main/d/demo/demo_1.0-1_amd64.deb").status == 201)
        let packages = await bench.get("dists/stable/main/binary-amd64/Packages")
        #expect(
            packages.text == """
                Package: demo
                Version: 1:1.0-1
                Architecture: amd64
                Maintainer: A <a@example.org>
                Section: misc
                Description: a test
                 More.
                Filename: pool/main/d/demo/demo_1.0-1_amd64.deb
                Size: \(deb.count)
                MD5sum: \(Digest.of(.md5, deb).hex)
                SHA1: \(Digest.of(.sha1, deb).hex)
                SHA256: \(Digest.of(.sha256, deb).hex)


                """)
    }

    @Test("packages for all architectures are in every architecture's index, and in their own")
    func all() async {
        await bench.put(Bench.deb("arched", "1", "amd64"), "pool/main/a/arched_1_amd64.deb")
        await bench.put(Bench.deb("other", "1", "arm64"), "pool/main/o/other_1_arm64.deb")
        await bench.put(Bench.deb("every", "1", "all"), "pool/main/e/every_1_all.deb")
        func names(_ architecture: String) async -> [Substring] {
            await bench.get("dists/stable/main/binary-\(architecture)/Packages").text.split(separator: "\n").filter { $0.hasPrefix("Package: ") }
        }
        #expect(await names("amd64") == ["Package: arched", "Package: every"])
        #expect(await names("arm64") == ["Package: other", "Package: every"])
        #expect(await names("all") == ["Package: every"])
        let release = await bench.get("dists/stable/Release").text
        #expect(release.contains("\nArchitectures: all amd64 arm64\n") && release.contains("\nNo-Support-for-Architecture-all: Packages\n"))
    }

    @Test("several distributions and components of one repository hold what was put into them")
    func distributions() async {
        await bench.put(Bench.deb("one"), "pool/main/o/one_1.0_amd64.deb?distribution=stable&distribution=testing")
        await bench.put(Bench.deb("two"), "pool/contrib/t/two_1.0_amd64.deb?distribution=testing")
        #expect(await bench.get("dists/stable/contrib/binary-amd64/Packages").status == 404)
        #expect(await bench.get("dists/testing/contrib/binary-amd64/Packages").text.contains("Package: two"))
        #expect(await bench.get("dists/testing/main/binary-amd64/Packages").text.contains("Package: one"))
        #expect(await bench.get("dists/testing/Release").text.contains("\nComponents: main contrib\n"))
        #expect(await bench.get("dists/nowhere/Release").status == 404)
    }

    @Test("Contents have a line for each file, Release lists every index by size and digest, and by-hash finds them")
    func closing() async throws {
        await bench.put(Bench.deb("demo"), "pool/main/d/demo_1.0_amd64.deb")
        #expect(await bench.get("dists/stable/main/Contents-amd64").text == "usr/bin/demo  misc/demo\n")
        let release = try Deb822.one(await bench.get("dists/stable/Release").body)
        let lines = release.field("SHA256")?.lines ?? []
        #expect(lines.count == 15)
        for line in lines {
            let words = line.split(separator: " ")
            let direct = await bench.get("dists/stable/\(words[2])")
            #expect(direct.status == 200 && direct.body.count == Int(words[1]) && Digest.of(.sha256, direct.body).hex == words[0], "\(line)")
            let folder = words[2].split(separator: "/").dropLast().joined(separator: "/")
            #expect(await bench.get("dists/stable/\(folder)/by-hash/SHA256/\(words[0])").body == direct.body)
        }
        #expect(await bench.get("dists/stable/InRelease").text.hasSuffix(release.text))
        #expect(await bench.get("gpg-key.asc").fields[.contentType] == "application/pgp-keys")
    }

    @Test("POST /upload finds the place by the source's name")
    func upload() async throws {
        let deb = Bench.deb("libdemo1", "2.0", "amd64", more: "Source: libdemo (2.0-1)\n")
        let name = try #require(HTTPField.Name("X-Filename"))
        let answer = await bench.harness.send(.post, "/debian/deb/upload", [name: "libdemo1_2.0_amd64.deb"], body: deb)
        let json = try JSON.parse(answer.body)
        #expect(answer.status == 201 && json["path"]?.string == "pool/main/libd/libdemo/libdemo1_2.0_amd64.deb")
        #expect(json["sha256"]?.string == Digest.of(.sha256, deb).hex && json["version"]?.string == "2.0")
    }
}

@Suite struct Refusals {
    private let bench = Bench()

    @Test(
        "what is refused, and with which words",
        arguments: [
            ("pool/main/d/demo_1.0_amd64.deb", Array("no package".utf8), 400, "no ar archive"),
            ("pool/main/d/demo_1.0_amd64.deb", Bench.deb("other"), 400, "Package: other"),
            ("pool/main/d/demo_2.0_amd64.deb", Bench.deb("demo"), 400, "Version: 1.0"),
            ("pool/main/d/demo_1.0_arm64.deb", Bench.deb("demo"), 400, "Architecture: amd64"),
            ("pool/main/d/demo.deb", Bench.deb("demo"), 400, "name_version_architecture.deb"),
            ("pool/main/d/demo_1.0_amd64.tar", Bench.deb("demo"), 400, "name_version_architecture.deb"),
            ("pool/main/d/demo_1.0_amd64.deb?distribution=..%2Fx", Bench.deb("demo"), 400, "no name of a distribution"),
            ("pool/main/d/UP_1.0_amd64.deb", Bench.deb("UP"), 400, "no valid Package"),
            ("pool/main/d/demo_1.0_amd64.deb", Bench.deb(control: Bench.control("demo", "1.0", "amd64") + "\nPackage: second\n"), 400, "one stanza"),
            ("pool/main/d/demo_1.0_amd64.deb", Bench.ar([("debian-binary", Array("2.0\n".utf8))]), 400, "in this order"),
            ("upload/nothing.changes", Array("Distribution: stable\n".utf8), 400, "no Checksums-Sha256"),
        ] as [(String, [UInt8], Int, String)])
    func refused(path: String, bytes: [UInt8], status: Int, words: String) async {
        let answer = await bench.put(bytes, path)
        #expect(answer.status == status && answer.text.contains(words), "\(answer.text)")
    }

    @Test("the same bytes again are fine, other bytes are a conflict, and so is the same version at another path")
    func again() async {
        #expect(await bench.put(Bench.deb(), "pool/main/d/demo_1.0_amd64.deb").status == 201)
        #expect(await bench.put(Bench.deb(), "pool/main/d/demo_1.0_amd64.deb").status == 201)
        #expect(await bench.put(Bench.deb(more: "Homepage: x\n"), "pool/main/d/demo_1.0_amd64.deb").status == 409)
        #expect(await bench.put(Bench.deb(), "pool/contrib/d/demo_1.0_amd64.deb").status == 409)
    }

    @Test("who may not write is refused, and told how to log in")
    func rights() async {
        #expect(await bench.put(Bench.deb(), "pool/main/d/demo_1.0_amd64.deb", as: .reader).status == 403)
        let anonymous = await bench.put(Bench.deb(), "pool/main/d/demo_1.0_amd64.deb", as: .anonymous)
        #expect(anonymous.status == 401 && anonymous.fields[.wwwAuthenticate]?.hasPrefix("Basic ") == true)
    }

    @Test("damaged data is refused when it is put, not when it is installed")
    func damaged() async {
        let good = Bench.deb()
        #expect(await bench.put(Array(good.dropLast(1400)), "pool/main/d/demo_1.0_amd64.deb").status == 400)
    }
}

@Suite struct Uploads {
    private let bench = Bench()

    @Test("a .changes publishes a source package and its binaries, and nothing waits afterwards")
    func changes() async throws {
        let tarball = Array("tar".utf8)
        let dsc = Array("Format: 3.0 (native)\nSource: demo\nBinary: demo\nVersion: 1.0\n\(Bench.lists([("demo_1.0.tar.xz", tarball)]))".utf8)
        let deb = Bench.deb()
        let files = [("demo_1.0.dsc", dsc), ("demo_1.0.tar.xz", tarball), ("demo_1.0_amd64.deb", deb)]
        let changes = Array("Format: 1.8\nSource: demo\nDistribution: unstable\n\(Bench.lists(files, section: "contrib/misc optional "))".utf8)
        #expect(await bench.put(changes, "upload/demo_1.0_amd64.changes").text.contains("was not uploaded before it"))
        for (name, bytes) in files { #expect(await bench.put(bytes, "upload/\(name)").status == 201) }
        let answer = await bench.put(changes, "upload/demo_1.0_amd64.changes")
        #expect(answer.status == 201, "\(answer.text)")
        #expect(
            bench.harness.registry.repository("deb")?.paths == [
                "pool/contrib/d/demo/demo_1.0.dsc", "pool/contrib/d/demo/demo_1.0.tar.xz", "pool/contrib/d/demo/demo_1.0_amd64.deb",
                "pool/contrib/d/demo/demo_1.0_amd64.deb.contents",
            ])
        let sources = try Deb822.one(await bench.get("dists/unstable/contrib/source/Sources").body)
        #expect(sources["Package"] == "demo" && sources["Directory"] == "pool/contrib/d/demo" && sources["Section"] == "contrib/misc")
        #expect(sources.field("Checksums-Sha256")?.lines.map { $0.split(separator: " ").last } == ["demo_1.0.dsc", "demo_1.0.tar.xz"])
        #expect(await bench.get("dists/unstable/contrib/binary-amd64/Packages").text.contains("Package: demo\n"))
    }

    @Test("a file that is not what the .changes says is refused, and so is a source without its tarball")
    func mismatch() async {
        let deb = Bench.deb()
        await bench.put(Bench.deb(more: "Homepage: x\n"), "upload/demo_1.0_amd64.deb")
        let changes = Array("Source: demo\nDistribution: stable\n\(Bench.lists([("demo_1.0_amd64.deb", deb)], section: "misc optional "))".utf8)
        #expect(await bench.put(changes, "upload/demo.changes").text.contains("is not the file that demo.changes names"))
        let dsc = Array("Source: demo\nVersion: 1.0\n\(Bench.lists([("demo_1.0.tar.xz", [1])]))".utf8)
        await bench.put(dsc, "upload/demo_1.0.dsc")
        let lonely = Array("Source: demo\nDistribution: stable\n\(Bench.lists([("demo_1.0.dsc", dsc)], section: "misc optional "))".utf8)
        #expect(await bench.put(lonely, "upload/demo.changes").text.contains("neither uploaded with it nor is in the pool"))
    }
}

@Suite struct Learning {
    private let frontend = DebianFrontend()

    @Test("render(learn(render(facts))) is render(facts), for Packages in every form and for Sources")
    func law() async throws {
        let bench = Bench()
        await bench.put(Bench.deb("demo", "1.0"), "pool/main/d/demo_1.0_amd64.deb")
        await bench.put(Bench.deb("demo", "1.0~rc1"), "pool/main/d/demo_1.0~rc1_amd64.deb")
        await bench.put(Bench.deb("zoo", "2:1.0"), "pool/main/z/zoo_1.0_amd64.deb")
        let context = RenderContext(baseURL: MemoryRegistry.baseURL, repository: try #require(RepositoryKey("deb")))
        for path in ["main/binary-amd64/Packages", "main/binary-amd64/Packages.gz"] {
            let rendered = await bench.get("dists/stable/\(path)")
            let view = try ArchivePlace("stable/\(path)").view
            var facts = Facts()
            try frontend.learn(view, from: Document(bytes: rendered.body, contentType: nil, url: ""), into: &facts)
            #expect(facts.versions.map(\.name.text) == ["1.0~rc1_amd64", "1.0_amd64", "2:1.0_amd64"])
            let again = try await MemoryEditions(frontend, of: facts, in: context, reading: NoBlobs()).documents(of: "stable")
            #expect(again[path]?.bytes == rendered.body)
        }
    }

    private struct NoBlobs: BlobReading {
        func bytes(of blob: BlobID) async throws(RegistryError) -> [UInt8] {
            throw RegistryError(.corrupt, subject: .blob(blob.description), reason: "there are none")
        }
    }

    @Test("Release tells what an index must be; an index what a package must be, and a bad row hides itself alone")
    func listed() throws {
        let hex = String(repeating: "ab", count: 32)
        let release = "Origin: x\nSHA256:\n \(hex) 12 main/binary-amd64/Packages.xz\n nonsense\n \(hex) 1 ../../etc\n"
        let place = try ArchivePlace("sid/main/binary-amd64/Packages.xz")
        var facts = Facts()
        try frontend.learn(DebianFrontend.release(of: "sid"), from: Document(bytes: Array(release.utf8), contentType: nil, url: ""), into: &facts)
        #expect(facts.listed.map(\.path.text) == ["dists/sid/main/binary-amd64/Packages.xz"])
        let copy = try #require(frontend.upstream(for: .view(place.view), given: Facts()))
        #expect(copy.copy?.text == "dists/sid/main/binary-amd64/Packages.xz" && copy.listedIn == DebianFrontend.release(of: "sid"))
        let copied = try #require(copy.copy)
        let file = try #require(frontend.upstream(for: .file(copied), given: facts))
        #expect(file.expected.map(\.hex) == [hex] && file.expectedSize == 12)
        let byHash = try #require(AssetPath("dists/sid/main/binary-amd64/by-hash/SHA256/\(hex)"))
        #expect(frontend.upstream(for: .file(byHash), given: facts)?.expected.map(\.hex) == [hex])

        let packages =
            "Package: a\nVersion: 1\nArchitecture: all\nFilename: pool/a.deb\nSize: 3\nSHA256: \(hex)\n\nPackage: b\nVersion: 1\nFilename: x\n"
        var pool = Facts()
        try frontend.learn(place.files, from: Document(bytes: Array(packages.utf8), contentType: nil, url: ""), into: &pool)
        #expect(pool.listed.map(\.path.text) == ["pool/a.deb"] && pool.versions.isEmpty)
        let (there, nowhere) = (try #require(AssetPath("pool/a.deb")), try #require(AssetPath("pool/b.deb")))
        #expect(frontend.upstream(for: .file(there), given: pool)?.expectedSize == 3)
        #expect(frontend.upstream(for: .file(nowhere), given: pool)?.url == nil)
    }

    @Test(
        "a path below dists is taken apart",
        arguments: [
            ("stable/InRelease", "stable", "InRelease"), ("stable/updates/Release.gpg", "stable/updates", "Release.gpg"),
            ("stable/main/binary-amd64/Packages.xz", "stable", "main/binary-amd64/Packages.xz"),
            ("a/b/main/debian-installer/binary-arm64/Packages", "a/b", "main/debian-installer/binary-arm64/Packages"),
            ("sid/main/source/by-hash/SHA512/00", "sid", "main/source/by-hash/SHA512/00"),
            ("sid/main/i18n/Translation-en", "sid", "main/i18n/Translation-en"),
            ("sid/main/Contents-amd64.gz", "sid", "main/Contents-amd64.gz"), ("sid/Contents-amd64.gz", "sid", "Contents-amd64.gz"),
            ("sid/main/binary-amd64/Packages.diff/Index", "sid", "main/binary-amd64/Packages.diff/Index"),
            ("sid/main/binary-amd64/Release", "sid", "main/binary-amd64/Release"),
        ])
    func places(path: String, distribution: String, rest: String) throws {
        let place = try ArchivePlace(path)
        #expect(place.distribution == distribution && place.path == rest)
    }
}
