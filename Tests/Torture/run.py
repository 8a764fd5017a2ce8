"""One run of one mode: what it was asked, and what it counted."""
import os
import random


class Run:
    def __init__(self, mode, binary, folder, seed, count, writers):
        self.mode, self.binary, self.folder, self.seed, self.count, self.writers = mode, binary, folder, seed, count, writers
        self.chance = random.Random(seed)
        # One cycle is one fault: a kill, a cut, a flip, a failed call.
        self.cycles, self.acknowledged, self.sweeps, self.lost, self.failures = 0, 0, 0, 0, []
        # Of the server, and what its data is on.
        self.commit, self.file_system = "", ""
        # Figures of one mode alone, by name.
        self.figures = {}
        os.makedirs(folder, exist_ok=True)

    def say(self, text):
        print(f"{self.mode}: {text}", flush=True)

    def lose(self, what):
        """Something acknowledged is not there, or is not what it was."""
        self.lost += 1
        self.say(f"LOST {what}")

    def fail(self, what):
        """Anything else that must not be."""
        self.failures.append(what)
        self.say(f"FAILED {what}")

    def is_good(self):
        return not self.lost and not self.failures

    def summary(self):
        figures = "".join(f", {value} {name}" for name, value in self.figures.items())
        return (f"{self.cycles} cycles, {self.acknowledged} acknowledged, {self.sweeps} sweeps, {self.lost} lost, "
                f"{len(self.failures)} failures{figures}; seed {self.seed}")
