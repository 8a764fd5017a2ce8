import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

@Suite("quotas") struct QuotaTests {
    @Test("of a hundred uploads at once as many succeed as fit, whatever bytes they share, and what was deleted makes room")
    func hundred() async throws {
        let house = try await House()
        let (size, fitting) = (10_000, 37)
        await house.repository("files", [("quota_bytes", JSON(size * fitting + size / 2))])
        func put(_ number: Int) async -> Int {
            // Every third has the bytes of another: what is counted is what is named, not what is stored.
            let body = [UInt8](repeating: UInt8(number % 3 == 0 ? 0 : number), count: size)
            return await house.send(.put, "/general/files/a/\(number)/f", body: body).status
        }
        let statuses = await withTaskGroup(of: Int.self) { group in
            for number in 0..<100 { group.addTask { await put(number) } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.filter { $0 == 201 }.count == fitting)
        #expect(statuses.filter { $0 == 507 }.count == 100 - fitting, "\(statuses)")
        let listed = await house.send(.get, "/api/v1/repositories/files/artifacts?per_page=100").json["items"]?.array ?? []
        #expect(listed.count == fitting)
        let gone = try #require(listed.first?["path"]?.string)
        #expect(await house.send(.delete, "/api/v1/repositories/files/artifacts/\(gone)").status == 200)
        #expect(await put(200) == 201)
        #expect(await put(201) == 507)
    }

    private static func inside(_ project: String, _ key: String, _ house: House) async {
        await house.repository(key, [("project_id", .string(project))])
    }

    private static func used(_ project: String, _ house: House) async -> [JSON?] {
        let told = await house.send(.get, "/api/v1/projects/\(project)").json
        return [told["quota_bytes"], told["quota_used_bytes"]]
    }

    @Test("a project's quota is set, changed and lifted; of a hundred uploads at once to all its repositories as many succeed as fit")
    func project() async throws {
        let house = try await House()
        let (size, fitting) = (1000, 37)
        let quota: JSON = ["key": "p", "name": "p", "quota_bytes": JSON(size * fitting + size / 2)]
        let made = await house.send(.post, "/api/v1/projects", json: quota).json
        #expect(made["quota_bytes"] == quota["quota_bytes"])
        let project = try #require(made["id"]?.string)
        for key in ["one", "two", "three"] { await Self.inside(project, key, house) }
        func put(_ number: Int) async -> Int {
            let key = ["one", "two", "three"][number % 3]
            return await house.send(.put, "/general/\(key)/\(number)/f", body: [UInt8](repeating: UInt8(number), count: size)).status
        }
        let statuses = await withTaskGroup(of: Int.self) { group in
            for number in 0..<100 { group.addTask { await put(number) } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.count { $0 == 201 } == fitting)
        #expect(statuses.count { $0 == 507 } == 100 - fitting, "\(statuses)")
        #expect(await Self.used(project, house) == [quota["quota_bytes"], JSON(size * fitting)])
        let refused = await house.send(.put, "/general/one/more/f", body: [UInt8](repeating: 1, count: size))
        #expect(refused.outcome == "507 QUOTA_EXCEEDED")

        func set(_ bytes: JSON) async -> Int { await house.send(.put, "/api/v1/projects/\(project)", json: ["quota_bytes": bytes]).status }
        #expect(await set(JSON(size)) == 200)
        #expect(await put(101) == 507)
        #expect(await set(-1) == 200)
        #expect(await Self.used(project, house) == [nil, nil])
        #expect(await put(101) == 201)
        // What came while there was none counts.
        #expect(await set(JSON(size * (fitting + 2))) == 200)
        #expect(await [put(102), put(103)] == [201, 507])
        #expect(await house.send(.delete, "/api/v1/repositories/one").status == 200)
        #expect(await put(104) == 201)
        #expect(await house.send(.post, "/api/v1/projects", json: ["key": "n", "name": "n", "quota_bytes": -2]).outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.delete, "/api/v1/projects/\(project)").status == 200)
        #expect(await put(106) == 201)
    }

    @Test("while uploads, replacements, deletions and moves between projects meet at random, no project holds more than it may, and the sum is right")
    func random() async throws {
        let seed = UInt64.random(in: .min ... .max)
        print("project quotas: seed \(seed)")
        let house = try await House()
        let quota: Int64 = 5000
        var projects: [String] = []
        for key in ["p", "q"] {
            let made = await house.send(.post, "/api/v1/projects", json: ["key": .string(key), "name": "x", "quota_bytes": JSON(Int(quota))])
            projects.append(try #require(made.json["id"]?.string))
        }
        let (keys, ids) = (["a", "b", "c"], projects)
        for (index, key) in keys.enumerated() { await Self.inside(ids[index % 2], key, house) }
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<6 {
                group.addTask {
                    var random = SeededRandom(seed: seed &+ UInt64(task))
                    for _ in 0..<60 {
                        let key = keys[Int.random(in: 0..<3, using: &random)]
                        let path = "\(key)/artifacts/f/\(Int.random(in: 0..<8, using: &random))"
                        let size = Int.random(in: 1...1500, using: &random)
                        switch Int.random(in: 0..<10, using: &random) {
                        case 0: await house.send(.patch, "/api/v1/repositories/\(key)", json: ["project_id": .string(ids[size % 2])])
                        case 1...3: await house.send(.delete, "/api/v1/repositories/\(path)")
                        default:
                            let body = [UInt8](repeating: UInt8(size % 3), count: size)
                            let status = await house.send(.put, "/api/v1/repositories/\(path)", body: body).status
                            // 404: it was deleted before it could be told of.
                            #expect([200, 201, 404, 409, 507].contains(status), "\(status)")
                        }
                        for project in ids { #expect((await Self.used(project, house)[1]?.int64 ?? .max) <= quota) }
                    }
                }
            }
        }
        for project in ids {
            var sum: Int64 = 0
            for key in keys {
                let repository = await house.send(.get, "/api/v1/repositories/\(key)").json
                if repository["project_id"]?.string == project { sum += repository["storage_used_bytes"]?.int64 ?? 0 }
            }
            #expect(await Self.used(project, house)[1]?.int64 == sum)
        }
    }
}
