"""The gates of the design, measured beside their peers in one run: a table, its figures as JSON, and a plot. See `benchmarks/gates --help`."""
import argparse, os, platform, signal, subprocess, sys, time

import table
from gate import Bench
from rows import connections, flushes, hashing, instructions, memory, pages, reads, store, uploads

ROWS = [row for module in (instructions, reads, pages, uploads, hashing, flushes, memory, connections, store) for row in module.ROWS]


def chosen(names):
    """Rows by name, or by the beginning of one: `get` is every GET."""
    if not names:
        return ROWS
    rows = [row for row in ROWS if any(row.name == name or row.name.startswith(name + "-") for name in names)]
    unknown = [name for name in names if not any(row.name == name or row.name.startswith(name + "-") for row in ROWS)]
    if unknown:
        raise SystemExit(f"no such row: {' '.join(unknown)}; there are: {' '.join(row.name for row in ROWS)}")
    return rows


def main():
    parser = argparse.ArgumentParser(prog="benchmarks/gates", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="rows:\n" + "\n".join(f"  {row.name:<18}{row.title}" for row in ROWS))
    parser.add_argument("rows", nargs="*", metavar="ROW", help="a row's name, or the beginning of several; default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--commit", help="what the server was built from, when SERVER_BINARY names one; default: this tree")
    parser.add_argument("--out", required=True, help="folder for gates.md, gates.json, gates.svg")
    for name in ("granary", "scratch"):
        parser.add_argument(f"--{name}", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows = chosen(options.rows)
    bench = Bench(options.granary, options.scratch, options.out, os.path.dirname(os.path.abspath(__file__)), options.rounds)
    head = subprocess.run(["git", "-C", bench.here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    about = {"commit": options.commit or head, "rounds": options.rounds,
             "cores": os.cpu_count(), "kernel": platform.release(), "load_before": os.getloadavg()[0],
             "began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    bench.say(f"{len(rows)} rows, {options.rounds} rounds, about {sum(row.minutes for row in rows) * options.rounds / 9:.0f} minutes; "
              f"load average before: {about['load_before']:.1f}")
    results, failed = [], []
    try:
        for row in rows:
            began = time.monotonic()
            bench.say(f"\n{row.name}: {row.title}")
            try:
                found = row.run(bench)
            except SystemExit as failure:  # the other rows are measured all the same
                if failure.code == 143:
                    raise
                failed.append(row.name)
                bench.say(f"  FAILED: {failure}")
                continue
            results += found
            for result in found:
                bench.say("  " + table.line(result))
            bench.say(f"  ({time.monotonic() - began:.0f} s)")
            table.write(options.out, about, results)
    finally:
        bench.close()
    bench.say("\n" + table.markdown(about, results))
    table.plot(options.out, about, results)
    missed = sum(result.verdict == "MISSED" for result in results)
    met = sum(result.verdict == "met" for result in results)
    bench.say(f"{met} gates met, {missed} missed, {len(failed)} rows failed{': ' + ' '.join(failed) if failed else ''}")
    if failed:
        raise SystemExit(1)


# Asked to end, it ends what it started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
main()
