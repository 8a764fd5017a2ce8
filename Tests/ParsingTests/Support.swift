import Core
import Glibc
import NIOCore
import Parsing

/// SplitMix64: the same seed, the same inputs.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}

/// The seed of this run: `GRANARY_SEED`, else a fixed one, so that a failure can be repeated.
let testSeed: UInt64 = unsafe getenv("GRANARY_SEED").flatMap { unsafe UInt64(String(cString: $0)) } ?? 20_240_229

/// Bytes that an archive reader can be given.
func content(_ bytes: [UInt8]) -> BlobContent { BlobContent(.memory(ByteBuffer(bytes: bytes))) }

/// What a Python script writes to its standard output: the independent maker of archives. nil when there is no python3.
func python(_ script: String) -> [UInt8]? {
    guard let pipe = unsafe popen("python3 - <<'GRANARY_SCRIPT' 2>/dev/null\n\(script)\nGRANARY_SCRIPT\n", "r") else { return nil }
    var output: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = unsafe fread(&chunk, 1, chunk.count, pipe)
        if count == 0 { break }
        output += chunk[..<count]
    }
    return unsafe pclose(pipe) == 0 ? output : nil
}

let hasPython = python("import zipfile, tarfile, gzip") != nil

/// The reason a reader gives for refusing, nil when it accepts.
func refusal<Value>(_ body: () throws(RegistryError) -> Value) -> String? {
    do throws(RegistryError) {
        _ = try body()
        return nil
    } catch {
        return error.reason
    }
}
