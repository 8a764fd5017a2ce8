"""Scenarios of a store with a tier, which is a directory beside it: copying, writing through, leaving the disk, coming back, deleting there, and
taking over. Besides what every scenario shows, `fsck` reads everything that the tier has; and where something was promised of the tier alone, the
disk is lost, and the tier taken over by an empty one.
"""
import os
import shutil
import subprocess

from oracle import judge
from scenarios import Scenario
from server import Client, NotReady, Server


class Tiered(Scenario):
    """With a tier at `root/tier`."""

    settings = {"own_file_bytes_min": 1 << 20, "segment_bytes_max": 1 << 20, "chunking": "false", "tier_delay_seconds": 1, "tier_interval_seconds": 1}
    quiet_seconds = 0.2
    has_tier = True

    @staticmethod
    def directory(world):
        return os.path.join(world.root, "tier")

    @staticmethod
    def names(*path):
        """Of the files below, whatever folder they are in; those that are being written not among them."""
        return [name for _, _, names in os.walk(os.path.join(*path)) for name in names if len(name) in (24, 64)]

    def away(self, world):
        """Whether only the newest segment is on the disk."""
        store = os.path.join(world.server.data, "store")
        return not self.names(store, "blobs") and len(self.names(store, "segments")) <= 1

    def is_over(self, world):
        return world.metric("granary_tier_waiting_files") == 0 and self.is_done(world)

    def is_done(self, world):
        return True

    def leave(self, world, work):
        """Everything but the newest segment leaves the disk."""
        world.wait(lambda: self.names(self.directory(world), "segments"))
        work.artifact(world.client, "tier/newest", self.bytes("newest", 3000))
        world.wait(lambda: self.away(world))


class Copying(Tiered):
    """A sealed segment and a large blob are copied."""

    def operate(self, world, work):
        work.artifact(world.client, "tier/large", self.bytes("large", 1_200_000))
        work.artifact(world.client, "tier/small", self.bytes("small", 30_000))

    def is_done(self, world):
        return len(self.names(self.directory(world))) >= 2


class Through(Tiered):
    """Written through: small blobs in parts, a large one as an object; then their segment is sealed and copied, and the parts go."""

    settings = {**Tiered.settings, "tier_policy": "write-through"}

    def operate(self, world, work):
        for name, count in (("one", 4 << 10), ("two", 60_000), ("reserved", 300_000), ("large", 1_200_000)):
            work.artifact(world.client, f"tier/{name}", self.bytes(name, count))

    def after(self, world, work):
        return self.without_disk(world, work)

    def check(self, world, work):
        return self.without_disk(world, work)

    @staticmethod
    def without_disk(world, work):
        """What is wrong when the disk is lost now and an empty one takes the tier over; the catalog is as it is."""
        lost = os.path.join(world.folder, "lost")
        shutil.rmtree(lost, ignore_errors=True)
        subprocess.run(["cp", "-a", world.root, lost], check=True)
        server = Server(world.run.binary, world.run.folder, os.path.join(lost, "data"))
        server.settings = {**world.server.settings, "tier_directory": os.path.join(lost, "tier")}
        shutil.rmtree(os.path.join(server.data, "store"))
        try:
            adopt(server)
            server.start()
            wrong = list(work.judge(Client(server, world.authorization)))
            return [f"with an empty disk beside the tier {each}" for each in wrong]
        except (NotReady, OSError, subprocess.CalledProcessError) as error:
            return [f"an empty disk beside the tier: {error} {getattr(error, 'stderr', b'')!r}"]
        finally:
            server.kill()
            shutil.rmtree(lost, ignore_errors=True)


class Leaving(Tiered):
    """What the tier has leaves the disk."""

    def prepare(self, world, work):
        for name, count in (("large", 1_200_000), ("one", 700_000), ("two", 500_000)):
            work.artifact(world.client, f"tier/{name}", self.bytes(name, count))
        world.wait(lambda: len(self.names(self.directory(world))) >= 4)
        world.server.settings["tier_disk_bytes_max"] = 1

    def operate(self, world, work):
        work.artifact(world.client, "tier/newest", self.bytes("newest", 3000))

    def is_done(self, world):
        return self.away(world)


class Returning(Tiered):
    """What only the tier has is read: a large blob, a segment, a range of one."""

    settings = {**Tiered.settings, "tier_disk_bytes_max": 1}

    def prepare(self, world, work):
        for name, count in (("large", 1_200_000), ("long", 700_000), ("short", 3000)):
            work.artifact(world.client, f"tier/{name}", self.bytes(name, count))
        self.leave(world, work)

    def operate(self, world, work):
        for name in ("short", "long", "large"):
            world.client.must([200], "GET", f"/general/gen/tier/{name}")

    def is_done(self, world):
        return self.away(world)


class Deleting(Tiered):
    """What nothing needs is deleted in the tier when its time is over; what little lives in a segment there comes back and is moved."""

    settings = {**Tiered.settings, "tier_disk_bytes_max": 1, "tier_delete_delay_minutes": 1}

    def prepare(self, world, work):
        for name, count in (("dead", 1_200_000), ("alive", 1_300_000), ("one", 400_000), ("two", 400_000), ("three", 30_000)):
            work.artifact(world.client, f"tier/{name}", self.bytes(name, count))
        self.leave(world, work)

    def operate(self, world, work):
        for name in ("dead", "one", "two"):
            work.remove(world.client, f"tier/{name}")
        dead = work.places["/general/gen/tier/dead"].digest

        def is_gone():
            # Not before whatever was begun earlier is copied, and what was condemned has waited.
            world.sweep()
            world.shim.clock_offset += 120
            return dead not in self.names(self.directory(world), "blobs")

        world.wait(is_gone)
        world.shim.clock_offset = 0


class Adopting(Tiered):
    """The first start of an empty disk that takes over what its tier has; some of it in parts."""

    settings = {**Tiered.settings, "tier_policy": "write-through"}
    is_from_start = True

    def prepare(self, world, work):
        for name, count in (("large", 1_200_000), ("one", 600_000), ("two", 600_000)):
            work.artifact(world.client, f"tier/{name}", self.bytes(name, count))
        world.wait(lambda: self.names(self.directory(world), "segments"))
        world.server.kill()
        world.server.settings["tier_delay_seconds"] = 3600
        world.server.start()
        world.connect()
        for number in range(3):
            work.artifact(world.client, f"tier/part{number}", self.bytes(number, 5000))

    def prepared(self, world):
        shutil.rmtree(os.path.join(world.server.data, "store"))
        adopt(world.server)
        world.server.settings["tier_delay_seconds"] = 1

    def operate(self, world, work):
        judge(world.run, [work], world.client, "adopted")
        work.artifact(world.client, "tier/new", self.bytes("new", 10_000))


def adopt(server):
    tier = f"tier_directory={server.settings['tier_directory']}"
    subprocess.run([server.binary, "tier", "adopt", "--data", server.data, "--set", tier], check=True, capture_output=True)


ALL = [Copying, Through, Leaving, Returning, Deleting, Adopting]
