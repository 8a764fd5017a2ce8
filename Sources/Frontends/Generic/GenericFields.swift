import Core
import FrontendKit
import HTTPTypes

/// The digests a client says its file has: `X-Checksum-SHA256`, `-SHA1`, `-MD5`.
struct DeclaredDigests {
    private let digests: [Digest]

    /// - Throws: `invalid` for a field that is no hex digest of its kind.
    init(_ fields: HTTPFields) throws(RegistryError) {
        let names: [(HTTPField.Name, DigestAlgorithm)] = [(.checksumSHA256, .sha256), (.checksumSHA1, .sha1), (.checksumMD5, .md5)]
        var digests: [Digest] = []
        for (name, algorithm) in names {
            guard let text = fields[name] else { continue }
            guard let digest = Digest(algorithm, hex: text) else {
                throw RegistryError(.invalid, subject: .field(name.rawName), reason: "not a hex digest of \(algorithm.byteCount) bytes")
            }
            digests.append(digest)
        }
        self.digests = digests
    }

    var algorithms: DigestSet { DigestSet(digests.map(\.algorithm)) }

    /// - Throws: `digestMismatch`.
    func check(_ blob: any StagedBytes) throws(RegistryError) {
        for digest in digests {
            let actual = digest.algorithm == .sha256 ? blob.id.digest : blob.digest(digest.algorithm)
            guard actual == digest else {
                throw RegistryError(
                    .digestMismatch, subject: .blob(digest.description), reason: "the bytes have the digest \(actual?.description ?? "unknown")")
            }
        }
    }
}

/// RFC 6266: a name for saving, once in ASCII and, where that loses something, once as it is.
enum ContentDisposition {
    static func attachment(_ fileName: some StringProtocol) -> String {
        var ascii = ""
        var isWhole = true
        for scalar in fileName.unicodeScalars {
            if scalar.isASCII, scalar.value >= 0x20, scalar.value != 0x7F, scalar != "\"", scalar != "\\" {
                ascii.unicodeScalars.append(scalar)
            } else {
                ascii.append("_")
                isWhole = false
            }
        }
        return "attachment; filename=\"\(ascii)\"" + (isWhole ? "" : "; filename*=UTF-8''\(Percent.encode(fileName, in: .strict))")
    }
}

/// What a file is served as.
enum ContentType {
    /// The declared type, else what the file's name says. What curl declares for any `--data` is no declaration.
    static func of(_ path: AssetPath, declared: String?) -> String {
        let declared = declared.flatMap { $0.isEmpty || $0.hasPrefix("application/x-www-form-urlencoded") ? nil : $0 }
        let ending = path.fileName.split(separator: ".").dropFirst().last?.lowercased() ?? ""
        return declared ?? byEnding[ending] ?? "application/octet-stream"
    }

    private static let byEnding: [String: String] = [
        "7z": "application/x-7z-compressed", "apk": "application/vnd.android.package-archive", "bz2": "application/x-bzip2",
        "css": "text/css", "csv": "text/csv", "deb": "application/vnd.debian.binary-package", "gif": "image/gif", "gz": "application/gzip",
        "htm": "text/html", "html": "text/html", "jar": "application/java-archive", "jpeg": "image/jpeg", "jpg": "image/jpeg",
        "js": "text/javascript", "json": "application/json", "md": "text/markdown", "pdf": "application/pdf", "png": "image/png",
        "rpm": "application/x-rpm", "svg": "image/svg+xml", "tar": "application/x-tar", "tgz": "application/gzip", "toml": "application/toml",
        "txt": "text/plain", "war": "application/java-archive", "wasm": "application/wasm", "xml": "application/xml",
        "xz": "application/x-xz", "yaml": "application/yaml", "yml": "application/yaml", "zip": "application/zip", "zst": "application/zstd",
    ]
}

extension HTTPField.Name {
    static let checksumSHA256 = named("X-Checksum-SHA256")
    static let checksumSHA1 = named("X-Checksum-SHA1")
    static let checksumMD5 = named("X-Checksum-MD5")

    private static func named(_ text: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(text) else { preconditionFailure("not a field name: \(text)") }
        return name
    }
}
