"""GETs and PUTs of several nodes beside one node and a server without a cluster. `nodes.py SCRATCH ROUNDS NAME=PORT=PID,...`

Everything that is behind a port counts as the server: nodes, database, bucket, nginx. All of it shares one machine, so what three nodes can do that
one cannot does not show here; what it costs that there are three does.
"""
import os, sys

import servers
from gate import Bench, Compare, Reading, paired
from rows.uploads import upload

SECONDS = 2
# title, bytes, connections
GETS = [("GET 1 KiB", 1 << 10, 32), ("GET 1 MiB", 1 << 20, 8)]
PUTS = [("PUT 4 KiB", 4 << 10, 64), ("PUT 1 MiB", 1 << 20, 8)]
PUT_BYTES_MAX = 256 << 20


class Parts(servers.Server):
    """Processes that were started before, which answer at one port."""

    def __init__(self, name, port, roots):
        self.name, self.port, self.roots = name, port, roots

    def pids(self):
        found = list(self.roots)
        for pid in found:
            try:
                found += [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split() if int(child) not in found]
            except FileNotFoundError:
                pass
        return found


def get(part, path, connections):
    def load(_):
        cost = servers.wrk(part, SECONDS, connections, f"http://127.0.0.1:{part.port}{path}")
        if cost["errors"]:
            raise SystemExit(f"{part.name} {path}: {cost}")
        return Reading.of(cost, cost["requests"])
    return load


def put(bench, part, size, connections):
    def load(number):
        cost = upload(bench, part, "put", "/general/files/put", connections, SECONDS, size, f"s{size}r{number}", PUT_BYTES_MAX)
        return Reading.of(cost, cost["requests"])
    return load


def main():
    scratch, rounds, *cases = sys.argv[1:]
    bench = Bench(None, scratch, f"{scratch}/out", os.path.dirname(os.path.abspath(__file__)), int(rounds))
    parts = []
    for case in cases:
        name, port, pids = case.split("=")
        parts.append(Parts(name, int(port), [int(pid) for pid in pids.split(",")]))
    for part in parts:
        servers.make_repository(part, "files", "generic")
        for _, size, _ in GETS:
            servers.call(part, "PUT", f"/general/files/hot/1/{size}", os.urandom(size), "application/octet-stream")
    three, one, alone = (part.name for part in parts)
    loads = [(title, "request", {part.name: get(part, f"/general/files/hot/1/{size}", connections) for part in parts})
             for title, size, connections in GETS]
    loads += [(title, "upload", {part.name: put(bench, part, size, connections) for part in parts}) for title, size, connections in PUTS]
    for title, unit, cases in loads:
        bench.say(title)
        for result in paired(bench, "nodes", title, unit, cases, [
                Compare(three, one, "rate"), Compare(three, one, "cpu"), Compare(one, alone, "rate"), Compare(one, alone, "cpu")]):
            bench.say(f"    {result.figure:<60}{result.value:>7.2f}x  ({result.low:.2f} to {result.high:.2f})")


if __name__ == "__main__":
    main()
