import BlobStore
import Core
import HTTPTypes
import Synchronization
import TestHouse
import TestSupport
import Testing

@testable import Registry

#if canImport(Glibc)
    import Glibc
#endif

@Suite("check of a store") struct StoreCheckTests {
    private final class Told: Sendable {
        let findings = Mutex<[CheckedFinding]>([])
        /// Where it could be gone on with, and how many findings came before.
        let places = Mutex<[(progress: CheckProgress, before: Int)]>([])
    }

    private func run(_ house: House, from start: CheckProgress = CheckProgress()) async throws -> (CheckProgress, Told) {
        var options = CheckOptions()
        options.readPercent = 100
        let told = Told()
        let check = StoreCheck(catalog: house.catalog, blobs: house.registry.blobs, options: options) { finding in
            told.findings.withLock { $0.append(finding) }
        } keep: { progress in
            let before = told.findings.withLock { $0.count }
            told.places.withLock { $0.append((progress, before)) }
        }
        return (try await check.run(from: start), told)
    }

    @Test("interrupted anywhere and gone on with, it tells every finding once and counts the same") func resumed() async throws {
        var small = House.Options()
        small.segmentBytesMax = 64 << 10
        small.ownFileBytesMin = 1 << 20
        let house = try await House(small)
        await house.repository("files")
        for number in 0..<200 { await house.put(String(repeating: "\(number) ", count: 900), at: "a/1/\(number)", in: "files") }
        for number in 0..<20 { await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/\(number)") }
        let directory = house.directory
        house.close()
        for number in [1, 3, 5] {
            let path = directory.file("store/segments/000000000000000\(number).segment")
            #expect(truncate(path, 30_000) == 0)
        }
        let again = try await House(small, in: directory)
        // The segments that lost their ends are sealed in the background, which changes what is told of them.
        let blobs = again.registry.blobs
        while try await blobs.sealedSegments().count < (try await blobs.segmentNumbers().count) - 1 { try await Task.sleep(for: .milliseconds(5)) }
        let (whole, told) = try await run(again)
        let findings = told.findings.withLock { $0 }
        #expect(whole.phase == .done)
        #expect(whole.damages > 10 && whole.notes >= 20)
        let places = told.places.withLock { $0 }
        #expect(places.count > 12)
        for place in places {
            let (ended, rest) = try await run(again, from: place.progress)
            #expect(ended == whole)
            let isSame = Array(findings[..<place.before]) + rest.findings.withLock { $0 } == findings
            #expect(isSame, "gone on with from \(place.progress)")
        }
        again.close()
    }
}
