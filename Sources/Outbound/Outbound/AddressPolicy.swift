public import Core

#if canImport(Glibc)
    public import Glibc
#endif

/// Which addresses a request may connect to. Asked for the very address of each connection, new or reused, whatever name it was found by;
/// which names may be asked for at all is said before that, in HostNames.swift.
public struct AddressPolicy: Sendable, Hashable {
    /// Addresses of the public Internet, and nothing else.
    public static let publicOnly = AddressPolicy(allowPrivate: false)

    /// Also the operator's own networks: RFC 1918, loopback, shared address space (RFC 6598), unique local IPv6 (RFC 4193).
    /// Link-local, metadata services, multicast and reserved ranges stay closed: only `allowedCIDRs` opens them.
    public var allowPrivate: Bool
    public var allowedCIDRs: [CIDR]
    /// Names, and domains with all below them, that may be asked for although they are none of the public Internet.
    /// Their addresses are judged all the same.
    public var allowedNames: [String]

    public init(allowPrivate: Bool, allowedCIDRs: [CIDR] = [], allowedNames: [String] = []) {
        self.allowPrivate = allowPrivate
        self.allowedCIDRs = allowedCIDRs
        self.allowedNames = allowedNames
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
