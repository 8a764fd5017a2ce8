"""Resident memory: idle, and the most it ever was while many uploads ran at once."""
import time

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


def idle(bench):
    folder = bench.folder("memory")
    server = fresh_granary(bench, folder)
    time.sleep(2)
    results = [Result("memory-idle", "resident memory", "idle", server.status("VmRSS"), "MiB")]
    server.stop()
    servers.wipe(f"{folder}/granary")
    return results


def row(name, wanted, size, limit, minutes):
    def run(bench):
        uploads = min(wanted, (bench.disk_free() - SPARE) // size)
        if uploads < 1:
            raise SystemExit(f"no room on the disk for uploads of {size >> 20} MiB")
        value, took = peak(bench, uploads, size)
        fewer = "" if uploads == wanted else f" (the disk has no room for {wanted})"
        return [Result(name, "resident memory", f"peak, {uploads} pushes of {size >> 20} MiB at once{fewer}", value, "MiB", at_most=limit,
                       detail=f"{took:.0f} s, {uploads * size / took / 1e6:,.0f} MB/s; none failed")]
    return Row(name, f"resident memory at its peak, {wanted} pushes of {size >> 20} MiB at once", run, minutes)


ROWS = [Row("memory-idle", "resident memory after the start", idle, 0.1), row("memory-10m", 100, 10 << 20, 128, 0.1),
        row("memory-100m", 100, 100 << 20, 512, 0.4), row("memory-1g", 48, 1 << 30, 512, 2)]
