import Access
import BlobStore
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import Outbound

// A file that one node fetches from an upstream is read along by the others, node to node, while it arrives. docs/internals/nodes.md.

extension Nodes {
    /// The file that a node fetches, as it arrives there.
    /// - Returns: nil when nobody answers in time, or that node is not at it.
    fileprivate func fetched(
        as turn: Digest, at node: UInt16, upTo bytesMax: Int64, beginningWithin seconds: Double, as access: Access
    ) async throws(RegistryError) -> FetchResponse? {
        guard node != number, var request = try await request(.fetch(turn), to: node, as: access) else { return nil }
        // The last bytes come when that node has brought all of them into the bucket. Whether it is alive, its signs of life say.
        request.limits = Limits(bodyBytesMax: bytesMax, connectSeconds: 5, stallSeconds: 600, redirectsMax: 0)
        let (question, client) = (request, client)
        let answer = await withTaskGroup(of: FetchResponse?.self) { group in
            // A node that does not answer is dead, or cannot be reached: either way the wait goes on.
            group.addTask { try? await client.fetch(question) }
            group.addTask {
                try? await Task.sleep(for: .milliseconds(Int64(min(seconds, 600) * 1000)))
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
        return answer?.status == 200 ? answer : nil
    }
}

extension Registry {
    /// Reads a file along from the node that fetches it, so that this node's clients have its bytes as they come.
    ///
    /// What comes is believed when the catalog names it: until then the last bytes are held back.
    /// - Parameters:
    ///   - turn: what the fetch is called.
    ///   - stored: what that node has stored.
    /// - Throws: what went wrong on this node, and `upstreamFailed` when other bytes came than were stored.
    func follow(
        _ turn: String, to path: AssetPath, at node: UInt16, upTo bytesMax: Int64, beginningWithin seconds: Double, arrivingIn flight: FileFlight,
        _ pace: FetchTurns.Pace, stored: () async throws(RegistryError) -> Asset?
    ) async throws(RegistryError) -> FetchTurns.Followed<Asset> {
        guard blobs.isShared, let nodes = options.nodes,
            let answer = try await nodes.fetched(
                as: FetchTurns.digest(of: turn), at: node, upTo: bytesMax, beginningWithin: seconds, as: access),
            let expected = Registry.expected(answer[Registry.expectedField] ?? "")
        else { return .never }
        let head = FileFlight.Head(
            path: path, contentType: inertType(answer["Content-Type"]), length: answer.body.length, expected: expected)
        let staging = try blobs.stage(expectedLength: head.length, digests: .sha256)
        try flight.begin(head, into: staging)
        let sink = FlightSink(flight, staging, pace)
        do throws(RegistryError) { try await answer.body.drain(into: sink) } catch {
            if let failure = sink.failure { throw failure }
            log.info("another node broke off while a file was read along", metadata: ["path": "\(path)", "node": "\(node)", "error": "\(error)"])
            return .brokeOff
        }
        pace.ended()
        let staged = try await flight.finish(staging, isCopy: true)
        guard let asset = try await stored(), asset.blob == staged.id, expected.allSatisfy({ asset.digest($0.algorithm) == $0 }) else {
            throw RegistryError(
                .upstreamFailed, subject: .path(path.text), reason: "the bytes of \(path) that came from node \(node) are not what was stored")
        }
        try await gate(asset.blob, as: path)
        blobs.keepCopy(staged)
        return .whole(asset)
    }

    /// Another node has stored it, after what came from that node had broken off.
    func complete(_ flight: FileFlight, with asset: Asset) async throws(RegistryError) {
        try await gate(asset.blob, as: asset.path)
        guard let content = try await blobs.content(of: asset.blob) else {
            throw RegistryError(.corrupt, subject: .blob(asset.blob.description), reason: "the bytes of \(asset.path) are missing from the store")
        }
        try flight.complete(asset.blob, with: content)
    }

    /// What this node fetches from an upstream, for another node, while it arrives.
    func fetched(as turn: Digest) async -> Response {
        guard let flight = fileFlights.offered(as: turn) else { return Response(.gone) }
        do throws(RegistryError) {
            // As long as it takes: who asks knows when to give up.
            guard let known = try await flight.begun() else { return Response(.gone) }
            var fields: HTTPFields = [.contentType: known.contentType, .cacheControl: "no-store"]
            if !known.expected.isEmpty, let name = HTTPField.Name(Registry.expectedField) {
                fields[name] = known.expected.map(\.description).joined(separator: ", ")
            }
            return Response(.ok, fields: fields, content: .stream(Body(length: known.length, source: FlightReader(flight))))
        } catch {
            // The turn's row says why, to all who wait.
            return Response(.gone, failure: error)
        }
    }

    /// What the index promised, `algorithm:hex` each.
    private static let expectedField = "X-Granary-Expected"

    /// nil for what this program does not understand.
    private static func expected(_ field: String) -> [Digest]? {
        var digests: [Digest] = []
        for word in field.split(whereSeparator: { $0 == "," || $0 == " " }) {
            guard let digest = Digest(parsing: word) else { return nil }
            digests.append(digest)
        }
        return digests
    }
}
