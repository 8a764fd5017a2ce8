"""PostgreSQL goes away in every way it can while three nodes change one catalog, and comes back; nobody helps.

The nodes are processes (`catalog-node`): each has tasks that change and read, and says before each change that it is asked for, and afterwards
what came of it. The sums of that are kept here, outside. What one node acknowledged the others are told at once, and must see. An interruption is a
cycle; from the moment the server takes connections again, every node must acknowledge a change within 5 s. What is refused meanwhile must be
`unavailable` with the time to come back.

In the end everything is read: what was acknowledged is there under the revision that was told, each change is whole or absent, the log has one entry
for each and no gap, and the counter that all counted on is what it must be.
"""
import os
import signal
import subprocess
import threading
import time

from cluster import Cluster, Network, programs, signal_all

SHORT = 14
NODES, WRITERS, READERS = 3, 4, 2
RECOVERY_SECONDS_MAX = 5
# Acknowledgements that are told to other nodes.
TOLD_EVERY = 8
LOOK_EVERY = 50


def missing():
    """Why it cannot run here."""
    if not programs():
        if os.environ.get("CI") == "true":
            raise RuntimeError("there is no PostgreSQL, and CI wants one")
        return "PostgreSQL is not installed (apt-get install postgresql, or scripts/test, which unpacks it)"
    return None


def run(run):
    driver = os.environ.get("CATALOG_NODE") or os.path.join(os.path.dirname(run.binary), "catalog-node")
    cluster = Cluster(run.folder)
    torture = None
    try:
        torture = Torture(run, cluster, driver)
        torture.run()
    finally:
        if torture:
            torture.end()
        cluster.keep_log()
        cluster.remove()


class Node:
    """One process, and what it said."""

    def __init__(self, torture, name):
        self.torture, self.name, self.acknowledged_at = torture, name, 0.0
        log = open(os.path.join(torture.tally.folder, "server.log"), "a")
        self.process = subprocess.Popen(
            [torture.driver, torture.network.address(), "work", name, str(WRITERS), str(READERS)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1)
        log.close()
        self.hearing = threading.Thread(target=self.hear, daemon=True)
        self.hearing.start()

    def hear(self):
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.torture.heard(self, line.split())

    def tell(self, line):
        try:
            self.process.stdin.write(line)
        except (OSError, ValueError):
            pass  # It was killed; another one comes.

    def end(self, kill=False):
        """What it has said is heard to its end."""
        if kill:
            self.process.kill()
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.torture.tally.fail(f"{self.name} does not end")
        self.hearing.join(timeout=10)


class Torture:
    def __init__(self, run, cluster, driver):
        self.tally, self.cluster, self.driver, self.chance = run, cluster, driver, run.chance
        self.network = Network(os.path.join(cluster.folder, "net"))
        self.network.server = cluster.current
        self.lock = threading.Lock()
        self.asked, self.acknowledged, self.refused = set(), {}, {}
        self.codes, self.unread, self.told = {}, 0, 0
        self.is_full, self.began = False, 0
        self.kinds = [
            self.killed, self.backend_killed, self.terminated, self.stopped_at_once, self.restarted, self.frozen, self.cut, self.cut_before_commit,
            self.cut_after_commit, self.slow, self.failed_over, self.node_killed, self.node_frozen]
        if cluster.disk:
            self.kinds.append(self.filled)
        self.recoveries = {}
        subprocess.run([driver, self.network.address(), "begin"], check=True)
        self.nodes = [self.node() for _ in range(NODES)]

    def node(self):
        self.began += 1
        return Node(self, f"n{self.began}")

    def end(self):
        signal_all([node.process.pid for node in self.nodes], signal.SIGCONT)
        for node in self.nodes:
            node.end(kill=True)

    # What nodes say.

    def heard(self, node, words):
        with self.lock:
            if words[0] == "ask":
                self.asked.add(words[1])
            elif words[0] == "ack":
                self.acknowledged[words[1]] = (int(words[2]), " ".join(words[3:]))
                node.acknowledged_at = time.monotonic()
                self.told += 1
                self.tally.acknowledged = len(self.acknowledged)
            elif words[0] in ("no", "unread"):
                self.judge_refusal(words[2:] if words[0] == "no" else words[1:], words)
            elif words[0] == "wrong":
                self.tally.lose(" ".join(words))
        if words[0] == "ack" and self.told % TOLD_EVERY == 0:
            for other in self.nodes:
                if other is not node:
                    other.tell(f"know {words[1]} {' '.join(words[3:])}\n")

    def judge_refusal(self, answer, words):
        code, seconds = answer[0], answer[1]
        self.codes[code] = self.codes.get(code, 0) + 1
        if code == "unavailable" and seconds != "-":
            return
        # Two counted at once; what was to be removed had been refused; the disk is full, and that was us.
        if code in ("conflict", "notFound") and words[0] == "no" or code == "noSpace" and self.is_full:
            return
        self.tally.fail(" ".join(words))

    # What is done to the server, or to a node. Each returns the moment from which on it has to work again.

    def killed(self):
        self.cluster.current.kill()
        return self.start()

    def start(self):
        self.cluster.current.start()
        return time.monotonic()

    def backend_killed(self):
        """The server restarts itself then."""
        backends = self.cluster.current.backends()
        signal_all(self.chance.sample(backends, min(1, len(backends))), signal.SIGKILL)
        time.sleep(0.02)
        return self.cluster.current.await_state("primary")

    def terminated(self):
        signal_all(self.cluster.current.backends(), signal.SIGTERM)
        return time.monotonic()

    def stopped_at_once(self):
        self.cluster.current.stop("immediate")
        return self.start()

    def restarted(self):
        self.cluster.current.stop("fast")
        return self.start()

    def frozen(self):
        processes = self.cluster.current.processes()
        signal_all(processes, signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.3, 3))
        signal_all(processes, signal.SIGCONT)
        return time.monotonic()

    def cut(self):
        self.network.cut()
        return time.monotonic()

    def cut_before_commit(self, when="before"):
        self.network.cut_at = when
        began = time.monotonic()
        while self.network.cut_at and time.monotonic() - began < 10:
            time.sleep(0.005)
        if self.network.cut_at:
            self.tally.fail("nobody commits")
            self.network.cut_at = None
        return time.monotonic()

    def cut_after_commit(self):
        return self.cut_before_commit("after")

    def slow(self):
        self.network.delay = self.chance.uniform(0.02, 0.3)
        time.sleep(self.chance.uniform(0.5, 2))
        self.network.delay = 0.0
        return time.monotonic()

    def node_killed(self):
        place = self.chance.randrange(NODES)
        self.nodes[place].end(kill=True)
        self.nodes[place] = self.node()
        return time.monotonic()

    def node_frozen(self):
        """The others have to go on, also when it has the lock; it does when it wakes."""
        node = self.chance.choice(self.nodes)
        signal_all([node.process.pid], signal.SIGSTOP)
        self.await_nodes(time.monotonic(), "node_frozen, the others", but=node)
        time.sleep(self.chance.choice([0, 0, 5]))
        signal_all([node.process.pid], signal.SIGCONT)
        return time.monotonic()

    def filled(self):
        """The data's disk, not the log's: there it would stop the server."""
        disk, before = self.cluster.disk.path, self.codes.get("noSpace", 0)
        self.is_full = True
        filler = os.open(os.path.join(disk, "filler"), os.O_CREAT | os.O_WRONLY)
        try:
            size, step = 0, 64 << 20
            while step >= 4096:
                try:
                    os.posix_fallocate(filler, size, step)
                    size += step
                except OSError:
                    step //= 2
            began = time.monotonic()
            while self.codes.get("noSpace", 0) == before and time.monotonic() - began < 20:
                time.sleep(0.02)
            if self.codes.get("noSpace", 0) == before:
                self.tally.fail("nobody noticed that the disk was full")
        finally:
            os.close(filler)
            os.remove(os.path.join(disk, "filler"))
        moment = time.monotonic()
        threading.Timer(1, self.has_room).start()
        return moment

    def has_room(self):
        self.is_full = False

    def failed_over(self):
        """To a standby that every commit was on before it was acknowledged."""
        old = self.cluster.current
        old.stop("fast")
        new = old.follower()
        # It is waited for in commits, not here.
        old.start("synchronous_standby_names=*")
        new.start(new.source)
        self.await_nodes(time.monotonic(), "with a standby", bound=30)
        time.sleep(self.chance.uniform(0.1, 0.8))
        is_early = self.chance.random() < 0.5
        if is_early:
            # Nodes meet it while it takes no changes yet.
            self.network.server = new
        old.kill()
        self.network.cut()
        self.cluster.call("pg_ctl", "-D", new.data, "-w", "-s", "promote")
        moment = new.await_state("primary")
        self.network.server = self.cluster.current = new
        threading.Thread(target=old.remove).start()
        return moment

    # The run.

    def run(self):
        run = self.tally
        self.await_nodes(time.monotonic(), "the start", bound=30)
        deck = []
        while run.cycles < run.count and not run.failures and not run.lost:
            if not deck:
                deck = self.chance.sample(self.kinds, len(self.kinds))
            kind = deck.pop()
            words = kind.__name__.replace("_", " ")
            time.sleep(self.chance.uniform(0.05, 0.5))
            before = len(self.acknowledged)
            took = self.await_nodes(kind(), words)
            self.recoveries.setdefault(words, []).append(took)
            run.cycles += 1
            run.say(f"{run.cycles} {words}: all nodes go on after {took:.2f} s; {len(self.acknowledged) - before} changes meanwhile")
            if run.cycles % LOOK_EVERY == 0:
                self.look()
        for node in self.nodes:
            node.end()
        self.look()
        for words, times in sorted(self.recoveries.items()):
            run.say(f"{words}: {len(times)} times, recovered after {sorted(times)[len(times) // 2]:.2f} s, {max(times):.2f} s at the most")
        run.figures["s slowest recovery"] = round(max(max(times) for times in self.recoveries.values()), 2)
        for code, count in sorted(self.codes.items()):
            run.figures[f"refused as {code}"] = count

    def await_nodes(self, moment, words, but=None, bound=RECOVERY_SECONDS_MAX):
        """How long after the moment the last of them acknowledged a change again."""
        slowest = 0.0
        for node in self.nodes:
            if node is but:
                continue
            while node.acknowledged_at <= moment:
                if node.process.poll() is not None:
                    self.tally.fail(f"{words}: {node.name} ended with {node.process.returncode}")
                    return slowest
                if time.monotonic() - moment > 60:
                    self.tally.fail(f"{words}: {node.name} has not acknowledged anything for a minute")
                    return slowest
                time.sleep(0.005)
            slowest = max(slowest, node.acknowledged_at - moment)
        if slowest > bound:
            self.tally.fail(f"{words}: nothing was acknowledged for {slowest:.1f} s")
        return slowest

    def look(self):
        """At everything that is there. What was acknowledged before must be; the rest of what was asked for may."""
        with self.lock:
            acknowledged = dict(self.acknowledged)
        found = subprocess.run([self.driver, self.network.address(), "look"], capture_output=True, text=True)
        if found.returncode != 0:
            self.tally.fail(f"nothing can be read: {found.stdout[-300:]} {found.stderr[-300:]}")
            return
        Picture(found.stdout, acknowledged, is_quiet=all(node.process.poll() is not None for node in self.nodes)).judge(self.tally, self.asked)


class Picture:
    """What was read, beside what is known."""

    def __init__(self, text, acknowledged, is_quiet):
        self.acknowledged, self.is_quiet = acknowledged, is_quiet
        rows = {}
        for line in text.splitlines():
            kind, _, rest = line.partition(" ")
            rows.setdefault(kind, []).append(rest.split(" "))
        self.log = [(int(row[0]), row[1]) for row in rows.get("log", [])]
        self.records = {row[0]: (int(row[1]), " ".join(row[2:])) for row in rows.get("record", [])}
        self.assets = {row[0]: (row[1], int(row[2])) for row in rows.get("asset", [])}
        self.pins = {(row[0], row[1]) for row in rows.get("pin", [])}
        self.versions = {row[0] for row in rows.get("version", [])}
        self.tags = [row[0] for row in rows.get("tag", [])]
        self.usage = tuple(int(word) for word in rows["usage"][0])
        self.counter = int(rows["counter"][0][0])

    def judge(self, run, asked):
        for id, told in self.acknowledged.items():
            if self.records.get(id) != told:
                run.lose(f"{id} was acknowledged as {told}, and is {self.records.get(id)}")
        if [revision for revision, _ in self.log] != list(range(1, len(self.log) + 1)):
            run.fail("the log has gaps")
        if not self.is_quiet:
            return
        entries = {id: revision for revision, id in self.log}
        if len(entries) != len(self.log) or set(entries) != set(self.records) | {"beginning"}:
            run.fail("the log has not one entry for each change")
        for id, (revision, _) in self.records.items():
            if entries.get(id) != revision or id not in asked:
                run.fail(f"{id} has revision {revision}, in the log {entries.get(id)}; asked for: {id in asked}")
        kinds = {id: value.split(" ") for id, (_, value) in self.records.items()}
        removed = {value[1] for value in kinds.values() if value[0] == "remove"}
        expected = {id for id, value in kinds.items() if value[0] == "publish"} - removed
        for what, there in (("assets", set(self.assets)), ("versions", self.versions), ("pins", {path for path, _ in self.pins})):
            if there != expected:
                run.fail(f"{what}: {len(there - expected)} too many, {len(expected - there)} missing")
        if self.pins != {(path, blob) for path, (blob, _) in self.assets.items()}:
            run.fail("pins and assets disagree")
        if not set(self.tags) <= self.versions:
            run.fail(f"tags of nothing: {set(self.tags) - self.versions}")
        if self.usage != (len(self.assets), sum(size for _, size in self.assets.values())):
            run.fail(f"the totals are {self.usage}, of {len(self.assets)} assets")
        if self.counter != sum(value[0] == "count" for value in kinds.values()):
            run.fail(f"the counter is {self.counter}, and {sum(value[0] == 'count' for value in kinds.values())} counted")
