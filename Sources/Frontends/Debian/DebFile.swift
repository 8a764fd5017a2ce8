import Core
import Parsing

// A binary package, looked into: what its own control file says decides under which name, version and architecture it is released.

/// What a package's file name says: `name_version_architecture.deb`.
struct DebFileName: Sendable, Hashable {
    let name: String
    /// As the file has it: mostly without the epoch.
    let version: String
    let architecture: String
    let isUdeb: Bool

    /// nil for what is no such name.
    init?(_ fileName: some StringProtocol) {
        isUdeb = fileName.hasSuffix(".udeb")
        guard isUdeb || fileName.hasSuffix(".deb") else { return nil }
        let stem = String(fileName).dropLast(isUdeb ? 5 : 4)
        let parts = stem.split(separator: "_", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, parts.allSatisfy({ !$0.isEmpty }) else { return nil }
        (name, version, architecture) = (parts[0], parts[1], parts[2])
    }
}

/// Names as Debian's policy has them (sections 5.6.7 and 5.6.8).
enum DebianNames {
    static func isPackage(_ text: String) -> Bool {
        guard text.utf8.count >= 2, let first = text.utf8.first, isLowerOrDigit(first) else { return false }
        return text.utf8.allSatisfy { isLowerOrDigit($0) || $0 == UInt8(ascii: "+") || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") }
    }

    static func isArchitecture(_ text: String) -> Bool {
        guard (1...64).contains(text.utf8.count), text != "source" else { return false }
        return text.utf8.allSatisfy { isLowerOrDigit($0) || $0 == UInt8(ascii: "-") }
    }

    /// A suite, codename or component, as it stands in paths. Several segments are allowed (`stable/updates`).
    static func isSuite(_ text: String) -> Bool {
        guard (1...128).contains(text.utf8.count), AssetPath(text) != nil else { return false }
        return text.utf8.allSatisfy {
            isLowerOrDigit($0) || (0x41...0x5A).contains($0) || "+-._~/".utf8.contains($0)
        }
    }

    static func isComponent(_ text: String) -> Bool { isSuite(text) && !text.utf8.contains(UInt8(ascii: "/")) }

    private static func isLowerOrDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte) }
}

/// A `.deb` or `.udeb`, with the control data its archive carries (deb(5)).
struct DebFile: Sendable {
    static let controlBytesMax = 1 << 20
    /// control.tar: scripts, checksums of each file, debconf templates.
    private static let controlBudget = Budget(bytes: 4 << 20, expandedBytes: 256 << 20, items: 10_000)

    /// data.tar: everything that is installed.
    private static let dataBudget: Budget = {
        var budget = Budget(bytes: 32 << 20, expandedBytes: 32 << 30, items: 1_000_000)
        // Tables and fonts shrink well: what counts is the sum.
        budget.ratio = 400
        return budget
    }()

    let control: Deb822
    let package: PackageName
    let version: DebianVersion
    let architecture: String
    let isUdeb: Bool

    /// Reads the control file and compares it with the file's name. Blocking.
    /// - Throws: `invalid` with what is wrong, in words for the one who uploads.
    init(fileName: String, reading bytes: any RandomAccessBytes) throws(RegistryError) {
        guard let stated = DebFileName(fileName) else {
            throw DebFile.refused(fileName, "a package's file is named name_version_architecture.deb")
        }
        isUdeb = stated.isUdeb
        do throws(RegistryError) { control = try DebFile.control(of: bytes) } catch {
            throw error.code == .invalid ? DebFile.refused(fileName, error.reason) : error
        }
        guard let name = control["Package"], DebianNames.isPackage(name), let package = PackageName(name) else {
            throw DebFile.refused(fileName, "its control file has no valid Package")
        }
        guard let text = control["Version"], let version = DebianVersion(text) else {
            throw DebFile.refused(fileName, "its control file has no valid Version")
        }
        guard let architecture = control["Architecture"], DebianNames.isArchitecture(architecture) else {
            throw DebFile.refused(fileName, "its control file has no valid Architecture")
        }
        guard name == stated.name else { throw DebFile.refused(fileName, "the control file inside says Package: \(name)") }
        let spellings = [text, version.withoutEpoch, text.replacing(":", with: "%3a")]
        guard spellings.contains(stated.version) else { throw DebFile.refused(fileName, "the control file inside says Version: \(text)") }
        guard architecture == stated.architecture else {
            throw DebFile.refused(fileName, "the control file inside says Architecture: \(architecture)")
        }
        self.package = package
        self.version = version
        self.architecture = architecture
    }

    /// The source package it was built from: `Source: name (version)`, else its own name.
    var source: String {
        let name = control["Source"]?.split(separator: " ").first.map(String.init)
        return name.flatMap { DebianNames.isPackage($0) ? $0 : nil } ?? package.text
    }

    /// One line per file as Contents indexes have it: the path, then `section/package`. Sorted. The whole package is expanded on the way, so
    /// that a damaged one is refused rather than found out by who installs it. Blocking.
    /// - Parameter bytesMax: a list longer than this is left out, which leaves the package out of Contents and nothing else.
    func contents(of bytes: any RandomAccessBytes, named fileName: String, bytesMax: Int) throws(RegistryError) -> [UInt8] {
        let archive = try ArArchive(bytes)
        guard let member = archive.members.first(where: { $0.name.hasPrefix("data.tar") }) else { return [] }
        let region = try ByteRegion(bytes, member.content)
        // bzip2 and lzma, which dpkg still unpacks, are not looked into.
        guard let expansion = try Expansion.sniff(region) else { return [] }
        let owner = "  " + (control["Section"].map { "\($0)/" } ?? "") + package.text
        var lines: [String] = []
        var total = 0
        do throws(RegistryError) {
            let expanding = try expansion.reader(of: region, budget: DebFile.dataBudget)
            let tar = TarReader(budget: DebFile.dataBudget) { () throws(RegistryError) in try expanding.next() }
            while let entry = try tar.next() {
                guard entry.kind != .directory, total <= bytesMax else { continue }
                let path = entry.path.hasPrefix("./") ? String(entry.path.dropFirst(2)) : entry.path
                guard !path.isEmpty, !path.utf8.contains(0x0A) else { continue }
                lines.append(path + owner)
                total += path.utf8.count + owner.utf8.count + 1
            }
        } catch { throw error.code == .invalid ? DebFile.refused(fileName, "\(member.name): \(error.reason)") : error }
        guard total <= bytesMax, !lines.isEmpty else { return [] }
        lines.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        return Array(lines.joined(separator: "\n").utf8) + [0x0A]
    }

    private static func control(of bytes: any RandomAccessBytes) throws(RegistryError) -> Deb822 {
        let archive = try ArArchive(bytes)
        guard let first = archive.members.first, first.name == "debian-binary",
            try ByteRegion(bytes, first.content).bytes(at: 0, count: 2) == Array("2.".utf8)
        else { throw unfit("this is no Debian package of format 2") }
        let rest = archive.members.dropFirst().filter { !$0.name.hasPrefix("_") }
        guard let control = rest.first, control.name.hasPrefix("control.tar"), let data = rest.dropFirst().first, data.name.hasPrefix("data.tar")
        else {
            throw unfit("a Debian package holds debian-binary, control.tar and data.tar, in this order")
        }
        let region = try ByteRegion(bytes, control.content)
        guard let compression = try Expansion.sniff(region), control.name == "control.tar\(compression.rawValue)" else {
            throw unfit("\(control.name) is not compressed as its name says; gz, xz, zst and none are read")
        }
        let expanding = try compression.reader(of: region, budget: controlBudget)
        let tar = TarReader(budget: controlBudget) { () throws(RegistryError) in try expanding.next() }
        var found: [UInt8]?
        while let entry = try tar.next() {
            guard entry.kind == .file, entry.path == "./control" || entry.path == "control" else { continue }
            guard found == nil else { throw unfit("there are two control files in it") }
            found = try tar.content(bytesMax: controlBytesMax)
        }
        guard let found else { throw unfit("there is no control file in it") }
        return try Deb822.one(found)
    }

    private static func unfit(_ why: String) -> RegistryError { RegistryError(.invalid, subject: .field("package"), reason: why) }

    static func refused(_ fileName: String, _ why: String) -> RegistryError {
        RegistryError(.invalid, subject: .path(fileName), reason: "\(fileName) was refused: \(why)")
    }
}
