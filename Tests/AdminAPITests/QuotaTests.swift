import Core
import HTTPTypes
import Parsing
import TestHouse
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
}
