import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// The formats' own logins, which take a password out of a body.
@Suite("logins of formats") struct LoginTests {
    private static func npm(_ house: House, _ name: String, _ password: String, from client: String) async -> Answer {
        let body: JSON = ["name": .string(name), "password": .string(password)]
        return await house.send(
            .put, "/npm/any/-/user/org.couchdb.user:\(name)", as: .none, [("Content-Type", "application/json")], body: body.encoded(), from: client)
    }

    private static func docker(_ house: House, _ name: String, _ password: String, from client: String) async -> Answer {
        let form = "grant_type=password&service=granary&username=\(name)&password=\(Percent.encode(password, in: .strict))"
        return await house.send(
            .post, "/v2/token", as: .none, [("Content-Type", "application/x-www-form-urlencoded")], body: Array(form.utf8), from: client)
    }

    @Test("guesses in a body count for the address they come from: the owner comes in from another")
    func guesses() async throws {
        for login in [Self.npm, Self.docker] {
            let house = try await House()
            await house.user("ann")
            await house.user("bob")
            var statuses: [Int] = []
            for number in 0..<60 { statuses.append(await login(house, "ann", "guess \(number)", "203.0.113.9").status) }
            #expect(statuses.prefix(5).allSatisfy { $0 == 401 } && statuses.dropFirst(5).allSatisfy { $0 == 429 }, "\(statuses)")
            #expect(await login(house, "ann", House.password, "203.0.113.9").status == 429)
            #expect(await login(house, "ann", House.password, "198.51.100.7").status / 100 == 2)
            #expect(await login(house, "bob", House.password, "198.51.100.8").status / 100 == 2)
        }
    }

    @Test("everybody logs in with npm, and gets a token that does what they may, but for what only administrators give")
    func npm() async throws {
        let house = try await House()
        await house.repository("closed", format: "npm")
        let ann = await house.user("ann")
        await house.grant(["write", "delete"], on: "closed", to: ann)
        let made = await Self.npm(house, "ann", House.password, from: "198.51.100.7")
        #expect(made.status == 201, "\(made.text)")
        let token = Credential.bearer(made.json["token"]?.string ?? "")
        let published = Publication.of("npm", in: "closed")[0]
        #expect(
            await house.send(published.method, published.target, as: token, [("Content-Type", published.type)], body: published.body).status == 200)
        #expect(await house.send(.get, "/npm/closed/tool", as: token).status == 200)
        #expect(await house.send(.delete, "/npm/closed/tool/-rev/1", as: token).status == 403)
        #expect(await house.send(.get, "/api/v1/users", as: token).status == 403)
    }
}
