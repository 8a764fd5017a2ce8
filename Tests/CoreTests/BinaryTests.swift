import Core
import NIOCore
import Testing

@Suite struct BinaryTests {
    @Test("what was written is read back, and nothing is left")
    func roundTrip() throws {
        var writer = BinaryWriter()
        writer.write(UInt8(7))
        writer.write(UInt32(0xDEAD_BEEF))
        writer.write(Int64(-2))
        writer.write("grüße")
        writer.write(String?.none) { $0.write($1) }
        writer.write(each: ["a", "", "ccc"]) { $0.write($1) }
        var reader = BinaryReader(writer.bytes)
        #expect(try reader.readUInt8() == 7)
        #expect(try reader.readUInt32() == 0xDEAD_BEEF)
        #expect(try reader.readInt64() == -2)
        #expect(try reader.readString() == "grüße")
        #expect(try reader.readOptional { r throws(RegistryError) in try r.readString() } == nil)
        #expect(try reader.readEach { r throws(RegistryError) in try r.readString() } == ["a", "", "ccc"])
        #expect(reader.remaining == 0)
    }

    @Test("a row cut at any byte is reported as corrupt, and damage never traps")
    func damage() throws {
        var writer = BinaryWriter()
        writer.write(each: (0..<20).map { "name \($0)" }) { $0.write($1) }
        writer.write(UInt64.max)
        func read(_ bytes: [UInt8]) throws(RegistryError) {
            var reader = BinaryReader(bytes)
            _ = try reader.readEach { r throws(RegistryError) in try r.readString() }
            _ = try reader.readUInt64()
        }
        try read(writer.bytes)
        for cut in 0..<writer.bytes.count {
            let error = #expect(throws: RegistryError.self) { try read(Array(writer.bytes[..<cut])) }
            #expect(error?.code == .corrupt)
        }
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            var bytes = writer.bytes
            bytes[Int.random(in: 0..<bytes.count, using: &generator)] = .random(in: 0...255, using: &generator)
            do { try read(bytes) } catch { #expect(error.code == .corrupt) }
        }
    }

    @Test("a body is collected up to its limit and refused beyond, announced or not")
    func bodies() async throws {
        let five = Body(ByteBuffer(string: "hello"))
        #expect(try await five.collect() == ByteBuffer(string: "hello"))
        let announced = await #expect(throws: RegistryError.self) { try await Body(ByteBuffer(string: "hello")).collect(upTo: 4) }
        #expect(announced?.code == .tooLarge)
        let hidden = Body(length: nil, source: Twice())
        let grown = await #expect(throws: RegistryError.self) { try await hidden.collect(upTo: 7) }
        #expect(grown?.code == .tooLarge)
    }

    /// Gives one buffer for ever.
    private struct Twice: BodySource {
        func next() async throws(RegistryError) -> ByteBuffer? { ByteBuffer(string: "four") }
    }
}
