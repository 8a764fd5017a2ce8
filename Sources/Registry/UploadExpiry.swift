import BlobStore
import Catalog
public import Core
import Logging

extension Registry {
    /// Gives back what abandoned uploads hold, every ten minutes until its task is cancelled.
    public func expireUploads() async {
        while !Task.isCancelled {
            do throws(RegistryError) { try await expireUploadsOnce() } catch {
                log.error("expired uploads stay for now", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(600))
        }
    }

    /// Sessions that received nothing for their lifetime, and the records of REST sessions that are over. A record outlives its session by as
    /// long as one lasts, so that a late client hears "expired" rather than "never heard of".
    public func expireUploadsOnce() async throws(RegistryError) {
        let now = world.now()
        _ = try await blobs.expireUploads(now: now)
        var last: String?
        while true {
            let page = try await catalog.records(.upload, after: last, limit: 256)
            var parts: [Change.Part] = []
            for record in page {
                guard let id = EntityID(record.id) else { continue }
                // Whether it lives only its node knows; of one that is gone for long it does not.
                let isMine = options.nodes.map { $0.number == id.node } ?? true
                guard id.time.adding(seconds: (isMine ? 2 : 30) * options.uploadLifetimeSeconds) < now else { continue }
                if try await blobs.upload(id) == nil { parts.append(.deleteRecord(.upload, id: record.id)) }
            }
            if !parts.isEmpty { try await catalog.apply(Change(actor: .system, at: now, requestID: "expire uploads", parts: parts)) }
            guard page.count == 256, let end = page.last else { return }
            last = end.id
        }
    }
}
