"""What all runs together have shown: a line for each in docs/reliability-ledger.tsv, and their sums in docs/reliability.md."""
import datetime
import fcntl
import os
import subprocess

COLUMNS = ("date", "commit", "mode", "file system", "seed", "cycles", "acknowledged", "lost", "detected", "harmless", "undetected", "failures")
SUMMED = COLUMNS[5:]
BEGIN, END = "<!-- sums of reliability-ledger.tsv -->", "<!-- end of sums -->"
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def record(run, root=ROOT):
    """One more line, and new sums."""
    path = os.path.join(root, "docs", "reliability-ledger.tsv")
    figures = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"), "commit": run.commit, "mode": run.mode,
        "file system": run.file_system, "seed": run.seed, "cycles": run.cycles, "acknowledged": run.acknowledged, "lost": run.lost,
        "failures": len(run.failures), **{word: run.figures.get(word, 0) for word in ("detected", "harmless", "undetected")},
    }
    with open(path, "a") as f:
        # Runs side by side end side by side.
        fcntl.flock(f, fcntl.LOCK_EX)
        if f.tell() == 0:
            f.write("\t".join(COLUMNS) + "\n")
        f.write("\t".join(str(figures[column]) for column in COLUMNS) + "\n")
        f.flush()
        show(path, os.path.join(root, "docs", "reliability.md"))


def show(path, page):
    with open(path) as f, open(page) as g:
        lines, text = f.read().splitlines(), g.read()
    before, rest = text.split(BEGIN, 1)
    with open(page, "w") as g:
        g.write(before + BEGIN + "\n" + table(lines) + END + rest.split(END, 1)[1])


def table(lines):
    """Sums by mode and file system, in Markdown."""
    sums = {}
    for line in lines[1:]:
        row = dict(zip(COLUMNS, line.split("\t")))
        each = sums.setdefault((row["mode"], row["file system"]), {"runs": 0, **dict.fromkeys(SUMMED, 0)})
        each["runs"] += 1
        for column in SUMMED:
            each[column] += int(row[column])
        each["last"] = f"{row['date']}, {row['commit']}"
    heads = ("mode", "file system", "runs", *SUMMED, "last run")
    text = "| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|\n"
    for (mode, kind), each in sorted(sums.items()):
        text += f"| {mode} | {kind} | {each['runs']} | " + " | ".join(str(each[column]) for column in SUMMED) + f" | {each['last']} |\n"
    return text


def file_system(folder):
    return subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True).stdout.strip().replace("ext2/ext3", "ext4")


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(["git", "-C", ROOT, "status", "--porcelain", "Sources"], capture_output=True, text=True).stdout
    return done.stdout.strip() + ("+" if changed else "") if done.returncode == 0 else "unknown"
