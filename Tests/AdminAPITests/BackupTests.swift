import BlobStore
import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

@Suite("backup over REST") struct BackupTests {
    @Test("an administrator has the server back itself up, to the directory of its configuration and nowhere else") func backup() async throws {
        let target = try TemporaryDirectory()
        var options = House.Options()
        options.backup = target.file("kept")
        let house = try await House(options)
        await house.repository("files")
        await house.put("hello", at: "a/1/f", in: "files")
        let made = await house.send(.post, "/api/v1/admin/backup")
        #expect(made.status == 200)
        #expect((made.json["copied_files"]?.int ?? 0) > 1 && (made.json["revision"]?.int ?? 0) > 0)
        #expect(made.json["key"]?.string == (try BackupSigner.test().key.description))
        #expect(target.names(in: "kept").contains("backup"))
        await house.user("ann")
        #expect(await house.send(.post, "/api/v1/admin/backup", as: .user("ann")).status == 403)
        #expect(await house.send(.post, "/api/v1/admin/backup", as: .none).status == 401)
        #expect(try await House().send(.post, "/api/v1/admin/backup").outcome == "409 CONFLICT")
    }
}
