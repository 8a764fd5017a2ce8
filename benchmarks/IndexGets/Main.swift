// How long one get of the index takes by itself: index-gets FOLDER ROWS. Rows as the catalog has them for assets, on the store the server opens,
// with a cache that holds them all; CPU nanoseconds of a get that finds its row and of one that does not, nine rounds of each, one line a round.

import Core
import Logging
import OrderedStore

#if canImport(Glibc)
    import Glibc
#endif

@main
enum IndexGets {
    static let family = OrderedStore.Family("catalog")
    static let roundGets = 100_000

    static func main() async throws {
        guard CommandLine.arguments.count == 3, let rows = UInt64(CommandLine.arguments[2]), rows > 0 else {
            print("index-gets FOLDER ROWS")
            exit(64)
        }
        var options = OrderedStore.Options()
        options.blockCacheBytes = 1 << 30
        let store = try OrderedStore(at: CommandLine.arguments[1], families: [family], options: options, logger: Logger(label: "index-gets"))
        let value = [UInt8](repeating: 0x41, count: 160)
        for start in stride(from: 0, to: rows, by: 5000) {
            try await store.commit { batch in
                for number in start..<min(start + 5000, rows) { batch.put(key(number), value, in: family) }
            }
        }
        // Everything is read once, so that no round waits for the disk.
        try store.readAll()
        var chance: UInt64 = 1
        for _ in 0..<9 {
            print(try time(store, rows, expected: true, &chance), try time(store, rows, expected: false, &chance))
        }
        store.close()
    }

    /// Even numbers are stored; the odd ones lie between them.
    static func key(_ number: UInt64, isStored: Bool = true) -> [UInt8] {
        [10] + Array(repeating: 7, count: 16) + Array("pkgs/package-\(number % 5000)/\(number * 2 + (isStored ? 0 : 1))/artifact.bin".utf8) + [0, 1]
    }

    static func time(_ store: OrderedStore, _ rows: UInt64, expected: Bool, _ chance: inout UInt64) throws -> Int {
        let keys = (0..<roundGets).map { _ in
            chance ^= chance << 13
            chance ^= chance >> 7
            chance ^= chance << 17
            return key(chance % rows, isStored: expected)
        }
        // Once untimed: the blocks they are in come into the cache.
        for key in keys { _ = try store.get(key, in: family) }
        let began = processTime()
        var found = 0
        for key in keys where try store.get(key, in: family) != nil { found += 1 }
        let took = processTime() - began
        guard found == (expected ? roundGets : 0) else { throw RegistryError(.internal, subject: .store, reason: "\(found) rows were found") }
        return took / roundGets
    }

    static func processTime() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }
}
