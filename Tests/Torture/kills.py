"""SIGKILL at random instants under a mixed load; what was acknowledged must be there, byte for byte, without any repair.

Each round ends with SIGKILL, a restart on the same data with settings drawn anew, and a look at everything the round began: what was acknowledged must be whole, the rest
whole or absent; and what was not acknowledged is sent again and must succeed. The last round looks at everything once more; then two sweeps
must leave no blob that nothing names, no file without a row, and a store that is not much larger than what lives in it.

`kills-tier`: the same of a store with a tier, which is a directory; what was copied leaves the disk and comes back, as the settings of each start have
it. Everything is written through, and after every fifth kill the disk is lost as well: an empty one takes the tier over, and all that was acknowledged
is there.
"""
import os
import shutil

import tiers
from oracle import Load, judge, leaks
from server import SEGMENT_BYTES, Client, Server, set_up

SHORT = 30
ROUND_BYTES = 16 << 20


def missing():
    """Why it cannot run here."""
    return None


def run(run):
    server = Server(run.binary, run.folder)
    try:
        torture(run, server, draw)
    finally:
        server.kill()


class WithTier:
    """The mode for a store with a tier."""

    SHORT = 10
    LOSE_EVERY = 5

    def missing(self):
        return None

    def run(self, run):
        server = Server(run.binary, run.folder)
        self.tier = os.path.join(run.folder, "tier")
        os.makedirs(self.tier)
        server.settings = self.draw(run.chance)
        try:
            torture(run, server, self.draw, self.lose)
        finally:
            server.kill()

    def draw(self, chance):
        # The policy stays: only what was always written through is promised to be in the tier.
        return {
            **draw(chance), "tier_directory": self.tier, "tier_policy": "write-through", "tier_interval_seconds": 1,
            "tier_delay_seconds": chance.choice([1, 2, 3600]), "tier_disk_bytes_max": chance.choice([0, 1, 4 << 20]),
            "tier_delete_delay_minutes": 1,
        }

    def lose(self, run, server):
        """The disk, but for the catalog and what clients have sent of uploads under way: an empty one takes its place."""
        if run.cycles % self.LOSE_EVERY == 0:
            store = os.path.join(server.data, "store")
            for name in os.listdir(store):
                path = os.path.join(store, name)
                if os.path.isdir(path) and name != "uploads":
                    shutil.rmtree(path)
                elif not os.path.isdir(path):
                    os.remove(path)
            tiers.adopt(server)
            run.figures["disks lost"] = run.figures.get("disks lost", 0) + 1


def draw(chance):
    """Settings of one start: sealing, chunking and the sweep all happen with some."""
    return {
        "segment_bytes_max": chance.choice([1 << 20, 2 << 20, 8 << 20, SEGMENT_BYTES]),
        "own_file_bytes_min": chance.choice([1 << 20, 2 << 20, 8 << 20]),
        "chunking": chance.choice(["true", "true", "false"]),
        "chunk_delay_seconds": 0,
        "chunk_bytes_per_second_max": 0,
        "archive_cold_hours": chance.choice([0, 0, 168]),
        "archive_bytes_per_second_max": 0,
        "sweep_live_percent_min": chance.choice([30, 50, 90]),
        "sweep_bytes_per_second_max": 0,
        "block_cache_bytes": chance.choice([1 << 20, 32 << 20]),
        "strict_reads": chance.choice(["true", "false"]),
    }


def torture(run, server, draw, before_start=lambda run, server: None):
    server.start()
    authorization = set_up(server)
    everything, slowest = [], 0.0
    with open(os.path.join(run.folder, "ledger"), "w") as ledger:
        load = Load(run, server, authorization, ledger)
        while run.cycles < run.count and not run.failures:
            begun = load.round(run.writers, run.chance.uniform(0, ROUND_BYTES), run.chance.uniform(0, 0.05), server.kill)
            run.cycles += 1
            server.settings = draw(run.chance)
            before_start(run, server)
            slowest = max(slowest, server.start())
            cut = sum(not upload.acked for upload in begun)
            client = Client(server, authorization)
            judge(run, begun, client, f"after kill {run.cycles}")
            load.again(begun, client)
            client.close()
            everything += begun
            run.say(f"kill {run.cycles}: {len(begun)} uploads begun, {cut} of them cut short; {run.acknowledged} acknowledged so far")
        finish(run, server, authorization, everything)
    run.figures["s slowest restart"] = round(slowest, 2)


def finish(run, server, authorization, everything):
    """The last look, what two sweeps leave, a look after that, and a clean end."""
    judge(run, everything, Client(server, authorization), "at the end")
    for leak in leaks(server, everything):
        run.fail(leak)
    judge(run, everything, Client(server, authorization), "after the last sweeps")
    code = server.end()
    if code != 0:
        run.fail(f"the server ended with {code} on SIGTERM")
