"""Files cut off, missing, exchanged, doubled, or from before: found, and only what is on the list is lost.

Each cycle does one thing to a file of a copy of the data directory (specimen.py). What is in the file as it was, and not as it is, must be named by
`granary fsck` and refused by the server; everything else must be given. Without its index, or with a part of it missing, a server must not start.
"""
import os
import shutil

from flips import Tally, Trial, check_untouched, fsck, refusal
from server import NotReady
from specimen import Specimen

SHORT = 12
UPLOADS = 80
CYCLES = 80


def missing():
    return None


def run(run):
    tally = Tally()
    cycle = 0
    try:
        while run.cycles < run.count and len(run.failures) + run.lost < 20:
            if cycle % CYCLES == 0:
                shutil.rmtree(os.path.join(run.folder, "specimen"), ignore_errors=True)
                specimen = Specimen(run, os.path.join(run.folder, "specimen"), keeps_old=True)
                specimen.make(UPLOADS)
                check_untouched(run, specimen)
            Operation(run, specimen, tally, specimen.spans()).perform()
            cycle += 1
    finally:
        run.figures.update({word: tally.total(word) for word in ("detected", "harmless", "undetected")})
        tally.show(run)


class Change:
    """What was done, and the paths that are not as they were. For a tally it is a span of its own."""

    def __init__(self, kind, text, paths, doubled=None):
        # The number of a segment that is another's copy.
        self.doubled = doubled
        self.kind, self.text, self.paths, self.span = kind, text, paths, self

    def __str__(self):
        return f"{self.kind}: {self.text}"


class Operation(Trial):
    def perform(self):
        self.copy([])
        self.run.cycles += 1
        operations = [getattr(self, name) for name in dir(self) if name.startswith("do_")]
        change = self.run.chance.choice(operations)()
        if change.kind.startswith("index"):
            return self.tally.add(change, self.judge_index(change))
        self.tally.add(change, self.judge(change))

    # MARK: What is done

    def path(self, name):
        return os.path.join(self.data, name)

    def pick(self, folder, count=1):
        """Files of the blob store that somebody's bytes are in."""
        paths = sorted({span.path for span in self.spans if span.path.startswith(folder) and span.blobs})
        return self.run.chance.sample(paths, count)

    def cut_off(self, kind, folder):
        name, = self.pick(folder)
        length = self.run.chance.randrange(os.path.getsize(self.path(name)))
        os.truncate(self.path(name), length)
        return Change(f"{kind} cut off", f"{name} to {length} bytes", [name])

    def remove(self, kind, folder):
        name, = self.pick(folder)
        os.remove(self.path(name))
        return Change(f"{kind} missing", name, [name])

    def exchange(self, kind, folder):
        one, other = self.pick(folder, 2)
        os.rename(self.path(one), self.path("aside"))
        os.rename(self.path(other), self.path(one))
        os.rename(self.path("aside"), self.path(other))
        return Change(f"{kind}s exchanged", f"{one} and {other}", [one, other])

    def do_segment_cut_off(self):
        return self.cut_off("segment", "store/segments")

    def do_segment_missing(self):
        return self.remove("segment", "store/segments")

    def do_segments_exchanged(self):
        return self.exchange("segment", "store/segments")

    def do_segment_doubled(self):
        """Under a number of its own: nothing points there."""
        name, = self.pick("store/segments")
        copy = f"store/segments/{self.run.chance.randrange(1 << 20, 1 << 24):016x}.segment"
        shutil.copy(self.path(name), self.path(copy))
        return Change("segment doubled", f"{name} as {copy}", [copy], doubled=int(copy.split("/")[-1][:16], 16))

    def do_segment_over_another(self):
        name, other = self.pick("store/segments", 2)
        shutil.copy(self.path(name), self.path(other))
        return Change("segment over another", f"{name} as {other}", [other])

    def do_segment_of_before(self):
        """As it was when it had fewer records."""
        olds = [name for name in self.pick("store/segments", len({s.path for s in self.spans if s.path.startswith("store/segments") and s.blobs}))
                if self.specimen.old.get(name) not in (None, self.specimen.read(name))]
        if not olds:
            return self.do_segment_cut_off()
        name = self.run.chance.choice(olds)
        with open(self.path(name), "wb") as f:
            f.write(self.specimen.old[name])
        return Change("segment of before", name, [name])

    def do_own_file_cut_off(self):
        return self.cut_off("own file", "store/blobs")

    def do_own_file_missing(self):
        return self.remove("own file", "store/blobs")

    def do_own_files_exchanged(self):
        return self.exchange("own file", "store/blobs")

    def do_own_file_over_another(self):
        one, other = self.pick("store/blobs", 2)
        shutil.copy(self.path(one), self.path(other))
        return Change("own file over another", f"{one} as {other}", [other])

    def do_index_missing(self):
        shutil.rmtree(self.path("index"))
        return Change("index missing", "all of it", [])

    def do_index_file_missing(self):
        names = [name for name in os.listdir(self.path("index")) if name == "CURRENT" or name.startswith("MANIFEST") or name.endswith((".sst", ".log"))]
        name = self.run.chance.choice(sorted(names))
        os.remove(self.path(f"index/{name}"))
        return Change("index file missing", name, [])

    def do_index_file_cut_off(self):
        names = [name for name in os.listdir(self.path("index")) if name.endswith(".sst")]
        name = self.run.chance.choice(sorted(names))
        length = self.run.chance.randrange(os.path.getsize(self.path(f"index/{name}")))
        os.truncate(self.path(f"index/{name}"), length)
        return Change("index file cut off", f"{name} to {length} bytes", [])

    # MARK: What must become of it

    def damaged(self, change):
        """Blobs of which a byte in these files is not what it was."""
        found = set()
        for span in self.spans:
            if span.path in change.paths and span.blobs:
                try:
                    with open(self.path(span.path), "rb") as f:
                        f.seek(span.start)
                        is_whole = f.read(span.end - span.start) == self.specimen.read(span.path)[span.start : span.end]
                except FileNotFoundError:
                    is_whole = False
                if not is_whole or "own-file" in span.kind and os.path.getsize(self.path(span.path)) != os.path.getsize(
                        os.path.join(self.specimen.data, span.path)):
                    found |= span.blobs
        return found

    def judge(self, change):
        damaged = self.damaged(change)
        code, findings, text = fsck(self.run, self.data)
        named = {each["blob"].split(":")[-1] for each in findings if each["damage"] and "blob" in each}
        server = self.server()
        try:
            server.start()
            answers = self.read_all(server)
            server.end()
        except NotReady as error:
            self.run.fail(f"a file of the blob store kept the server from starting: {error}; {change}")
            return "undetected"
        finally:
            server.kill()
        lost = False
        for path, answer in answers.items():
            digest = self.specimen.places[path]
            if answer == "wrong" or answer == "absent" or answer == "refused" and digest not in damaged:
                lost = True
                self.run.lose(f"{path} is {answer}; {change}")
            elif answer == "right" and digest in damaged:
                self.run.fail(f"{path} is right, though its bytes are not there; {change}")
                return "undetected"
        named &= set(self.specimen.places.values())
        if named != damaged:
            self.run.fail(f"fsck (exit code {code}) does not name {sorted(damaged - named)}, names {sorted(named - damaged)}; {change}: {text}")
            return "undetected"
        if change.doubled and f"segment {change.doubled}" not in {each["place"] for each in findings if each["damage"]}:
            self.run.fail(f"fsck does not name the copy; {change}")
            return "undetected"
        if lost:
            return "undetected"
        return "detected" if damaged or change.doubled else "harmless"

    def judge_index(self, change):
        code, _, text = fsck(self.run, self.data)
        if code == 0:
            self.run.fail(f"fsck finds nothing; {change}")
            return "undetected"
        server = self.server()
        try:
            server.start()
        except NotReady:
            words = refusal(server)
            if "backup" in words:
                return "detected"
            self.run.fail(f"the server does not say what to do; {change}: {words}")
            return "undetected"
        else:
            # A table is read when it is needed: what cannot be read is refused, and nothing is taken for absent.
            answers = self.read_all(server)
            bad = {answer for answer in answers.values()} - {"right", "refused"}
            if bad:
                self.run.lose(f"answers are {bad}; {change}")
                return "undetected"
            return "detected"
        finally:
            server.kill()
