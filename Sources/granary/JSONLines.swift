#if canImport(Glibc)
    import Glibc
#endif
import Core
import Logging
import Parsing

/// A log of one JSON object per line on standard error: time, level, logger, message, then the metadata.
struct JSONLines: LogHandler {
    let label: String
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(label: String, level: Logger.Level) {
        self.label = label
        logLevel = level
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var members: [(String, JSON)] = [
            ("time", JSON(World.real.now().description)), ("level", JSON(event.level.rawValue)), ("logger", JSON(label)),
            ("message", JSON("\(event.message)")),
        ]
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) { members.append((key, JSON("\(value)"))) }
        var line = JSON.object(.init(members)).encoded()
        line.append(UInt8(ascii: "\n"))
        // One write per line: lines of several threads do not mix. A log that cannot be written must not stop the server.
        _ = unsafe line.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
