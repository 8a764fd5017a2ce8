import Core
import Synchronization

/// Which blobs were read, a bit for each: roughly, since two may share one. Marking is one load for who was marked already, so that it costs a read
/// nothing; no lock, no row.
///
/// `@unchecked Sendable`: the words are only touched atomically, and are there as long as the object.
final class ReadMarks: @unchecked Sendable {
    private static let words = 1 << 14
    private let bits: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        unsafe bits = .allocate(capacity: ReadMarks.words)
        for index in 0..<ReadMarks.words { unsafe (bits + index).initialize(to: Atomic(0)) }
    }

    deinit {
        unsafe bits.deinitialize(count: ReadMarks.words)
        unsafe bits.deallocate()
    }

    private static func place(_ id: BlobID) -> (word: Int, bit: UInt64) {
        let number = UInt(bitPattern: id.hashValue)
        return (Int((number >> 6) % UInt(words)), 1 << UInt64(number % 64))
    }

    func mark(_ id: BlobID) {
        let (word, bit) = ReadMarks.place(id)
        guard unsafe bits[word].load(ordering: .relaxed) & bit == 0 else { return }
        unsafe bits[word].bitwiseOr(bit, ordering: .relaxed)
    }

    struct Taken: Sendable {
        fileprivate let words: [UInt64]

        func contains(_ id: BlobID) -> Bool {
            let (word, bit) = ReadMarks.place(id)
            return words[word] & bit != 0
        }
    }

    /// Those since the last time; they are forgotten here.
    func take() -> Taken { Taken(words: (0..<ReadMarks.words).map { unsafe bits[$0].exchange(0, ordering: .relaxed) }) }

    /// They were not made use of.
    func putBack(_ taken: Taken) {
        for (index, word) in taken.words.enumerated() where word != 0 { unsafe bits[index].bitwiseOr(word, ordering: .relaxed) }
    }
}
