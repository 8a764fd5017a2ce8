"""What a row of the gates table is made of: loads taken in turns, compared in pairs, judged by a limit."""
import os, statistics, subprocess, time
from dataclasses import dataclass, field

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Row:
    """One line of the command's menu. `run` gives the results; `minutes` is about what nine rounds take."""
    name: str
    title: str
    run: object
    minutes: float


@dataclass(frozen=True)
class Reading:
    """One load on one server: units (requests, uploads, MiB) a second, and what one of them cost."""
    rate: float
    cpu: float  # the server's CPU microseconds per unit
    cores: float  # that the server kept busy
    system: float  # share of it in the kernel
    generator: float  # cores that the load generator kept busy
    others: float  # cores that strangers to the measurement kept busy
    p99: float = 0.0  # seconds

    @staticmethod
    def of(cost, units):
        if not units:
            raise SystemExit(f"nothing was answered: {cost}")
        return Reading(units / cost["seconds"], cost["cpu"] / units * 1e6, cost["cpu"] / cost["seconds"],
                       cost["system"] / cost["cpu"] if cost["cpu"] else 0, cost["generator"] / cost["seconds"],
                       cost["others"] / cost["seconds"], cost.get("p99", 0))


@dataclass(frozen=True)
class Compare:
    """The ratio of one case to another, by `rate`, `cpu` or `p99`; without a limit it is shown and not judged."""
    of: str
    beside: str
    what: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""


@dataclass
class Result:
    """One line of the table. `value` is the median, `low` and `high` the quartiles."""
    row: str
    title: str
    figure: str
    value: float
    unit: str = "x"
    low: float | None = None
    high: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    bottleneck: str = ""
    detail: str = ""
    rounds: int = 1
    readings: dict = field(default_factory=dict)

    @property
    def verdict(self):
        if self.at_least is None and self.at_most is None:
            return ""
        is_met = (self.at_least is None or self.value >= self.at_least) and (self.at_most is None or self.value <= self.at_most)
        return "met" if is_met else "MISSED"


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def in_turns(bench, cases):
    """Every case once untimed, so that pages and caches are warm, then in turns: A B C, A B C, ... Readings by case."""
    for load in cases.values():
        load("w")
    readings = {name: [] for name in cases}
    for number in range(bench.rounds):
        for name, load in cases.items():
            readings[name].append(load(number))
    return readings


def bottleneck(readings, pinned=False):
    """What was used up while the loads ran, by their medians."""
    cores, system, generator, others = (statistics.median(getattr(r, of) for r in readings) for of in ("cores", "system", "generator", "others"))
    used = f"server {cores:.2f} cores ({system * 100:.0f} % kernel), load {generator:.2f}"
    if others > 0.15 * CORES:
        return f"strangers, {others:.2f} cores: {used}"
    if generator > 0.93 and not cores + generator > 0.93 * CORES:
        return f"the load generator: {used}"
    if cores + generator > 0.9 * CORES or pinned and cores > 0.93:
        return f"CPU: {used}"
    return f"waiting (turns of request and answer, or the disk): {used}"


WORDS = {"rate": "rate", "cpu": "CPU per {unit}", "p99": "p99"}


def paired(bench, row, title, unit, cases, compares, pinned=False):
    """Runs the cases in turns and judges each comparison: the median of the rounds' ratios, with their quartiles."""
    readings = in_turns(bench, cases)
    for name, each in readings.items():
        rate, cpu = statistics.median(r.rate for r in each), statistics.median(r.cpu for r in each)
        bench.say(f"  {name:<28}{rate:>12,.0f} {unit}/s {cpu:>12,.1f} us CPU/{unit}   {bottleneck(each, pinned)}")
    results = []
    for compare in compares:
        ratios = [getattr(a, compare.what) / max(getattr(b, compare.what), 1e-9) for a, b in zip(readings[compare.of], readings[compare.beside])]
        low, high = quartiles(ratios)
        ours, theirs = (statistics.median(getattr(r, compare.what) for r in readings[case]) for case in (compare.of, compare.beside))
        if compare.what == "p99":
            detail = f"{ours * 1e3:.2f} and {theirs * 1e3:.2f} ms"
        elif compare.what == "cpu":
            detail = f"{ours:,.1f} and {theirs:,.1f} us"
        else:
            detail = f"{ours:,.0f} and {theirs:,.0f} {unit}/s"
        figure = f"{WORDS[compare.what].format(unit=unit)}, {compare.of} / {compare.beside}"
        results.append(Result(
            row, title, figure, statistics.median(ratios), "x", low, high, compare.at_least, compare.at_most,
            bottleneck(readings[compare.of], pinned), f"{detail}{'; ' + compare.note if compare.note else ''}", len(ratios),
            {name: [vars(r) for r in each] for name, each in readings.items()}))
    return results


class Bench:
    """One run of the command: where things are, how many rounds, and what was started for several rows."""

    def __init__(self, binary, scratch, out, here, rounds):
        self.binary, self.scratch, self.out, self.here, self.rounds = binary, scratch, out, here, rounds
        os.makedirs(out, exist_ok=True)
        self.shared, self.closing = {}, []
        self.load = f"{scratch}/load"
        subprocess.run(["cc", "-O2", "-o", self.load, f"{here}/load.c", "-lcrypto", "-lpthread"], check=True)

    def say(self, text):
        print(text, flush=True)

    def once(self, key, make):
        """What several rows use is made when the first of them asks."""
        if key not in self.shared:
            self.shared[key] = make(self)
        return self.shared[key]

    def folder(self, name):
        path = f"{self.scratch}/{name}"
        os.makedirs(path, exist_ok=True)
        return path

    def disk_free(self):
        space = os.statvfs(self.scratch)
        return space.f_bavail * space.f_frsize

    def close(self):
        for server in reversed(self.closing):
            server.stop()


def median_of(action, rounds):
    values = [action() for _ in range(rounds)]
    return statistics.median(values), *quartiles(values)


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not after {seconds} s")
        time.sleep(0.1)
