import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// SIGTERM and SIGINT as values.
enum Signals {
    static func next() async -> String {
        await withCheckedContinuation { continuation in
            let first = Shared(Mutex(continuation))
            for (number, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
                signal(number, SIG_IGN)
                // Safe: the source is only touched here and kept alive by its own event block, which libdispatch runs serially.
                nonisolated(unsafe) let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler {
                    first.resume(name)
                    _ = source
                }
                source.resume()
            }
        }
    }

    /// Resumes its waiter with the first signal, whichever it is.
    private final class Shared: Sendable {
        private let waiter: Mutex<CheckedContinuation<String, Never>?>
        init(_ waiter: consuming Mutex<CheckedContinuation<String, Never>?>) { self.waiter = waiter }
        func resume(_ name: String) {
            waiter.withLock { waiter in
                waiter?.resume(returning: name)
                waiter = nil
            }
        }
    }
}
