"""How fast blobs are cut: the store's own FastCDC beside hashing the same bytes, copying them, and summing them. fastcdc.py ROOT SCRATCH

The one source file is compiled by itself with -O, with a driver that times each in turn, nine rounds over the same 256 MiB; medians of the ratios.
Hashing is SHA-256 of libcrypto, in the same process.
"""
import hashlib, statistics, subprocess, sys

DRIVER = """
import Glibc

@_silgen_name("SHA256") func sha256(_ bytes: UnsafeRawPointer, _ count: Int, _ sum: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer?

func seconds(_ body: () -> Void) -> Double {
    var began = timespec(), ended = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began)
    body()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended)
    return Double(ended.tv_sec - began.tv_sec) + Double(ended.tv_nsec - began.tv_nsec) / 1e9
}

@main enum Driver {
    static func main() {
        let count = 256 << 20
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
        var state: UInt64 = 1
        for index in stride(from: 0, to: count, by: 8) {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            bytes.storeBytes(of: state, toByteOffset: index, as: UInt64.self)
        }
        copy.copyMemory(from: UnsafeRawBufferPointer(bytes))
        for average in [64 << 10, 512 << 10] {
            let cdc = FastCDC(averageBytes: average, gear: gear)
            for _ in 0..<9 {
                var chunks = 0
                var sum: UInt64 = 0
                let cut = seconds {
                    var rest = UnsafeRawBufferPointer(bytes)
                    while !rest.isEmpty {
                        rest = UnsafeRawBufferPointer(rebasing: rest[cdc.cut(rest)...])
                        chunks += 1
                    }
                }
                let summed = seconds {
                    for index in stride(from: 0, to: count, by: 8) { sum &+= bytes.load(fromByteOffset: index, as: UInt64.self) }
                }
                let copied = seconds { copy.copyMemory(from: UnsafeRawBufferPointer(bytes)) }
                let hashed = seconds { _ = sha256(bytes.baseAddress!, count, copy.baseAddress!) }
                let seen = copy.load(fromByteOffset: Int(sum % 1000) * 8, as: UInt8.self) &+ UInt8(sum & 1)
                print(average >> 10, chunks, cut, summed, copied, hashed, seen)
            }
        }
    }
}
"""


def measure(root, scratch):
    """(average KiB, chunks) -> rounds of CPU seconds: cutting, summing, copying, hashing."""
    gear = [int.from_bytes(hashlib.md5(bytes([byte]) * 64).digest()[:8], "big") for byte in range(256)]
    with open(f"{scratch}/driver.swift", "w") as file:
        file.write(f"let gear: [UInt64] = {gear}\n{DRIVER}")
    subprocess.run(["swiftc", "-O", "-wmo", "-parse-as-library", f"{root}/Sources/BlobStore/BlobStore/FastCDC.swift", f"{scratch}/driver.swift",
                    "-lcrypto", "-o", f"{scratch}/fastcdc"], check=True)
    rounds = {}
    for line in subprocess.run([f"{scratch}/fastcdc"], stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines():
        average, chunks, *times, _ = line.split()
        rounds.setdefault((average, chunks), []).append([float(time) for time in times])
    return rounds


def main():
    print("| average KiB | chunks of 256 MiB | CPU s/GB | beside summing them (reading memory) | beside copying them | beside SHA-256 of them |")
    print("|---|---|---|---|---|---|")
    for (average, chunks), times in measure(*sys.argv[1:]).items():
        def ratio(index):
            values = sorted(each[0] / each[index] for each in times)
            return f"{statistics.median(values):.2f}x ({values[0]:.2f} to {values[-1]:.2f})"
        per = statistics.median(each[0] for each in times) / (256 << 20) * 1e9
        print(f"| {average} | {chunks} | {per:.2f} | {ratio(1)} | {ratio(2)} | {ratio(3)} |")


if __name__ == "__main__":
    main()
