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

/// Which addresses a request may connect to. Asked for the very address of each connection, new or reused, never for a name.
public struct AddressPolicy: Sendable, Hashable {
    /// Addresses of the public Internet, and nothing else.
    public static let publicOnly = AddressPolicy(allowPrivate: false)

    /// Also the operator's own networks: RFC 1918, loopback, shared address space (RFC 6598), unique local IPv6 (RFC 4193).
    /// Link-local, metadata services, multicast and reserved ranges stay closed: only `allowedCIDRs` opens them.
    public var allowPrivate: Bool
    public var allowedCIDRs: [CIDR]

    public init(allowPrivate: Bool, allowedCIDRs: [CIDR] = []) {
        self.allowPrivate = allowPrivate
        self.allowedCIDRs = allowedCIDRs
    }

    /// Whether a socket may be connected to this address; false for every family but IP.
    public func permits(_ address: UnsafePointer<sockaddr>, length: Int) -> Bool {
        guard let address = unsafe IPAddress(address, length: length) else { return false }
        return permits(address)
    }

    public func permits(_ address: IPAddress) -> Bool {
        if allowedCIDRs.contains(where: { $0.contains(address) }) { return true }
        // The kernel connects a mapped address to the IPv4 host, and a NAT64 gateway does the same for its prefix.
        if address.family == .v6, AddressPolicy.embedding.contains(where: { $0.contains(address) }) {
            return permits(IPAddress(v4: UInt32(truncatingIfNeeded: address.value)))
        }
        return switch AddressPolicy.reach(of: address) {
        case .everywhere: true
        case .ownNetworks: allowPrivate
        case .nowhere: false
        }
    }

    private enum Reach { case everywhere, ownNetworks, nowhere }

    private static func reach(of address: IPAddress) -> Reach {
        if closed.contains(where: { $0.contains(address) }) { return .nowhere }
        if own.contains(where: { $0.contains(address) }) { return .ownNetworks }
        // IPv6 is global only inside 2000::/3 (RFC 4291 section 2.4); what is not assigned yet stays closed.
        return address.family == .v4 || address.value >> 125 == 0b001 ? .everywhere : .nowhere
    }

    private static let embedding = ["::ffff:0:0/96", "64:ff9b::/96"].compactMap(CIDR.init)

    private static let own = [
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
        "::1/128", "fc00::/7",
    ].compactMap(CIDR.init)

    /// The special-purpose registries of IANA (RFC 6890) without the ranges in `own`, and the metadata addresses of the large clouds.
    private static let closed = [
        "0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32", "168.63.129.16/32",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "fd00:ec2::/32", "fd20:ce::254/128",
    ].compactMap(CIDR.init)
}
