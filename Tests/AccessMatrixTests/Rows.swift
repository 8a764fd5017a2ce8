import Core
import HTTPTypes
import TestHouse

/// One route: what it asks for, and a request that reaches it. HEAD has no row of its own.
///
/// In targets and bodies: `{r}` a repository's key, `{rid}` its id, `{package}` the id of a package in it, `{signer}` the id of its signing key,
/// `{blob}` and `{image}` digests, `{user}` a bystander's id, `{victim}` that of an account made for the request, `{session}` and `{token}` what
/// the bystander has, `{group}` a group they are in, `{uuid}` an id of nothing.
struct Row: Sendable, CustomStringConvertible {
    var format: String
    let method: HTTPRequest.Method
    let pattern: String
    let needs: Need
    let target: String
    var type = "application/json"
    var body = ""
    /// There is nothing at the example: an administrator gets 404.
    var isMissing = false
    /// Asked of somebody logged in, also where the repository is public.
    var account = false
    /// HEAD is served as well.
    var hasHead = true
    /// It takes its repository away, or what else it is about.
    var consumes = false
    /// The formats whose repositories a REST route is tried on.
    var formats = ["generic"]
    var kinds = ["local", "remote", "virtual"]
    var about = About.whole

    var description: String { "\(format) \(method) \(pattern)" }
    var isRead: Bool { method == .get }

    init(
        _ method: HTTPRequest.Method, _ pattern: String, _ needs: Need, _ target: String, type: String = "application/json", _ body: String = "",
        isMissing: Bool = false, account: Bool = false, hasHead: Bool = true, consumes: Bool = false,
        formats: [String] = ["generic"], kinds: [String] = ["local", "remote", "virtual"], about: About = .whole
    ) {
        format = ""
        self.method = method
        self.pattern = pattern
        self.needs = needs
        self.target = target
        self.type = type
        self.body = body
        self.isMissing = isMissing
        self.account = account
        self.hasHead = hasHead
        self.consumes = consumes
        self.formats = formats
        self.kinds = kinds
        self.about = about
    }

    func of(_ format: String) -> Row {
        var row = self
        row.format = format
        return row
    }
}

/// A new format, and a new route of an old one, gets its rows here: without them the tests fail.
enum Rows {
    static let all: [Row] = formats.flatMap { format, rows in rows.map { $0.of(format) } } + RestRows.all.map { $0.of("rest") }

    private static let formats: [(String, [Row])] = [
        ("debian", debian), ("generic", generic), ("http-cache", cache), ("maven", maven), ("npm", npm), ("oci", oci), ("pypi", pypi),
    ]

    private static let propfind = HTTPRequest.Method("PROPFIND") ?? .get
    private static let mkcol = HTTPRequest.Method("MKCOL") ?? .get

    private static let debian = [
        Row(.get, "gpg-key.asc", .read, "/debian/{r}/gpg-key.asc"),
        Row(.get, "dists/{distribution}/gpg-key.asc", .read, "/debian/{r}/dists/stable/gpg-key.asc"),
        Row(.get, "dists/{path+}", .read, "/debian/{r}/dists/stable/main/binary-amd64/Packages"),
        Row(.get, "pool/{path+}", .read, "/debian/{r}/pool/main/d/demo/demo_1.0_amd64.deb"),
        Row(.put, "pool/{component}/{path+}", .write, "/debian/{r}/pool/main/d/demo/demo_9_amd64.deb", about: .body),
        Row(.post, "upload[/]", .write, "/debian/{r}/upload/", about: .body),
        Row(.put, "upload/{file}", .write, "/debian/{r}/upload/demo_9_amd64.deb", about: .waiting),
    ]

    private static let generic = [
        Row(.get, "{path+}", .read, "/general/{r}/app/1/f", about: .name),
        Row(.put, "{path+}", .write, "/general/{r}/new/1/f", "bytes", about: .name),
        Row(.delete, "{path+}", .delete, "/general/{r}/new/1/f", about: .name),
    ]

    private static let emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    private static let cache = [
        // Always there, as nobody's entry: it has no name.
        Row(.get, "{prefix*}/cas/\(emptyDigest)", .read, "/cache/{r}/cas/\(emptyDigest)"),
        Row(.get, "{prefix*}/cas/{digest}", .read, "/cache/{r}/cas/\(Publication.digest.hex)", about: .name),
        Row(.put, "{prefix*}/cas/{digest}", .write, "/cache/{r}/cas/\(Publication.digest.hex)", "layer", about: .name),
        Row(.delete, "{prefix*}/cas/{digest}", .delete, "/cache/{r}/cas/\(emptyDigest)", about: .name),
        Row(.get, "{key+}", .read, "/cache/{r}/k/1", about: .name),
        Row(.put, "{key+}", .write, "/cache/{r}/k/2", "entry", about: .name),
        Row(.delete, "{key+}", .delete, "/cache/{r}/k/2", about: .name),
        Row(propfind, "{key*}[/]", .read, "/cache/{r}/k/", about: .name),
        Row(mkcol, "{key*}[/]", .write, "/cache/{r}/folder/", about: .name),
    ]

    private static let maven: [Row] =
        [Row(.get, "{folder+}/maven-metadata.xml", .read, "/maven/{r}/org/x/a/maven-metadata.xml", about: .name)]
        + ["md5", "sha1", "sha256", "sha512"].flatMap { sum in
            [
                Row(.get, "{folder+}/maven-metadata.xml.\(sum)", .read, "/maven/{r}/org/x/a/maven-metadata.xml.\(sum)", about: .name),
                Row(
                    .get, "{folder+}/{version}-SNAPSHOT/{file}.\(sum)", .read, "/maven/{r}/org/x/a/2-SNAPSHOT/a-2-SNAPSHOT.jar.\(sum)",
                    isMissing: true, about: .name),
                Row(.get, "{folder+}/{file}.\(sum)", .read, "/maven/{r}/org/x/a/1.0/a-1.0.jar.\(sum)", about: .name),
            ]
        } + [
            Row(.get, "{folder+}/{version}-SNAPSHOT/{file}", .read, "/maven/{r}/org/x/a/2-SNAPSHOT/a-2-SNAPSHOT.jar", isMissing: true, about: .name),
            Row(.get, "{file}", .read, "/maven/{r}/archetype-catalog.xml", isMissing: true, about: .name),
            Row(.get, "{folder}/{file}", .read, "/maven/{r}/.index/list", isMissing: true, about: .name),
            Row(.get, "{folder+}/{file}", .read, "/maven/{r}/org/x/a/1.0/a-1.0.jar", about: .name),
            Row(.put, "{path+}", .write, "/maven/{r}/org/x/a/9/a-9.jar", "jar", about: .name),
        ]

    private static let npm = [
        Row(.get, "{repository}/-/ping", .anyone, "/npm/any/-/ping"),
        Row(.get, "{repository}/-/whoami", .whoAmI, "/npm/any/-/whoami"),
        Row(.put, "{repository}/-/user/{user}", .anyone, "/npm/any/-/user/org.couchdb.user:x", "{}"),
        Row(.delete, "{repository}/-/user/token/{token}", .anyone, "/npm/any/-/user/token/none"),
        Row(.get, "-/v1/search", .read, "/npm/{r}/-/v1/search?text=tool"),
        Row(.post, "-/npm/v1/security/advisories/bulk", .read, "/npm/{r}/-/npm/v1/security/advisories/bulk", "{}"),
        Row(.post, "-/npm/v1/security/audits/quick", .read, "/npm/{r}/-/npm/v1/security/audits/quick", "{}"),
        Row(.get, "-/npm/v1/attestations/{spec+}", .read, "/npm/{r}/-/npm/v1/attestations/tool@1.0.0", isMissing: true, about: .name),
        Row(.get, "-/package/{package+}/dist-tags", .read, "/npm/{r}/-/package/tool/dist-tags", about: .name),
        Row(.put, "-/package/{package+}/dist-tags/{tag}", .write, "/npm/{r}/-/package/tool/dist-tags/next", "\"1.0.0\"", about: .name),
        Row(.post, "-/package/{package+}/dist-tags/{tag}", .write, "/npm/{r}/-/package/tool/dist-tags/next", "\"1.0.0\"", about: .name),
        Row(.delete, "-/package/{package+}/dist-tags/{tag}", .write, "/npm/{r}/-/package/tool/dist-tags/next", about: .name),
        Row(.get, "{package+}/-/{file}", .read, "/npm/{r}/tool/-/tool-1.0.0.tgz", about: .name),
        Row(.delete, "{package+}/-/{file}/-rev/{revision}", .delete, "/npm/{r}/none/-/none-1.0.0.tgz/-rev/1", about: .name),
        Row(.put, "{package+}/-rev/{revision}", .write, "/npm/{r}/none/-rev/1", "{}", about: .name),
        Row(.delete, "{package+}/-rev/{revision}", .delete, "/npm/{r}/none/-rev/1", about: .name),
        Row(.get, "{package}", .read, "/npm/{r}/tool", about: .name),
        Row(.get, "{first}/{second}", .read, "/npm/{r}/tool/1.0.0", about: .name),
        Row(.get, "{scope}/{name}/{version}", .read, "/npm/{r}/@none/tool/1.0.0", isMissing: true, about: .name),
        Row(.put, "{package+}", .write, "/npm/{r}/tool", "{}", about: .name),
    ]

    private static let upload = "/v2/{r}/app/blobs/uploads/00000000-0000-7000-8000-000000000000"
    private static let oci = [
        Row(.get, "/", .base, "/v2/"),
        Row(.get, "/token", .exchange, "/v2/token?service=granary", hasHead: false),
        Row(.post, "/token", .exchange, "/v2/token", type: "application/x-www-form-urlencoded", "service=granary"),
        Row(.get, "/_catalog[/]", .account, "/v2/_catalog"),
        Row(.get, "{image*}/blobs/{digest}", .read, "/v2/{r}/app/blobs/{blob}", about: .name),
        Row(.get, "{image*}/manifests/{reference}", .read, "/v2/{r}/app/manifests/one", about: .name),
        Row(.post, "{image*}/blobs/uploads[/]", .write, "/v2/{r}/app/blobs/uploads/", type: "application/octet-stream", about: .name),
        Row(.patch, "{image*}/blobs/uploads/{upload}", .write, upload, type: "application/octet-stream", "chunk", about: .name),
        Row(.put, "{image*}/blobs/uploads/{upload}", .write, upload + "?digest={blob}", type: "application/octet-stream", about: .name),
        Row(.put, "{image*}/manifests/{reference}", .write, "/v2/{r}/app/manifests/three", type: Publication.manifestType, "{}", about: .name),
        Row(.get, "{image*}/tags/list[/]", .read, "/v2/{r}/app/tags/list", about: .name),
        Row(.delete, "{image*}/manifests/{reference}", .delete, "/v2/{r}/app/manifests/none", about: .name),
        Row(.delete, "{image*}/blobs/{digest}", .delete, "/v2/{r}/app/blobs/sha256:\(emptyDigest)", about: .name),
        Row(.get, "{image*}/referrers/{subject}", .read, "/v2/{r}/app/referrers/{blob}", about: .name),
        Row(.get, "{image*}/blobs/uploads/{upload}", .write, upload, isMissing: true, about: .name),
        Row(.delete, "{image*}/blobs/uploads/{upload}", .write, upload, about: .name),
    ]

    private static let pypi = [
        Row(.get, "simple[/]", .read, "/pypi/{r}/simple/"),
        Row(.get, "simple/{project}[/]", .read, "/pypi/{r}/simple/demo/", about: .name),
        Row(.get, "simple/{project}/{file}", .read, "/pypi/{r}/simple/demo/demo-1.0-py3-none-any.whl", about: .name),
        Row(.post, "[/]", .write, "/pypi/{r}/", type: "multipart/form-data; boundary=x", "--x--\r\n", about: .body),
        Row(.post, "legacy[/]", .write, "/pypi/{r}/legacy/", type: "multipart/form-data; boundary=x", "--x--\r\n", about: .body),
        Row(.put, "{project}/{version}/yank", .write, "/pypi/{r}/none/1.0/yank", about: .name),
        Row(.delete, "{project}/{version}/yank", .write, "/pypi/{r}/none/1.0/yank", about: .name),
    ]
}
