"""The shim in the server (shim.c), seen from outside: which call it strikes, and what it saw."""
import mmap
import os
import shutil
import struct
import subprocess

# As in shim.c.
COUNT, KILL_BEFORE, KILL_AFTER, KILL_TORN, FAIL, SHORT = range(6)
WRITE, SYNC, NAME, SIZE, OPEN, CLOSE, READ, HINT = (1 << bit for bit in range(8))
CHANGES = WRITE | SYNC | NAME | SIZE | OPEN | CLOSE
FOREVER = (1 << 64) - 1
SEEN_MAX, SEEN_BYTES, PAGE = 2048, 96, 4096
# armed, action, number, classes, first, last, count, struck, clock_offset_seconds
HEAD = struct.Struct("IIIIQQQQq")


def compiler():
    return shutil.which("cc") or shutil.which("clang") or shutil.which("gcc")


def missing():
    """Why it cannot run here; None when it can."""
    if not os.path.exists("/proc/self/fd"):
        return "the shim is for Linux"
    return None if compiler() else "there is no C compiler (cc, clang or gcc)"


def build(folder, name="shim"):
    """The path of the library that NAME.c makes."""
    library = os.path.join(folder, f"{name}.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.c")
    subprocess.run([compiler(), "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


class Shim:
    """One control page. A server gets `environment`; `root` is what lies below it that counts."""

    def __init__(self, library, folder, root):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, "control")
        with open(self.path, "wb") as f:
            f.truncate(PAGE + SEEN_MAX * SEEN_BYTES)
        with open(self.path, "r+b") as f:
            self.page = mmap.mmap(f.fileno(), 0)
        # A crash is to be over at once: its report takes a minute, in which clients hang.
        self.environment = {"LD_PRELOAD": library, "SHIM_CONTROL": self.path, "SHIM_ROOT": root, "SWIFT_BACKTRACE": "enable=no"}

    def arm(self, action, first=1, last=None, number=0, classes=CHANGES, only="", every=1):
        """Counting begins anew. Strikes the calls from `first` to `last` (default: `first` alone), or every so
        many-th of them; calls that lack `only` in their path are not counted."""
        offset = self.clock_offset
        self.page[PAGE:] = bytes(SEEN_MAX * SEEN_BYTES)
        self.page[HEAD.size : HEAD.size + 72] = only.encode().ljust(64, b"\0") + struct.pack("Q", every)
        self.page[: HEAD.size] = HEAD.pack(0, action, number, classes, first, first if last is None else last, 0, 0, offset)
        self.page[:4] = struct.pack("I", 1)

    def disarm(self):
        self.page[:4] = struct.pack("I", 0)

    def fields(self):
        return HEAD.unpack(self.page[: HEAD.size])

    @property
    def count(self):
        return self.fields()[6]

    @property
    def struck(self):
        return self.fields()[7]

    @property
    def clock_offset(self):
        return self.fields()[8]

    @clock_offset.setter
    def clock_offset(self, seconds):
        at = HEAD.size - 8
        self.page[at : HEAD.size] = struct.pack("q", seconds)

    def seen(self):
        """The calls counted, as "name path"."""
        for number in range(min(self.count, SEEN_MAX)):
            at = PAGE + number * SEEN_BYTES
            yield self.page[at : at + SEEN_BYTES].split(b"\0")[0].decode(errors="replace")

    def call(self, number):
        calls = list(self.seen())
        return calls[number - 1] if 0 < number <= len(calls) else "?"
