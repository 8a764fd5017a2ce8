import Catalog
import Core
import FrontendKit
import NIOCore
import Outbound

extension Registry {
    /// What the first document that upstream has says a file's digest is; nil when it has none, or those it has do not begin with one.
    /// - Throws: `upstreamFailed` when upstream does not say whether it has one.
    func statedDigest(_ documents: [DigestDocument], for repository: Repository) async throws(RegistryError) -> Digest? {
        for document in documents {
            let answer = try await ask(try fetchRequest(UpstreamRequest(url: document.url), to: repository, bodyBytesMax: 1 << 20), for: repository)
            switch answer.status {
            case 200:
                // Some answer a question for what they lack with a page: its beginning is enough to see that.
                var text: [UInt8] = []
                while text.count < 256, let slice = try await answer.body.next() { text += slice.readableBytesView }
                let word = text.prefix { $0 > 0x20 }
                if let digest = Digest(document.algorithm, hex: String(decoding: word, as: UTF8.self)) { return digest }
            case 404, 410: continue
            default: throw unexpected(answer.status, from: repository)
            }
        }
        return nil
    }
}
