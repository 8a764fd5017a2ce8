"""Time from start to the first answer on a catalog of many assets."""
import argparse, json, time
from servers import authorization, call, granary, make_repository, wrk

parser = argparse.ArgumentParser()
for name in ("granary", "scratch", "lua"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--assets", type=int, default=1_000_000)
options = parser.parse_args()

server = granary(options.granary, options.scratch)
make_repository(server, "many", "generic")
made, part = 0, 0
started = time.monotonic()
while made < options.assets:
    part += 1
    result = wrk(server, 20, 100, f"http://127.0.0.1:{server.port}", script=f"{options.lua}/put.lua",
                 script_args=("/api/v1/repositories/many/artifacts/", "100", f"p{part}/a/", authorization()))
    if result["errors"]:
        raise SystemExit(f"uploads failed: {result}")
    made += result["requests"]
    print(f"{made} assets after {time.monotonic() - started:.0f} s", flush=True)


def assets(server):
    return json.loads(call(server, "GET", "/api/v1/repositories/many/artifacts?per_page=1"))["pagination"]["total"]


# The load generator leaves with uploads under way: they are stored too. Count when the count rests.
before = -1
while before != assets(server):
    before = assets(server)
    time.sleep(1)
server.stop()
for attempt in range(3):
    started = time.monotonic()
    server = granary(options.granary, options.scratch)
    took = time.monotonic() - started
    total = assets(server)
    print(f"restart with {total} assets: first answer after {took:.2f} s, {server.status('VmRSS'):.0f} MiB resident")
    server.stop()
    if total != before:
        raise SystemExit(f"{before} assets were acknowledged, {total} are there after a restart")
