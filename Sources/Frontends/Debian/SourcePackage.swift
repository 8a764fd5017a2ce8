import Core
import Parsing

// What dpkg-source and dpkg-genchanges write: `.dsc` names the files of a source package, `.changes` ties files to distributions.

/// A file as a `.dsc` or `.changes` lists it.
struct ListedSum: Sendable, Hashable {
    let name: String
    let size: Int64
    var digests: [Digest]
    /// `.changes` only: where it belongs in the archive.
    var section: String?
    var priority: String?
}

/// The control data of a `.dsc` (dsc(5)) or `.changes` (deb-changes(5)) with its file lists brought together.
struct SignedControl: Sendable {
    let fields: Deb822
    let files: [ListedSum]

    /// - Throws: `invalid` also for lists that contradict each other, and for a list without SHA-256.
    init(_ bytes: [UInt8], named fileName: String) throws(RegistryError) {
        do throws(RegistryError) {
            fields = try Deb822.one(try Clearsigned.content(of: bytes))
            files = try SignedControl.files(of: fields)
        } catch { throw error.code == .invalid ? DebFile.refused(fileName, error.reason) : error }
    }

    private static func files(of fields: Deb822) throws(RegistryError) -> [ListedSum] {
        var files: [String: ListedSum] = [:]
        var order: [String] = []
        for (field, algorithm) in [("Checksums-Sha256", DigestAlgorithm.sha256), ("Checksums-Sha1", .sha1), ("Files", .md5)] {
            for line in fields.field(field)?.lines ?? [] {
                let words = line.split(separator: " ").map(String.init)
                let isLong = words.count == 5 && algorithm == .md5
                guard words.count == 3 || isLong, let digest = Digest(algorithm, hex: words[0]), let size = Int64(words[1]), size >= 0,
                    let name = words.last, !name.contains("/"), AssetPath(name) != nil
                else { throw unfit("its field \(field) has a line that is no digest, size and name") }
                if algorithm == .sha256 {
                    guard files[name] == nil else { throw unfit("it lists \(name) twice") }
                    files[name] = ListedSum(name: name, size: size, digests: [digest])
                    order.append(name)
                }
                guard var file = files[name], file.size == size else { throw unfit("its lists do not name the same files (\(name))") }
                if algorithm != .sha256 { file.digests.append(digest) }
                if isLong { (file.section, file.priority) = (words[2], words[3]) }
                files[name] = file
            }
        }
        guard !order.isEmpty, order.count <= 10_000 else { throw unfit("it has no Checksums-Sha256, or one without end") }
        return order.compactMap { files[$0] }
    }

    static func unfit(_ why: String) -> RegistryError { RegistryError(.invalid, subject: .field("control"), reason: why) }
}

/// A `.dsc`: one release of a source package.
struct SourcePackage: Sendable {
    let control: SignedControl
    let name: PackageName
    let version: DebianVersion

    init(_ bytes: [UInt8], named fileName: String) throws(RegistryError) {
        control = try SignedControl(bytes, named: fileName)
        guard let source = control.fields["Source"], DebianNames.isPackage(source), let name = PackageName(source) else {
            throw DebFile.refused(fileName, "it has no valid Source")
        }
        guard let text = control.fields["Version"], let version = DebianVersion(text) else {
            throw DebFile.refused(fileName, "it has no valid Version")
        }
        guard fileName == "\(source)_\(version.withoutEpoch).dsc" else {
            throw DebFile.refused(fileName, "it describes \(source) \(text), whose file is \(source)_\(version.withoutEpoch).dsc")
        }
        self.name = name
        self.version = version
    }

    /// Its stanza in Sources: the fields of the `.dsc`, where the files are, and the `.dsc` itself among them.
    func stanza(in directory: String, dsc: ListedSum) -> Deb822 {
        var fields = Deb822([Deb822.Field(name: "Package", value: name.text)])
        let ours = ["source", "files", "checksums-sha1", "checksums-sha256", "checksums-sha512", "directory", "package"]
        fields.fields += control.fields.fields.filter { !ours.contains($0.name.lowercased()) }
        if let section = dsc.section { fields["Section"] = section }
        if let priority = dsc.priority { fields["Priority"] = priority }
        fields["Directory"] = directory
        let all = [dsc] + control.files
        for (field, algorithm) in [("Files", DigestAlgorithm.md5), ("Checksums-Sha1", .sha1), ("Checksums-Sha256", .sha256)] {
            let lines = all.compactMap { file in
                file.digests.first { $0.algorithm == algorithm }.map { "\n \($0.hex) \(file.size) \(file.name)" }
            }
            if lines.count == all.count { fields[field] = lines.joined() }
        }
        return fields
    }
}

/// A `.changes`: which files go into which distributions.
struct ChangesFile: Sendable {
    let control: SignedControl
    let distributions: [String]

    init(_ bytes: [UInt8], named fileName: String) throws(RegistryError) {
        control = try SignedControl(bytes, named: fileName)
        distributions = (control.fields["Distribution"] ?? "").split(separator: " ").map(String.init)
        guard !distributions.isEmpty, distributions.allSatisfy(DebianNames.isSuite) else {
            throw DebFile.refused(fileName, "it has no valid Distribution")
        }
    }
}
