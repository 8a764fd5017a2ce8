import Testing

@testable import Server

@Suite("unsent bytes") struct UnsentLimitTests {
    @Test("a large answer alone has the whole queue, several share it, and each has some") func shares() {
        #expect([0, 1, 2, 3, 4, 5, 8, 9, 10_000, .max].map { UnsentLimit.of($0) >> 10 } == [2048, 2048, 1024, 512, 512, 256, 256, 128, 128, 128])
    }

    @Test("who sends a large answer counts until it is done") func counted() {
        let answers = UnsentLimit.Answers()
        var held: [UnsentLimit.Answer] = (0..<2).map { _ in UnsentLimit.Answer(answers) }
        #expect(answers.limit == UnsentLimit.bytesMax / 2)
        held.removeAll()
        #expect(answers.limit == UnsentLimit.bytesMax)
    }
}
