import Core
import HTTPTypes
import TestHouse
import Testing

@Suite("deleting artifacts") struct DeletionTests {
    @Test("the last file of a version takes no file with it that comes at the same time")
    func lastOfVersion() async throws {
        let house = try await House()
        await house.repository("files", isPublic: true)
        for round in 0..<40 {
            await house.put("old", at: "app/\(round)/old", in: "files")
            async let deleted = house.send(.delete, "/api/v1/repositories/files/artifacts/app/\(round)/old")
            async let made = house.put("new", at: "app/\(round)/new", in: "files")
            let statuses = (await deleted.status, await made.status)
            #expect(statuses.0 == 200 && statuses.1 == 201)
            #expect(await house.send(.get, "/general/files/app/\(round)/new").text == "new")
            #expect(await house.send(.get, "/general/files/app/\(round)/old").status == 404)
        }
    }
}
