import Core
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("BlockingPool") struct BlockingPoolTests {
    @Test("work gives its value or its error to whoever waits for it") func results() async throws {
        let pool = BlockingPool(threads: 2)
        #expect(try await pool.run { () throws(RegistryError) in 7 } == 7)
        let error = await #expect(throws: RegistryError.self) {
            try await pool.run { () throws(RegistryError) in throw RegistryError(.conflict, subject: .request, reason: "no") }
        }
        #expect(error?.code == .conflict)
    }

    @Test("what nobody waits for gets less of a core than what somebody does") func background() async throws {
        func niceness(_ pool: BlockingPool) async throws -> Int32 {
            try await pool.run { () throws(RegistryError) in getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0) }
        }
        let ordinary = try await niceness(BlockingPool())
        #expect(try await niceness(BlockingPool(isBackground: true)) == max(ordinary, 10))
    }

    @Test("no more works at once than there are threads, and everything is worked off") func bound() async throws {
        let pool = BlockingPool(threads: 3)
        let running = Running()
        let sum = try await withThrowingTaskGroup(of: Int.self) { group in
            for index in 1...200 {
                group.addTask {
                    try await pool.run { () throws(RegistryError) in
                        running.enter()
                        defer { running.leave() }
                        return index
                    }
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(sum == 20_100)
        #expect((1...3).contains(running.most))
    }

    @Test("work that waits for other work of the pool gets it, while a thread is left") func together() throws {
        let pool = BlockingPool(threads: 2)
        let (first, second) = (Mailbox<Int>(), Mailbox<Int>())
        try pool.post { if let value = first.takeOne() { _ = second.put(value + 1) } }
        try pool.post { _ = first.put(1) }
        #expect(second.takeOne() == 2)
    }

    @Test("work queued before the pool went away still runs") func lastWork() throws {
        let results = Mailbox<Int>()
        do {
            let pool = BlockingPool(threads: 1)
            for index in 0..<5 { try pool.post { _ = results.put(index) } }
        }
        var order: [Int] = []
        for _ in 0..<5 { if let value = results.takeOne() { order.append(value) } }
        #expect(order == Array(0..<5))
    }

    @Test("a closed mailbox takes nothing, and gives what it has before it ends") func closing() {
        let mailbox = Mailbox<Int>()
        #expect(mailbox.put(1) == false)
        #expect(mailbox.put(2) == false)
        mailbox.close()
        #expect(mailbox.put(3) == nil)
        #expect(mailbox.takeOne() == 1)
        #expect(mailbox.takeAll() == [2])
        #expect(mailbox.takeAll() == nil)
        #expect(mailbox.takeOne() == nil)
    }
}

/// Counts who is at work.
private final class Running: Sendable {
    private let counts = Mutex<[Int]>([0, 0])
    var most: Int { counts.withLock { $0[1] } }
    func enter() {
        counts.withLock { counts in
            counts[0] += 1
            counts[1] = max(counts[0], counts[1])
        }
    }
    func leave() { counts.withLock { $0[0] -= 1 } }
}
