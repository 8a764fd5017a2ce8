import Synchronization

/// Bounds repetitions over all requests together: when an object store fails much, repeating every request would only fail more.
/// Each repetition costs, each success gives a little back.
final class RetryBudget: Sendable {
    private static let cost = 10
    private let pointsMax: Int
    private let points: Mutex<Int>

    /// - Parameter repetitions: so many in a row, when nothing succeeds.
    init(repetitions: Int = 50) {
        pointsMax = repetitions * RetryBudget.cost
        points = Mutex(pointsMax)
    }

    /// - Returns: whether one more repetition is within the budget.
    func spend() -> Bool {
        points.withLock { points in
            guard points >= RetryBudget.cost else { return false }
            points -= RetryBudget.cost
            return true
        }
    }

    func succeeded() { points.withLock { $0 = min($0 + 1, pointsMax) } }

    /// Milliseconds before repetition `number`, counted from 1: anywhere up to a bound that doubles, so that those who failed together do not
    /// come back together.
    static func pause(before number: Int, random: UInt64) -> Int {
        let bound = min(100 << min(number, 6), 5000)
        return 1 + Int(random % UInt64(bound))
    }
}
