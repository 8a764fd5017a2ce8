"""Bit rot: flipped bits in every kind of structure on the disk. All of it is named, none of it served, nothing else lost.

A data directory with everything in it is made once and copied for each cycle. With the server stopped, one bit each of many structures of the
blob store is flipped, chosen so that no two concern the same blob. Then `granary fsck --read 100` must name each of them, and nothing that is whole; a server
in the default mode and a strict one must refuse what is damaged and give everything else; and with the bits as they were all is well again.
In a second kind of cycle one bit of the index, a key or a file of state is flipped: `fsck` says so, or the start refuses, or what is read says so.

A flip counts as harmless only if everything reads right, nothing is found, and the structure is one of HARMLESS, each with its reason.
"""
import collections
import json
import os
import shutil
import subprocess

from server import Client, NotReady, Server
from oracle import sha256
from specimen import Specimen, id_in

SHORT = 120
BATCH = 24
UPLOADS = 80
# A new directory, from another seed, after so many cycles.
CYCLES = 40

HARMLESS = {
    "padding": "zeros between records: nobody reads them",
    "allocated": "zeros behind the last record: stepped over",
    "dead blob": "nothing points there",
    "dead chunk": "nothing points there",
    "dead recipe": "nothing points there",
    "dead archive recipe": "nothing points there",
    "dead skip": "nothing points there",
    "dead own-file": "nothing points there",
    "upload hole": "a part that was not received: it will be, and is written over",
    "sst filter": "saves look-ups a block; one that cannot be read is passed over (RocksDB), and the block is read and checked",
    "sst padding": "room in the footer that its two handles do not need",
    "LOG": "RocksDB's diary, for people",
    "LOG.old": "RocksDB's diary, for people",
    "OPTIONS": "RocksDB writes it for tools, and is opened by options of our own",
    "IDENTITY": "a name of the database that nothing compares",
}

DERIVED = {"scrub": "what the scrub remembered is damaged; it begins anew"}


def missing():
    return None


class Flip:
    """Bit `bit` of the byte at `offset` of a span."""

    def __init__(self, span, offset, bit):
        self.span, self.offset, self.bit = span, offset, bit

    def turn(self, data):
        """Flips it, or back."""
        with open(os.path.join(data, self.span.path), "r+b") as f:
            f.seek(self.offset)
            byte = f.read(1)[0]
            f.seek(self.offset)
            f.write(bytes([byte ^ 1 << self.bit]))

    def is_meaningless(self):
        return any(self.span.kind.startswith(name) for name in HARMLESS)

    def __str__(self):
        return f"{self.span.kind}: bit {self.bit} of byte {self.offset} of {self.span.path} (structure from {self.span.start} to {self.span.end})"


class Tally:
    def __init__(self):
        self.counts = collections.defaultdict(collections.Counter)

    def add(self, flip, outcome):
        self.counts[flip.span.kind][outcome] += 1

    def total(self, outcome):
        return sum(each[outcome] for each in self.counts.values())

    def show(self, run):
        for kind in sorted(self.counts):
            run.say(f"{kind}: " + ", ".join(f"{count} {outcome}" for outcome, count in self.counts[kind].items()))


def run(run):
    tally = Tally()
    cycle = 0
    try:
        while run.cycles < run.count and len(run.failures) + run.lost < 20:
            if cycle % CYCLES == 0:
                shutil.rmtree(os.path.join(run.folder, "specimen"), ignore_errors=True)
                specimen = Specimen(run, os.path.join(run.folder, "specimen"))
                specimen.make(UPLOADS)
                spans = specimen.spans()
                check_untouched(run, specimen)
            Batch(run, specimen, tally, spans).perform(with_restoring=cycle % 4 == 0)
            for _ in range(2):
                Single(run, specimen, tally, spans).perform()
            cycle += 1
            if cycle % 10 == 0:
                run.say(f"{run.cycles} flips: {tally.total('detected')} detected, {tally.total('harmless')} harmless")
    finally:
        run.figures.update({word: tally.total(word) for word in ("detected", "harmless", "undetected", "served")})
        tally.show(run)


def check_untouched(run, specimen):
    """What is not damaged must not be called so."""
    code, findings, text = fsck(run, specimen.data)
    if code != 0:
        raise RuntimeError(f"fsck of an undamaged directory ended with {code}: {text}")


def fsck(run, data):
    done = subprocess.run([run.binary, "fsck", data, "--read", "100", "--json"], capture_output=True, text=True)
    findings = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode, [each for each in findings if each["kind"] != "summary"], done.stdout[-1500:] + done.stderr[-1500:]


class Trial:
    """A copy of the specimen with flipped bits."""

    def __init__(self, run, specimen, tally, spans):
        self.run, self.specimen, self.tally, self.spans = run, specimen, tally, spans
        self.data = os.path.join(run.folder, "data")

    def draw(self, span):
        return Flip(span, self.run.chance.randrange(span.start, span.end), self.run.chance.randrange(8))

    def copy(self, flips):
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self.specimen.data, self.data)
        for flip in flips:
            flip.turn(self.data)

    def server(self, **settings):
        server = Server(self.run.binary, self.run.folder, self.data)
        server.password = self.specimen.password
        server.settings = {"segment_bytes_max": 2 << 20, "own_file_bytes_min": 1 << 20, "chunking": "false", "scrub_interval_days": 0, **settings}
        return server

    def read_all(self, server):
        """Of each address whether it gave `right`, `wrong` or no bytes: `refused`, `absent`."""
        client = Client(server, self.specimen.authorization)
        answers = {}
        for path, digest in self.specimen.places.items():
            try:
                status, body, _ = client.call("GET", path)
            except OSError:
                answers[path] = "refused"
                continue
            if status == 200:
                answers[path] = "right" if sha256(body) == digest else "wrong"
            else:
                answers[path] = "absent" if status == 404 else "refused"
        for path in self.specimen.gone:
            status, _, _ = client.call("GET", path)
            if status != 404:
                self.run.lose(f"{path} was deleted, and is there again: status {status}")
        client.close()
        return answers

    def fail(self, flips, what):
        self.run.fail(f"{what}; flips: {'; '.join(map(str, flips))}")


class Batch(Trial):
    """Many flips in the blob store, each judged for itself."""

    def perform(self, with_restoring):
        flips = self.choose()
        self.run.cycles += len(flips)
        self.copy(flips)
        _, findings, _ = fsck(self.run, self.data)
        seen = {}
        finished = set()
        for mode, settings in (("default", {"strict_reads": "false"}), ("strict", {"strict_reads": "true"})):
            if mode == "strict":
                self.copy(flips)
            server = self.server(**settings)
            try:
                server.start()
                seen[mode] = self.read_all(server)
                if mode == "default":
                    finished = self.finish_sessions(server)
                server.end()
            except NotReady as error:
                self.fail(flips, f"a damaged blob kept the server from starting: {error}")
            finally:
                server.kill()
        for flip in flips:
            self.tally.add(flip, self.judge(flip, findings, seen, finished))
        self.look_for_others(flips, findings, seen, finished)
        if with_restoring:
            self.restore(flips)

    def choose(self):
        by_kind = collections.defaultdict(list)
        for span in self.spans:
            if span.path.startswith("store/") and span.path.count("/") > 1:
                by_kind[span.kind].append(span)
        flips, blobs, places, paths = [], set(), set(), set()
        for _ in range(BATCH * 3):
            span = self.run.chance.choice(by_kind[self.run.chance.choice(sorted(by_kind))])
            place = (span.kind.split()[0], span.path)
            is_of_blobs = bool(span.blobs)
            # Two of one segment's own structures, or of one session's files, would be told as one.
            if span.blobs & blobs or not is_of_blobs and place in places or "upload" in span.kind and id_in(span.path) in paths:
                continue
            # The index of a segment and its trailer are one thing, and so is the end of the last record that it hangs on.
            if span.kind in ("trailer", "index header", "index data", "index table") and ("sealing", span.path) in places:
                continue
            if span.kind in ("trailer", "index header", "index data", "index table"):
                places.add(("sealing", span.path))
            blobs |= span.blobs
            places.add(place)
            if "upload" in span.kind:
                paths.add(id_in(span.path))
            flips.append(self.draw(span))
            if len(flips) == BATCH:
                break
        return flips

    def finish_sessions(self, server):
        """The sessions that could be brought to their end."""
        client = Client(server, self.specimen.authorization)
        finished = set()
        for name, session in self.specimen.sessions.items():
            if session.finish(client):
                finished.add(name)
                if client.call("GET", session.place)[1] != session.content:
                    self.run.lose(f"the session {name} was finished, and its blob is another")
        client.close()
        return finished

    def judge(self, flip, findings, seen, finished):
        """What became of one flip."""
        kind = flip.span.kind
        named = {each["blob"].split(":")[-1] for each in findings if each["damage"] and "blob" in each}
        places = {(each["kind"], each["place"]) for each in findings}
        if flip.span.blobs:
            answers = {seen[mode].get(path) for mode in seen for path, digest in self.specimen.places.items() if digest in flip.span.blobs}
            if "wrong" in answers:
                self.run.lose(f"flipped byte served: {flip}")
                return "served"
            if flip.span.blobs <= named and answers == {"refused"}:
                return "detected"
            self.fail([flip], f"undetected: fsck names {len(flip.span.blobs & named)} of {len(flip.span.blobs)} blobs, answers are {answers}")
            return "undetected"
        if kind == "segment header":
            is_found = ("segment-header", flip.span.place) in places
        elif kind in ("trailer", "index header", "index data", "index table"):
            is_found = ("segment-index", flip.span.place) in places
        elif flip.is_meaningless():
            return "harmless"
        elif kind.startswith("upload"):
            is_found = id_in(flip.span.path) not in finished
        else:
            is_found = False
        if not is_found:
            self.fail([flip], f"undetected; findings: {sorted(places)[:20]}")
        return "detected" if is_found else "undetected"

    def look_for_others(self, flips, findings, seen, finished):
        """What is whole is given, and not called damaged."""
        damaged = frozenset().union(*(flip.span.blobs for flip in flips))
        living = set(self.specimen.places.values())
        for mode, answers in seen.items():
            for path, answer in answers.items():
                if self.specimen.places[path] not in damaged and answer != "right":
                    self.run.lose(f"{path} is {answer} in {mode} mode; flips: {'; '.join(map(str, flips))}")
        for each in findings:
            if each["damage"] and "blob" in each and each["blob"].split(":")[-1] in living - damaged:
                self.fail(flips, f"fsck names what is whole: {each}")
        flipped = {id_in(flip.span.path) for flip in flips if "upload" in flip.span.kind and not flip.is_meaningless()}
        for name in self.specimen.sessions:
            if name not in finished | flipped:
                self.fail(flips, f"the session {name} cannot be finished")

    def restore(self, flips):
        """With the bits as they were, on the directory that a server ran on meanwhile."""
        for flip in flips:
            if "upload" not in flip.span.kind:
                flip.turn(self.data)
        server = self.server()
        try:
            server.start()
            for path, answer in self.read_all(server).items():
                if answer != "right":
                    self.run.lose(f"{path} is {answer} after the bits were restored; flips: {'; '.join(map(str, flips))}")
            server.end()
        finally:
            server.kill()
        code, _, text = fsck(self.run, self.data)
        if code != 0:
            self.fail(flips, f"fsck ended with {code} after the bits were restored: {text}")


class Single(Trial):
    """One flip in the index, a key or a file of state."""

    def perform(self):
        by_kind = collections.defaultdict(list)
        for span in self.spans:
            if not (span.path.startswith("store/") and span.path.count("/") > 1):
                by_kind[span.kind].append(span)
        # What carries meaning more often than what is written for people.
        kinds = [kind for kind in sorted(by_kind) for _ in range(1 if kind.split(".")[0] in HARMLESS else 4)]
        flip = self.draw(self.run.chance.choice(by_kind[self.run.chance.choice(kinds)]))
        self.run.cycles += 1
        self.copy([flip])
        code, findings, text = fsck(self.run, self.data)
        is_found = code != 0
        server = self.server()
        words, is_unused = "", False
        try:
            server.start()
            # What is derived is made anew, and the log says so.
            is_found = is_found or flip.span.kind in DERIVED and DERIVED[flip.span.kind] in self.last_log(server)
            answers = self.read_all(server)
            server.end()
            wrong = {path: answer for path, answer in answers.items() if answer != "right"}
            # A table that the index had given up already, and that its next start takes away.
            is_unused = flip.span.kind.startswith("sst") and not os.path.exists(os.path.join(self.data, flip.span.path))
            if "wrong" in wrong.values():
                self.run.lose(f"flipped byte served: {flip}: {wrong}")
                return self.tally.add(flip, "served")
            # Refused is said; absent is not.
            if wrong and not is_found or "absent" in wrong.values():
                self.run.lose(f"{len(wrong)} of {len(answers)} addresses are {set(wrong.values())}, and fsck ended with {code}; {flip}")
                return self.tally.add(flip, "undetected")
        except NotReady:
            is_found = True
            words = refusal(server)
            if not words:
                self.fail([flip], "the start was refused without a word")
        finally:
            server.kill()
        if is_found:
            self.words(flip, words, findings, text)
            return self.tally.add(flip, "detected")
        if flip.is_meaningless() or is_unused:
            return self.tally.add(flip, "harmless")
        self.fail([flip], "undetected")
        return self.tally.add(flip, "undetected")

    @staticmethod
    def last_log(server):
        """Since its last start."""
        with open(os.path.join(server.folder, "server.log"), errors="replace") as log:
            lines = log.readlines()
        starts = [number for number, line in enumerate(lines) if '"granary serves"' in line]
        return "".join(lines[starts[-2] + 1 if len(starts) > 1 else 0 :])

    def words(self, flip, words, findings, text):
        if os.environ.get("SHOW_WORDS"):
            self.run.say(f"{flip}: start: {words[:400]!r}; fsck: {findings[:2] or text[-300:]!r}")


def refusal(server):
    """What the server's last words were."""
    with open(os.path.join(server.folder, "server.log"), errors="replace") as log:
        lines = [line for line in log.readlines() if '"critical"' in line or line.startswith("granary")]
    return lines[-1] if lines else ""
