"""Power cuts on a file system of our own, ext4 and xfs, under a mixed load; what was acknowledged must be there without any repair.

Each round ends with the file system shut down (nothing more reaches the disk, what was not flushed is lost), SIGKILL, a new mount and a restart with
settings drawn anew; every third restart is cut itself, once or more, at a random instant of its recovery. Then the judgement is that of the kills:
what was acknowledged is whole, the rest whole or absent and can be sent again, an upload session has what it said it has. After some rounds two sweeps
must leave nothing behind, `granary fsck` must find nothing in any byte, and a new file system begins.

It stands for a loss of power as far as the file system knows of it: what the disk itself was told to keep is kept.
"""
import os
import subprocess
import time

import machine
from kills import draw, finish
from oracle import Load, judge
from server import Client, Server, set_up

SHORT = 16
ROUND_BYTES = 4 << 20
ROUNDS = 20
DISK_BYTES = 1 << 30


class Cuts:
    """The mode for one kind of file system."""

    SHORT = SHORT

    def __init__(self, kind):
        self.kind = kind

    def missing(self):
        return machine.missing(self.kind)

    def run(self, run):
        machine.isolate()
        run.file_system = self.kind
        while run.cycles < run.count and run.is_good():
            disk = machine.Disk(self.kind, run.folder, DISK_BYTES)
            try:
                disk.mount()
                server = Server(run.binary, run.folder, os.path.join(disk.path, "data"))
                try:
                    torture(run, disk, server, min(ROUNDS, run.count - run.cycles))
                finally:
                    server.kill()
            finally:
                disk.remove()


def torture(run, disk, server, rounds):
    chance = run.chance
    server.settings = draw(chance)
    server.start()
    authorization = set_up(server)
    everything = []

    def cut():
        # A machine without power answers nothing; this one runs on for a moment, and its kernel may report a sync as done that the shutdown
        # has just undone. So what was heard before counts, and nothing after.
        load.is_deaf = True
        disk.cut()
        time.sleep(chance.choice([0, 0, 0.002, 0.02]))
        server.kill()

    def restart():
        while True:
            disk.unmount()
            disk.mount()
            server.settings = draw(chance)
            if chance.random() < 0.67:
                server.start()
                return
            server.launch(os.path.join(server.folder, "port"))
            time.sleep(chance.uniform(0, 0.15))
            disk.cut()
            server.kill()
            run.figures["cuts in recovery"] = run.figures.get("cuts in recovery", 0) + 1

    with open(os.path.join(run.folder, "ledger"), "a") as ledger:
        load = Load(run, server, authorization, ledger)
        load.number, load.faults_refuse, load.bytes_max = 1000 * run.cycles, True, 3 << 20
        for _ in range(rounds):
            begun = load.round(run.writers, chance.uniform(0, ROUND_BYTES), chance.uniform(0, 0.05), cut)
            run.cycles += 1
            run.figures["cuts in mid-upload"] = run.figures.get("cuts in mid-upload", 0) + any(not upload.acked for upload in begun)
            restart()
            load.is_deaf = False
            client = Client(server, authorization)
            judge(run, begun, client, f"after cut {run.cycles}")
            load.again(begun, client)
            client.close()
            everything += begun
            if not run.is_good():
                return
    run.say(f"{run.cycles} cuts; {run.acknowledged} acknowledged so far")
    finish(run, server, authorization, everything)
    check(run, server)


def check(run, server):
    """The whole store, read to its last byte."""
    done = subprocess.run([run.binary, "fsck", server.data, "--read", "100"], capture_output=True, text=True)
    if done.returncode != 0:
        run.fail(f"fsck ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-500:]}")
