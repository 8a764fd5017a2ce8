import Catalog
import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Parsing
import Registry
import Synchronization
import TestHouse
import TestSupport
import Testing

@Suite("editions") struct EditionTests {
    static func house(_ signing: Signing = .none, in directory: TemporaryDirectory? = nil) async throws -> House {
        var options = House.Options()
        options.frontends = [Roster()]
        options.signing = signing
        return try await House(options, in: directory)
    }

    /// What all facts make at once.
    static func oracle(_ house: House, _ edition: String) async throws -> [String: [UInt8]] {
        let id = try await house.rosterID("r")
        let facts = try await house.catalog.facts(in: .everything, of: id, after: nil, limit: .max)
        let name = try #require(RepositoryKey("r"))
        let editions = try await MemoryEditions(
            Roster(), of: facts, in: RenderContext(baseURL: "https://granary.test", repository: name), reading: NoBlobs())
        return try editions.documents(of: edition).mapValues(\.bytes)
    }

    static func expanded(_ path: String, _ bytes: [UInt8]) throws -> [UInt8] {
        let file = BlobContent(.memory(ByteBuffer(bytes: bytes)))
        if path.hasSuffix(".gz") { return try GunzipReader(file).readAll(bytesMax: 64 << 20) }
        guard path.hasSuffix(".xz") else { return bytes }
        let reader = try XzReader(file)
        var content: [UInt8] = []
        while let piece = try reader.next() { content += piece }
        return content
    }

    /// Every document of the edition is what all facts make at once, and the sum says of each what it is.
    static func check(_ house: House, _ edition: String, _ comment: Comment? = nil) async throws {
        let expected = try await oracle(house, edition)
        let sum = await house.send(.get, "/roster/r/\(edition)/sum")
        #expect(sum.status == (expected.isEmpty ? 404 : 200), comment)
        guard !expected.isEmpty else { return }
        var listed: Set<String> = []
        for line in sum.text.split(separator: "\n") {
            let fields = line.split(separator: " ").map(String.init)
            let answer = await house.send(.get, "/roster/r/\(edition)/\(fields[0])")
            listed.insert(fields[0])
            #expect(fields[1] == "\(answer.body.count)", comment)
            let digests = [DigestAlgorithm.sha256, .md5, .sha1].map { Digest.of($0, answer.body).description }
            #expect(Array(fields[2...]) == digests, comment)
            #expect(try expanded(fields[0], answer.body) == expanded(fields[0], expected[fields[0]] ?? []), comment)
            #expect(answer.validator?.etag == "\"\(Digest.of(.sha256, answer.body).hex)\"", comment)
            let byHash = await house.send(.get, "/roster/r/\(edition)/by-hash/\(Digest.of(.sha256, answer.body).hex)")
            #expect(byHash.body == answer.body, comment)
        }
        #expect(listed == Set(expected.keys.filter { $0 != "sum" && $0 != "signed" }), comment)
    }

    @Test("after any sequence of publishes and deletes, what is served at once is what all facts make")
    func random() async throws {
        let seed = SeededRandom.runSeed
        var random = SeededRandom(seed: seed)
        let house = try await Self.house()
        await house.makeRoster()
        // Names that begin fragments are rare: among enough, some do.
        let names = (0..<1_500).map { "package-\($0)" }
        var held: Set<String> = []
        try await house.edit("r", names.prefix(900).map { RosterEdit.put($0, in: "stable/a stable/b") })
        held.formUnion(names.prefix(900))
        for round in 1...8 {
            var mutations: [Mutation] = []
            for _ in 0..<Int.random(in: 1...40, using: &random) {
                let name = names[Int.random(in: 0..<names.count, using: &random)]
                if held.contains(name), Bool.random(using: &random) {
                    mutations.append(RosterEdit.delete(name))
                    held.remove(name)
                } else {
                    let places = ["stable/a", "stable/b testing/a", "stable/a stable/b", "testing/c"][Int.random(in: 0..<4, using: &random)]
                    mutations.append(RosterEdit.put(name, text: "\(name) of round \(round)\n", in: places))
                    held.insert(name)
                }
            }
            try await house.edit("r", mutations)
            for edition in ["stable", "testing"] { try await Self.check(house, edition, "seed \(seed), round \(round)") }
        }
        // All gone: nothing is left of the edition.
        try await house.edit("r", held.map { RosterEdit.delete($0) })
        try await Self.check(house, "stable", "seed \(seed)")
    }

    @Test("one publish among thousands renders one package, writes and compresses one fragment")
    func oneFragment() async throws {
        let house = try await Self.house()
        await house.makeRoster()
        let names = (0..<2_500).map { "package-\($0)" }
        try await house.edit("r", names.map { RosterEdit.put($0) })
        try await Self.check(house, "stable")
        let before = house.registry.indexWork
        #expect(before.builds == 1)
        #expect(before.packagesRendered == 2_500)
        #expect(before.fragmentsWritten >= 4)

        try await house.edit("r", [RosterEdit.put("package-77", "2")])
        try await Self.check(house, "stable")
        var work = house.registry.indexWork
        #expect(work.builds == 1)
        #expect(work.packagesRendered - before.packagesRendered == 1)
        #expect(work.fragmentsWritten - before.fragmentsWritten == 1)
        #expect(work.fragmentsCompressed - before.fragmentsCompressed == 2, "gzip and xz")
        #expect(work.generations - before.generations == 1)

        // What says nothing new makes nothing.
        let settled = work
        try await house.edit("r", [.putPackage(try #require(PackageName("package-5")), displayName: "Five", attributes: nil)])
        try await Self.check(house, "stable")
        work = house.registry.indexWork
        #expect(work.packagesRendered - settled.packagesRendered == 1)
        #expect(work.fragmentsWritten == settled.fragmentsWritten)
        #expect(work.generations == settled.generations)
    }

    @Test("an index made anew has the same bytes, compressed too")
    func reproducible() async throws {
        let first = try await Self.house()
        await first.makeRoster()
        for part in 0..<10 { try await first.edit("r", (0..<200).map { RosterEdit.put("package-\($0 * 10 + part)", in: "stable/a stable/b") }) }
        try await Self.check(first, "stable")
        try await first.edit("r", (0..<100).map { RosterEdit.delete("package-\($0 * 7)") })
        let paths = ["all", "all.gz", "all.xz", "a.xz", "sum"]
        var before: [[UInt8]] = []
        for path in paths { before.append(await first.send(.get, "/roster/r/stable/\(path)").body) }
        first.close()
        let second = try await Self.house(in: first.directory)
        for (path, bytes) in zip(paths, before) {
            let again = await second.send(.get, "/roster/r/stable/\(path)")
            #expect(again.body == bytes, "\(path)")
        }
        #expect(second.registry.indexWork.builds == 1)
    }

    @Test("documents of three generations are found by digest, of an older one no more")
    func generations() async throws {
        let house = try await Self.house()
        await house.makeRoster()
        var digests: [String] = []
        for number in 1...4 {
            try await house.edit("r", [RosterEdit.put("p", "\(number)")])
            digests.append(Digest.of(.sha256, await house.send(.get, "/roster/r/stable/all.xz").body).hex)
        }
        #expect(Set(digests).count == 4)
        var found: [Int] = []
        for digest in digests { found.append(await house.send(.get, "/roster/r/stable/by-hash/\(digest)").status) }
        #expect(found == [404, 200, 200, 200])
    }

    @Test("an edition without entries has whole files; one that the format does not know is not found")
    func empty() async throws {
        let house = try await Self.house()
        await house.makeRoster()
        try await Self.check(house, "empty")
        #expect(await house.send(.get, "/roster/r/empty/none").body == [])
        #expect(await house.send(.get, "/roster/r/empty/none.gz").body.count == 20)
        #expect(await house.send(.get, "/roster/r/nothing/all").status == 404)
        #expect(await house.send(.get, "/roster/r/empty/other").status == 404)
    }

    @Test("the sum is signed last with the repository's key, again when the key is another, not at all without one")
    func signing() async throws {
        let key = Mutex<String?>(nil)
        let signing = Signing(
            key: { _ throws(RegistryError) in key.withLock { $0 } },
            sign: { bytes, _, repository throws(RegistryError) in Array("\(key.withLock { $0 } ?? "none") of \(repository.key): ".utf8) + bytes },
            publicKey: { _ throws(RegistryError) in nil })
        let house = try await Self.house(signing)
        await house.makeRoster()
        try await house.edit("r", [RosterEdit.put("p")])
        let sum = await house.send(.get, "/roster/r/stable/sum").text
        #expect(await house.send(.get, "/roster/r/stable/signed").status == 404)
        for name in ["first", "second"] {
            key.withLock { $0 = name }
            #expect(await house.send(.get, "/roster/r/stable/signed").text == "\(name) of r: \(sum)")
        }
        #expect(house.registry.indexWork.builds == 1)
        #expect(await house.send(.patch, "/api/v1/repositories/r", json: ["is_public": false]).status == 200)
        #expect(await house.send(.get, "/roster/r/stable/signed", as: .none).status == 401)
    }

    @Test("the follower makes what was asked for before, and forgets a deleted repository")
    func follower() async throws {
        let house = try await Self.house()
        await house.makeRoster()
        try await house.edit("r", [RosterEdit.put("p")])
        await house.send(.get, "/roster/r/stable/all")
        let before = house.registry.indexWork.generations
        let changes = Mutex(1)
        let made = Mutex<Int?>(nil)
        let isForgotten = try await house.followLog {
            guard made.withLock({ $0 }) == nil else { return house.directory.names(in: "views").isEmpty }
            // Followers of memory begin where the log is when they begin: one of these changes is after that.
            let number = changes.withLock { number in
                number += 1
                return number
            }
            try await house.edit("r", [RosterEdit.put("p", "\(number)")])
            guard house.registry.indexWork.generations > before else { return false }
            made.withLock { $0 = house.directory.names(in: "views").count }
            await house.send(.delete, "/api/v1/repositories/r")
            return false
        }
        #expect(made.withLock { $0 } == 1)
        #expect(isForgotten)
    }

    @Test("many readers and writers at once: nobody reads a sum whose documents are not there")
    func crowd() async throws {
        let house = try await Self.house()
        await house.makeRoster()
        try await house.edit("r", (0..<500).map { RosterEdit.put("package-\($0)") })
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    for round in 0..<8 {
                        let name = "written-\(writer)-\(round)"
                        try await house.edit("r", [RosterEdit.put(name)])
                        #expect(await house.send(.get, "/roster/r/stable/all").text.contains("\n\(name) 1\n"))
                    }
                }
            }
            try await group.waitForAll()
        }
        try await Self.check(house, "stable")
    }
}

private struct NoBlobs: BlobReading {
    func bytes(of blob: BlobID) async throws(RegistryError) -> [UInt8] {
        throw RegistryError(.corrupt, subject: .blob(blob.description), reason: "there is none")
    }
}
