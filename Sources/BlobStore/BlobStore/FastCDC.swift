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
            guard let gear = gear.baseAddress, let base = bytes.baseAddress else { return end }
            var scan = unsafe Scan(bytes: base.assumingMemoryBound(to: UInt8.self), gear: gear, at: minBytes & ~1)
            if let cut = scan.find(strictMask, upTo: turn) { return cut }
            return scan.find(looseMask, upTo: end & ~1) ?? end
        }
    }
}

/// A walk over bytes that looks for the first place where the hash of the 64 bytes before has zeros under a mask.
private struct Scan {
    let bytes: UnsafePointer<UInt8>
    let gear: UnsafePointer<UInt64>
    var at: Int
    private var hash: UInt64 = 0

    init(bytes: UnsafePointer<UInt8>, gear: UnsafePointer<UInt64>, at: Int) {
        unsafe self.bytes = bytes
        unsafe self.gear = gear
        self.at = at
    }

    /// A byte's turn takes as long as the sum before it, so four lanes are summed side by side; each but the first begins with the 64 bytes before
    /// it, which are all that a hash knows.
    private static let laneBytes = 1024

    mutating func find(_ mask: UInt64, upTo end: Int) -> Int? {
        let lane = Scan.laneBytes
        while end - at >= 4 * lane {
            guard let next = unsafe Scan.pass(bytes + at, gear, hash, mask) else { break }
            hash = next
            at += 4 * lane
        }
        while at < end {
            unsafe hash = hash << 1 &+ gear[Int(bytes[at])]
            if hash & mask == 0 { return at }
            at += 1
        }
        return nil
    }

    /// The hash behind four lanes; nil when there is a cut in one of them.
    private static func pass(_ bytes: UnsafePointer<UInt8>, _ gear: UnsafePointer<UInt64>, _ hash: UInt64, _ mask: UInt64) -> UInt64? {
        var (a, b, c, d) = (hash, UInt64(0), UInt64(0), UInt64(0))
        let (second, third, fourth) = unsafe (bytes + laneBytes, bytes + 2 * laneBytes, bytes + 3 * laneBytes)
        for index in -64..<0 {
            unsafe b = b << 1 &+ gear[Int(second[index])]
            unsafe c = c << 1 &+ gear[Int(third[index])]
            unsafe d = d << 1 &+ gear[Int(fourth[index])]
        }
        for index in 0..<laneBytes {
            unsafe a = a << 1 &+ gear[Int(bytes[index])]
            unsafe b = b << 1 &+ gear[Int(second[index])]
            unsafe c = c << 1 &+ gear[Int(third[index])]
            unsafe d = d << 1 &+ gear[Int(fourth[index])]
            if a & mask == 0 || b & mask == 0 || c & mask == 0 || d & mask == 0 { return nil }
        }
        return d
    }
}
