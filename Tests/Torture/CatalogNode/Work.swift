import Catalog
import Core
import PostgresCatalog
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Writers and readers of one node.
struct Work {
    let catalog: PostgresCatalog
    let name: String
    private let known = Known()

    init(catalog: PostgresCatalog, name: String) {
        self.catalog = catalog
        self.name = name
    }

    func run(writers: Int, readers: Int) async {
        await withTaskGroup(of: Void.self) { group in
            for writer in 0..<writers { group.addTask { await write(writer) } }
            for _ in 0..<readers { group.addTask { await read() } }
            group.addTask { await hear() }
            CatalogNode.say("ready")
        }
    }

    /// One change after the other, each once: what was refused is not asked for again.
    private func write(_ writer: Int) async {
        var number = 0
        while !known.isOver {
            number += 1
            let act = Act(name, writer: writer, number: number)
            CatalogNode.say("ask \(act.id)")
            do throws(RegistryError) {
                let counter = act.kind == .count ? try await catalog.record(.setting, id: Act.counter) : nil
                let (change, staged) = try act.change(counter: counter)
                let revision = try await catalog.apply(change, staged: staged)
                CatalogNode.say("ack \(act.id) \(revision.number) \(act.value)")
                known.add(act.id, act.value)
            } catch {
                CatalogNode.say("no \(act.id) \(Work.words(error))")
                // Not as long as it was told: the first moment at which it works again is what is looked for.
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    /// An answer is right or is none.
    private func read() async {
        while !known.isOver {
            guard let (id, value) = known.random() else {
                try? await Task.sleep(for: .milliseconds(20))
                continue
            }
            do throws(RegistryError) {
                let record = try await catalog.record(.cursor, id: id)
                if record?.value != Array(value.utf8) {
                    CatalogNode.say("wrong \(id) was acknowledged, and is \(record == nil ? "absent" : "another")")
                }
            } catch {
                CatalogNode.say("unread \(Work.words(error))")
            }
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    private static func words(_ error: RegistryError) -> String {
        "\(error.code) \(error.retryAfterSeconds.map(String.init) ?? "-") \(error.reason); \(error.cause ?? "")".replacing("\n", with: " ")
    }

    /// What other nodes acknowledged, until the input ends.
    private func hear() async {
        let pool = BlockingPool(threads: 1, name: "input")
        while let line = try? await pool.run({ () throws(RegistryError) in readLine() }) {
            let words = line.split(separator: " ", maxSplits: 2).map(String.init)
            if words.count == 3, words[0] == "know" { known.add(words[1], words[2]) }
        }
        known.end()
    }
}

/// What was acknowledged, of late.
private final class Known: Sendable {
    private struct State {
        var acts: [(id: String, value: String)] = []
        var next = 0
        var isOver = false
    }
    private let state = Mutex(State())

    var isOver: Bool { state.withLock { $0.isOver } }
    func end() { state.withLock { $0.isOver = true } }

    func add(_ id: String, _ value: String) {
        state.withLock { state in
            if state.acts.count < 1000 { return state.acts.append((id, value)) }
            state.acts[state.next] = (id, value)
            state.next = (state.next + 1) % 1000
        }
    }

    /// Half of the time what was added last.
    func random() -> (String, String)? {
        state.withLock { state in Bool.random() ? state.acts.last : state.acts.randomElement() }
    }
}
