"""What versions of one thing take when they are stored together: Granary, plain files, restic, borg, casync, on the same bytes.

dedup.py BINARY SCRATCH [NAME FILE... [-- NAME FILE...]]; without files, the sets of datasets.py.

Each set of files is put into a fresh Granary in the order given, as generic artifacts; its chunker runs without delay and limit, and archives count as
cold at once. They are read back only after the bytes were counted: reading makes archives again. Bytes are
those of the store's segments and own files as the disk has them, after a restart (a segment in use is allocated in steps; what it does not use is
taken off). The peers store the same files, one snapshot each, compressed as near to zstd level 3 as they can: restic `auto`, borg `zstd,3`, casync
its default.
"""
import hashlib, http.client, os, shutil, subprocess, sys, time

import datasets, servers


CUT_OR_NOT = "chunked_blobs", "chunk_kept_blobs", "chunk_failures", "archive_opened_blobs"


def tree_bytes(*paths):
    total = 0
    for path in paths:
        for folder, _, names in os.walk(path):
            total += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return total


def segment_bytes(path):
    """Up to the last byte that is not zero: what follows is allocated, not used."""
    end = os.path.getsize(path)
    with open(path, "rb") as file:
        while end > 0:
            start = max(0, end - (1 << 20))
            file.seek(start)
            used = len(file.read(end - start).rstrip(b"\0"))
            if used:
                return start + used
            end = start
    return 0


def metric(server, name):
    for line in servers.call(server, "GET", "/metrics").decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise SystemExit(f"no metric {name}")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def granary(binary, scratch, files):
    data = f"{scratch}/granary"
    shutil.rmtree(data, ignore_errors=True)
    settings = ["chunk_delay_seconds=0", "chunk_bytes_per_second_max=0", "sweep_interval_minutes=0", "upload_bytes_max=0", "archive_cold_hours=0",
                "archive_bytes_max=1073741824", "archive_bytes_per_second_max=0"]
    flags = [word for setting in settings for word in ("--set", setting)]
    server = servers.granary(binary, scratch, *flags)
    servers.call(server, "POST", "/api/v1/repositories", {"key": "bench", "name": "bench", "format": "generic", "repo_type": "local"})
    for index, path in enumerate(files):
        with open(path, "rb") as file:
            servers.call(server, "PUT", f"/api/v1/repositories/bench/artifacts/v/{index}/{os.path.basename(path)}", file, "application/octet-stream")
    # The same bytes under two names are one blob.
    long = len({digest(path) for path in files if os.path.getsize(path) >= 1 << 20})
    deadline = time.monotonic() + 3600
    while time.monotonic() < deadline:
        # An archive that was opened before its turn to be cut came is not cut.
        done = sum(metric(server, f"granary_{name}_total") for name in CUT_OR_NOT)
        if metric(server, "granary_chunk_waiting_blobs") == 0 and done >= long:
            break
        time.sleep(0.2)
    else:
        raise SystemExit("the chunker does not come to an end")
    if metric(server, "granary_chunk_failures_total") > 0:
        raise SystemExit(f"the chunker failed; the server's log: {scratch}/granary.log")
    rounds = metric(server, "granary_archive_rounds_total")
    # A look that began after the last upload, and has ended.
    while metric(server, "granary_archive_rounds_total") < rounds + 2:
        time.sleep(0.2)
    if metric(server, "granary_archive_failures_total") > 0:
        raise SystemExit(f"archives could not be opened; the server's log: {scratch}/granary.log")
    cut, opened, cpu = metric(server, "granary_chunked_blobs_total"), metric(server, "granary_archive_opened_blobs_total"), server.cpu_seconds()
    # Sealed by the stop and swept after it: what is open still takes records. Twice: the first may find blobs in their old files still held.
    server.stop()
    flags += ["--set", "archive_opening=false", "--set", "sweep_live_percent_min=100"]
    server = servers.granary(binary, scratch, *flags)
    for _ in range(2):
        servers.call(server, "POST", "/api/v1/admin/storage-gc", {"grace_seconds": 0})
    server.stop()
    segments = f"{data}/store/segments"
    stored = sum(segment_bytes(f"{segments}/{name}") for name in os.listdir(segments)) + tree_bytes(f"{data}/store/blobs")
    index_bytes = tree_bytes(f"{data}/index")
    server = servers.granary(binary, scratch, *flags)
    for index, path in enumerate(files):
        check(server, f"/api/v1/repositories/bench/download/v/{index}/{os.path.basename(path)}", path)
    took, rebuilt = metric(server, "granary_archive_rebuild_seconds_total"), metric(server, "granary_archive_rebuilt_bytes_total")
    server.stop()
    again = f", made again at {rebuilt / took / 1e6:.0f} MB/s" if rebuilt else ""
    return stored, f"{cut:.0f} of {len(files)} in chunks, {opened:.0f} opened{again}; {cpu:.1f} s CPU; index {index_bytes >> 10} KiB"


def check(server, path, original):
    """What comes back is what went in."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("GET", path, headers={"Authorization": servers.authorization()})
    response = connection.getresponse()
    got = hashlib.sha256()
    while piece := response.read(1 << 20):
        got.update(piece)
    if response.status != 200 or got.digest() != digest(original):
        raise SystemExit(f"GET {path}: {response.status}, and not the bytes that were put")


class Failed(Exception):
    """A peer that does not work here: the others are measured all the same."""


def run(*command, **environment):
    result = subprocess.run(command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if result.returncode != 0:
        raise Failed(f"{' '.join(command[:3])}: {result.stderr.decode().strip().splitlines()[-1:]}")


def restic(scratch, files):
    repository = {"RESTIC_REPOSITORY": f"{scratch}/restic", "RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": f"{scratch}/restic-cache"}
    run("restic", "init", "--repository-version", "2", **repository)
    for path in files:
        run("restic", "backup", "--compression", "auto", path, **repository)
    return tree_bytes(f"{scratch}/restic"), "compression auto"


def borg(scratch, files):
    home = {"BORG_BASE_DIR": f"{scratch}/borg-home", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    # Unpacked rather than installed, its modules are beside it.
    modules = os.path.join(os.path.dirname(shutil.which("borg")), "../unpacked/usr/lib/python3/dist-packages")
    if os.path.isdir(modules):
        home["PYTHONPATH"] = os.path.realpath(modules)
    run("borg", "init", "-e", "none", f"{scratch}/borg", **home)
    for index, path in enumerate(files):
        run("borg", "create", "-C", "zstd,3", f"{scratch}/borg::{index}", path, **home)
    return tree_bytes(f"{scratch}/borg"), "zstd,3; chunks of 2 MiB"


def casync(scratch, files):
    os.makedirs(f"{scratch}/casync")
    for index, path in enumerate(files):
        run("casync", "make", f"--store={scratch}/casync/store.castr", f"{scratch}/casync/{index}.caibx", path)
    return tree_bytes(f"{scratch}/casync"), "64 KiB, its default"


def zstd(scratch, files):
    total = 0
    for path in files:
        total += len(subprocess.run(["zstd", "-3", "-c", "-q", path], stdout=subprocess.PIPE, check=True).stdout)
    return total, "each file by itself"


PEERS = (zstd, None, restic, borg, casync)


def measure(binary, scratch, name, files):
    """One line: what each stored, in percent of the raw bytes."""
    raw, cells, notes = sum(os.path.getsize(path) for path in files), [], []
    for tool in PEERS:
        word = tool.__name__ if tool else "granary"
        if tool and not shutil.which(word):
            cells.append("not here")
            continue
        folder = f"{scratch}/store-{word}"
        os.makedirs(folder)
        try:
            stored, note = tool(folder, files) if tool else granary(binary, folder, files)
            cells.append(f"{100 * stored / raw:.1f}" if tool else f"**{100 * stored / raw:.1f}**")
            notes += [] if tool else [note]
        except Failed as failure:
            cells.append("failed")
            notes.append(str(failure))
        shutil.rmtree(folder, ignore_errors=True)
    print(f"| {name} | {len(files)} | {raw / 1e6:.1f} | {' | '.join(cells)} | {'; '.join(notes)} |", flush=True)


def main():
    binary, scratch, *rest = sys.argv[1:]
    sets, current = [], []
    for word in rest + ["--"]:
        if word == "--":
            if current:
                sets.append((current[0], current[1:]))
            current = []
        else:
            current.append(word)
    print("Percent of the raw bytes.\n\n| | files | MB | zstd, each file | Granary | restic | borg | casync | Granary's work |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name, files in sets or datasets.all_sets(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), scratch):
        measure(binary, scratch, name, files)


if __name__ == "__main__":
    main()
