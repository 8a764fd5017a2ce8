#if canImport(Glibc)
    public import Glibc
#endif

/// An IPv4 or IPv6 address as a number.
public struct IPAddress: Sendable, Hashable, CustomStringConvertible {
    public enum Family: Sendable, Hashable { case v4, v6 }

    public let family: Family
    /// Network order read as one number; IPv4 uses the low 32 bits.
    public let value: UInt128

    public init(v4 value: UInt32) {
        family = .v4
        self.value = UInt128(value)
    }
    public init(v6 value: UInt128) {
        family = .v6
        self.value = value
    }

    /// Strict text only: four decimal parts, or RFC 4291 section 2.2 without a zone.
    public init?(_ text: String) {
        var v4 = in_addr()
        var v6 = in6_addr()
        if unsafe inet_pton(AF_INET, text, &v4) == 1 {
            self.init(v4: UInt32(bigEndian: v4.s_addr))
        } else if unsafe inet_pton(AF_INET6, text, &v6) == 1 {
            self.init(v6: withUnsafeBytes(of: &v6) { IPAddress.number(unsafe $0) })
        } else {
            return nil
        }
    }

    /// The address of a socket address of `length` bytes; nil for any family but IP.
    public init?(_ address: UnsafePointer<sockaddr>, length: Int) {
        let raw = unsafe UnsafeRawBufferPointer(start: address, count: max(0, length))
        guard raw.count >= MemoryLayout<sa_family_t>.size else { return nil }
        switch Int32(unsafe raw.loadUnaligned(as: sa_family_t.self)) {
        case AF_INET where raw.count >= MemoryLayout<sockaddr_in>.size:
            self.init(v4: UInt32(bigEndian: unsafe raw.loadUnaligned(as: sockaddr_in.self).sin_addr.s_addr))
        case AF_INET6 where raw.count >= MemoryLayout<sockaddr_in6>.size:
            var v6 = unsafe raw.loadUnaligned(as: sockaddr_in6.self).sin6_addr
            self.init(v6: withUnsafeBytes(of: &v6) { IPAddress.number(unsafe $0) })
        default: return nil
        }
    }

    /// The IPv4 address inside an IPv4-mapped one (RFC 4291 section 2.5.5.2); itself otherwise. A socket for both families shows clients so.
    public var unmapped: IPAddress { family == .v6 && value >> 32 == 0xFFFF ? IPAddress(v4: UInt32(truncatingIfNeeded: value)) : self }

    /// What one subscriber usually has: an IPv4 address, or the /64 of an IPv6 one.
    public var subscriber: IPAddress {
        let address = unmapped
        return address.family == .v4 ? address : IPAddress(v6: (address.value >> 64) << 64)
    }

    public var isLoopback: Bool {
        let address = unmapped
        return address.family == .v4 ? address.value >> 24 == 127 : address.value == 1
    }

    private static func number(_ bytes: UnsafeRawBufferPointer) -> UInt128 { unsafe bytes.reduce(0) { $0 << 8 | UInt128($1) } }

    public var description: String {
        func part(_ shift: Int, _ mask: UInt128) -> UInt128 { value >> UInt128(shift) & mask }
        return switch family {
        case .v4: stride(from: 24, through: 0, by: -8).map { String(part($0, 0xFF)) }.joined(separator: ".")
        case .v6: stride(from: 112, through: 0, by: -16).map { String(part($0, 0xFFFF), radix: 16) }.joined(separator: ":")
        }
    }
}

/// A network in CIDR notation.
public struct CIDR: Sendable, Hashable {
    public let base: IPAddress
    public let prefix: Int

    /// `10.1.0.0/16`, `fd00::/8`, or one address. Nil when the text is none, or has bits set beyond the prefix.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let base = IPAddress(String(first)) else { return nil }
        let width = CIDR.width(base.family)
        let prefix = parts.count == 2 ? Int(parts[1]) ?? -1 : width
        guard (0...width).contains(prefix), prefix == width || base.value & (CIDR.ones(width - prefix)) == 0 else { return nil }
        self.base = base
        self.prefix = prefix
    }

    public func contains(_ address: IPAddress) -> Bool {
        guard address.family == base.family else { return false }
        let shift = UInt128(CIDR.width(base.family) - prefix)
        return shift >= 128 || address.value >> shift == base.value >> shift
    }

    private static func width(_ family: IPAddress.Family) -> Int { family == .v4 ? 32 : 128 }
    private static func ones(_ count: Int) -> UInt128 { count >= 128 ? .max : (UInt128(1) << UInt128(count)) - 1 }
}
