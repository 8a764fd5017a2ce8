"""Faults on a real server, again and again, and a judge that knows what was acknowledged.

torture.py --binary GRANARY --folder DIR [--seed S] [--writers N] [--record] [--commit C] [MODE[=COUNT]]...

A mode is a module beside this one: `SHORT`, the count of its short form; `missing()`, why it cannot run here, or None; and `run(run)`. Without
modes the short form of every one runs. Each has a folder of its own in DIR, with `server.log` and `ledger`, where intents are written before a
request goes out and acknowledgements after its answer. The exit code is 0 only if nothing was lost and nothing failed.
"""
import argparse
import os
import random
import signal
import sys
import time
import traceback

import calls
import clock
import cuts
import descriptors
import faults
import flips
import full
import heap
import kills
import ledger
import postgres
import race
import revoke
import surgery
from run import Run

MODES = {
    "kills": kills, "kills-tier": kills.WithTier(), "cuts-ext4": cuts.Cuts("ext4"), "cuts-xfs": cuts.Cuts("xfs"), "flips": flips,
    "surgery": surgery, "race": race, "revoke": revoke, "calls": calls, "clock": clock, "faults": faults, "full": full, "descriptors": descriptors,
    "heap": heap, "postgres": postgres,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--writers", type=int, default=6)
    parser.add_argument("--record", action="store_true", help="add the totals to docs/reliability-ledger.tsv")
    parser.add_argument("--commit", default=ledger.commit(), help="of the server, for the ledger; default: the one checked out")
    parser.add_argument("modes", nargs="*", metavar="MODE[=COUNT]", help=f"of {', '.join(MODES)}; default: the short form of each")
    options = parser.parse_args()
    asked = []
    for word in options.modes or MODES:
        name, _, count = word.partition("=")
        if name not in MODES:
            parser.error(f"{name} is none of {', '.join(MODES)}")
        asked.append((name, int(count or MODES[name].SHORT)))

    # Whatever ends this script ends the server: SIGTERM becomes an exit, and each mode cleans up on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    are_good = [perform(name, count, options) for name, count in asked]
    raise SystemExit(0 if all(are_good) else 1)


def perform(name, count, options):
    """Whether all was well."""
    mode = MODES[name]
    reason = mode.missing()
    if reason:
        print(f"{name}: SKIPPED: {reason}", flush=True)
        return True
    run = Run(name, options.binary, os.path.join(options.folder, name), options.seed, count, options.writers)
    run.commit, run.file_system = options.commit, ledger.file_system(run.folder)
    run.say(f"seed {run.seed}, count {count}, commit {run.commit}")
    began = time.monotonic()
    try:
        mode.run(run)
    except Exception:
        run.fail(traceback.format_exc())
    if not run.is_good():
        show_log(run.folder)
    run.say(f"{'good' if run.is_good() else 'BAD'}: {run.summary()}; {time.monotonic() - began:.0f} s")
    if options.record:
        ledger.record(run)
    return run.is_good()


def show_log(folder):
    try:
        with open(os.path.join(folder, "server.log"), errors="replace") as log:
            print("".join(log.readlines()[-20:]), end="", flush=True)
    except OSError:
        pass


if __name__ == "__main__":
    main()
