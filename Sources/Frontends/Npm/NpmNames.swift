import Core
import FrontendKit
import Parsing

/// Names of packages: one part, or a scope and a part (`@scope/name`).
enum NpmName {
    static let bytesMax = 214

    /// Whether a registry may have a package of that name: the oldest ones have capitals and `!'()*~`.
    static func isName(_ text: String) -> Bool {
        guard let parts = parts(of: text) else { return false }
        return parts.allSatisfy { part in
            part.utf8.first != UInt8(ascii: ".") && part.utf8.allSatisfy { isPlain($0) || (0x41...0x5A).contains($0) || "!'()*~".utf8.contains($0) }
        }
    }

    /// Whether a new package may have that name.
    static func isPublishable(_ text: String) -> Bool {
        guard let parts = parts(of: text), text != "node_modules", text != "favicon.ico" else { return false }
        return parts.allSatisfy { part in
            part.utf8.first != UInt8(ascii: ".") && part.utf8.first != UInt8(ascii: "_") && part.utf8.allSatisfy(isPlain)
        }
    }

    /// The scope without its `@`, if there is one, and the name.
    private static func parts(of text: String) -> [Substring]? {
        guard (1...bytesMax).contains(text.utf8.count) else { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        if parts.count == 2, parts[0].hasPrefix("@") {
            let scoped = [parts[0].dropFirst(), parts[1]]
            return scoped.contains { $0.isEmpty } ? nil : scoped
        }
        return parts.count == 1 ? parts : nil
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) || "-._".utf8.contains(byte)
    }

    /// The name without its scope, as files are called.
    static func base(of package: PackageName) -> Substring { package.text.split(separator: "/").last ?? "" }

    static func scope(of package: PackageName) -> Substring? {
        package.text.hasPrefix("@") ? package.text.dropFirst().split(separator: "/").first : nil
    }
}

func packageName(_ match: Match) throws(RegistryError) -> PackageName { try packageName(match["package"]) }

func packageName(_ name: String) throws(RegistryError) -> PackageName {
    guard NpmName.isName(name), let package = PackageName(name) else {
        throw RegistryError(.notFound, subject: .package(name), reason: "\(name.prefix(214)) is no package name")
    }
    return package
}

func assetPath(_ file: String, of package: PackageName) throws(RegistryError) -> AssetPath {
    guard !file.contains("/"), let path = AssetPath("\(package)/-/\(file)") else {
        throw RegistryError(.notFound, subject: .path(file), reason: "\(file.prefix(256)) is no file name of \(package)")
    }
    return path
}

/// One release: where its files are kept.
struct Coordinates: Sendable, Hashable {
    let package: PackageName
    let version: VersionName

    init(_ package: PackageName, _ version: VersionName) {
        self.package = package
        self.version = version
    }

    /// `name@version`, as attestations are asked for.
    init(of match: Match) throws(RegistryError) {
        let spec = match["spec"]
        guard let at = spec.lastIndex(of: "@"), at > spec.startIndex, let version = VersionName(spec[spec.index(after: at)...]) else {
            throw RegistryError(.notFound, subject: .path(spec), reason: "attestations are found at NAME@VERSION")
        }
        self.init(try packageName(String(spec[..<at])), version)
    }

    var tarball: AssetPath { get throws(RegistryError) { try assetPath("\(NpmName.base(of: package))-\(version).tgz", of: package) } }
    var attestations: AssetPath { get throws(RegistryError) { try assetPath("\(NpmName.base(of: package))-\(version).attestations", of: package) } }
}
