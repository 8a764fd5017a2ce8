import Core
import HTTPTypes
import Parsing
import TestHouse

/// A wheel made byte by byte.
struct WheelFile: Sendable {
    let name: String
    let bytes: [UInt8]
    var sha256: String { Digest.of(.sha256, bytes).hex }

    /// - Parameter says: what tells two wheels of one name apart, by their bytes and by their metadata's.
    init(_ project: String, _ version: String, tag: String = "py3-none-any", says: String) {
        name = "\(project)-\(version)-\(tag).whl"
        let metadata = "Metadata-Version: 2.1\nName: \(project)\nVersion: \(version)\nSummary: \(says)\n\n"
        bytes = WheelFile.zip([("\(project).py", Array(says.utf8)), ("\(project)-\(version).dist-info/METADATA", Array(metadata.utf8))])
    }

    /// PKWARE's format with nothing compressed.
    private static func zip(_ files: [(name: String, bytes: [UInt8])]) -> [UInt8] {
        var archive: [UInt8] = []
        var directory: [UInt8] = []
        for (name, bytes) in files {
            let offset = archive.count
            var about = little(0, 6) + little(crc32(bytes), 4)
            about += little(bytes.count, 4) + little(bytes.count, 4) + little(name.utf8.count, 2) + little(0, 2)
            archive += [0x50, 0x4B, 3, 4, 20, 0, 0, 0] + about + Array(name.utf8) + bytes
            directory += [0x50, 0x4B, 1, 2, 20, 0, 20, 0, 0, 0] + about + little(0, 10) + little(offset, 4) + Array(name.utf8)
        }
        var end: [UInt8] = [0x50, 0x4B, 5, 6] + little(0, 4) + little(files.count, 2) + little(files.count, 2)
        end += little(directory.count, 4) + little(archive.count, 4) + little(0, 2)
        return archive + directory + end
    }

    private static func little(_ value: some BinaryInteger, _ count: Int) -> [UInt8] {
        (0..<count).map { $0 < 8 ? UInt8(truncatingIfNeeded: UInt64(truncatingIfNeeded: value) >> UInt64(8 * $0)) : 0 }
    }

    private static func crc32(_ bytes: [UInt8]) -> UInt32 {
        var sum = UInt32.max
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum & 1 == 1 ? (sum >> 1) ^ 0xEDB8_8320 : sum >> 1 }
        }
        return ~sum
    }
}

extension House {
    @discardableResult
    func publish(_ wheel: WheelFile, to key: String, as who: Credential = .admin) async -> Answer {
        await send(.put, "/api/v1/repositories/\(key)/artifacts/\(wheel.name)", as: who, body: wheel.bytes)
    }

    /// A virtual repository of these members, in this order.
    @discardableResult
    func virtual(
        _ key: String, format: String = "generic", of members: [String], isPublic: Bool = true, _ more: [(String, JSON)] = []
    ) async -> Answer {
        let places = members.enumerated().map { JSON.object(.init([("repo_key", .string($0.element)), ("priority", JSON($0.offset))])) }
        return await repository(key, format: format, isPublic: isPublic, [("repo_type", "virtual"), ("member_repos", .array(places))] + more)
    }
}
