"""SIGKILL at random instants under a mixed load; what was acknowledged must be there, byte for byte, without any repair.

Each round ends with SIGKILL, a restart on the same data with settings drawn anew, and a look at everything the round began: what was acknowledged must be whole, the rest
whole or absent; and what was not acknowledged is sent again and must succeed. The last round looks at everything once more; then two sweeps
must leave no blob that nothing names, no file without a row, and a store that is not much larger than what lives in it.
"""
import os

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
        torture(run, server)
    finally:
        server.kill()


def draw(chance):
    """Settings of one start: sealing, chunking and the sweep all happen with some."""
    return {
        "segment_bytes_max": chance.choice([1 << 20, 2 << 20, 8 << 20, SEGMENT_BYTES]),
        "own_file_bytes_min": chance.choice([1 << 20, 2 << 20, 8 << 20]),
        "chunking": chance.choice(["true", "true", "false"]),
        "chunk_delay_seconds": 0,
        "chunk_bytes_per_second_max": 0,
        "sweep_live_percent_min": chance.choice([30, 50, 90]),
        "sweep_bytes_per_second_max": 0,
        "block_cache_bytes": chance.choice([1 << 20, 32 << 20]),
        "strict_reads": chance.choice(["true", "false"]),
    }


def torture(run, server):
    server.start()
    authorization = set_up(server)
    everything, slowest = [], 0.0
    with open(os.path.join(run.folder, "ledger"), "w") as ledger:
        load = Load(run, server, authorization, ledger)
        while run.cycles < run.count and not run.failures:
            begun = load.round(run.writers, run.chance.uniform(0, ROUND_BYTES), run.chance.uniform(0, 0.05), server.kill)
            run.cycles += 1
            server.settings = draw(run.chance)
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
