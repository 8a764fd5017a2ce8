import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

/// What the time of an answer tells of what may not be seen: here only whether it is of another kind, a hash or a read of the disk more.
@Suite("the time of an answer") struct TimeTests {
    private static let bound = 2.0

    @Test("what is private takes as long as what is absent, for nobody and for who may not see it")
    func absence() async throws {
        let house = try await House()
        await house.user("newcomer")
        var targets: [(secret: String, absent: String)] = []
        for (format, path) in [
            ("generic", "/general/{r}/app/1/f"), ("npm", "/npm/{r}/tool"), ("oci", "/v2/{r}/app/manifests/one"), ("pypi", "/pypi/{r}/simple/demo/"),
        ] {
            await house.repository("\(format)-own", format: format)
            for call in Publication.of(format, in: "\(format)-own") {
                await house.send(call.method, call.target, [("Content-Type", call.type)], body: call.body)
            }
            targets.append((path.replacing("{r}", with: "\(format)-own"), path.replacing("{r}", with: "\(format)-not")))
        }
        targets.append(("/api/v1/repositories/generic-own", "/api/v1/repositories/generic-not"))
        targets.append(("/api/v1/repositories/generic-own/download/app/1/f", "/api/v1/repositories/generic-not/download/app/1/f"))
        for who in [Credential.none, .user("newcomer")] {
            for target in targets {
                let ratios = await Turns.ratios(of: 2, turns: 40, within: Self.bound) { kind, _ in
                    let answer = await house.send(.get, kind == 0 ? target.absent : target.secret, as: who)
                    #expect([401, 404].contains(answer.status))
                }
                #expect(Turns.areAlike(ratios, within: Self.bound), "\(target.secret): \(ratios)")
            }
        }
    }

    @Test("bytes that another repository has take as long to upload as bytes that nobody has")
    func uploads() async throws {
        let house = try await House()
        for key in ["theirs", "ours"] { await house.repository(key) }
        func bytes(_ number: Int) -> [UInt8] { (0..<4096).flatMap { Array("\(number) \($0 &* 2_654_435_761 % 65_521)\n".utf8) } }
        let known = bytes(0)
        #expect(await house.send(.put, "/general/theirs/a/1/f", body: known).status == 201)
        let ratios = await Turns.ratios(of: 2, turns: 12, within: 2.5) { kind, number in
            // Fresh bytes are made for both, so that making them is no difference.
            let fresh = bytes(number)
            let answer = await house.send(.put, "/general/ours/a\(number)/1/f", body: kind == 0 ? fresh : known)
            #expect(answer.status == 201)
        }
        #expect(Turns.areAlike(ratios, within: 2.5), "\(ratios)")
    }
}
