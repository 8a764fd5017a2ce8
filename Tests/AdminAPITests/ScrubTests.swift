import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("scrub over REST") struct ScrubTests {
    @Test("damage is shown with what names it; the artifact fails clearly until it is pushed again", arguments: [false, true])
    func scrub(isStrict: Bool) async throws {
        var options = House.Options()
        options.strictReads = isStrict
        options.ownFileBytesMin = 1 << 20
        let house = try await House(options)
        await house.repository("files")
        let text = String(repeating: "0123456789abcdef", count: 80_000)
        let digest = try #require(await house.put(text, at: "a/1/f", in: "files").json["checksum_sha256"]?.string)
        await house.put("other", at: "a/1/g", in: "files")
        let clean = await house.send(.post, "/api/v1/admin/scrub").json
        #expect(clean["blobs"] == 2 && clean["damaged"] == [])
        let descriptor = open(house.directory.file("store/blobs/\(digest.prefix(2))/\(digest)"), O_RDWR | O_CLOEXEC)
        try #require(descriptor >= 0)
        try #require(unsafe pwrite(descriptor, "X", 1, 100_000) == 1)
        close(descriptor)
        let found = await house.send(.post, "/api/v1/admin/scrub").json
        #expect(found["damaged"]?.array?.count == 1 && found["damaged_found"] == 1 && found["is_running"] == false)
        let damaged = found["damaged"]?.array?.first
        #expect(damaged?["digest"]?.string == "sha256:\(digest)")
        #expect(damaged?["references"] == ["the artifact a/1/f of files"])
        let answer = await house.send(.get, "/api/v1/repositories/files/download/a/1/f")
        #expect(isStrict ? answer.text == "unreadable" : answer.outcome == "500 STORAGE_ERROR")
        #expect(await house.send(.get, "/api/v1/repositories/files/download/a/1/g").text == "other")
        await house.put(text, at: "a/1/f", in: "files")
        #expect(await house.send(.get, "/api/v1/repositories/files/download/a/1/f").text == text)
        #expect(await house.send(.get, "/api/v1/admin/scrub").json["damaged"] == [])
        await house.user("ann")
        for method in [HTTPRequest.Method.get, .post] {
            #expect(await house.send(method, "/api/v1/admin/scrub", as: .user("ann")).status == 403)
            #expect(await house.send(method, "/api/v1/admin/scrub", as: .none).status == 401)
        }
    }
}
