"""Resident memory: idle, and the most it ever was while many uploads ran at once."""
import servers
from gate import Result, Row
from rows.uploads import fresh_granary, upload

SPARE = 6 << 30  # left free on the disk


def peak(bench, uploads, size):
    """MiB at the most of a fresh server, which answers every upload; seconds it took."""
    folder = bench.folder("memory")
    server = fresh_granary(bench, folder)
    try:
        cost = upload(bench, server, "push", "/v2/images/bench/blobs/uploads/", uploads, 3600, size, "m", uploads * size)
        if cost["requests"] != uploads:
            raise SystemExit(f"{cost['requests']} of {uploads} uploads were acknowledged")
        return server.status("VmHWM"), cost["seconds"]
    finally:
        server.stop()
        servers.wipe(f"{folder}/granary")


def run(bench):
    folder = bench.folder("memory")
    server = fresh_granary(bench, folder)
    results = [Result("memory", "resident memory", "idle", server.status("VmRSS"), "MiB")]
    server.stop()
    servers.wipe(f"{folder}/granary")
    for wanted, size, limit in ((100, 10 << 20, 128), (100, 100 << 20, 512), (48, 1 << 30, 512)):
        uploads = min(wanted, (bench.disk_free() - SPARE) // size)
        if uploads < 1:
            bench.say(f"  no room on the disk for uploads of {size >> 20} MiB")
            continue
        value, took = peak(bench, uploads, size)
        fewer = "" if uploads == wanted else f" (the disk has no room for {wanted})"
        results.append(Result("memory", "resident memory", f"peak, {uploads} pushes of {size >> 20} MiB at once{fewer}", value, "MiB", at_most=limit,
                              detail=f"{took:.0f} s, {uploads * size / took / 1e6:,.0f} MB/s; none failed"))
    return results


ROWS = [Row("memory", "resident memory: idle, 100 x 10 MiB, 100 x 100 MiB, 48 x 1 GiB at once", run, 3)]
