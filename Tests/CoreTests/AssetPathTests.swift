import Core
import Testing

@Suite struct AssetPathTests {
    @Test("segments are parted by the byte of the slash, whatever combining mark follows it")
    func segments() throws {
        #expect(AssetPath("a/../\u{301}b") == nil)
        #expect(AssetPath("a/./\u{301}b") == nil)
        let path = try #require(AssetPath("a/\u{301}b/c"))
        #expect(path.segments == ["a", "\u{301}b", "c"] && path.fileName == "c")
    }
}
