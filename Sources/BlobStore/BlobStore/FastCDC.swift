/// Where content-defined chunks end: FastCDC of 2020 with normalisation 2, as the Remote Execution API publishes it
/// (`build/bazel/remote/execution/v2/fastcdc2020_test_vectors.txt`), so that build clients and this store name the same chunks.
///
/// A cut depends only on the bytes since the one before, so equal runs of bytes are soon cut alike, wherever they lie.
struct FastCDC: Hashable, Sendable {
    /// What `averageBytes` may be: powers of two in here.
    static let averages = 4 << 10...1 << 20

    /// Chunks are about this long.
    let averageBytes: Int
    /// Only the last chunk may be shorter.
    let minBytes: Int
    let maxBytes: Int
    /// For every value of a byte 64 bits without pattern (`Gear`), with the seed already in them.
    private let gear: [UInt64]
    /// Before the average length few cuts are wanted, after it many.
    private let strictMask: UInt64
    private let looseMask: UInt64

    /// The mask with 10 bits set, with 11, and so on.
    private static let masks: [UInt64] = [
        0x5900_0353_0000, 0xd900_0353_0000, 0xd901_0353_0000, 0xd903_0353_0000, 0xd903_1353_0000, 0xd90f_0353_0000, 0xd903_0353_7000,
        0xd907_0353_7000, 0xd907_0753_7000, 0xd917_0753_7000, 0xd917_4753_7000, 0xd917_6753_7000, 0xd937_6753_7000,
    ]

    /// - Parameters:
    ///   - averageBytes: a power of two in `averages`.
    ///   - gear: 256 values.
    init(averageBytes: Int, seed: UInt64 = 0, gear: [UInt64]) {
        precondition(FastCDC.averages.contains(averageBytes) && averageBytes.nonzeroBitCount == 1, "an average is a power of two")
        precondition(gear.count == 256, "a byte has 256 values")
        self.averageBytes = averageBytes
        minBytes = averageBytes / 4
        maxBytes = averageBytes * 4
        self.gear = gear.map { $0 ^ seed }
        let bits = averageBytes.trailingZeroBitCount - 10
        strictMask = FastCDC.masks[bits + 2]
        looseMask = FastCDC.masks[bits - 2]
    }

    /// The length of the chunk at the beginning of `bytes`.
    /// - Parameter bytes: at least `maxBytes` of them, or all that are left.
    func cut(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard bytes.count > minBytes else { return bytes.count }
        let end = min(bytes.count, maxBytes)
        // The published algorithm looks at two bytes a step, hence the even borders.
        let turn = min(end, averageBytes) & ~1
        return gear.withUnsafeBufferPointer { gear in
            var hash: UInt64 = 0
            var at = minBytes & ~1
            while at < turn {
                unsafe hash = hash << 1 &+ gear[Int(bytes[at])]
                if hash & strictMask == 0 { return at }
                at += 1
            }
            while at < end & ~1 {
                unsafe hash = hash << 1 &+ gear[Int(bytes[at])]
                if hash & looseMask == 0 { return at }
                at += 1
            }
            return end
        }
    }
}
