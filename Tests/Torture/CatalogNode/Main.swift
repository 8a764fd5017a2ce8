// A node without its sockets, for the torture of PostgreSQL: changes from many tasks over a PostgresCatalog, and a line for each thing it was told.
//
// catalog-node ADDRESS begin                          makes the repository
// catalog-node ADDRESS work NAME WRITERS READERS      until its input ends
// catalog-node ADDRESS look                           says what is there
//
// What it writes while it works, and when: `ask ID` before a change, `ack ID REVISION VALUE` or `no ID CODE SECONDS` after its answer; `unread CODE
// SECONDS` for a read that failed; `wrong WORDS`. What it reads: `know ID VALUE`, of a change that another node acknowledged, which it must see, too.

import Catalog
import Core
import Logging
import PostgresCatalog

#if canImport(Glibc)
    import Glibc
#endif

@main
enum CatalogNode {
    static func main() async throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard let address = arguments.first, let mode = arguments.dropFirst().first else { usage() }
        let catalog = try await PostgresCatalog(address: address, world: .real, logger: Logger(label: "catalog-node"))
        switch (mode, Array(arguments.dropFirst(2))) {
        case ("begin", []): try await catalog.apply(try Act.beginning)
        case ("look", []): try await Look(catalog: catalog).show()
        case ("work", let words) where words.count == 3:
            guard let writers = Int(words[1]), let readers = Int(words[2]) else { usage() }
            await Work(catalog: catalog, name: words[0]).run(writers: writers, readers: readers)
        default: usage()
        }
        // Not at the mercy of a database that is being tortured.
        exit(0)
    }

    private static func usage() -> Never {
        say("catalog-node ADDRESS begin | work NAME WRITERS READERS | look")
        exit(64)
    }

    /// A line in one write: of a process that is killed, all that it said is there, and no half of a line.
    static func say(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = unsafe write(STDOUT_FILENO, bytes, bytes.count)
    }
}
