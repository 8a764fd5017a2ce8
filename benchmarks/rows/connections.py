"""Latency of active connections with ten thousand idle ones beside them, and without, in turns on one server."""
import subprocess, sys

import servers
from gate import Compare, Reading, Row, paired
from rows.reads import FLAGS

IDLE, ACTIVE = 10_000, 200

HOLD = """
import resource, socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
for _ in range(count):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"GET /general/files/1k HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    left = None
    got = b""
    while b"\\r\\n\\r\\n" not in got or len(got.split(b"\\r\\n\\r\\n", 1)[1]) < 1024:
        piece = s.recv(65536)
        assert piece, got
        got += piece
    held.append(s)
print("held", flush=True)
sys.stdin.readline()
closed = 0
for s in held:
    s.setblocking(False)
    try:
        closed += s.recv(1) == b""
    except BlockingIOError:
        pass
print(closed, flush=True)
"""


def run(bench):
    folder = bench.folder("connections")
    server = servers.granary(bench.binary, folder, *FLAGS, "--set", f"connections_max={2 * IDLE}")
    bench.closing.append(server)
    servers.make_repository(server, "files", "generic")
    servers.call(server, "PUT", "/api/v1/repositories/files/artifacts/1k", b"x" * 1024, "application/octet-stream")
    url, fewest = f"http://127.0.0.1:{server.port}/general/files/1k", [IDLE]

    def load(_):
        cost = servers.wrk(server, 3, ACTIVE, url)
        if cost["errors"]:
            raise SystemExit(f"{cost}")
        return Reading.of(cost, cost["requests"])

    def beside_idle(_):
        # Two clients: each process has its own limit of open files.
        command = [sys.executable, "-c", HOLD, str(server.port), str(IDLE // 2)]
        clients = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        try:
            if [client.stdout.readline() for client in clients] != ["held\n"] * 2:
                raise SystemExit("the idle connections could not be opened")
            reading = load(_)
            closed = sum(int(client.communicate("\n")[0]) for client in clients)
            fewest[0] = min(fewest[0], IDLE - closed)
            return reading
        finally:
            for client in clients:
                client.kill()
                client.wait()
    results = paired(bench, "connections", f"GET 1 KiB, {ACTIVE} active connections", "request", {"beside 10,000 idle": beside_idle, "alone": load}, [
        Compare("beside 10,000 idle", "alone", "p99", at_most=2), Compare("beside 10,000 idle", "alone", "rate")])
    for result in results:
        result.detail += f"; {fewest[0]:,} of the idle ones stayed open, {server.status('VmHWM'):.0f} MiB resident at the most"
    return results


ROWS = [Row("connections", "p99 of 200 active connections beside 10,000 idle ones", run, 1.5)]
