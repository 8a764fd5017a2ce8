"""GET at every size and number of connections, HEAD, ranges, a mixed pull: beside nginx, and docker-registry where it is blobs."""
import hashlib, json, os

import servers
from gate import Compare, Reading, Row, paired

SIZES = {"1k": ("1 KiB", 1 << 10), "64k": ("64 KiB", 64 << 10), "1m": ("1 MiB", 1 << 20), "16m": ("16 MiB", 16 << 20), "1g": ("1 GiB", 1 << 30)}
# What a pull asks for, of 100 requests: manifests and pages, small layers, middling ones.
MIX = {"1k": 60, "64k": 30, "1m": 9, "16m": 1}
# The chunker would come a minute after the upload, between two rounds, and find nothing in noise.
FLAGS = ("--set", "chunk_delay_seconds=86400")


class Standing:
    """Granary, nginx and docker-registry with the same files in each: ours in a public repository, in a private one, and as blobs. A file is put
    there when a row first asks for it."""

    def __init__(self, bench, name, pins=(), workers=2):
        self.scratch = scratch = bench.folder(name)
        flags = FLAGS if workers == 2 else (*FLAGS, "--set", f"event_loop_threads={workers}")
        self.granary = servers.granary(bench.binary, scratch, *flags, before=pins)
        bench.closing.append(self.granary)
        self.nginx = servers.nginx(scratch, workers, before=pins)
        bench.closing.append(self.nginx)
        self.registry = servers.docker_registry(scratch, before=pins)
        bench.closing.append(self.registry)
        self.fill()

    def fill(self):
        servers.make_repository(self.granary, "files", "generic")
        servers.make_repository(self.granary, "closed", "generic", is_public=False)
        servers.make_repository(self.granary, "images", "docker")
        answer = servers.call(self.granary, "POST", "/api/v1/auth/tokens", {"name": "bench", "scopes": ["read:artifacts"]})
        self.token = "Bearer " + json.loads(answer)["token"]
        self.digests = {}

    def put(self, key):
        path, size, digest = f"{self.scratch}/nginx/files/{key}", SIZES[key][1], hashlib.sha256()
        with open(path, "wb") as file:
            for _ in range(max(1, size >> 20)):
                piece = os.urandom(min(size, 1 << 20))
                file.write(piece)
                digest.update(piece)
        self.digests[key] = "sha256:" + digest.hexdigest()
        for repository in ("files", "closed"):
            with open(path, "rb") as file:
                servers.call(self.granary, "PUT", f"/api/v1/repositories/{repository}/artifacts/{key}", file, "application/octet-stream")
        for server, repository in ((self.granary, "images/bench"), (self.registry, "bench")):
            if server is None:
                continue
            with open(path, "rb") as file:
                servers.push_blob(server, repository, self.digests[key], file)
        os.sync()

    def sources(self, key):
        """Where the file is: case -> (server, path, authorization)."""
        if key not in self.digests:
            self.put(key)
        digest = self.digests[key]
        return {"file": (self.granary, f"/general/files/{key}", None), "private file": (self.granary, f"/general/closed/{key}", self.token),
                "blob": (self.granary, f"/v2/images/bench/blobs/{digest}", None), "nginx": (self.nginx, f"/{key}", None),
                "docker-registry": (self.registry, f"/v2/bench/blobs/{digest}", None)}


def standing(bench):
    return bench.once("standing", lambda bench: Standing(bench, "standing"))


def get(source, connections, seconds=1, in_bytes=False, fields=(), before=(), script=None, script_args=()):
    """A load of GETs by wrk; units are requests, or MiB where a load may end within one body."""
    server, path, authorization = source
    words = [word for field in (*fields, *([f"Authorization: {authorization}"] if authorization else [])) for word in ("-H", field)]

    def load(_):
        cost = servers.wrk(server, seconds, connections, *words, f"http://127.0.0.1:{server.port}{path}", script=script, script_args=script_args,
                           before=before)
        if cost["errors"]:
            raise SystemExit(f"{server.name} {path}: {cost}")
        return Reading.of(cost, cost["bytes"] / (1 << 20) if in_bytes else cost["requests"])
    return load


def gets(key, connections, cases, compares):
    title = f"GET {SIZES[key][0]}, {connections} connection{'s' if connections > 1 else ''}"
    in_bytes = SIZES[key][1] > 1 << 20
    # Within a second, a hundred streams of 1 GiB have hardly begun.
    seconds = 2 if SIZES[key][1] >= 1 << 30 else 1

    def run(bench):
        sources = standing(bench).sources(key)
        loads = {case: get(sources[case], connections, seconds, in_bytes) for case in cases}
        return paired(bench, f"get-{key}-{connections}", title, "MiB" if in_bytes else "request", loads, compares)
    return Row(f"get-{key}-{connections}", title, run, len(cases) * seconds / 6)


def limits(key, connections):
    """The gates of performance.md: (rate to nginx, CPU to nginx, rate of blobs to docker-registry)."""
    if connections == 100 and key in ("1k", "64k"):
        return {"1k": (0.95, None, 50), "64k": (None, 1.0, 30)}[key]
    if key in ("16m", "1g") and connections <= 10:
        return 0.95 if connections == 1 else 0.9, None, None
    return None, None, None


def all_gets():
    for key in ("1k", "64k", "16m", "1g"):
        for connections in (1, 10, 100):
            rate, cpu, blobs = limits(key, connections)
            compares = [Compare("file", "nginx", "rate", at_least=rate), Compare("file", "nginx", "cpu", at_most=cpu),
                        Compare("blob", "docker-registry", "rate", at_least=blobs)]
            cases = ["file", "nginx", "blob", "docker-registry"]
            if key in ("1k", "64k") and connections == 100:
                cases.insert(1, "private file")
                compares.insert(2, Compare("private file", "nginx", "cpu", note="token checked each time"))
            yield gets(key, connections, cases, compares)


def pinned(key, limit=None, note=""):
    """One worker each on core 0, the load on core 1: what a request costs, without the scheduler in it."""
    title = f"GET {SIZES[key][0]}, one worker on one core, 10 connections"
    compares = [Compare("file", "nginx", "cpu", at_most=limit, note=note), Compare("private file", "nginx", "cpu"),
                Compare("private file", "file", "cpu", at_most=1.15, note="what a token costs"), Compare("blob", "nginx", "cpu")]

    def run(bench):
        there = bench.once("pinned", lambda bench: Standing(bench, "pinned", ("taskset", "-c", "0"), workers=1))
        sources = there.sources(key)
        loads = {case: get(sources[case], 10, before=("taskset", "-c", "1")) for case in ("file", "private file", "nginx", "blob")}
        return paired(bench, f"cpu-{key}", title, "request", loads, compares, pinned=True)
    return Row(f"cpu-{key}", title, run, 1)


def head(bench):
    sources = standing(bench).sources("1k")

    def load(source):
        server, path, _ = source

        def one(_):
            command = [bench.load, "head", str(server.port), "100", "1", str(1 << 62), "32", path, "", "h"]
            out, cost = servers.under_load(server, command)
            cost |= json.loads(out)
            if cost["errors"]:
                raise SystemExit(f"HEAD {path}: {cost}")
            return Reading.of(cost, cost["requests"])
        return one
    loads = {case: load(sources[case]) for case in ("file", "nginx", "blob", "docker-registry")}
    return paired(bench, "head", "HEAD, 100 connections", "request", loads, [
        Compare("file", "nginx", "cpu"), Compare("file", "nginx", "rate"), Compare("blob", "docker-registry", "rate")])


def ranges(bench):
    sources = standing(bench).sources("16m")
    fields = ("Range: bytes=8000000-8065535",)
    loads = {case: get(sources[case], 100, fields=fields) for case in ("file", "nginx", "blob", "docker-registry")}
    return paired(bench, "range", "Range: 64 KiB out of 16 MiB, 100 connections", "request", loads, [
        Compare("file", "nginx", "cpu"), Compare("file", "nginx", "rate"), Compare("blob", "docker-registry", "rate")])


def mixed(bench):
    there = standing(bench)
    kinds = [key for key, count in MIX.items() for _ in range(count)]
    kinds = [kinds[(7 * index) % 100] for index in range(100)]

    def load(case):
        paths = [there.sources(key)[case][1] for key in kinds]
        listing = f"{bench.scratch}/mix-{case}"
        with open(listing, "w") as file:
            file.write("\n".join(paths))
        return get((there.sources("1k")[case][0], "", None), 100, in_bytes=True, script=f"{bench.here}/pull.lua", script_args=(listing,))
    share = ", ".join(f"{count} x {key}" for key, count in MIX.items())
    loads = {case: load(case) for case in ("file", "nginx", "blob", "docker-registry")}
    return paired(bench, "mixed", f"mixed pull ({share}), 100 connections", "MiB", loads, [
        Compare("file", "nginx", "rate"), Compare("file", "nginx", "cpu"), Compare("blob", "docker-registry", "rate")])


ROWS = [
    pinned("1k", 1.15, "goal 1.0"), pinned("64k"),
    *all_gets(),
    Row("head", "HEAD, 100 connections", head, 0.8),
    Row("range", "Range: 64 KiB out of 16 MiB, 100 connections", ranges, 0.8),
    Row("mixed", "mixed pull, 100 connections", mixed, 0.8),
]
