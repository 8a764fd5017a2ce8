import Core
import Outbound
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Which addresses a request may connect to")
struct AddressPolicyTests {
    enum Verdict { case open, own, closed }

    static let table: [(String, Verdict)] = [
        ("8.8.8.8", .open), ("1.1.1.1", .open), ("93.184.216.34", .open), ("9.255.255.255", .open), ("11.0.0.0", .open),
        ("10.0.0.0", .own), ("10.255.255.255", .own), ("172.15.255.255", .open), ("172.16.0.0", .own), ("172.31.255.255", .own),
        ("172.32.0.0", .open), ("192.168.0.1", .own), ("192.167.255.255", .open), ("192.169.0.0", .open),
        ("127.0.0.1", .own), ("127.255.255.254", .own), ("126.255.255.255", .open), ("128.0.0.0", .open),
        ("100.63.255.255", .open), ("100.64.0.0", .own), ("100.127.255.255", .own), ("100.128.0.0", .open),
        ("100.100.100.200", .closed), ("168.63.129.16", .closed), ("168.63.129.17", .open),
        ("0.0.0.0", .closed), ("0.255.255.255", .closed), ("169.254.169.254", .closed), ("169.254.0.1", .closed), ("169.253.255.255", .open),
        ("169.255.0.0", .open), ("192.0.0.1", .closed), ("192.0.0.192", .closed), ("192.0.1.0", .open), ("192.0.2.1", .closed),
        ("192.0.3.0", .open), ("192.88.99.1", .closed), ("198.17.255.255", .open), ("198.18.0.1", .closed), ("198.19.255.255", .closed),
        ("198.20.0.0", .open), ("198.51.100.7", .closed), ("203.0.113.9", .closed), ("203.0.114.0", .open),
        ("223.255.255.255", .open), ("224.0.0.1", .closed), ("239.255.255.250", .closed), ("240.0.0.1", .closed), ("255.255.255.255", .closed),
        ("2606:4700:4700::1111", .open), ("2a00:1450:4001:81b::200e", .open), ("3ffe::1", .open),
        ("::", .closed), ("::1", .own), ("::2", .closed), ("::127.0.0.1", .closed), ("::8.8.8.8", .closed),
        ("::ffff:127.0.0.1", .own), ("::ffff:7f00:1", .own), ("::ffff:169.254.169.254", .closed), ("::ffff:10.1.2.3", .own),
        ("::ffff:0.0.0.0", .closed), ("::ffff:8.8.8.8", .open), ("::ffff:0:127.0.0.1", .closed),
        ("64:ff9b::7f00:1", .own), ("64:ff9b::a9fe:a9fe", .closed), ("64:ff9b::808:808", .open), ("64:ff9b:1::808:808", .closed),
        ("100::1", .closed), ("2001::1", .closed), ("2001:0:4136:e378:8000:63bf:3fff:fdd2", .closed), ("2001:10::1", .closed),
        ("2001:20::1", .closed), ("2001:1ff::1", .closed), ("2001:200::1", .open), ("2001:db8::1", .closed), ("2001:db9::1", .open),
        ("2002:7f00:1::", .closed), ("2002:808:808::1", .closed), ("3fff::1", .closed), ("4000::1", .closed), ("5f00::1", .closed),
        ("fc00::1", .own), ("fd12:3456:789a::1", .own), ("fd00:ec2::254", .closed), ("fd20:ce::254", .closed), ("fe80::1", .closed),
        ("febf::1", .closed), ("fec0::1", .closed), ("ff02::1", .closed), ("ff0e::1", .closed),
    ]

    @Test("each range is open, ours or closed, at its edges too")
    func ranges() throws {
        for (text, verdict) in Self.table {
            let address = try #require(IPAddress(text), "\(text)")
            #expect(AddressPolicy.publicOnly.permits(address) == (verdict == .open), "\(text)")
            #expect(AddressPolicy(allowPrivate: true).permits(address) == (verdict != .closed), "\(text)")
            #expect(try permitsSocketAddress(text) == (verdict == .open), "\(text)")
        }
    }

    @Test("a named network opens what is closed otherwise, and nothing beside it")
    func namedNetworks() throws {
        let policy = AddressPolicy(
            allowPrivate: false,
            allowedCIDRs: [try #require(CIDR("10.1.0.0/16")), try #require(CIDR("169.254.7.7")), try #require(CIDR("fe80::/64"))])
        for text in ["10.1.0.0", "10.1.255.255", "169.254.7.7", "::ffff:10.1.2.3", "fe80::9", "8.8.8.8"] {
            #expect(policy.permits(try #require(IPAddress(text))), "\(text)")
        }
        for text in ["10.0.255.255", "10.2.0.0", "169.254.7.8", "fe80:0:0:1::9", "127.0.0.1"] {
            #expect(!policy.permits(try #require(IPAddress(text))), "\(text)")
        }
    }

    @Test("a network must be written exactly")
    func notation() {
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.1/8", "10.0/8", "fd00::/129", "x/8", "10.0.0.0/8/8", "0x7f.1"] {
            #expect(CIDR(text) == nil, "\(text)")
        }
        #expect(CIDR("0.0.0.0/0")?.contains(IPAddress(v4: 0xFFFF_FFFF)) == true)
        #expect(CIDR("::/0")?.contains(IPAddress(v6: .max)) == true)
        #expect(CIDR("0.0.0.0/0")?.contains(IPAddress(v6: 1)) == false)
    }

    @Test("a socket address of another family, or cut short, is refused")
    func otherFamilies() {
        var local = sockaddr_un()
        local.sun_family = sa_family_t(AF_UNIX)
        let lengths = [0, 1, 2, 8, MemoryLayout<sockaddr_un>.size]
        withUnsafePointer(to: &local) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                for length in lengths { #expect(unsafe !AddressPolicy(allowPrivate: true).permits(address, length: length)) }
            }
        }
        var cut = sockaddr_in()
        cut.sin_family = sa_family_t(AF_INET)
        cut.sin_addr.s_addr = UInt32(0x0808_0808).bigEndian
        withUnsafePointer(to: &cut) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                #expect(unsafe !AddressPolicy.publicOnly.permits(address, length: 7))
                #expect(unsafe AddressPolicy.publicOnly.permits(address, length: MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    /// The same judgement on the form the kernel takes, made by the system's own resolver.
    private func permitsSocketAddress(_ text: String) throws -> Bool {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        try #require(unsafe getaddrinfo(text, "443", &hints, &list) == 0, "\(text)")
        defer { unsafe freeaddrinfo(list) }
        let entry = try #require(unsafe list)
        let address = try #require(unsafe entry.pointee.ai_addr)
        return unsafe AddressPolicy.publicOnly.permits(address, length: Int(entry.pointee.ai_addrlen))
    }
}
