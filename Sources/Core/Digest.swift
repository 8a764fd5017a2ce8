import Crypto

/// The hash functions clients declare. SHA-256 names blobs; the others are recorded beside it.
public enum DigestAlgorithm: String, Sendable, CaseIterable, Hashable {
    case sha256, sha512, sha1, md5

    public var byteCount: Int {
        switch self {
        case .sha256: 32
        case .sha512: 64
        case .sha1: 20
        case .md5: 16
        }
    }

    /// Whether a text begins with its name and a colon.
    fileprivate func opens(_ text: Span<UInt8>) -> Bool {
        let name = rawValue.utf8
        guard text.count > name.count, text[name.count] == UInt8(ascii: ":") else { return false }
        return zip(name, text.indices).allSatisfy { $0 == text[$1] }
    }
}

/// Algorithm plus hash, written `sha256:<lower-case hex>` (OCI image-spec, "Digests").
public struct Digest: Sendable, Hashable, CustomStringConvertible {
    public let algorithm: DigestAlgorithm
    public let bytes: [UInt8]

    /// nil when the length does not fit the algorithm.
    public init?(_ algorithm: DigestAlgorithm, bytes: [UInt8]) {
        guard bytes.count == algorithm.byteCount else { return nil }
        self.algorithm = algorithm
        self.bytes = bytes
    }

    /// Accepts upper-case hex too: several clients declare it.
    public init?(_ algorithm: DigestAlgorithm, hex: some StringProtocol) {
        guard let bytes = Hex.decode(hex) else { return nil }
        self.init(algorithm, bytes: bytes)
    }

    /// `algorithm:hex`, lower-case hex only, as the OCI grammar demands.
    public init?(parsing text: some StringProtocol) {
        let found = text.withUTF8Bytes { bytes -> (DigestAlgorithm, [UInt8])? in
            guard let algorithm = DigestAlgorithm.allCases.first(where: { $0.opens(bytes) }) else { return nil }
            let hex = bytes.extracting((algorithm.rawValue.utf8.count + 1)...)
            guard hex.allBytes({ $0 < 0x41 || $0 > 0x46 }), let hash = Hex.decode(hex) else { return nil }
            return (algorithm, hash)
        }
        guard let (algorithm, bytes) = found else { return nil }
        self.init(algorithm, bytes: bytes)
    }

    public var hex: String { Hex.encode(bytes) }
    public var description: String { "\(algorithm.rawValue):\(hex)" }

    public static func of(_ algorithm: DigestAlgorithm, _ bytes: some Sequence<UInt8>) -> Digest {
        var hasher = Hasher(algorithm)
        Array(bytes).withUnsafeBytes { unsafe hasher.update($0) }
        return hasher.finish()
    }

    /// One running hash.
    public struct Hasher: Sendable {
        private enum State: Sendable {
            case sha256(SHA256)
            case sha512(SHA512)
            case sha1(Insecure.SHA1)
            case md5(Insecure.MD5)
        }

        private var state: State

        public init(_ algorithm: DigestAlgorithm) {
            switch algorithm {
            case .sha256: state = .sha256(SHA256())
            case .sha512: state = .sha512(SHA512())
            case .sha1: state = .sha1(Insecure.SHA1())
            case .md5: state = .md5(Insecure.MD5())
            }
        }

        public mutating func update(_ bytes: UnsafeRawBufferPointer) {
            switch state {
            case .sha256(var hash):
                unsafe hash.update(bufferPointer: bytes)
                state = .sha256(hash)
            case .sha512(var hash):
                unsafe hash.update(bufferPointer: bytes)
                state = .sha512(hash)
            case .sha1(var hash):
                unsafe hash.update(bufferPointer: bytes)
                state = .sha1(hash)
            case .md5(var hash):
                unsafe hash.update(bufferPointer: bytes)
                state = .md5(hash)
            }
        }

        public func finish() -> Digest {
            switch state {
            case .sha256(let hash): Digest(checked: .sha256, Array(hash.finalize()))
            case .sha512(let hash): Digest(checked: .sha512, Array(hash.finalize()))
            case .sha1(let hash): Digest(checked: .sha1, Array(hash.finalize()))
            case .md5(let hash): Digest(checked: .md5, Array(hash.finalize()))
            }
        }
    }

    private init(checked algorithm: DigestAlgorithm, _ bytes: [UInt8]) {
        precondition(bytes.count == algorithm.byteCount)
        self.algorithm = algorithm
        self.bytes = bytes
    }
}

/// Which digests an upload must compute while its bytes pass; SHA-256 is always among them.
public struct DigestSet: Sendable, Hashable {
    public let algorithms: [DigestAlgorithm]

    public init(_ extra: [DigestAlgorithm] = []) {
        algorithms = [.sha256] + extra.filter { $0 != .sha256 }
    }

    /// With more of them, each once.
    public func union(_ more: [DigestAlgorithm]) -> DigestSet { DigestSet(algorithms + more.filter { !algorithms.contains($0) }) }

    public static let sha256 = DigestSet()
    /// Everything package clients still ask for: MD5 and SHA-1 beside SHA-256 and SHA-512.
    public static let all = DigestSet([.sha512, .sha1, .md5])
}

/// Several digests of one stream in one pass.
public struct MultiHasher: Sendable {
    private var hashers: [Digest.Hasher]

    public init(_ set: DigestSet) { hashers = set.algorithms.map(Digest.Hasher.init) }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        for index in hashers.indices { unsafe hashers[index].update(bytes) }
    }

    /// In the order of the set: SHA-256 first.
    public func finish() -> [Digest] { hashers.map { $0.finish() } }
}

/// A blob's name: its SHA-256, held inline so that it costs no allocation as a key.
public struct BlobID: Sendable, Hashable, Comparable, CustomStringConvertible {
    private let words: (UInt64, UInt64, UInt64, UInt64)

    /// nil unless the digest is a SHA-256.
    public init?(_ digest: Digest) {
        guard digest.algorithm == .sha256 else { return nil }
        self.init(bytes: digest.bytes)
    }

    /// nil unless there are exactly 32 bytes.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 32 else { return nil }
        var words: [UInt64] = [0, 0, 0, 0]
        for (index, byte) in bytes.enumerated() { words[index / 8] = words[index / 8] << 8 | UInt64(byte) }
        self.words = (words[0], words[1], words[2], words[3])
    }

    public var bytes: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(32)
        for word in [words.0, words.1, words.2, words.3] {
            for shift in stride(from: 56, through: 0, by: -8) { result.append(UInt8(truncatingIfNeeded: word >> UInt64(shift))) }
        }
        return result
    }

    public var digest: Digest {
        guard let digest = Digest(.sha256, bytes: bytes) else { preconditionFailure("a blob id is 32 bytes") }
        return digest
    }

    public var hex: String { Hex.encode(bytes) }
    public var description: String { "sha256:\(hex)" }

    public static func == (a: BlobID, b: BlobID) -> Bool {
        a.words.0 == b.words.0 && a.words.1 == b.words.1 && a.words.2 == b.words.2 && a.words.3 == b.words.3
    }
    public static func < (a: BlobID, b: BlobID) -> Bool {
        (a.words.0, a.words.1, a.words.2, a.words.3) < (b.words.0, b.words.1, b.words.2, b.words.3)
    }
    public func hash(into hasher: inout Swift.Hasher) {
        // The words are already uniform: one is enough.
        hasher.combine(words.0)
    }
}

/// Base 16 (RFC 4648 section 8).
public enum Hex {
    private static let digits = Array("0123456789abcdef".utf8)

    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        String(unsafeUninitializedCapacity: bytes.count * 2) { buffer in
            var at = 0
            for byte in bytes {
                unsafe buffer[at] = digits[Int(byte >> 4)]
                unsafe buffer[at + 1] = digits[Int(byte & 15)]
                at += 2
            }
            return at
        }
    }

    /// nil for an odd length or a character that is no hex digit.
    public static func decode(_ text: some StringProtocol) -> [UInt8]? { text.withUTF8Bytes(decode) }

    static func decode(_ text: Span<UInt8>) -> [UInt8]? {
        guard text.count.isMultiple(of: 2) else { return nil }
        var result: [UInt8] = []
        result.reserveCapacity(text.count / 2)
        for at in stride(from: 0, to: text.count, by: 2) {
            guard let high = value(of: text[at]), let low = value(of: text[at + 1]) else { return nil }
            result.append(high << 4 | low)
        }
        return result
    }

    private static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x61...0x66: digit - 0x57
        case 0x41...0x46: digit - 0x37
        default: nil
        }
    }
}
