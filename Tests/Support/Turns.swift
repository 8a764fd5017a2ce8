/// Several kinds of work done in turn, to see whether one takes longer than another. A machine that is busy with other things slows all of them,
/// so what is compared is medians, by their ratio.
public enum Turns {
    /// The ratios of every kind's median to the first kind's, of the first of `rounds` rounds in which all are within the bound; of the last when
    /// none is. What always takes longer does so in every round; what was unlucky does not.
    /// - Parameter work: kind, and a number that is never the same.
    public static func ratios(
        of kinds: Int, turns: Int, within bound: Double, rounds: Int = 5, _ work: (_ kind: Int, _ number: Int) async throws -> Void
    ) async rethrows -> [Double] {
        var number = 0
        var ratios: [Double] = []
        for _ in 0..<rounds {
            var times = [[Duration]](repeating: [], count: kinds)
            for turn in 0..<turns {
                for place in 0..<kinds {
                    // Nobody is always behind the same.
                    let kind = (place + turn) % kinds
                    number += 1
                    let began = ContinuousClock.now
                    try await work(kind, number)
                    times[kind].append(ContinuousClock.now - began)
                }
            }
            let medians = times.map { $0.sorted()[$0.count / 2] }
            ratios = medians.map { $0 / medians[0] }
            if areAlike(ratios, within: bound) { break }
        }
        return ratios
    }

    public static func areAlike(_ ratios: [Double], within bound: Double) -> Bool { ratios.allSatisfy { $0 <= bound && $0 >= 1 / bound } }
}
