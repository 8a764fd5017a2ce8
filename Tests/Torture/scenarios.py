"""What is under way when a call fails: one scenario after the other, each on a copy of a prepared data folder, and each judged in the same way."""
import copy
import json
import os
import random
import shutil
import subprocess
import time

import shim
from oracle import MANIFEST, Upload, archive, judge, leaks, sha256
from server import Client, NotReady, Refused, Server, administrator, set_up, token


def wanted(scenarios):
    """Those that ONLY names, or all."""
    only = os.environ.get("ONLY", "").split(",")
    return [scenario for scenario in scenarios if only == [""] or scenario.__name__.lower() in only]


class Work(Upload):
    """What a scenario puts and deletes, and what that promises."""

    def __init__(self):
        super().__init__(0, 0, lambda *_: None)

    def artifact(self, client, path, content, body=None):
        self.put(client, [200, 201], f"/general/gen/{path}", content, "PUT", f"/api/v1/repositories/gen/artifacts/{path}", body or content)

    def remove(self, client, path):
        """Gone already is as good, if that was asked for before."""
        place = self.places[f"/general/gen/{path}"]
        if place.may_be_absent and client.call("GET", place.path)[0] == 404:
            place.may_be_there = False
        else:
            self.delete(client, place.path, "DELETE", f"/api/v1/repositories/gen/artifacts/{path}")


class Scenario:
    """`prepare` makes what is there before, `operate` is what is struck; called again after the fault it must succeed."""

    settings = {}
    # The background's part is over when nothing was called for so long.
    quiet_seconds = 0.1
    # Counts from the start of the server on.
    is_from_start = False
    # Who reads has something written first, and is refused while that fails.
    reads_write = False
    has_tier = False

    def __init__(self, seed):
        self.seed = seed

    def bytes(self, name, count):
        return random.Random(f"{self.seed}/{type(self).__name__}/{name}").randbytes(count)

    def prepare(self, world, work):
        pass

    def prepared(self, world):
        """After the server's end."""

    def operate(self, world, work):
        raise NotImplementedError

    def is_over(self, world):
        """Whether the background did its part, too."""
        return True

    def after(self, world, work):
        """What is wrong right after the fault, before anything is started again; in words."""
        return []

    def check(self, world, work):
        """What is wrong beside the places, after all was done again; in words."""
        return []


class Small(Scenario):
    """The first blobs of a store, of some KiB: they wait in memory for the segment's sync."""

    def operate(self, world, work):
        for name, count in (("one", 4 << 10), ("two", 40 << 10)):
            work.artifact(world.client, f"small/{name}", self.bytes(name, count))


class Reserved(Scenario):
    """Announced and too long for memory: space in the segment; and not announced: an unnamed file, copied into the segment."""

    def prepare(self, world, work):
        work.artifact(world.client, "reserved/before", self.bytes("before", 5000))

    def operate(self, world, work):
        work.artifact(world.client, "reserved/announced", self.bytes("announced", 300_000))
        content = self.bytes("unannounced", 400_000)
        work.artifact(world.client, "reserved/unannounced", content, body=iter([content[:200_000], content[200_000:]]))


class Large(Scenario):
    """A file of its own; then the same bytes under another name, which store nothing."""

    settings = {"own_file_bytes_min": 1 << 20, "chunking": "false"}

    def operate(self, world, work):
        content = self.bytes("large", 2_500_000)
        work.artifact(world.client, "large/file", content)
        work.artifact(world.client, "large/again", content)


class Resumable(Scenario):
    """An OCI image whose layer comes in pieces."""

    settings = {"chunking": "false"}

    def prepare(self, world, work):
        self.session = None

    def operate(self, world, work):
        client, layer = world.client, self.bytes("layer", 1_500_000)
        digest = "sha256:" + sha256(layer)
        path = self.location(client.must([202], "POST", "/v2/img/app/blobs/uploads/"))
        for start in range(0, len(layer), 600_000):
            path = self.location(client.must([202], "PATCH", path, layer[start : start + 600_000]))
        blob = f"/v2/img/app/blobs/{digest}"
        work.put(client, [201], blob, layer, "PUT", path + ("&" if "?" in path else "?") + "digest=" + digest)
        config = b"{}"
        digest_of_config = "sha256:" + sha256(config)
        path = self.location(client.must([202], "POST", "/v2/img/app/blobs/uploads/"))
        work.put(client, [201], f"/v2/img/app/blobs/{digest_of_config}", config, "PUT",
                 path + ("&" if "?" in path else "?") + "digest=" + digest_of_config, config)
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of_config, "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(layer)}]}).encode()
        work.put(client, [201], "/v2/img/app/manifests/t", manifest, "PUT", "/v2/img/app/manifests/t", manifest, MANIFEST)

    @staticmethod
    def location(response):
        location = response.getheader("Location")
        return location if location.startswith("/") else "/" + location.split("/", 3)[3]


class Delete(Scenario):
    """Of a small and a large artifact; the bytes stay for the sweep."""

    settings = {"own_file_bytes_min": 1 << 20, "chunking": "false"}

    def prepare(self, world, work):
        for name, count in (("small", 9000), ("large", 1_200_000), ("kept", 8000)):
            work.artifact(world.client, f"delete/{name}", self.bytes(name, count))

    def operate(self, world, work):
        work.remove(world.client, "delete/small")
        work.remove(world.client, "delete/large")


class Sweep(Scenario):
    """What nothing names any more goes: rows, own files, segments; what lives in a segment of which little lives is moved."""

    settings = {"own_file_bytes_min": 1 << 20, "segment_bytes_max": 1 << 20, "chunking": "false"}

    def prepare(self, world, work):
        for number in range(9):
            work.artifact(world.client, f"sweep/{number}", self.bytes(number, 220_000))
        for name in ("dead", "alive"):
            work.artifact(world.client, f"sweep/{name}", self.bytes(name, 1_200_000))
        for number in (0, 1, 3, 4, 5, 7):
            work.remove(world.client, f"sweep/{number}")
        work.remove(world.client, "sweep/dead")

    def operate(self, world, work):
        for _ in range(2):
            world.sweep()


class Seal(Scenario):
    """A segment is full: index and trailer are written, the next one begins."""

    settings = {"segment_bytes_max": 1 << 20, "chunking": "false"}

    def prepare(self, world, work):
        for number in range(4):
            work.artifact(world.client, f"seal/{number}", self.bytes(number, 200_000))

    def operate(self, world, work):
        work.artifact(world.client, "seal/next", self.bytes("next", 300_000))


class Chunking(Scenario):
    """Two versions that share most of their bytes are cut into chunks, and the whole ones go."""

    settings = {"chunk_delay_seconds": 0, "chunk_bytes_per_second_max": 0, "own_file_bytes_min": 1 << 20}
    quiet_seconds = 0.3

    def __init__(self, seed):
        super().__init__(seed)
        self.began = 0

    def operate(self, world, work):
        self.began = time.monotonic()
        shared = self.bytes("shared", 2_000_000)
        for version in ("1.0", "1.1"):
            work.artifact(world.client, f"chunks/{version}", shared + self.bytes(version, 50_000))

    def is_over(self, world):
        """What is in chunks already is not counted again."""
        counted = world.metric("granary_chunked_blobs_total") + world.metric("granary_chunk_failures_total")
        return counted >= 2 or time.monotonic() - self.began > 1


class Archives(Scenario):
    """Of three versions, one that is opened already is read, and made again; the others are opened."""

    settings = {"chunking": "false", "own_file_bytes_min": 1 << 20, "archive_cold_hours": 0, "archive_bytes_per_second_max": 0}
    quiet_seconds = 0.3
    reads_write = True

    def __init__(self, seed):
        super().__init__(seed)
        self.began = 0

    def version(self, number):
        # With files enough to get one of its own.
        count = 300 if number == 2 else 30
        return archive([f"{self.seed}/{member}" for member in range(count)] + [f"{self.seed}/version/{number}"], is_gzip=number == 1)

    def prepare(self, world, work):
        work.artifact(world.client, "archives/0", self.version(0))
        self.wait(world, "granary_archive_opened_blobs_total", 1)

    @staticmethod
    def wait(world, metric, count):
        deadline = time.monotonic() + 30
        while world.metric(metric) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{metric} stays below {count}")
            time.sleep(0.05)

    def operate(self, world, work):
        self.began = time.monotonic()
        world.client.must([200], "GET", "/general/gen/archives/0")
        for number in (1, 2):
            work.artifact(world.client, f"archives/{number}", self.version(number))

    def is_over(self, world):
        """What was opened before the fault is not counted again."""
        return world.metric("granary_archive_opened_blobs_total") >= 3 or time.monotonic() - self.began > 5


class Backup(Scenario):
    """Of a running server, to a directory; then restored and read."""

    settings = {"own_file_bytes_min": 1 << 20, "segment_bytes_max": 1 << 20, "chunking": "false"}

    def prepare(self, world, work):
        for number in range(6):
            work.artifact(world.client, f"backup/{number}", self.bytes(number, 220_000))
        work.artifact(world.client, "backup/large", self.bytes("large", 1_200_000))

    def operate(self, world, work):
        world.admin.must([200], "POST", "/api/v1/admin/backup", "{}", "application/json")

    def check(self, world, work):
        restored = os.path.join(world.folder, "restored")
        shutil.rmtree(restored, ignore_errors=True)
        # The data directory's own key, said as an administrator would have noted it.
        shown = subprocess.run([world.server.binary, "backup-key", "--data", world.server.data], capture_output=True, text=True)
        command = [world.server.binary, "restore", os.path.join(world.root, "backup"), "--data", restored, "--credentials", "keep"]
        done = subprocess.run(command + ["--trust", shown.stdout.strip()], capture_output=True)
        shutil.rmtree(restored, ignore_errors=True)
        if done.returncode != 0:
            yield f"the backup cannot be restored: {done.returncode} {(done.stdout + done.stderr)[-600:]!r}"


class Recovery(Scenario):
    """A start after a kill that left a full segment unsealed and an upload session open."""

    settings = {"own_file_bytes_min": 1 << 20, "segment_bytes_max": 1 << 20, "chunking": "false"}
    is_from_start = True

    def prepare(self, world, work):
        for number in range(6):
            work.artifact(world.client, f"recovery/{number}", self.bytes(number, 250_000))
        path = Resumable.location(world.client.must([202], "POST", "/v2/img/app/blobs/uploads/"))
        world.client.must([202], "PATCH", path, self.bytes("layer", 300_000))

    def operate(self, world, work):
        work.artifact(world.client, "recovery/last", self.bytes("last", 10_000))


ALL = [Small, Reserved, Large, Resumable, Delete, Sweep, Seal, Chunking, Archives, Backup, Recovery]


class World:
    """A server with the shim in it, on a folder of everything that counts: data, tier and backup."""

    def __init__(self, run, library, scenario, seed):
        self.run, self.scenario = run, scenario(seed)
        self.name = scenario.__name__.lower()
        self.folder = os.path.join(run.folder, self.name)
        self.root, self.template = os.path.join(self.folder, "root"), os.path.join(self.folder, "template")
        os.makedirs(self.root)
        self.shim = shim.Shim(library, self.folder, self.root)
        self.server = Server(run.binary, run.folder, os.path.join(self.root, "data"))
        self.server.settings = {"backup_directory": os.path.join(self.root, "backup"), "access_log": "false", "scrub_interval_days": 0,
                                **scenario.settings}
        if scenario.has_tier:
            self.server.settings["tier_directory"] = os.path.join(self.root, "tier")
            os.makedirs(os.path.join(self.root, "tier"))
        self.server.environment = self.shim.environment
        self.authorization, self.client, self.admin, self.work = None, None, None, Work()
        self.prepared = None

    def survey(self):
        """One run without a fault, whose calls are counted: whether all went well."""
        self.reset()
        error = self.strike(shim.COUNT)
        if error or not self.is_alive():
            self.run.fail(f"{self.name} without a fault: {error}")
            return False
        return True

    def prepare(self):
        self.server.start()
        self.authorization = set_up(self.server)
        self.server.administrator = token(administrator(self.server), "administrator", ["admin"])
        self.connect()
        self.scenario.prepare(self, self.work)
        self.server.kill()
        self.scenario.prepared(self)
        os.rename(self.root, self.template)
        self.prepared = self.work

    def connect(self):
        for client in (self.client, self.admin):
            if client:
                client.close()
        self.client = Client(self.server, self.authorization)
        self.admin = administrator(self.server)

    def reset(self):
        """As it was prepared, and nothing runs."""
        self.server.kill()
        self.shim.disarm()
        self.shim.clock_offset = 0
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", self.template, self.root], check=True)
        self.work = Work()
        self.work.places = copy.deepcopy(self.prepared.places)

    def remove(self):
        self.server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sweep(self):
        """409: the background holds it."""
        while self.admin.must([200, 409], "POST", "/api/v1/admin/storage-gc", '{"grace_seconds":0}', "application/json").status == 409:
            time.sleep(0.02)

    def metric(self, name):
        body = self.admin.call("GET", "/metrics")[1].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in body.splitlines() if line.split("{")[0].split(" ")[0] == name)

    def wait(self, is_done, seconds=30):
        """The background's work, as part of the operation."""
        deadline = time.monotonic() + seconds
        while not is_done():
            if not self.is_alive():
                raise OSError("the server is gone")
            if time.monotonic() > deadline:
                raise Refused("the background does not do its part")
            time.sleep(0.02)

    def is_alive(self):
        return self.server.process.poll() is None

    def settle(self, seconds=20):
        """Until the background has done its part, or the server is gone."""
        deadline, last, since = time.monotonic() + seconds, -1, time.monotonic()
        while self.is_alive() and time.monotonic() < deadline:
            try:
                is_over = self.scenario.is_over(self)
            except OSError:
                continue
            count = self.shim.count
            if count != last or not is_over:
                last, since = count, time.monotonic()
            elif time.monotonic() - since >= self.scenario.quiet_seconds:
                return
            time.sleep(0.02)

    def strike(self, *arming, **more):
        """The operation with the shim armed. What it threw, if anything."""
        if self.scenario.is_from_start:
            self.shim.arm(*arming, **more)
        try:
            self.server.start()
            self.connect()
            if not self.scenario.is_from_start:
                self.shim.arm(*arming, **more)
            self.scenario.operate(self, self.work)
            self.settle()
        except (OSError, Refused, NotReady) as error:
            return error
        return None

    def look(self, when):
        """Everything is as it was promised."""
        judge(self.run, [self.work], self.client, when)

    def conclude(self, when, checks=True):
        """After the fault: a start without repair, a look, the same again, which must succeed; then nothing is left behind."""
        self.shim.disarm()
        self.server.kill()
        try:
            took = self.server.start()
            self.run.figures["s slowest restart"] = max(self.run.figures.get("s slowest restart", 0), round(took, 2))
            self.connect()
            self.look(when)
            self.scenario.operate(self, self.work)
            self.run.acknowledged += sum(not place.may_be_absent for place in self.work.places.values())
            self.settle()
            self.look(f"{when}, sent again")
            for place in self.work.places.values():
                if place.may_be_there and place.may_be_absent:
                    self.run.fail(f"{when}: {place.path} is neither there nor gone after all was sent again")
            for wrong in leaks(self.server, [self.work], say=lambda _: None):
                self.run.fail(f"{when}: {wrong}")
            self.run.sweeps += 2
            self.look(f"{when}, after two sweeps")
        except (OSError, Refused, NotReady) as error:
            self.run.fail(f"{when}: {type(error).__name__}: {error}")
            return
        self.server.kill()
        for wrong in self.scenario.check(self, self.work):
            self.run.fail(f"{when}: {wrong}")
        if checks:
            self.fsck(when)

    def fsck(self, when):
        """Every byte, from the disk."""
        command = [self.server.binary, "fsck", self.server.data, "--read", "100"]
        if self.scenario.has_tier:
            command += ["--set", f"tier_directory={self.server.settings['tier_directory']}"]
        done = subprocess.run(command, capture_output=True)
        if done.returncode != 0:
            self.run.fail(f"{when}: fsck ends with {done.returncode}: {(done.stdout + done.stderr)[-800:].decode(errors='replace')}")
