import Core
import Glibc
import OpenPGP
import TestSupport
import Testing

/// What a shell says, both streams together, and how it ended.
private func shell(_ script: String) -> (status: Int32, output: String) {
    guard let pipe = unsafe popen("{ \(script)\n} 2>&1", "r") else { return (-1, "") }
    var output: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = unsafe fread(&chunk, 1, chunk.count, pipe)
        if count == 0 { break }
        output += chunk[..<count]
    }
    return (unsafe pclose(pipe), String(decoding: output, as: UTF8.self))
}

private func write(_ bytes: [UInt8], to path: String) throws {
    let file = try #require(unsafe fopen(path, "w"))
    defer { unsafe fclose(file) }
    #expect(unsafe fwrite(bytes, 1, bytes.count, file) == bytes.count)
}

private let hasGpgv = shell("command -v gpgv && command -v gpg").status == 0
private let now = Timestamp(seconds: 1_750_000_000)

@Suite(.enabled(if: hasGpgv, "gpgv is the judge")) struct Signatures {
    private let text = Array("Origin: granary\nDescription: grüße\n- a dash\n\nSHA256:\n 00 1 a\n".utf8)

    /// gpgv as apt uses it: with a keyring of its own, nothing of the user's.
    private func keyring(_ keys: [OpenPGPKey], in place: TemporaryDirectory) throws -> String {
        try write(try OpenPGP.publicKeys(of: keys), to: place.file("keys.asc"))
        let made = shell("gpg --homedir \(place.path) --batch --yes --dearmor -o \(place.file("keys.gpg")) \(place.file("keys.asc"))")
        #expect(made.status == 0, "\(made.output)")
        return place.file("keys.gpg")
    }

    @Test("gpgv takes a clearsigned text and a detached signature, and says which key")
    func verified() throws {
        let place = try TemporaryDirectory()
        let key = try OpenPGPKey(for: "granary test <test@example.org>", at: now)
        let ring = try keyring([key], in: place)
        try write(try OpenPGP.clearsigned(text, by: [key], at: now), to: place.file("InRelease"))
        try write(text, to: place.file("Release"))
        try write(try OpenPGP.signature(over: text, by: [key], at: now), to: place.file("Release.gpg"))
        let inline = shell("gpgv --keyring \(ring) --status-fd 1 -o \(place.file("out")) \(place.file("InRelease"))")
        #expect(inline.status == 0 && inline.output.contains("VALIDSIG \(key.fingerprint)"), "\(inline.output)")
        #expect(place.text(of: "out") == String(decoding: text, as: UTF8.self))
        #expect(place.text(of: "keys.asc")?.contains("\r") == false)
        let detached = shell("gpgv --keyring \(ring) --status-fd 1 \(place.file("Release.gpg")) \(place.file("Release"))")
        #expect(detached.status == 0 && detached.output.contains("VALIDSIG \(key.fingerprint)"), "\(detached.output)")
    }

    @Test("a changed text and a foreign key are refused by gpgv")
    func refused() throws {
        let place = try TemporaryDirectory()
        let key = try OpenPGPKey(for: "one", at: now)
        let other = try OpenPGPKey(for: "other", at: now)
        #expect(key.fingerprint != other.fingerprint)
        let signed = try OpenPGP.clearsigned(text, by: [key], at: now)
        try write(Array(String(decoding: signed, as: UTF8.self).replacing("granary", with: "grenary").utf8), to: place.file("changed"))
        try write(signed, to: place.file("InRelease"))
        let ring = try keyring([key], in: place)
        #expect(shell("gpgv --keyring \(ring) \(place.file("changed"))").status != 0)
        #expect(shell("gpgv --keyring \(ring) \(place.file("InRelease"))").status == 0)
        let foreign = try TemporaryDirectory()
        #expect(shell("gpgv --keyring \(try keyring([other], in: foreign)) \(place.file("InRelease"))").status != 0)
    }

    @Test("two keys sign one text, and gpgv takes it with either; a kept key signs as the made one")
    func twoKeys() throws {
        let old = try OpenPGPKey(for: "old", at: now)
        let new = try OpenPGPKey(for: "new", at: now.adding(seconds: 60))
        let kept = OpenPGPKey(secret: old.secret, fingerprint: old.fingerprint)
        let signed = try OpenPGP.clearsigned(text, by: [kept, new], at: now.adding(seconds: 120))
        for keys in [[old], [new], [old, new]] {
            let place = try TemporaryDirectory()
            try write(signed, to: place.file("InRelease"))
            let judged = shell("gpgv --keyring \(try keyring(keys, in: place)) --status-fd 1 \(place.file("InRelease"))")
            for key in keys { #expect(judged.output.contains("VALIDSIG \(key.fingerprint)"), "\(judged.output)") }
        }
    }

    @Test("bytes that are no key are refused with an error")
    func noKey() {
        let broken = OpenPGPKey(secret: Array("no key".utf8), fingerprint: String(repeating: "0", count: 40))
        #expect(throws: RegistryError.self) { try OpenPGP.clearsigned(text, by: [broken], at: now) }
        #expect(throws: RegistryError.self) { try OpenPGP.publicKeys(of: [broken]) }
    }
}
