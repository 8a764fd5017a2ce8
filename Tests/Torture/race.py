"""Pushes, deletes and re-pushes of contents that many paths share, while sweeps run without grace, and chunking and compaction with them.

The count is of pushes and deletes that were answered; reads between them check at once that what was acknowledged is there. Each path belongs to
one connection, so that it is known what it holds; a content belongs to several paths, so that its last name goes and comes again all the time.
A part of the paths is in a repository with a trash, which is emptied meanwhile. In the end every artifact that is listed must be one that was
acknowledged and read back whole, and two sweeps must leave no blob that none of them names.

Sweeps rest in every fifth window of time: how long the slowest hundredth of pushes takes in it, beside the window before, is printed.
"""
import json
import multiprocessing
import os
import random
import selectors
import statistics
import threading
import time

from oracle import rest, sha256
from pipeline import Pipeline
from server import Client, Refused, Server, administrator, set_up

SHORT = 20_000
WORKERS, CONNECTIONS, DEPTH, SLOTS = 2, 24, 4, 48
CONTENTS, LARGE_EVERY, LARGE_BYTES = 1024, 256, 5 << 18
SEGMENT_BYTES = 1 << 20
WINDOW_SECONDS = 6


def missing():
    """Why it cannot run here."""
    return None


def content(seed, number):
    chance = random.Random(f"{seed}/{number}")
    if number % LARGE_EVERY == 0:
        # Text that shrinks, and of which half is in all of them: worth keeping in chunks.
        return random.Random(f"{seed}/shared").randbytes(LARGE_BYTES // 4).hex().encode() + chance.randbytes(LARGE_BYTES // 4).hex().encode()
    return b"%d " % number + chance.randbytes(int(2 ** chance.uniform(5, 12)))


class Slot:
    """A path of one connection and what it holds. Released bytes never change: another content needs another path."""

    def __init__(self, name, chance, repository):
        self.name, self.chance, self.repository, self.generation, self.is_there, self.is_busy = name, chance, repository, 0, False, False
        self.renew()

    def renew(self):
        self.generation += 1
        self.number = self.chance.randrange(CONTENTS)
        self.path = f"{self.name}/{self.generation}/f"


class Connection(Pipeline):
    def __init__(self, worker, number):
        chance = random.Random(f"{worker.seed}/{worker.number}/{number}")
        self.worker, self.chance = worker, chance
        self.slots = [Slot(f"w{worker.number}c{number}s{s}", chance, "bin" if s % 8 == 0 else "gen") for s in range(SLOTS)]
        self.connect(worker.port)

    def ask(self):
        slot = self.chance.choice(self.slots)
        while slot.is_busy:
            slot = self.chance.choice(self.slots)
        fate = self.chance.random()
        method = "PUT" if not slot.is_there or fate < 0.25 else "GET" if fate < 0.45 else "DELETE"
        body = self.worker.contents[slot.number][0] if method == "PUT" else b""
        head = (f"{method} /general/{slot.repository}/{slot.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {self.worker.authorization}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")
        slot.is_busy = True
        self.send(head.encode() + body, method, slot, time.monotonic(), self.worker.window.value)

    def judge(self, status, body, method, slot, began, window):
        slot.is_busy = False
        known = self.worker.contents[slot.number][1]
        if method == "GET":
            if status != 200 or sha256(body) != known:
                self.worker.wrong.append(f"GET {slot.path}: {status}, {len(body)} bytes")
            return
        if status not in (200, 201, 204):
            self.worker.wrong.append(f"{method} {slot.path}: {status} {body[:200]!r}")
        self.worker.done += 1
        slot.is_there = method == "PUT"
        if method == "PUT":
            self.worker.pushes.append((window, time.monotonic() - began))
        elif self.chance.random() < 0.125:
            slot.renew()


class Worker:
    def __init__(self, seed, number, port, authorization, count, window):
        self.seed, self.number, self.port, self.authorization, self.count, self.window = seed, number, port, authorization, count, window
        self.contents = [(body, sha256(body)) for body in (content(seed, n) for n in range(CONTENTS))]
        self.done, self.wrong, self.pushes = 0, [], []

    def run(self):
        """What is there in the end, what was wrong, and how long pushes took in each window."""
        connections = [Connection(self, number) for number in range(CONNECTIONS)]
        with selectors.DefaultSelector() as selector:
            for connection in connections:
                selector.register(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
            while not self.wrong:
                is_over = self.done >= self.count
                flying = 0
                for connection in connections:
                    while not is_over and len(connection.flying) < DEPTH:
                        connection.ask()
                    connection.write()
                    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outgoing else 0)
                    if selector.get_key(connection.socket).events != events:
                        selector.modify(connection.socket, events, connection)
                    flying += len(connection.flying)
                if not flying:
                    break
                for key, events in selector.select(timeout=60):
                    if events & selectors.EVENT_READ:
                        key.data.read()
        held = [(s.repository, s.path, self.contents[s.number][1], len(self.contents[s.number][0]))
                for c in connections for s in c.slots if s.is_there]
        return held, self.wrong, self.done, self.pushes


def work(arguments, results):
    try:
        results.put(Worker(*arguments).run())
    except Exception as error:
        results.put(([], [f"worker {arguments[1]}: {error!r}"], 0, []))


def sweep(admin, dry_run=False):
    body = json.dumps({"grace_seconds": 0, "dry_run": dry_run})
    status, answer, _ = admin.call("POST", "/api/v1/admin/storage-gc", body, "application/json")
    if status != 200:
        raise Refused(f"no sweep: {status} {answer!r}")
    return json.loads(answer)


def run(run):
    server = Server(run.binary, run.folder)
    server.settings = {
        "segment_bytes_max": SEGMENT_BYTES, "own_file_bytes_min": 1 << 20, "chunk_delay_seconds": 0, "sweep_live_percent_min": 75,
        "sweep_bytes_per_second_max": 0, "access_log": "false",
    }
    try:
        server.start()
        race(run, server)
    finally:
        server.kill()


def race(run, server):
    authorization = set_up(server)
    about = {"key": "bin", "name": "bin", "format": "generic", "repo_type": "local", "trash_days": 1}
    administrator(server).must([200], "POST", "/api/v1/repositories", json.dumps(about), "application/json")
    window, results, over = multiprocessing.Value("i", 0, lock=False), multiprocessing.Queue(), threading.Event()
    share = -(-run.count // WORKERS)
    workers = [
        multiprocessing.Process(target=work, args=((run.seed, number, server.port, authorization, share, window), results), daemon=True)
        for number in range(WORKERS)]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    freed = [0, 0]

    def tend():
        admin = administrator(server)
        while not over.is_set():
            window.value = int((time.monotonic() - began) / WINDOW_SECONDS)
            if window.value % 5 == 4:
                time.sleep(0.05)
                continue
            try:
                swept = sweep(admin)
                run.sweeps += 1
                freed[0] += swept["storage_keys_deleted"]
                freed[1] += swept["segments_compacted"]
                if swept["errors"]:
                    run.fail(f"a sweep says {swept['errors']}")
                if run.sweeps % 8 == 0:
                    admin.must([200], "DELETE", "/api/v1/repositories/bin/trash")
            except (OSError, Refused) as error:
                run.fail(f"sweep: {error}")
                return

    tending = threading.Thread(target=tend)
    tending.start()
    held, pushes = [], []
    for _ in workers:
        there, wrong, done, times = results.get()
        held += there
        pushes += times
        run.acknowledged += done
        for words in wrong:
            run.lose(words)
    seconds = time.monotonic() - began
    over.set()
    tending.join()
    for worker in workers:
        worker.join()
    run.cycles = run.acknowledged
    run.say(f"{run.acknowledged} pushes and deletes in {seconds:.0f} s, {run.acknowledged / seconds:.0f}/s; {run.sweeps} sweeps took {freed[0]} blobs, "
            f"compacted {freed[1]} segments; {len(held)} artifacts are left")
    slowness(run, pushes)
    look(run, server, authorization, held)
    leaks(run, server, held)
    look(run, server, authorization, held)
    if server.end() != 0:
        run.fail("the server did not end well")


def slowness(run, pushes):
    """The ratio of the slowest hundredth with sweeps to that without, window by window."""
    windows = {}
    for window, seconds in pushes:
        windows.setdefault(window, []).append(seconds)
    p99 = {window: sorted(times)[int(len(times) * 0.99)] for window, times in windows.items() if len(times) >= 500}
    ratios = [p99[window - 1] / p99[window] for window in p99 if window % 5 == 4 and window - 1 in p99]
    if ratios:
        run.figures["times the p99 of a push without sweeps"] = round(statistics.median(ratios), 2)
        run.say(f"p99 of a push with sweeps by that without: {', '.join(f'{ratio:.2f}' for ratio in sorted(ratios))}")


def look(run, server, authorization, held):
    """Every listed artifact was acknowledged and is whole, and every acknowledged one is listed."""
    admin, client = administrator(server), Client(server, authorization)
    listed = set()
    for repository in ("gen", "bin"):
        cursor = ""
        while cursor is not None:
            page = json.loads(admin.call("GET", f"/api/v1/repositories/{repository}/artifacts?per_page=100{cursor}")[1])
            listed |= {(repository, item["path"], item["checksum_sha256"], item["size_bytes"]) for item in page["items"]}
            cursor = f"&cursor={page['next_cursor']}" if page.get("next_cursor") else None
    for what, wrong in (("listed, and was not left there", listed - set(held)), ("acknowledged, and not listed", set(held) - listed)):
        for row in sorted(wrong)[:20]:
            run.lose(f"{row[1]}: {what}")
    for repository, path, digest, _ in sorted(listed):
        status, body, _ = client.call("GET", f"/general/{repository}/{path}")
        if status != 200 or sha256(body) != digest:
            run.lose(f"{path} dangles: {status}, {len(body)} bytes")


def leaks(run, server, held):
    admin = administrator(server)
    admin.must([200], "DELETE", "/api/v1/repositories/bin/trash")
    rest(admin)
    for _ in range(2):
        sweep(admin)
    left = sweep(admin, dry_run=True)
    living = {digest: size for _, _, digest, size in held}
    if left["blobs"] != len(living):
        run.fail(f"{left['blobs']} blobs after two sweeps, {len(living)} of them named")
    for name in ("storage_keys_deleted", "waiting_blobs", "orphans", "segments_removed", "damaged_blobs"):
        if left[name]:
            run.fail(f"{left[name]} {name} after two sweeps")
    used = sum(os.stat(os.path.join(path, name)).st_size for path, _, names in os.walk(os.path.join(server.data, "store")) for name in names)
    bound = 2 * sum(living.values()) + 8 * SEGMENT_BYTES
    run.say(f"{len(living)} blobs of {sum(living.values()) >> 10} KiB live in {used >> 10} KiB on disk, bound {bound >> 10} KiB")
    if used > bound:
        run.fail(f"the store has {used} bytes for {sum(living.values())} that live")
