"""ENOSPC and EIO at the n-th call that changes a file, for every n of each scenario, once or from then on; then short writes and interrupted calls.

While calls fail the server lives, refuses in words a client understands (507 when the disk is full), and serves what it has. Nothing acknowledged
is lost. A failed sync is never followed by another of the same file, nor, of the index's log, by an acknowledgement before the restart. After a
failed call of the index changes may be refused until then, for RocksDB takes none; after any other ENOSPC everything goes on once calls succeed.
After the restart that follows, all is as in the mode `calls`. (That the index is never written to on a full disk is what the mode `full` shows.)

The count is how many faults at most; 0 is every one. A short form takes every k-th, beginning at random. ONLY=NAME,NAME leaves the other scenarios out.
"""
import collections
import errno
import time

import shim
from scenarios import ALL, Backup, Recovery, World, wanted
from server import NotReady, Refused

SHORT = 6
# What the fault is of is not the store's disk alone, or the start fails as it should.
SCENARIOS = [scenario for scenario in ALL if scenario not in (Backup, Recovery)]
ANSWER_SECONDS = 10

missing = shim.missing


def run(run):
    library = shim.build(run.folder)
    worlds = [World(run, library, scenario, run.seed) for scenario in wanted(SCENARIOS)]
    points, outcomes = [], collections.Counter()
    try:
        for world in worlds:
            world.prepare()
            points += survey(run, world)
        total = len(points)
        if run.count and run.count < total:
            step = total / run.count
            start = run.chance.random() * step
            points = [points[int(start + number * step)] for number in range(run.count)]
        for world, number, code, is_lasting in points:
            outcomes[fail(run, world, number, code, is_lasting)] += 1
            if len(run.failures) + run.lost > 60:
                run.fail("too much is wrong to go on")
                break
        for world in worlds if not run.count else [run.chance.choice(worlds)]:
            nuisances(run, world)
        run.say("answers " + ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items())))
        run.figures[f"of {total} points"] = len(points)
    finally:
        for world in worlds:
            world.remove()


def survey(run, world):
    if not world.survey():
        return []
    return [(world, number, code, is_lasting) for number in range(1, world.shim.count + 1) for code in (errno.ENOSPC, errno.EIO)
            for is_lasting in (False, True)]


def fail(run, world, number, code, is_lasting):
    """What the client was told."""
    world.reset()
    began = time.monotonic()
    error = world.strike(shim.FAIL, first=number, last=shim.FOREVER if is_lasting else number, number=code)
    took = time.monotonic() - began
    call = world.shim.call(number)
    name = errno.errorcode[code]
    when = f"{world.name}, {name} {'from' if is_lasting else 'at'} call {number} ({call})"
    if not world.shim.struck:
        return f"{name} nothing struck"
    run.cycles += 1
    if not world.is_alive():
        run.fail(f"{when}: the server ended with {world.server.process.returncode}")
    else:
        told = judge_answer(run, when, error, code, took)
        look_while_it_fails(run, world, when)
        judge_syncs(run, world, when, number, call)
        world.shim.disarm()
        go_on(run, world, when, code, call, list(world.shim.seen())[number - 1 :] if is_lasting else [call])
    world.conclude(when)
    return f"{name} {error.status if isinstance(error, Refused) else 'acknowledged' if error is None else 'cut'}"


def judge_answer(run, when, error, code, took):
    if took > ANSWER_SECONDS + 20:
        run.fail(f"{when}: it took {took:.1f} s")
    if isinstance(error, Refused):
        if error.status not in ((507, 503) if code == errno.ENOSPC else (500, 503)):
            run.fail(f"{when}: {error}")
    elif error is not None:
        run.fail(f"{when}: {type(error).__name__}: {error}")


def look_while_it_fails(run, world, when):
    try:
        if not world.scenario.reads_write:
            world.look(f"{when}, while it lasts")
        status = world.client.call("GET", "/livez")[0]
        if status != 200:
            run.fail(f"{when}: /livez says {status}")
    except (OSError, Refused) as error:
        run.fail(f"{when}, while it lasts: {error}")


def judge_syncs(run, world, when, number, call):
    """What could not be synced is not synced again: the kernel may have dropped the pages, and would say all is well. (RocksDB may do so with its
    log when it closes that; that nothing is acknowledged after it is looked at elsewhere.)"""
    if not call.startswith(("fsync ", "fdatasync ")) or call.endswith(("/LOG", ".log")):
        return
    # A folder is synced for each new name in it.
    if call in ("fsync /data/index", "fsync /data") or call.startswith("fsync /data/store"):
        return
    again = [later for later in list(world.shim.seen())[number:] if later == call]
    if again:
        run.fail(f"{when}: synced again")


def is_poison(call):
    """The log of the index is what every acknowledgement waits for."""
    return call.startswith(("fsync", "fdatasync")) and call.endswith(".log")


def go_on(run, world, when, code, call, struck):
    """Without a restart: a disk that has room again takes everything; one that fails need not, and must not after a failed sync."""
    may_refuse = code == errno.EIO or any("/data/index/" in each or each.startswith(("fsync", "fdatasync")) for each in struck)
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            world.scenario.operate(world, world.work)
            world.settle()
            if is_poison(call):
                run.fail(f"{when}: acknowledged after a failed sync")
            return
        except Refused as refusal:
            if may_refuse:
                if refusal.status not in (500, 503):
                    run.fail(f"{when}, sent again: {refusal}")
                return
            if time.monotonic() > deadline:
                run.fail(f"{when}, sent again: {refusal}")
                return
            time.sleep(0.2)
        except (OSError, NotReady) as error:
            run.fail(f"{when}, sent again: {error}")
            return


def nuisances(run, world):
    """Short and interrupted calls are nobody's business."""
    for what, arming in (
            ("every write and read is short", {"action": shim.SHORT, "last": shim.FOREVER, "classes": shim.WRITE | shim.READ}),
            ("every third call is interrupted", {"action": shim.FAIL, "number": errno.EINTR, "last": shim.FOREVER, "every": 3,
                                                 "classes": shim.WRITE | shim.OPEN | shim.READ})):
        world.reset()
        error = world.strike(**arming)
        run.cycles += 1
        when = f"{world.name}, {what}"
        if error or not world.is_alive():
            run.fail(f"{when}: {error}, exit code {world.server.process.poll()}")
        else:
            world.look(when)
        world.conclude(when)
