public import Core
import Logging
import NIOCore
import Outbound
import Parsing

/// Some objects of a bucket, in the order of their names.
public struct S3Page: Sendable {
    public let objects: [(name: String, length: Int64)]
    /// Where to go on; nil at the end.
    public let next: String?
}

/// A multipart upload that was begun and neither completed nor aborted.
public struct S3Upload: Sendable, Hashable {
    public let name: String
    public let id: String
    public let begun: Timestamp?
}

extension S3Client {
    /// The bytes are the object's afterwards, whole: each request's body went with its SHA-256 and its MD5, and the length was looked at after.
    /// What had the name is replaced. May be called again.
    public func put(_ name: String, _ bytes: any RandomAccessBytes) async throws(RegistryError) {
        if bytes.size <= options.partBytes {
            let body = try await S3Body(bytes, 0..<bytes.size, on: pool)
            let answer = try await send(Ask(method: .put, name: name, body: body, action: "store an object"))
            _ = try await answer.body.collect()
        } else {
            try await putInParts(name, bytes)
        }
        let length = try await length(of: name)
        guard length == bytes.size else {
            throw RegistryError(
                .upstreamFailed, subject: subject(of: Ask(method: .head, name: name, action: "")),
                reason: "the object store took an object of \(bytes.size) bytes and has \(length.map { "\($0)" } ?? "none")", retryAfterSeconds: 5)
        }
    }

    /// The range of the object, which must lie inside it: `Range` of RFC 9110 section 14.2.
    /// - Throws: `notFound` when there is no such object.
    public func get(_ name: String, _ range: Range<Int64>) async throws(RegistryError) -> Body {
        guard !range.isEmpty else { return .empty }
        let ask = Ask(
            method: .get, name: name, fields: [("Range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)")], action: "give an object")
        let response = try await send(ask)
        // What it says it gave counts: some stores give a range with the status 200.
        let given = response["content-range"].map { $0.hasPrefix("bytes \(range.lowerBound)-\(range.upperBound - 1)/") }
        guard given ?? (range.lowerBound == 0), response.body.length == Int64(range.count) else {
            throw RegistryError(
                .upstreamFailed, subject: subject(of: ask),
                reason: "the object store gave another range than \(range.lowerBound) to \(range.upperBound)",
                cause: "status \(response.status), \(response["content-range"] ?? "no Content-Range")")
        }
        return response.body
    }

    /// nil when there is no such object.
    public func length(of name: String) async throws(RegistryError) -> Int64? {
        do throws(RegistryError) {
            let response = try await send(Ask(method: .head, name: name, action: "tell of an object"))
            return response["content-length"].flatMap { Int64($0) }
        } catch {
            guard error.code == .notFound else { throw error }
            return nil
        }
    }

    /// An object that is not there is as good as deleted.
    public func delete(_ name: String) async throws(RegistryError) {
        do throws(RegistryError) {
            let answer = try await send(Ask(method: .delete, name: name, action: "delete an object"))
            _ = try await answer.body.collect()
        } catch {
            guard error.code == .notFound else { throw error }
        }
    }

    /// At most 1,000 objects whose names begin so ("ListObjectsV2" of the S3 API reference).
    /// - Parameter page: what the page before gave as `next`.
    public func list(prefix: String, page: String? = nil) async throws(RegistryError) -> S3Page {
        var query = [("list-type", "2"), ("max-keys", "1000"), ("prefix", address.key(prefix))]
        if let page { query.append(("continuation-token", page)) }
        let document = try await document(Ask(method: .get, query: query.map { (name: $0.0, value: $0.1) }, action: "list its objects"))
        var objects: [(name: String, length: Int64)] = []
        for entry in document.all("Contents") {
            guard let key = entry.text(of: "Key"), let name = address.name(ofKey: key), let length = entry.text(of: "Size").flatMap({ Int64($0) })
            else {
                continue
            }
            objects.append((name, length))
        }
        let isTruncated = document.text(of: "IsTruncated") == "true"
        guard !isTruncated || document.text(of: "NextContinuationToken") != nil else {
            throw RegistryError(
                .upstreamFailed, subject: .upstream(place), reason: "the object store listed a part of its objects and does not say how to go on")
        }
        return S3Page(objects: objects, next: isTruncated ? document.text(of: "NextContinuationToken") : nil)
    }

    // MARK: In parts

    /// Parts there may be at most.
    private static let partsMax: Int64 = 10_000

    private func putInParts(_ name: String, _ bytes: any RandomAccessBytes) async throws(RegistryError) {
        let partBytes = max(options.partBytes, bytes.size / S3Client.partsMax + 1)
        let begun = try await document(Ask(method: .post, name: name, query: [("uploads", "")], action: "begin an object in parts"))
        guard let upload = begun.text(of: "UploadId") else {
            throw RegistryError(.upstreamFailed, subject: .upstream(place), reason: "the object store began an object in parts and does not name it")
        }
        do throws(RegistryError) {
            let tags = try await putParts(name, upload, bytes, partBytes)
            try await complete(name, upload, tags, length: bytes.size)
        } catch {
            // Parts that nobody completes cost until somebody deletes them; what fails here, `uploads` finds later.
            do throws(RegistryError) { try await abort(S3Upload(name: name, id: upload, begun: nil)) } catch let failure {
                log.warning("parts of an object stay behind for now", metadata: ["object": "\(name)", "error": "\(failure)"])
            }
            throw error
        }
    }

    /// - Returns: the parts' entity tags, in order.
    private func putParts(
        _ name: String, _ upload: String, _ bytes: any RandomAccessBytes, _ partBytes: Int64
    ) async throws(RegistryError) -> [String] {
        let starts = Array(stride(from: Int64(0), to: bytes.size, by: Int64.Stride(partBytes)))
        let (tags, failure) = await withTaskGroup(of: (Int, Result<String, RegistryError>).self) { group in
            var tags = [String?](repeating: nil, count: starts.count)
            var next = 0
            // The first in time: those after it may only tell that they were broken off.
            var failure: RegistryError?
            func addNext() {
                guard next < starts.count, failure == nil else { return }
                let (index, range) = (next, starts[next]..<min(starts[next] + partBytes, bytes.size))
                next += 1
                group.addTask {
                    do throws(RegistryError) { return (index, .success(try await self.putPart(name, upload, index + 1, bytes, range))) } catch {
                        return (index, .failure(error))
                    }
                }
            }
            for _ in 0..<options.partsAtOnce { addNext() }
            while let (index, result) = await group.next() {
                switch result {
                case .success(let tag): tags[index] = tag
                case .failure(let error):
                    failure = failure ?? error
                    group.cancelAll()
                }
                addNext()
            }
            return (tags, failure)
        }
        if let failure { throw failure }
        return tags.map { tag in
            guard let tag else { preconditionFailure("each part has ended") }
            return tag
        }
    }

    private func putPart(
        _ name: String, _ upload: String, _ number: Int, _ bytes: any RandomAccessBytes, _ range: Range<Int64>
    ) async throws(RegistryError) -> String {
        let ask = Ask(
            method: .put, name: name, query: [("partNumber", String(number)), ("uploadId", upload)],
            body: try await S3Body(bytes, range, on: pool), action: "store a part of an object")
        let answer = try await send(ask)
        _ = try await answer.body.collect()
        guard let tag = answer["etag"] else {
            throw RegistryError(.upstreamFailed, subject: subject(of: ask), reason: "the object store took a part and does not name it")
        }
        return tag
    }

    private func complete(_ name: String, _ upload: String, _ tags: [String], length: Int64) async throws(RegistryError) {
        let parts = tags.enumerated().map { "<Part><PartNumber>\($0.offset + 1)</PartNumber><ETag>\(XML.escape($0.element))</ETag></Part>" }
        let text = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\(parts.joined())</CompleteMultipartUpload>"
        let bytes = BlobContent(.memory(ByteBuffer(string: text)))
        let body = try await S3Body(bytes, 0..<bytes.size, on: pool)
        do throws(RegistryError) {
            _ = try await document(
                Ask(
                    method: .post, name: name, query: [("uploadId", upload)], fields: [("Content-Type", "application/xml")], body: body,
                    action: "complete an object"))
        } catch {
            // A completion whose answer was lost is repeated, and then there is no such upload any more.
            guard error.code == .notFound, try await self.length(of: name) == length else { throw error }
        }
    }

    // MARK: Leftovers

    /// Uploads in parts below a prefix that were begun and not ended, at most 1,000.
    public func uploads(prefix: String) async throws(RegistryError) -> [S3Upload] {
        let document: XMLElement
        let ask = Ask(
            method: .get, query: [("max-uploads", "1000"), ("prefix", address.key(prefix)), ("uploads", "")], action: "list unfinished objects")
        do throws(RegistryError) { document = try await self.document(ask) } catch {
            // Some stores say so when there are none.
            guard error.code == .notFound else { throw error }
            return []
        }
        return document.all("Upload").compactMap { entry in
            guard let key = entry.text(of: "Key"), let name = address.name(ofKey: key), name.hasPrefix(prefix), let id = entry.text(of: "UploadId")
            else { return nil }
            return S3Upload(name: name, id: id, begun: entry.text(of: "Initiated").flatMap { Timestamp(rfc3339: $0) })
        }
    }

    /// Its parts are deleted. One that has ended is as good as aborted.
    public func abort(_ upload: S3Upload) async throws(RegistryError) {
        do throws(RegistryError) {
            let answer = try await send(
                Ask(method: .delete, name: upload.name, query: [("uploadId", upload.id)], action: "delete the parts of an object"))
            _ = try await answer.body.collect()
        } catch {
            guard error.code == .notFound else { throw error }
        }
    }
}
