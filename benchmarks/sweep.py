"""Latency of small PUTs and GETs while the blob store is swept, beside the same without: paired rounds in one server, medians of ratios.

sweep.py BINARY SCRATCH [ROUNDS]

Before each half of a round the same garbage is made: blobs of 4 KiB to 256 KiB and some large ones, most of them deleted again, so that the
sweep has rows to delete, files to unlink and segments to compact. Then four connections put 4 KiB and get 1 KiB in turns for some seconds, in
one half alone, in the other while sweeps run one after the other, without grace and without a limit on compaction but the default one.
"""
import http.client, json, os, random, statistics, sys, threading, time

import servers

SECONDS, CONNECTIONS, GARBAGE = 8, 4, 400


class Load:
    def __init__(self, port):
        self.port, self.lock, self.count = port, threading.Lock(), 0
        self.fields = servers.authorization()

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def call(self, connection, method, path, body=None):
        connection.request(method, path, body=body, headers={"Authorization": self.fields, "Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        answer = response.read()
        if response.status not in (200, 201, 204):
            raise SystemExit(f"{method} {path}: {response.status} {answer[:200]!r}")
        return answer

    def number(self):
        with self.lock:
            self.count += 1
            return self.count

    def garbage(self, seed):
        chance, connection = random.Random(seed), self.connection()
        for index in range(GARBAGE):
            size = 9 << 20 if index % 100 == 0 else int(2 ** chance.uniform(12, 18))
            path = f"/api/v1/repositories/bench/artifacts/garbage/1/{self.number()}"
            self.call(connection, "PUT", path, chance.randbytes(size))
            if chance.random() < 0.8:
                self.call(connection, "DELETE", path)
        connection.close()

    def measure(self, is_swept):
        """Seconds of each PUT and each GET; how many sweeps ended, and what they freed."""
        stop, puts, gets, swept, freed = threading.Event(), [], [], [0], [0]

        def work():
            connection, body = self.connection(), os.urandom(4096)
            while not stop.is_set():
                number = self.number()
                began = time.perf_counter()
                self.call(connection, "PUT", f"/api/v1/repositories/bench/artifacts/small/1/{number}", body[:-8] + number.to_bytes(8, "big"))
                middle = time.perf_counter()
                self.call(connection, "GET", "/general/bench/hot/1/one")
                puts.append(middle - began)
                gets.append(time.perf_counter() - middle)

        def sweep():
            connection = self.connection()
            while not stop.is_set():
                answer = json.loads(self.call(connection, "POST", "/api/v1/admin/storage-gc", '{"grace_seconds":0}'))
                swept[0] += 1
                freed[0] += answer["bytes_freed"]

        threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)] + ([threading.Thread(target=sweep)] if is_swept else [])
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        stop.set()
        for thread in threads:
            thread.join()
        return puts, gets, swept[0], freed[0]


def p(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000


def main():
    binary, scratch, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 9
    server = servers.granary(binary, scratch, "--set", "sweep_interval_minutes=0", "--set", "segment_bytes_max=8388608")
    try:
        load = Load(server.port)
        servers.make_repository(server, "bench", "generic")
        load.call(load.connection(), "PUT", "/api/v1/repositories/bench/artifacts/hot/1/one", os.urandom(1024))
        ratios = {}
        for number in range(rounds):
            halves = {}
            # Which half comes first alternates: whatever comes later finds a larger store.
            for is_swept in (False, True) if number % 2 == 0 else (True, False):
                load.garbage(f"{number} {is_swept}")
                halves[is_swept] = load.measure(is_swept)
            for name, index in (("PUT 4 KiB", 0), ("GET 1 KiB", 1)):
                for share in (0.5, 0.99):
                    plain, swept = p(halves[False][index], share), p(halves[True][index], share)
                    ratios.setdefault((name, share), []).append(swept / plain)
                    print(f"round {number + 1}: {name} p{share * 100:.0f} {plain:.2f} ms alone, {swept:.2f} ms swept")
            print(f"round {number + 1}: {halves[True][2]} sweeps, {halves[True][3] >> 20} MiB freed", flush=True)
        for (name, share), values in ratios.items():
            spread = f"{min(values):.2f} to {max(values):.2f}"
            print(f"{name} p{share * 100:.0f}: swept / alone = {statistics.median(values):.2f} (median of {len(values)}, {spread})")
    finally:
        server.stop()


main()
