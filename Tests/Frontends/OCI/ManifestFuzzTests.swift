import Core
import TestSupport
import Testing

@testable import OCI

@Suite("OCI manifests, mutated") struct ManifestFuzzTests {
    /// SplitMix64: small, and the same everywhere.
    struct Random: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
    }

    @Test("no mutation of a manifest traps, and what is accepted is one kind of thing with well-formed digests", arguments: [1, 2, 3, 4] as [UInt64])
    func mutations(seed: UInt64) throws {
        var random = Random(state: seed)
        let seeds = [
            Bench.manifest(#","subject":\#(Bench.descriptor(Bench.config, Bench.ociManifest)),"annotations":{"a":"b"}"#),
            Bench.index(of: [Bench.manifest()]),
        ]
        let words = ["null", "\"\"", "{}", "[]", "-1", "\"manifests\"", "\"Layers\"", "\"config\"", "2", "\"sha512:00\"", "\u{0}"].map {
            Array($0.utf8)
        }
        var accepted = 0
        for _ in 0..<2000 {
            var bytes = seeds.randomElement(using: &random) ?? []
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...9, using: &random)))
                case 2: bytes.insert(contentsOf: words.randomElement(using: &random) ?? [], at: at)
                default: bytes.replaceSubrange(at..<min(bytes.count, at + 2), with: words.randomElement(using: &random) ?? [])
                }
                if bytes.isEmpty { bytes = [0x7B] }
            }
            guard let manifest = try? ImageManifest(parsing: bytes, contentType: nil) else { continue }
            accepted += 1
            let isIndex = manifest.mediaType == MediaType.ociIndex || manifest.mediaType == MediaType.dockerList
            #expect(MediaType.manifests.contains(manifest.mediaType), "seed \(seed)")
            #expect(isIndex ? manifest.config == nil : manifest.manifests.isEmpty, "seed \(seed)")
            for digest in manifest.blobs + manifest.manifests { _ = try Digest(oci: digest.description) }
        }
        #expect(accepted > 0, "seed \(seed): the mutations are too wild to prove anything")
    }
}
