// Names that mean another host on every network, or a host inside of ours and nothing outside. What they resolve to is judged as every address is;
// but a resolver with a search list finds the cluster's own services by them, and through a proxy it is the proxy that resolves, and nobody judges.
extension AddressPolicy {
    /// Whether a host may be asked by this name; said before it is resolved, at every hop. Case and dots at the end change nothing.
    ///
    /// Names of the public Internet may. Others need `allowPrivate` or `allowedNames`:
    /// - a single label (RFC 8499: not fully qualified), which a resolver completes as it is configured;
    /// - those under the domains of `AddressPolicy.inside`;
    /// - those that end in a number: some read an address in them that others do not (WHATWG URL, "ends in a number").
    ///
    /// What an address is in any notation, and `localhost`, which always is one (RFC 6761 section 6.3), is not a name, but judged as an address.
    public func permits(name: String) -> Bool {
        let labels = AddressPolicy.labels(of: name)
        guard let top = labels.last else { return false }
        if allowPrivate { return true }
        let isAllowed = allowedNames.contains { allowed in
            let allowed = AddressPolicy.labels(of: allowed)
            return !allowed.isEmpty && labels.suffix(allowed.count) == allowed[...]
        }
        let isNumber = top.utf8.allSatisfy { (0x30...0x39).contains($0) } || top.hasPrefix("0x")
        return isAllowed || labels.count > 1 && !isNumber && !AddressPolicy.inside.contains(top)
    }

    private static func labels(of name: String) -> [Substring] { name.lowercased().split(separator: ".") }

    /// Top-level domains that the public root does not have and never will, or that are not for hosts.
    private static let inside: Set<Substring> = [
        // RFC 6762: multicast DNS, and with it `cluster.local`; its appendix G: what networks use in the place of a domain.
        "local", "corp", "home", "intranet", "lan", "private",
        // Reserved by ICANN's board for private use (29 July 2024), and never to be delegated (4 February 2018), as `corp` and `home` are not.
        "internal", "mail",
        // RFC 3172: for the infrastructure of the DNS; `home.arpa` (RFC 8375) is for homes.
        "arpa",
        // RFC 6761 section 6.2: whatever a tester made of it.
        "test",
        // Kubernetes' search list, Consul, Docker, and what resolvers are set to where nobody set a domain.
        "svc", "consul", "docker", "localdomain",
    ]
}
