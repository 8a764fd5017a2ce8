public import Core

// Repository-wide documents (Packages, repodata, APKINDEX): a format says what each package contributes, how contributions make documents, and
// what closes them. The engine keeps the contributions in compressed fragments, so that one publish touches one fragment of each index;
// publishes all documents of an edition as one; keeps the three newest generations by digest; signs last. See docs/internals/views.md.

/// How a format's repository-wide documents are made. Every function is pure: equal arguments, equal values.
///
/// An *edition* is a set of documents that a client must see together (a Debian distribution, an rpm repository, a conda subdirectory). Its
/// *streams* are ordered runs of entries, in byte order of the packages they come from; its *documents* are one or more streams written out.
public protocol Indexing: Sendable {
    /// What the edition lists of every document, SHA-256 first.
    var digests: DigestSet { get }

    /// Between two entries of a stream, and between the streams of a document.
    var separator: [UInt8] { get }

    /// What one package contributes to all editions, from its facts (`Scope.package`) alone: not settings, not other packages, not time. Entries of
    /// one stream follow each other as returned. Called again whenever anything in the package has changed.
    /// - Parameter blobs: reads what facts only name (a manifest too large for them, a list of files kept as an asset).
    func entries(of package: Facts, reading blobs: any BlobReading) async throws(RegistryError) -> [IndexEntry]

    /// The documents of an edition, from the streams that have entries. None: there is no such edition, and it is answered with `notFound`.
    func documents(of edition: String, over streams: [IndexStream], in context: RenderContext) throws(RegistryError) -> [IndexDocument]

    /// What lists and signs the documents, in order: a signature names a page before it. Published together with them.
    func closing(_ edition: Edition, in context: RenderContext) throws(RegistryError) -> [ClosingDocument]
}

extension Indexing {
    public var digests: DigestSet { DigestSet([.md5, .sha1]) }
    public var separator: [UInt8] { [] }
}

/// Reads blobs that the facts at hand name.
public protocol BlobReading: Sendable {
    /// - Throws: `tooLarge` beyond `Body.collectBytesMax`, `corrupt` when it is not stored.
    func bytes(of blob: BlobID) async throws(RegistryError) -> [UInt8]
}

/// A package's piece of a stream: a stanza with what ends it, a JSON member without the comma.
public struct IndexEntry: Sendable, Hashable {
    public var edition: String
    public var stream: String
    public var bytes: [UInt8]
    public init(edition: String, stream: String, bytes: [UInt8]) {
        self.edition = edition
        self.stream = stream
        self.bytes = bytes
    }
}

/// A stream as it stands.
public struct IndexStream: Sendable, Hashable {
    public var name: String
    public var entries: Int
    public var bytes: Int64
    public init(name: String, entries: Int, bytes: Int64) {
        self.name = name
        self.entries = entries
        self.bytes = bytes
    }
}

/// A document made of streams, one after the other, and the forms it is served in.
public struct IndexDocument: Sendable {
    public enum Encoding: String, Sendable, Hashable, CaseIterable {
        case identity, gzip, xz
    }

    /// One file of the edition.
    public struct Form: Sendable, Hashable {
        /// As the edition lists it (`main/binary-amd64/Packages.gz`).
        public var path: String
        public var encoding: Encoding
        public var contentType: String
        public init(path: String, encoding: Encoding, contentType: String) {
            self.path = path
            self.encoding = encoding
            self.contentType = contentType
        }
    }

    public var forms: [Form]
    /// In this order; one that has no entries is nothing.
    public var streams: [String]
    /// Before the first entry, from the number and the bytes of the entries below it.
    public var header: @Sendable (_ entries: Int, _ bytes: Int64) -> [UInt8]
    public var footer: @Sendable (_ entries: Int, _ bytes: Int64) -> [UInt8]

    public init(
        forms: [Form], streams: [String],
        header: @escaping @Sendable (_ entries: Int, _ bytes: Int64) -> [UInt8] = { _, _ in [] },
        footer: @escaping @Sendable (_ entries: Int, _ bytes: Int64) -> [UInt8] = { _, _ in [] }
    ) {
        self.forms = forms
        self.streams = streams
        self.header = header
        self.footer = footer
    }

    /// The document under its own name and, with `.gz` and `.xz` behind it, compressed.
    public init(_ path: String, contentType: String, encodings: [Encoding] = Encoding.allCases, streams: [String]) {
        let forms = encodings.map { encoding in
            switch encoding {
            case .identity: Form(path: path, encoding: encoding, contentType: contentType)
            case .gzip: Form(path: path + ".gz", encoding: encoding, contentType: "application/gzip")
            case .xz: Form(path: path + ".xz", encoding: encoding, contentType: "application/x-xz")
            }
        }
        self.init(forms: forms, streams: streams)
    }
}

/// A set of documents complete but for what closes it.
public struct Edition: Sendable, Hashable {
    /// A form of a document as it will be served.
    public struct File: Sendable, Hashable {
        public var path: String
        public var size: Int64
        /// Those `Indexing.digests` asks for, in its order.
        public var digests: [Digest]
        public init(path: String, size: Int64, digests: [Digest]) {
            self.path = path
            self.size = size
            self.digests = digests
        }
        public func digest(_ algorithm: DigestAlgorithm) -> Digest? { digests.first { $0.algorithm == algorithm } }
    }

    public var name: String
    /// Every form of every document, in byte order of the paths.
    public var files: [File]
    public var streams: [IndexStream]
    /// When the edition was made; never goes backwards from one to the next.
    public var made: Timestamp

    public init(name: String, files: [File], streams: [IndexStream], made: Timestamp) {
        self.name = name
        self.files = files
        self.streams = streams
        self.made = made
    }
}

/// A document that speaks of the others.
public enum ClosingDocument: Sendable, Hashable {
    case page(path: String, contentType: String, bytes: [UInt8])
    /// A signature over an earlier page with the repository's own key. A repository without a key has no such document.
    case signature(path: String, contentType: String, form: SignatureForm, of: String)
}

/// How a signature is written.
public enum SignatureForm: Sendable, Hashable {
    /// OpenPGP cleartext: the page and its signature in one text (RFC 9580 section 7).
    case clearsigned
    /// OpenPGP detached, in ASCII armour.
    case detached
}

/// A document of an edition, as a request names it.
public enum EditionPart: Sendable, Hashable {
    /// In the newest generation, under a path as the edition lists it or as `closing` names it.
    case path(String, of: String)
    /// In any of the three newest generations, whatever its path (`by-hash`, a checksum in a file's name). SHA-256 only.
    case digest(Digest, of: String)

    public var edition: String {
        switch self {
        case .path(_, let edition), .digest(_, let edition): edition
        }
    }
}
