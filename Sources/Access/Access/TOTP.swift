import Core
import Crypto

/// One-time codes by time (RFC 6238, with RFC 4226's HMAC-SHA-1 and truncation): six digits, thirty seconds, as every authenticator has them.
enum TOTP {
    static let stepSeconds: Int64 = 30
    static let digits = 6
    /// RFC 4226 section 4 recommends 160 bits.
    static let secretBytes = 20
    /// Steps before and after ours whose code is taken: clocks differ, and people type slowly (RFC 6238 section 5.2).
    private static let driftSteps: Int64 = 1

    static func step(at now: Timestamp) -> Int64 { now.seconds / stepSeconds }

    static func code(_ secret: [UInt8], step: Int64) -> String {
        let counter = withUnsafeBytes(of: step.bigEndian) { unsafe Array($0) }
        let hash = Array(HMAC<Insecure.SHA1>.authenticationCode(for: counter, using: SymmetricKey(data: secret)))
        // RFC 4226 section 5.3: the last half byte says where the number is; twenty bytes have room for it.
        let offset = Int(hash[hash.count - 1] & 0x0F)
        let number = hash[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } & 0x7FFF_FFFF
        let text = String(number % 1_000_000)
        return String(repeating: "0", count: digits - text.utf8.count) + text
    }

    /// The step whose code this is; nil when it is none of about now, or of a step up to `last`: a code is good once.
    static func step(of code: String, _ secret: [UInt8], at now: Timestamp, after last: Int64) -> Int64? {
        let current = step(at: now)
        var found: Int64?
        // All are looked at, so that the time taken does not tell which.
        for step in current - driftSteps...current + driftSteps where equalInConstantTime(Array(code.utf8), Array(self.code(secret, step: step).utf8))
        {
            if step > last { found = step }
        }
        return found
    }

    /// What authenticators read from a picture (Key URI format of the Google Authenticator project).
    static func uri(_ secret: [UInt8], account: String) -> String {
        "otpauth://totp/Granary:\(Percent.encode(account, in: .strict))?secret=\(Base32.encode(secret))&issuer=Granary&algorithm=SHA1"
            + "&digits=\(digits)&period=\(stepSeconds)"
    }
}

/// RFC 4648 section 6, without padding.
enum Base32 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)

    static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        var (buffer, bits) = (UInt32(0), 0)
        for byte in bytes {
            (buffer, bits) = (buffer << 8 | UInt32(byte), bits + 8)
            while bits >= 5 {
                bits -= 5
                text.append(alphabet[Int(buffer >> UInt32(bits) & 31)])
            }
            buffer &= (1 << UInt32(bits)) - 1
        }
        if bits > 0 { text.append(alphabet[Int(buffer << UInt32(5 - bits) & 31)]) }
        return String(decoding: text, as: UTF8.self)
    }

    static func decode(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var (buffer, bits) = (UInt32(0), 0)
        for character in text.utf8 {
            guard let value = alphabet.firstIndex(of: character) else { return nil }
            (buffer, bits) = (buffer << 5 | UInt32(value), bits + 5)
            guard bits >= 8 else { continue }
            bits -= 8
            bytes.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
            buffer &= (1 << UInt32(bits)) - 1
        }
        return bytes
    }
}
