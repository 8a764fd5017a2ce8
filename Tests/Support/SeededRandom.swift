#if canImport(Glibc)
    import Glibc
#endif

/// SplitMix64: the same seed, the same numbers.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64
    public init(seed: UInt64) { state = seed }
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// The seed of this run: `GRANARY_SEED` repeats one, else it is new each time. Tests print it.
    public static let runSeed: UInt64 = {
        if let text = unsafe getenv("GRANARY_SEED"), let seed = UInt64(unsafe String(cString: text)) { return seed }
        return .random(in: 0...UInt64(UInt32.max))
    }()
}
