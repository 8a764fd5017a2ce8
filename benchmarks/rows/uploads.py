"""Durable uploads: distinct bodies over many connections, beside docker-registry (as docker pushes) and nginx (which neither hashes nor syncs)."""
import json

import servers
from gate import Compare, Reading, Row, paired

# size, connections, limit of the rate to docker-registry's (performance.md)
SIZES = {"4k": ("4 KiB", 4 << 10, 50), "64k": ("64 KiB", 64 << 10, 15), "1m": ("1 MiB", 1 << 20, 5), "10m": ("10 MiB", 10 << 20, 2.2)}
BYTES_MAX = 2 << 30  # of one load
NOT_DURABLE = "nginx neither hashes nor syncs"


def upload(bench, server, mode, path, connections, seconds, size, salt, bytes_max=BYTES_MAX):
    """One load of uploads: what it cost, and how long the uploads took."""
    command = [bench.load, mode, str(server.port), str(connections), str(seconds), str(bytes_max), str(size), path, servers.authorization(), salt]
    out, cost = servers.under_load(server, command)
    cost |= json.loads(out)
    if cost["errors"] or not cost["requests"]:
        raise SystemExit(f"{server.name} {mode} {path}: {cost}")
    return cost | {"p99": cost["p99_ms"] / 1e3}


def fresh_granary(bench, folder, *flags, before=()):
    server = servers.granary(bench.binary, folder, *flags, before=before)
    servers.make_repository(server, "files", "generic")
    servers.make_repository(server, "images", "docker")
    return server


def targets(bench, folder):
    """How each store is started empty, and how a file is put there: case -> (start, mode, path, what to wipe)."""
    return {
        "push": (lambda: fresh_granary(bench, folder), "push", "/v2/images/bench/blobs/uploads/", f"{folder}/granary"),
        "docker-registry": (lambda: servers.docker_registry(folder), "push", "/v2/bench/blobs/uploads/", f"{folder}/registry"),
        "PUT": (lambda: fresh_granary(bench, folder), "put", "/general/files/put", f"{folder}/granary"),
        "nginx PUT": (lambda: servers.nginx(folder), "put", "/put", f"{folder}/nginx"),
    }


def loads(bench, size, connections, seconds, cases=("push", "docker-registry", "PUT", "nginx PUT"), bytes_max=BYTES_MAX):
    """Every load meets an empty store, whose server has taken a few uploads before the clock starts, unless one says enough by itself."""
    folder = bench.folder("uploads")

    def load(case):
        start, mode, path, data = targets(bench, folder)[case]

        def one(number):
            server = start()
            try:
                if size < bytes_max // 8:
                    upload(bench, server, mode, path, connections, 0.2, size, "first", bytes_max // 8)
                cost = upload(bench, server, mode, path, connections, seconds, size, f"r{number}", bytes_max)
                return Reading.of(cost, cost["requests"])
            finally:
                server.stop()
                servers.wipe(data)
        return one
    return {case: load(case) for case in cases}


def puts(key):
    title, size, limit = SIZES[key]
    title = f"PUT {title}, 100 connections"

    def run(bench):
        return paired(bench, f"put-{key}", title, "upload", loads(bench, size, 100, 2), [
            Compare("PUT", "docker-registry", "rate", at_least=limit, note="one request beside POST and PUT, which is all docker-registry has"),
            Compare("push", "docker-registry", "rate", at_least=limit, note="POST and PUT on both sides, durable before the answer"),
            Compare("push", "docker-registry", "cpu"),
            Compare("PUT", "nginx PUT", "rate", at_least=3 if key == "4k" else None, note=NOT_DURABLE),
            Compare("PUT", "nginx PUT", "cpu", note=NOT_DURABLE)])
    return Row(f"put-{key}", title, run, 2.5)


def one_writer(bench):
    return paired(bench, "put-64k-1", "PUT 64 KiB, 1 connection", "upload", loads(bench, 64 << 10, 1, 1), [
        Compare("push", "docker-registry", "rate"), Compare("push", "docker-registry", "cpu"), Compare("PUT", "nginx PUT", "rate", note=NOT_DURABLE)])


def large(bench):
    """As many at once as cores would take: more says nothing new of rate, and the disk is not ours alone."""
    return paired(bench, "put-1g", "PUT 1 GiB, 2 connections", "upload", loads(bench, 1 << 30, 2, 1), [
        Compare("push", "docker-registry", "rate"), Compare("push", "docker-registry", "cpu"), Compare("PUT", "nginx PUT", "rate", note=NOT_DURABLE)])


ROWS = [*(puts(key) for key in SIZES), Row("put-64k-1", "PUT 64 KiB, 1 connection", one_writer, 1.5),
        Row("put-1g", "PUT 1 GiB, 2 connections", large, 3)]
