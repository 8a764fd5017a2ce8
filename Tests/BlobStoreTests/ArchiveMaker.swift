import Core
import TestSupport

@testable import BlobStore

/// Archives of every kind that the opener is to know, made by the deflate that is to make them again.
enum ArchiveMaker {
    static func deflated(_ bytes: [UInt8], _ settings: DeflateSettings) throws -> [UInt8] {
        var made: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 64 << 10)
        let stream = try DeflateStream(settings)
        var used = 0
        while true {
            let step = try stream.step(bytes, from: used, into: &room, isLast: true)
            used += step.used
            made += room[..<step.made]
            if step.isEnded { return made }
        }
    }

    struct Member {
        var name: String
        var bytes: [UInt8]
        /// nil: stored.
        var settings: DeflateSettings?
        var hasDescriptor = false
    }

    /// - Parameter damage: changes the bytes of a member's stream.
    static func zip(_ members: [Member], comment: [UInt8] = [], damage: ([UInt8]) -> [UInt8] = { $0 }) throws -> [UInt8] {
        var archive: [UInt8] = []
        var directory: [UInt8] = []
        for member in members {
            let stream = try member.settings.map { damage(try deflated(member.bytes, $0)) } ?? member.bytes
            let (offset, name) = (archive.count, Array(member.name.utf8))
            let sizes = little(checksum(member.bytes), 4) + little(stream.count, 4) + little(member.bytes.count, 4)
            let head = little(20, 2) + little(member.hasDescriptor ? 8 : 0, 2) + little(member.settings == nil ? 0 : 8, 2) + little(0x5A21_7000, 4)
            archive += Array("PK".utf8) + [3, 4] + head + (member.hasDescriptor ? little(0, 12) : sizes)
            archive += little(name.count, 2) + little(0, 2) + name + stream
            if member.hasDescriptor { archive += Array("PK".utf8) + [7, 8] + sizes }
            directory += Array("PK".utf8) + [1, 2] + little(20, 2) + head + sizes + little(name.count, 2) + little(0, 12) + little(offset, 4) + name
        }
        let end = little(members.count, 2) + little(members.count, 2) + little(directory.count, 4) + little(archive.count, 4)
        return archive + directory + Array("PK".utf8) + [5, 6] + little(0, 4) + end + little(comment.count, 2) + comment
    }

    static func gzip(_ bytes: [UInt8], _ settings: DeflateSettings, name: String? = nil) throws -> [UInt8] {
        let head: [UInt8] = [0x1F, 0x8B, 8, name == nil ? 0 : 8, 1, 2, 3, 4, 2, 3]
        return head + (name.map { Array($0.utf8) + [0] } ?? []) + (try deflated(bytes, settings)) + little(checksum(bytes), 4)
            + little(bytes.count, 4)
    }

    /// - Parameter time: in each header, as a source archive has it.
    static func tar(_ files: [(name: String, bytes: [UInt8])], time: Int = 1_700_000_000) -> [UInt8] {
        var archive: [UInt8] = []
        for file in files {
            var block = [UInt8](repeating: 0, count: 512)
            func put(_ text: String, at offset: Int) { block.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8) }
            put(file.name, at: 0)
            put("0000644", at: 100)
            put(octal(file.bytes.count), at: 124)
            put(octal(time), at: 136)
            put("0", at: 156)
            put("ustar  ", at: 257)
            archive += block + file.bytes + [UInt8](repeating: 0, count: (512 - file.bytes.count % 512) % 512)
        }
        return archive + [UInt8](repeating: 0, count: 1024)
    }

    private static func octal(_ number: Int) -> String {
        let digits = String(number, radix: 8)
        return String(repeating: "0", count: 11 - digits.count) + digits
    }

    private static func little(_ number: Int, _ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) } }

    /// Nobody here reads it: any number of the bytes will do.
    private static func checksum(_ bytes: [UInt8]) -> Int { Int(CRC32C.of(bytes)) }

    /// Of a seed: members of every kind.
    static func randomArchive(_ random: inout SeededRandom) throws -> [UInt8] {
        let settings = { (random: inout SeededRandom) in DeflateSettings.all.randomElement(using: &random) ?? DeflateSettings.all[0] }
        let usual = settings(&random)
        func content(_ random: inout SeededRandom) -> [UInt8] {
            let length = [0, 1, 300, 5000, 70_000, 140_000].randomElement(using: &random) ?? 0
            let seed = random.next()
            return Bool.random(using: &random) ? Fixture.text(length, seed: seed) : pattern(length, seed: seed)
        }
        if Bool.random(using: &random) {
            let files = (0..<Int.random(in: 0...6, using: &random)).map { (name: "f\($0)", bytes: content(&random)) }
            let bytes = Bool.random(using: &random) ? tar(files) : content(&random)
            let name = Bool.random(using: &random) ? "a.tar" : nil
            let twice = Bool.random(using: &random) ? try gzip(content(&random), usual) : []
            return try gzip(bytes, usual, name: name) + twice + (Bool.random(using: &random) ? pattern(100, seed: 9) : [])
        }
        let members = (0..<Int.random(in: 0...8, using: &random)).map { index in
            let isUsual = UInt8.random(in: 0..<4, using: &random) > 0
            return Member(
                name: "member-\(index)", bytes: content(&random),
                settings: UInt8.random(in: 0..<4, using: &random) == 0 ? nil : isUsual ? usual : settings(&random),
                hasDescriptor: Bool.random(using: &random))
        }
        return try zip(members, comment: Bool.random(using: &random) ? Array("PK a comment".utf8) : [])
    }
}
