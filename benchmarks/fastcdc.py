"""How fast blobs are cut: the store's own FastCDC beside summing the same bytes, copying them, and hashing them. fastcdc.py ROOT SCRATCH

The one source file is compiled by itself with -O, with a driver that times each in turn, nine rounds over the same 256 MiB; medians of the ratios.
"""
import hashlib, statistics, subprocess, sys

DRIVER = """
import Glibc

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
                let seen = copy.load(fromByteOffset: Int(sum % 1000) * 8, as: UInt8.self) &+ UInt8(sum & 1)
                print(average >> 10, chunks, cut, summed, copied, seen)
            }
        }
    }
}
"""


def main():
    root, scratch = sys.argv[1:]
    gear = [int.from_bytes(hashlib.md5(bytes([byte]) * 64).digest()[:8], "big") for byte in range(256)]
    with open(f"{scratch}/driver.swift", "w") as file:
        file.write(f"let gear: [UInt64] = {gear}\n{DRIVER}")
    subprocess.run(["swiftc", "-O", "-wmo", "-parse-as-library", f"{root}/Sources/BlobStore/BlobStore/FastCDC.swift", f"{scratch}/driver.swift",
                    "-o", f"{scratch}/fastcdc"], check=True)
    rounds = {}
    for line in subprocess.run([f"{scratch}/fastcdc"], stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines():
        average, chunks, cut, summed, copied, _ = line.split()
        rounds.setdefault((average, chunks), []).append((float(cut), float(summed), float(copied)))
    print("| average KiB | chunks of 256 MiB | CPU s/GB | beside summing them (reading memory) | beside copying them |\n|---|---|---|---|---|")
    for (average, chunks), times in rounds.items():
        def ratio(index):
            values = sorted(each[0] / each[index] for each in times)
            return f"{statistics.median(values):.1f}x ({values[0]:.1f} to {values[-1]:.1f})"
        per = statistics.median(each[0] for each in times) / (256 << 20) * 1e9
        print(f"| {average} | {chunks} | {per:.2f} | {ratio(1)} | {ratio(2)} |")


main()
