"""Reading and writing what is not allocated: an allocator preloaded into the server (heap.c) ends it at once.

Nothing else bad is done: each scenario of `calls` runs once, then flips are looked for by `fsck` and readers, and the race goes on for COUNT changes.
In the build that ships, whose optimizer is part of what is tried.
"""
import os
import subprocess

import calls
import flips
import race
import shim
from run import Run

SHORT = 6000


def missing():
    """Why it cannot run here; None when it can."""
    try:
        is_glibc = os.confstr("CS_GNU_LIBC_VERSION").startswith("glibc")
    except (ValueError, OSError, AttributeError):
        is_glibc = False
    return shim.missing() if is_glibc else "the allocator is for glibc"


def run(run):
    guarded = guard(run)
    for mode, count in ((calls, 1), (flips, 24), (race, run.count)):
        part = Run(run.mode, guarded, os.path.join(run.folder, mode.__name__), run.seed, count, run.writers)
        mode.run(part)
        run.cycles += part.cycles
        run.acknowledged += part.acknowledged
        run.sweeps += part.sweeps
        run.lost += part.lost
        run.failures += part.failures


def guard(run):
    """A program that is the server with the allocator, before any other library that is to be preloaded."""
    library = shim.build(run.folder, "heap")
    program = os.path.join(run.folder, "guarded")
    with open(program, "w") as f:
        f.write(f'#!/bin/sh\nLD_PRELOAD="{library}${{LD_PRELOAD:+ $LD_PRELOAD}}" exec "{run.binary}" "$@"\n')
    os.chmod(program, 0o755)
    return program
