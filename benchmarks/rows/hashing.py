"""What an upload costs beside hashing its bytes, which the protocols demand."""
import json, subprocess

from gate import Compare, Reading, Row, paired
from rows.uploads import loads

MEBIBYTES = 512


def hash_alone(bench):
    def one(_):
        cpu = json.loads(subprocess.run([bench.load, "sha256", str(MEBIBYTES)], capture_output=True, check=True, text=True).stdout)["cpu"]
        return Reading(MEBIBYTES / cpu, cpu / MEBIBYTES * 1e6, 1, 0, 0, 0)
    return one


def per_mebibyte(load, size):
    """The same load, counted in MiB."""
    def one(number):
        reading, scale = load(number), size / (1 << 20)
        return Reading(reading.rate * scale, reading.cpu / scale, reading.cores, reading.system, reading.generator, reading.others)
    return one


def run(bench):
    cases = {"SHA-256": hash_alone(bench)}
    for name, size in (("10 MiB", 10 << 20), ("1 MiB", 1 << 20)):
        cases[f"push of {name}"] = per_mebibyte(loads(bench, size, 100, 1, cases=("push",))["push"], size)
    return paired(bench, "hashing", "CPU per MiB uploaded, 100 connections", "MiB", cases, [
        Compare("push of 10 MiB", "SHA-256", "cpu", at_most=2.5), Compare("push of 1 MiB", "SHA-256", "cpu", at_most=2.5)])


ROWS = [Row("hashing", "CPU per MiB uploaded beside SHA-256 alone", run, 1.5)]
