import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// Docker tokens and rights with patterns are of images, not of the repository that holds them.
@Suite("Rights on single images") struct ImageRightsTests {
    let house: House
    let ann: String

    /// `lib` holds the images `open`, `closed` and the one that is called like itself; Ann writes to `mine` and reads `lib/open`.
    init() async throws {
        house = try await House()
        for key in ["lib", "mine"] { await house.repository(key, format: "oci") }
        for image in ["lib/open", "lib/closed", "lib"] {
            let pushed = await house.send(.post, "/v2/\(image)/blobs/uploads/?digest=\(Self.digest(image))", body: Array(image.utf8))
            #expect(pushed.status == 201, "\(pushed.text)")
        }
        ann = await house.user("ann")
        await house.grant(["write"], on: "mine", to: ann)
        let repository = await house.send(.get, "/api/v1/repositories/lib").json["id"] ?? .null
        await house.send(
            .post, "/api/v1/permissions",
            json: [
                "principal_type": "user", "principal_id": .string(ann), "target_type": "repository", "target_id": repository, "actions": ["read"],
                "patterns": ["open"],
            ])
    }

    /// Of what was pushed to the image: its name.
    private static func digest(_ image: String) -> String { Digest.of(.sha256, image.utf8).description }

    private func dockerToken(_ scopes: String..., of who: Credential = .admin) async -> Credential {
        let query = scopes.map { "&scope=\($0.hasPrefix("registry:") ? "" : "repository:")\($0)" }.joined()
        return .bearer(await house.send(.get, "/v2/token?service=granary\(query)", as: who).json["token"]?.string ?? "")
    }

    @Test("a blob is mounted from an image that may be read, and from no other of its repository")
    func mounts() async throws {
        func mount(_ blob: String, from image: String, as who: Credential) async -> Int {
            await house.send(.post, "/v2/mine/app/blobs/uploads/?mount=\(Self.digest(blob))&from=\(image)", as: who).status
        }
        let docker = await dockerToken("mine/app:pull,push", "lib/open:pull")
        for who in [Credential.user("ann"), docker] {
            for (blob, image) in [("lib/closed", "lib/closed"), ("lib/closed", "lib/open"), ("lib", "lib"), ("lib", "lib/lib")] {
                #expect(await mount(blob, from: image, as: who) == 202, "\(blob) from \(image)")
                #expect(await house.send(.get, "/v2/mine/app/blobs/\(Self.digest(blob))").status == 404)
            }
            #expect(await mount("lib/open", from: "lib/open", as: who) == 201)
        }
        let whole = await dockerToken("mine/app:pull,push", "lib:pull")
        #expect(await mount("lib", from: "lib", as: whole) == 201)
        #expect(await mount("lib/closed", from: "lib/closed", as: whole) == 202)
    }

    @Test("a token for the image that is called like its repository is good for that image alone, and one for another is not good for it")
    func oneSegment() async throws {
        func read(_ image: String, as who: Credential) async -> Int {
            await house.send(.get, "/v2/\(image)/blobs/\(Self.digest(image))", as: who).status
        }
        let (own, other) = (await dockerToken("lib:pull"), await dockerToken("lib/open:pull"))
        #expect(await [read("lib", as: own), read("lib/open", as: own), read("lib/closed", as: own)] == [200, 403, 403])
        #expect(await [read("lib", as: other), read("lib/open", as: other), read("lib/closed", as: other)] == [403, 200, 403])
        #expect(await [read("lib", as: .user("ann")), read("lib/open", as: .user("ann"))] == [403, 200])
    }

    @Test("the catalogue names the images that the token, or the right with patterns, is for; through a virtual, too")
    func catalogue() async throws {
        func names(_ who: Credential, _ query: String = "") async -> [String] {
            await house.send(.get, "/v2/_catalog\(query)", as: who).json["repositories"]?.array?.compactMap(\.string) ?? []
        }
        #expect(await names(.admin) == ["lib/closed", "lib/lib", "lib/open"])
        #expect(await names(.user("ann")) == ["lib/open"])
        #expect(await names(await dockerToken("lib/open:pull")) == ["lib/open"])
        #expect(await names(await dockerToken("lib:pull")) == ["lib/lib"])
        #expect(await names(await dockerToken("mine/app:pull,push")) == [])
        #expect(await names(await dockerToken()) == [])
        // What the challenge of the catalogue asks for: all names of the credential behind it, and no image.
        for (who, wanted) in [(Credential.admin, ["lib/closed", "lib/lib", "lib/open"]), (.user("ann"), ["lib/open"])] {
            let listing = await dockerToken("registry:catalog:*", of: who)
            #expect(await names(listing) == wanted)
            #expect(await house.send(.get, "/v2/lib/open/blobs/\(Self.digest("lib/open"))", as: listing).status == 404)
        }
        let both = await dockerToken("lib/open:pull", "lib/closed:pull")
        #expect(await [names(both, "?n=1"), names(both, "?n=1&last=lib/closed")] == [["lib/closed"], ["lib/open"]])

        await house.repository("front", format: "oci", [("repo_type", "virtual"), ("member_repos", [["repo_key": "lib"]])])
        await house.grant(["read"], on: "front", to: ann)
        // Of the member what may be read there, and nothing else.
        #expect(await names(.user("ann")) == ["front/open", "lib/open"])
        #expect(await names(.admin) == ["front/closed", "front/lib", "front/open", "lib/closed", "lib/lib", "lib/open"])
        #expect(await [names(.user("ann"), "?n=1"), names(.user("ann"), "?n=1&last=front/open")] == [["front/open"], ["lib/open"]])
        #expect(await house.send(.get, "/v2/front/closed/blobs/\(Self.digest("lib/closed"))", as: .user("ann")).status == 404)
        #expect(await house.send(.get, "/v2/front/open/blobs/\(Self.digest("lib/open"))", as: .user("ann")).status == 200)
        #expect(await names(await dockerToken("front/open:pull")) == ["front/open"])
    }
}
