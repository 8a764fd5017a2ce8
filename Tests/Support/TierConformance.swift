public import BlobStore
import Core
import NIOCore

/// What every tier of the blob store must do. Each check returns what it found wrong, in words; empty is right.
public struct TierConformance: Sendable {
    private let tier: any SegmentTier

    /// The tier is empty, and nobody else's.
    public init(_ tier: any SegmentTier) { self.tier = tier }

    public func check(bytesMax: Int) async throws -> [String] {
        var wrong: [String] = []
        func expect(_ isRight: Bool, _ what: String) { if !isRight { wrong.append(what) } }
        func content(_ bytes: [UInt8]) -> BlobContent { BlobContent(.memory(ByteBuffer(bytes: bytes))) }
        func read(_ name: TierName, _ range: Range<Int64>) async throws -> [UInt8] {
            let body = try await tier.read(name, range)
            var bytes: [UInt8] = []
            while let slice = try await body.next() { bytes += Array(slice.readableBytesView) }
            return bytes
        }
        let ids = (0..<5).compactMap { BlobID(bytes: [UInt8](repeating: UInt8($0 * 50), count: 32)) }
        var names: [TierName] = [.mark, .segment(1), .segment(0xFFFF_FFFF), .segment(2)]
        names += [.sharedMark, .object(World.real.newID()), .object(World.real.newID())]
        names += [.part(of: 1, id: World.real.newID()), .part(of: 7, id: World.real.newID()), .end(ids[0])]
        names += ids.map { .blob($0) }
        var stored: [TierName: [UInt8]] = [:]
        for (index, name) in names.enumerated() {
            expect(try await tier.length(of: name) == nil, "\(name) is there before it was put")
            let bytes = World.real.randomBytes(index == 0 ? 28 : bytesMax >> (index % 4))
            try await tier.put(name, content(bytes))
            stored[name] = bytes
        }
        for (name, bytes) in stored {
            let count = Int64(bytes.count)
            expect(try await tier.length(of: name) == count, "\(name) has another length")
            expect(try await read(name, 0..<count) == bytes, "\(name) has other bytes")
            expect(try await read(name, 3..<20) == Array(bytes[3..<20]), "a range of \(name) is another")
            expect(try await read(name, (count - 1)..<count) == [bytes[bytes.count - 1]], "the last byte of \(name) is another")
        }
        let other = World.real.randomBytes(1000)
        try await tier.put(.end(ids[0]), content(other))
        expect(try await read(.end(ids[0]), 0..<1000) == other, "putting again does not replace")
        stored[.end(ids[0])] = other
        expect(try await listed(.segments) == objects(stored) { if case .segment = $0 { true } else { false } }, "segments are listed otherwise")
        expect(try await listed(.blobs) == objects(stored) { if case .blob = $0 { true } else { false } }, "blobs are listed otherwise")
        expect(try await listed(.objects) == objects(stored) { if case .object = $0 { true } else { false } }, "objects are listed otherwise")
        expect(try await listed(.parts) == objects(stored) { if case .part = $0 { true } else { false } }, "parts are listed otherwise")
        await checkAbsence(of: .segment(77), &wrong)
        try await tier.removeLeftovers(before: World.real.now())
        for name in names { try await tier.remove(name) }
        try await tier.remove(.segment(77))
        for name in names { expect(try await tier.length(of: name) == nil, "\(name) is there after it was removed") }
        for kind in TierName.Kind.allCases { expect(try await listed(kind).isEmpty, "removed \(kind) are listed") }
        return wrong
    }

    private func objects(_ stored: [TierName: [UInt8]], _ isWanted: (TierName) -> Bool) -> Set<TierObject> {
        Set(stored.filter { isWanted($0.key) }.map { TierObject(name: $0.key, length: Int64($0.value.count)) })
    }

    private func listed(_ kind: TierName.Kind) async throws -> Set<TierObject> {
        var all: Set<TierObject> = []
        var page: String?
        repeat {
            let found = try await tier.list(kind, page: page)
            all.formUnion(found.objects)
            page = found.next
        } while page != nil
        return all
    }

    private func checkAbsence(of name: TierName, _ wrong: inout [String]) async {
        do throws(RegistryError) {
            _ = try await tier.read(name, 0..<1)
            wrong.append("what is not there can be read")
        } catch {
            if error.code != .notFound { wrong.append("reading what is not there says \(error)") }
        }
    }
}
