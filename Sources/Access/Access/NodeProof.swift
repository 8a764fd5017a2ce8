public import Core
import Crypto

// What a node shows another one of the same registry, so that it is given bytes without an account's rights: that it knows the secret they all have.

extension Access {
    /// Clocks of nodes agree within seconds.
    private static let proofSeconds: Int64 = 60

    /// That one node asks another for this, now.
    /// - Parameter answer: SHA-256 of what is answered, by who answers: `from` is that node then, and `to` the one that asked.
    public func nodeProof(of question: NodeQuestion, answer: Core.Digest? = nil, from: UInt16, to: UInt16) -> String {
        let now = world.now().seconds
        let code = HMAC<SHA256>.authenticationCode(for: Access.claim(question, answer, from: from, to: to, at: now), using: nodeKey)
        return "\(now).\(Hex.encode(Array(code)))"
    }

    /// Whether `proof` was made for this very question, or answer, and not long ago. Compared in constant time.
    public func isNodeProof(_ proof: String, of question: NodeQuestion, answer: Core.Digest? = nil, from: UInt16, to: UInt16) -> Bool {
        let parts = proof.split(separator: ".", omittingEmptySubsequences: false)
        guard proof.utf8.count <= 100, parts.count == 2, let time = Int64(parts[0]), (0...Access.latest).contains(time),
            abs(world.now().seconds - time) <= Access.proofSeconds, let code = Hex.decode(String(parts[1]))
        else { return false }
        let claim = Access.claim(question, answer, from: from, to: to, at: time)
        return HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: claim, using: nodeKey)
    }

    /// Small enough that no difference overflows.
    private static let latest: Int64 = 1 << 40

    /// Not the key that signs tokens: what is made with one means nothing to the other.
    private var nodeKey: SymmetricKey {
        let secret = SymmetricKey(data: Array(options.jwtSecret.revealed.utf8))
        return SymmetricKey(data: Array(HMAC<SHA256>.authenticationCode(for: Array("granary: node to node".utf8), using: secret)))
    }

    private static func claim(_ question: NodeQuestion, _ answer: Core.Digest?, from: UInt16, to: UInt16, at seconds: Int64) -> [UInt8] {
        Array("\(question)\(answer.map { " answered with \($0.hex)" } ?? "") from \(from) to \(to) at \(seconds)".utf8)
    }
}
