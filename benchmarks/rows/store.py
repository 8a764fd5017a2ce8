"""What the store does by itself: cutting into chunks, two builds stored together, a restart on a million assets."""
import os, shutil, statistics, subprocess

import datasets, dedup, fastcdc, restart
from gate import Result, Row, quartiles


def cutting(bench):
    results = []
    for (average, _), rounds in fastcdc.measure(os.path.dirname(bench.here), bench.folder("fastcdc")).items():
        ratios = [hashed / cut for cut, _, _, hashed in rounds]
        per = statistics.median(cut for cut, *_ in rounds) / (256 << 20) * 1e9
        results.append(Result(
            "fastcdc", "FastCDC beside SHA-256, same bytes in one process", f"speed, chunks of {average} KiB", statistics.median(ratios), "x",
            *quartiles(ratios), at_least=1.5, bottleneck="a table read and a test for each byte", detail=f"{per:.2f} CPU s/GB",
            rounds=len(ratios)))
    return results


def gets(bench):
    """On a store of its own: the index's part of a request cannot be told from outside."""
    root, folder = os.path.dirname(bench.here), bench.folder("index-gets")
    subprocess.run(["swift", "build", "-c", "release", "-Xswiftc", "-enable-testing", "--product", "index-gets"], cwd=root, check=True,
                   stdout=subprocess.DEVNULL)
    done = subprocess.run([f"{root}/.build/release/index-gets", f"{folder}/index", "1400000"], check=True, text=True, stdout=subprocess.PIPE)
    rounds = [[int(each) / 1000 for each in line.split()] for line in done.stdout.splitlines()]
    return [Result("index-gets", "one get of the index, 1,400,000 rows, in memory", figure, statistics.median(values), "us", *quartiles(values),
                   at_most=limit, bottleneck="search in blocks" if figure == "hit, CPU" else "the filters", rounds=len(values))
            for figure, limit, values in (("hit, CPU", 4, [each[0] for each in rounds]), ("miss, CPU", 1, [each[1] for each in rounds]))]


def builds(bench):
    folder = bench.folder("builds")
    files = datasets.two_builds(os.path.dirname(bench.here), folder)
    raw = sum(os.path.getsize(path) for path in files)
    stored, note = dedup.granary(bench.binary, folder, files)
    shutil.rmtree(folder)
    return [Result("builds", "two CI builds as plain tar, stored of raw", "stored / raw", stored / raw, "x", at_most=0.15, bottleneck="content",
                   detail=f"{stored / 1e6:.1f} of {raw / 1e6:.1f} MB; {note}")]


def wheels(bench):
    """Neighbours, two at a time, and all of them."""
    folder = bench.folder("wheels")
    files = datasets.from_pypi(folder, "pip", 6)
    results = []
    pairs = [files[at:at + 2] for at in range(0, len(files) - 1, 2)]
    for name, chosen, most in [*((f"versions {at * 2 + 1} and {at * 2 + 2}", pair, 0.7) for at, pair in enumerate(pairs)), ("all", files, 0.7)]:
        raw = sum(os.path.getsize(path) for path in chosen)
        stored, note = dedup.granary(bench.binary, folder, chosen)
        results.append(Result("wheels", "adjacent pure wheels (pip), opened, stored of uploaded", name, stored / raw, "x", at_most=most,
                              bottleneck="content", detail=f"{stored / 1e6:.1f} of {raw / 1e6:.1f} MB; {note}"))
    shutil.rmtree(folder)
    return results


def start(bench):
    folder = bench.folder("restart")
    took, there, resident = restart.measure(bench.binary, folder, bench.here, 1_000_000, min(bench.rounds, 5), say=lambda _: None)
    shutil.rmtree(folder)
    return [Result("restart", "restart", f"to the first answer, {there:,} assets", statistics.median(took), "s", *quartiles(took),
                   detail=f"{max(resident):.0f} MiB resident then", rounds=len(took))]


ROWS = [Row("index-gets", "one get of the index: hit and miss", gets, 1), Row("fastcdc", "FastCDC beside SHA-256", cutting, 0.4),
        Row("builds", "two CI builds as plain tar, stored of raw", builds, 1),
        Row("wheels", "adjacent pure wheels, opened, stored of uploaded", wheels, 2),
        Row("restart", "restart with a million assets", start, 2)]
