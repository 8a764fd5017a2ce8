import NIOCore
import Synchronization

/// How much of a large answer a socket holds that is not sent yet (`TCP_NOTSENT_LOWAT`, Linux, tcp(7)).
///
/// A long queue is sent by whoever handles the acknowledgements, which feeds a single client best; of many clients each then waits for the queues
/// of all, and pages of all of them are in memory. So the large answers under way share one queue's length.
struct UnsentLimit {
    static let option = NIOBSDSocket.Option(rawValue: 25)
    static let bytesMax = 2 << 20
    static let bytesMin = 128 << 10

    /// In bytes; a power of two, so that it seldom changes.
    static func of(_ answers: Int) -> Int {
        guard answers > 1 else { return bytesMax }
        let halvings = Int.bitWidth - (answers - 1).leadingZeroBitCount
        return max(bytesMin, bytesMax >> min(halvings, 16))
    }

    /// The large answers of one server that are under way.
    final class Answers: Sendable {
        private let count = Atomic(0)

        var limit: Int { UnsentLimit.of(count.load(ordering: .relaxed)) }

        fileprivate func add(_ number: Int) { count.wrappingAdd(number, ordering: .relaxed) }
    }

    /// One of them, from its first byte until this goes.
    final class Answer {
        let answers: Answers

        init(_ answers: Answers) {
            self.answers = answers
            answers.add(1)
        }

        deinit { answers.add(-1) }
    }
}
