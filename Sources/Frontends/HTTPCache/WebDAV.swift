import Core
import FrontendKit
import HTTPTypes

/// The little of RFC 4918 that sccache's WebDAV storage asks before it writes. Nothing is kept: every folder that is asked for is there.
enum WebDAV {
    /// 207 with one entry (section 9.1, Depth 0): an entry that is there, or a folder for any name that ends like one.
    static func propfind(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let isFolder = request.head.path.hasTrailingSlash || request.match["key"].isEmpty
        let place = Percent.encode(request.head.path.description, in: .path)
        if isFolder {
            return multistatus(
                place, "<D:resourcetype><D:collection/></D:resourcetype><D:getlastmodified>\(Timestamp(seconds: 0).httpDate)</D:getlastmodified>")
        }
        let path = try CacheKey(request.match).path
        guard let asset = try await port.asset(at: path) else {
            throw RegistryError(.notFound, subject: .path(path.text), reason: "there is no such entry")
        }
        return multistatus(
            place,
            "<D:resourcetype/><D:getcontentlength>\(asset.size)</D:getcontentlength><D:getlastmodified>\(asset.created.httpDate)</D:getlastmodified>"
                + "<D:getetag>\"\(asset.blob.hex)\"</D:getetag>")
    }

    /// 201 (section 9.3): there is nothing to make.
    static func makeCollection(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply { .status(.created) }

    /// - Parameter place: percent-encoded, so that it holds none of XML's own characters but `&`.
    private static func multistatus(_ place: String, _ properties: String) -> Reply {
        let escaped = place.split(separator: "&", omittingEmptySubsequences: false).joined(separator: "&amp;")
        let document =
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>\(escaped)</D:href><D:propstat><D:prop>"
            + "\(properties)</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>\n"
        return .bytes(Array(document.utf8), .multiStatus, [.contentType: "application/xml; charset=utf-8"])
    }
}

extension HTTPResponse.Status {
    /// RFC 4918 section 11.1.
    static let multiStatus = HTTPResponse.Status(code: 207, reasonPhrase: "Multi-Status")
}
