"""SIGKILL at the n-th call that changes a file, for every n, of each scenario: before it, after it, and in the midst of it for a write.

The count is how many kills at most; 0 is every one. A short form takes every k-th, beginning at random. Before the first kill the shim's count of
the calls of a start and an upload is compared with strace's, where there is one: what escapes the shim would never be struck. ONLY=NAME,NAME leaves
the other scenarios out.
"""
import collections
import os
import re
import shutil
import subprocess

import shim
import tiers
from scenarios import ALL, Recovery, World, wanted

SHORT = 12
MOMENTS = {shim.KILL_BEFORE: "before", shim.KILL_TORN: "in", shim.KILL_AFTER: "after"}

missing = shim.missing


def run(run):
    library = shim.build(run.folder)
    points = []
    worlds = [World(run, library, scenario, run.seed) for scenario in wanted(ALL + tiers.ALL)]
    try:
        for world in worlds:
            world.prepare()
            points += survey(run, world)
        compare_with_strace(run, worlds)
        total = len(points)
        if run.count and run.count < total:
            step = total / run.count
            start = run.chance.random() * step
            points = [points[int(start + number * step)] for number in range(run.count)]
        kinds = collections.Counter()
        for world, number, moment in points:
            kinds[kill(run, world, number, moment)] += 1
            if len(run.failures) + run.lost > 20:
                run.fail("too much is wrong to go on")
                break
        run.say("killed at " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
        run.figures[f"of {total} points"] = len(points)
    finally:
        for world in worlds:
            world.remove()


def survey(run, world):
    """The points where this scenario can be killed: one run in which nothing is."""
    if not world.survey():
        return []
    calls = list(world.shim.seen())
    if not run.count:
        world.conclude(f"{world.name} without a fault")
    run.say(f"{world.name}: {world.shim.count} calls")
    if os.environ.get("SHOW"):
        for number, call in enumerate(calls, 1):
            run.say(f"  {number} {call}")
    return [(world, number, moment) for number, call in enumerate(calls, 1) for moment in MOMENTS
            if moment != shim.KILL_TORN or call.split()[0] in ("write", "pwrite", "writev", "copy_file_range")]


# What strace calls what the shim counts; an open counts if it may create or cut.
TRACED = {"pwrite64": "pwrite", "openat": "open to create", "utimensat": "futimens", "renameat2": "rename", "renameat": "rename",
          "unlinkat": "unlink", "mkdirat": "mkdir"}
NAMES = ["write", "pwrite", "writev", "pwritev", "fsync", "fdatasync", "sync_file_range", "rename", "link", "linkat", "unlink", "mkdir", "rmdir",
         "ftruncate", "fallocate", "futimens", "copy_file_range", "open to create"]


def compare_with_strace(run, worlds):
    """A start and an upload, counted twice."""
    strace = shutil.which("strace")
    if not strace or subprocess.run([strace, "-o", "/dev/null", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        run.say("no strace that works here: whether calls escape the shim is not looked at")
        return
    world = next((world for world in worlds if isinstance(world.scenario, Recovery)), None)
    if not world:
        return
    world.reset()
    trace = os.path.join(world.folder, "trace")
    library = world.server.environment.pop("LD_PRELOAD")
    # -D: the server stays our child, and strace is what it starts.
    world.server.wrapper = [strace, "-D", "-f", "-y", "-qq", "-s", "0", "-o", trace, "-E", f"LD_PRELOAD={library}"]
    error = world.strike(shim.COUNT, classes=(shim.CHANGES | shim.HINT) & ~shim.CLOSE)
    world.shim.disarm()
    world.server.kill()
    world.server.wrapper = []
    world.server.environment["LD_PRELOAD"] = library
    if error:
        run.fail(f"an upload under strace: {error}")
        return
    counted = collections.Counter(name for name in NAMES for call in world.shim.seen() if call.startswith(name + " /"))
    traced = collections.Counter()
    with open(trace) as lines:
        for line in lines:
            match = re.match(r"\d+ +(\w+)\((.*)", line)
            if match and world.root in match[2] and "resumed" not in line:
                name = TRACED.get(match[1], match[1])
                if name != "open to create" or re.search("O_CREAT|O_TMPFILE|O_TRUNC", match[2]):
                    traced[name] += 1
    differences = [f"{name}: {counted[name]} counted, {traced[name]} traced" for name in NAMES if counted[name] != traced[name]]
    if differences:
        run.fail(f"calls escape the shim: {'; '.join(differences)}")
    run.say(f"strace sees the {sum(counted.values())} calls of a start and an upload that the shim counts")


def kill(run, world, number, moment):
    """What it was killed at; calls of several threads come in another order each time, and so may their number."""
    world.reset()
    error = world.strike(moment, first=number)
    if world.shim.struck:
        world.server.process.wait()
        call = world.shim.call(number)
        run.cycles += 1
    else:
        call = "nothing"
        if error:
            run.fail(f"{world.name} without a fault: {error}")
    when = f"{world.name}, killed {MOMENTS[moment]} call {number} ({call})"
    for wrong in world.scenario.after(world, world.work):
        run.lose(f"{when}: {wrong}")
    # Either way what the kill left, or what went on from there, is whole.
    is_looked_at_now = world.shim.struck and number % 2 == 0 and not world.scenario.is_from_start
    if is_looked_at_now:
        world.fsck(when)
    world.conclude(when, checks=not is_looked_at_now)
    return call.split()[0]
