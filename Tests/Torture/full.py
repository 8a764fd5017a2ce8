"""A file system that is really full: of bytes, or of files. A small tmpfs, filled and emptied by somebody else.

Every upload is answered 507, soon; what is there is served, and where the index has its reserve still, deleted and swept; and when there is room
again all goes on without a restart. One cycle is one filling.
"""
import os
import shutil
import subprocess
import time

from oracle import Upload, judge, leaks
from server import Client, Refused, Server, administrator, set_up, token

SHORT = 4
BYTES = 192 << 20
FILES = 2000
# What the store leaves to the index, and what the index leaves: `BlobStore.Options`, `OrderedStore.Options`.
BLOB_RESERVE, INDEX_RESERVE = 64 << 20, 32 << 20
ANSWER_SECONDS = 1.0


def missing():
    """Why it cannot run here; None when it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    return None if shutil.which("mount") else "there is no mount"


def run(run):
    disk = os.path.join(run.folder, "disk")
    os.makedirs(disk)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={BYTES},nr_inodes={FILES}", "tmpfs", disk], capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"no tmpfs: {done.stderr!r}")
    server = Server(run.binary, run.folder, os.path.join(disk, "data"))
    server.settings = {"own_file_bytes_min": 1 << 20, "chunking": "false", "segment_bytes_max": 4 << 20}
    try:
        torture(run, server, disk)
    finally:
        server.kill()
        subprocess.run(["umount", "-l", disk], check=False)


def torture(run, server, disk):
    server.start()
    authorization = set_up(server)
    server.administrator = token(administrator(server), "administrator", ["admin"])
    work = Work(run)
    client = Client(server, authorization)
    for number in range(4):
        work.artifact(client, f"before/{number}", run.chance.randbytes(30_000 if number % 2 else 1_200_000))
    # To the last byte; so that the index has its reserve, and blobs have none; and out of files.
    kinds = ["bytes", "reserve", "files", "bytes"]
    for number in range(run.count):
        fill(run, server, disk, work, client, kinds[number % len(kinds)], number)
        run.cycles += 1
        if server.process.poll() is not None:
            run.fail(f"the server ended with {server.process.returncode}")
            return
        if not run.is_good():
            return
    server.kill()
    server.start()
    client.close()
    judge(run, [work], client, "after a restart")
    for wrong in leaks(server, [work], say=run.say):
        run.fail(wrong)


def fill(run, server, disk, work, client, kind, number):
    when = f"filling {number + 1}, {kind}"
    filler = os.path.join(disk, "filler")
    os.makedirs(filler)
    space = os.statvfs(disk)
    if kind == "files":
        for each in range(space.f_favail):
            try:
                open(os.path.join(filler, str(each)), "w").close()
            except OSError:
                break
    else:
        left = 0 if kind == "bytes" else (BLOB_RESERVE + INDEX_RESERVE) // 2
        descriptor = os.open(os.path.join(filler, "bytes"), os.O_WRONLY | os.O_CREAT)
        os.posix_fallocate(descriptor, 0, space.f_bavail * space.f_frsize - left)
        os.close(descriptor)
    for name, count in (("small", 5_000), ("reserved", 300_000), ("large", 2_000_000)):
        began = time.monotonic()
        try:
            work.artifact(client, f"{number}/{name}", run.chance.randbytes(count))
            run.fail(f"{when}: {name} was taken")
        except Refused as refusal:
            if refusal.status != 507:
                run.fail(f"{when}: {refusal}")
        took = time.monotonic() - began
        run.figures["s slowest 507"] = max(run.figures.get("s slowest 507", 0), round(took, 2))
        if took > ANSWER_SECONDS * 5:
            run.fail(f"{when}: {name} was refused after {took:.1f} s")
    judge(run, [work], client, when)
    if client.call("GET", "/livez")[0] != 200:
        run.fail(f"{when}: not alive")
    if kind == "reserve":
        path = f"/general/gen/before/{number % 4}"
        if path in work.places and work.places[path].may_be_there:
            work.delete(client, path, "DELETE", f"/api/v1/repositories/gen/artifacts/before/{number % 4}")
        administrator(server).must([200], "POST", "/api/v1/admin/storage-gc", '{"grace_seconds":0}', "application/json")
        run.sweeps += 1
    shutil.rmtree(filler)
    # Without a restart.
    for name, place in list(work.contents.items()):
        if work.places[name].may_be_absent and work.places[name].may_be_there:
            work.artifact(client, name.split("/general/gen/")[1], place)
            run.acknowledged += 1
    judge(run, [work], client, f"{when}, emptied")


class Work(Upload):
    def __init__(self, run):
        super().__init__(run.seed, 0, lambda *_: None)
        self.contents = {}

    def artifact(self, client, path, content):
        self.contents[f"/general/gen/{path}"] = content
        self.put(client, [200, 201], f"/general/gen/{path}", content, "PUT", f"/api/v1/repositories/gen/artifacts/{path}", content)
