"""How often an upload makes the disk flush: calls that ask for one, counted by strace, which lets every other call run at full speed."""
import re

import servers
from gate import Result, Row
from rows.uploads import fresh_granary, upload

CALLS = ("fsync", "fdatasync", "syncfs", "sync", "msync", "sync_file_range")
# sync_file_range starts writing early; it is no flush.
FLUSH = re.compile(r"\b(?:fsync|fdatasync|syncfs|sync|msync)\(")


def device_flushes():
    """Of all disks, by everybody."""
    return sum(int(line.split()[18]) for line in open("/proc/diskstats") if len(line.split()) > 18)


def per_upload(bench, case, connections, size, seconds):
    folder, log = bench.folder("flushes"), f"{bench.scratch}/flushes.strace"
    tracer = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={','.join(CALLS)}", "-o", log)
    if case == "docker-registry":
        server, mode, path = servers.docker_registry(folder, before=tracer), "push", "/v2/bench/blobs/uploads/"
    else:
        server = fresh_granary(bench, folder, before=tracer)
        mode, path = ("push", "/v2/images/bench/blobs/uploads/") if case == "push" else ("put", "/general/files/put")

    def flushes():
        return len(FLUSH.findall(open(log).read()))
    try:
        upload(bench, server, mode, path, connections, 0.5, size, "first")
        before, device = flushes(), device_flushes()
        cost = upload(bench, server, mode, path, connections, seconds, size, "counted")
        return (flushes() - before) / cost["requests"], (device_flushes() - device) / cost["requests"], cost["requests"]
    finally:
        server.stop()
        servers.wipe(f"{folder}/granary", f"{folder}/registry")


def run(bench):
    results = []
    for connections, limit in ((100, 0.1), (1, 2)):
        theirs = per_upload(bench, "docker-registry", connections, 4096, 2)[0]
        for case in ("PUT", "push"):
            value, device, count = per_upload(bench, case, connections, 4096, 2)
            results.append(Result(
                "flushes", f"flushes per upload of 4 KiB, {connections} connection{'s' if connections > 1 else ''}", case, value, "", at_most=limit,
                bottleneck="the disk's flush",
                detail=f"{count} uploads; flushes the device saw, from everybody: {device:.2f}; docker-registry {theirs:.1f}"))
    return results


ROWS = [Row("flushes", "flushes per small upload, 100 connections and 1", run, 0.8)]
