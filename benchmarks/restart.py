"""Time from start to the first answer on a catalog of many assets."""
import argparse, json, time
from servers import authorization, call, granary, make_repository, wrk


def assets(server):
    return json.loads(call(server, "GET", "/api/v1/repositories/many/artifacts?per_page=1"))["pagination"]["total"]


def fill(server, lua, wanted, say):
    """Puts small files until that many are acknowledged; how many are there in the end."""
    make_repository(server, "many", "generic")
    made, part, started = 0, 0, time.monotonic()
    while made < wanted:
        part += 1
        result = wrk(server, 20, 100, f"http://127.0.0.1:{server.port}", script=f"{lua}/put.lua",
                     script_args=("/api/v1/repositories/many/artifacts/", "100", f"p{part}/a/", authorization()))
        if result["errors"]:
            raise SystemExit(f"uploads failed: {result}")
        made += result["requests"]
        say(f"{made} assets after {time.monotonic() - started:.0f} s")
    # The load generator leaves with uploads under way: they are stored too. Count when the count rests.
    there = -1
    while there != (now := assets(server)):
        there = now
        time.sleep(1)
    return there


def measure(binary, scratch, lua, wanted, times=3, say=print):
    """Seconds to the first answer of each start, how many assets there are, and MiB resident then."""
    server = granary(binary, scratch)
    try:
        there = fill(server, lua, wanted, say)
    finally:
        server.stop()
    took, resident = [], []
    for _ in range(times):
        started = time.monotonic()
        server = granary(binary, scratch)
        took.append(time.monotonic() - started)
        resident.append(server.status("VmRSS"))
        total = assets(server)
        server.stop()
        if total != there:
            raise SystemExit(f"{there} assets were acknowledged, {total} are there after a restart")
    return took, there, resident


def main():
    parser = argparse.ArgumentParser()
    for name in ("granary", "scratch", "lua"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--assets", type=int, default=1_000_000)
    options = parser.parse_args()
    took, there, resident = measure(options.granary, options.scratch, options.lua, options.assets)
    for seconds, mebibytes in zip(took, resident):
        print(f"restart with {there} assets: first answer after {seconds:.2f} s, {mebibytes:.0f} MiB resident")


if __name__ == "__main__":
    main()
