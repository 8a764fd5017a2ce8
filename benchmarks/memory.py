"""Resident memory of the server: idle after start, and at its peak while large uploads run at once."""
import argparse, hashlib, http.client, threading, time
from servers import authorization, granary, make_repository

parser = argparse.ArgumentParser()
for name in ("granary", "scratch"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--uploads", type=int, default=20)
parser.add_argument("--mebibytes", type=int, default=1024)
options = parser.parse_args()

server = granary(options.granary, options.scratch)
try:
    time.sleep(2)
    print(f"idle: {server.status('VmRSS'):.0f} MiB resident")
    make_repository(server, "files", "generic")
    failures = []

    def upload(number):
        piece = bytes([number]) * (1 << 20)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
            connection.putrequest("PUT", f"/api/v1/repositories/files/artifacts/big/{number}.bin")
            connection.putheader("Authorization", authorization())
            connection.putheader("Content-Length", str(options.mebibytes << 20))
            connection.endheaders()
            digest = hashlib.sha256()
            for _ in range(options.mebibytes):
                connection.send(piece)
                digest.update(piece)
            response = connection.getresponse()
            body = response.read()
            if response.status != 201 or digest.hexdigest().encode() not in body:
                failures.append((number, response.status, body[:200]))
        except OSError as error:
            failures.append((number, error))

    threads = [threading.Thread(target=upload, args=(n,)) for n in range(options.uploads)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    peak = 0
    while any(t.is_alive() for t in threads):
        peak = max(peak, server.status("VmRSS"))
        time.sleep(0.05)
    took = time.monotonic() - started
    print(f"{options.uploads} uploads of {options.mebibytes} MiB at once: peak {peak:.0f} MiB resident (VmHWM {server.status('VmHWM'):.0f}), {took:.0f} s, {len(failures)} failed")
    if failures:
        raise SystemExit(str(failures[:3]))
finally:
    server.stop()
