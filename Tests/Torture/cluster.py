"""PostgreSQL servers of our own, and the network before them, where things go wrong."""
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import machine

DATABASE = "torture"


def programs():
    """Where initdb and pg_ctl are; None without PostgreSQL."""
    root = "/usr/lib/postgresql"
    versions = sorted(os.listdir(root), key=lambda name: int(name) if name.isdigit() else 0, reverse=True) if os.path.isdir(root) else []
    for folder in [os.environ.get("POSTGRES_PROGRAMS", "")] + [os.path.join(root, name, "bin") for name in versions]:
        if os.access(os.path.join(folder, "initdb"), os.X_OK):
            return folder
    return None


class Cluster:
    """A server and, while it fails over, its standby. As root its data is on a disk of its own, which can be filled; its log is not."""

    def __init__(self, log, has_disk=True):
        self.bin, self.log, self.generation = programs(), log, 0
        # A socket's path is short.
        self.folder = tempfile.mkdtemp(prefix="granary-pg-", dir="/tmp")
        self.prefix, self.user, self.disk = [], None, None
        if os.geteuid() == 0:
            self.user = "postgres" if subprocess.run(["id", "postgres"], capture_output=True).returncode == 0 else "nobody"
            self.prefix = ["runuser", "-u", self.user, "--"]
            if subprocess.run([*self.prefix, "test", "-x", f"{self.bin}/initdb"], cwd="/").returncode != 0:
                # That one cannot reach them: root by another name can.
                self.prefix, self.user = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"], None
        os.chmod(self.folder, 0o755)
        if has_disk and machine.missing("ext4") is None:
            machine.isolate()
            self.disk = machine.Disk("ext4", self.folder, 1 << 30)
            self.disk.mount()
            self.own(self.disk.path)
        self.own(self.folder)
        self.current = Postgres(self, 0)
        self.current.create()
        self.current.start()
        self.call("createdb", "-h", self.current.socket, "-U", "postgres", DATABASE)

    def own(self, path):
        if self.user:
            shutil.chown(path, self.user)

    def call(self, program, *arguments):
        done = subprocess.run([*self.prefix, f"{self.bin}/{program}", *arguments], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}")

    def keep_log(self):
        """Of the server that runs now, where a failed run is looked at."""
        try:
            shutil.copy(os.path.join(self.current.socket, "log"), os.path.join(self.log, "postgres.log"))
        except OSError:
            pass

    def next(self):
        self.generation += 1
        return Postgres(self, self.generation)

    def remove(self):
        self.current.kill()
        # Those of its children that have not noticed yet have files open.
        time.sleep(0.3)
        if self.disk:
            self.disk.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres:
    """One server. What it promises it promises as an operator runs it: with its syncs."""

    def __init__(self, cluster, generation):
        self.cluster = cluster
        self.data = os.path.join(cluster.disk.path if cluster.disk else cluster.folder, f"d{generation}")
        self.log, self.socket = os.path.join(cluster.folder, f"w{generation}"), os.path.join(cluster.folder, f"s{generation}")
        # Of a standby: whom it follows.
        self.source = None
        os.mkdir(self.socket)
        cluster.own(self.socket)

    def create(self):
        self.cluster.call("initdb", "-D", self.data, "-X", self.log, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "--no-instructions")

    def start(self, *settings):
        """Returns when it answers."""
        words = ["listen_addresses=", f"unix_socket_directories={self.socket}", "jit=off", "max_connections=60", "shared_buffers=32MB", *settings]
        options = " ".join(f"-c {word}" for word in words)
        for _ in range(100):
            try:
                self.cluster.call("pg_ctl", "-D", self.data, "-w", "-s", "-l", os.path.join(self.socket, "log"), "-o", options, "start")
                return
            except RuntimeError as error:
                # After a kill the memory that the dead server's children share is there until they have noticed.
                reason = error
                time.sleep(0.05)
        raise reason

    def stop(self, mode):
        self.cluster.call("pg_ctl", "-D", self.data, "-m", mode, "-w", "-s", "stop")

    def processes(self):
        """Its first process and that one's children."""
        try:
            with open(os.path.join(self.data, "postmaster.pid")) as file:
                first = int(file.readline())
            with open(f"/proc/{first}/task/{first}/children") as file:
                return [first] + [int(word) for word in file.read().split()]
        except (OSError, ValueError):
            return []

    def backends(self):
        """Those of its processes that serve a client."""
        found = []
        for process in self.processes()[1:]:
            try:
                with open(f"/proc/{process}/cmdline") as file:
                    if "[local]" in file.read():
                        found.append(process)
            except OSError:
                pass
        return found

    def kill(self):
        for process in self.processes()[:1]:
            signal_all([process], signal.SIGKILL)

    def state(self):
        """`primary` or `standby`; None while it takes no connection (PostgreSQL, section 55.2)."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(os.path.join(self.socket, ".s.PGSQL.5432"))
                words = struct.pack("!i", 196608) + f"user\0postgres\0database\0{DATABASE}\0\0".encode()
                connection.sendall(struct.pack("!i", len(words) + 4) + words)
                stream, state = connection.makefile("rb"), "primary"
                while True:
                    kind, length = struct.unpack("!ci", stream.read(5))
                    body = stream.read(length - 4)
                    if kind == b"S" and body.startswith(b"in_hot_standby\0on"):
                        state = "standby"
                    if kind == b"Z":
                        return state
                    if kind == b"E":
                        return None
        except (OSError, struct.error):
            return None

    def await_state(self, state):
        """The moment at which it was so."""
        began = time.monotonic()
        while self.state() != state:
            if time.monotonic() - began > 60:
                raise RuntimeError(f"the server does not become {state}")
            time.sleep(0.01)
        return time.monotonic()

    def follower(self):
        """A standby of it; it must be stopped."""
        other = self.cluster.next()
        subprocess.run(["cp", "-a", self.log + "/.", other.log], check=True)
        subprocess.run(["cp", "-a", self.data + "/.", other.data], check=True)
        os.remove(os.path.join(other.data, "pg_wal"))
        os.symlink(other.log, os.path.join(other.data, "pg_wal"))
        mark = os.path.join(other.data, "standby.signal")
        open(mark, "w").close()
        for path in (other.data, other.log, mark):
            self.cluster.own(path)
            os.chmod(path, 0o700)
        other.source = f"primary_conninfo='host={self.socket} user=postgres application_name=standby'"
        return other

    def remove(self):
        self.kill()
        time.sleep(0.2)
        for path in (self.data, self.log, self.socket):
            shutil.rmtree(path, ignore_errors=True)


def signal_all(processes, number):
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass


class Network:
    """Between the nodes and the server: on a socket that stays where it is, whichever server is behind it."""

    PREPARED = re.compile(rb"P....(s\d+)\0COMMIT\0", re.DOTALL)
    SYNC = b"S\0\0\0\4"

    def __init__(self, folder):
        self.folder, self.server, self.delay, self.cut_at = folder, None, 0.0, None
        self.joined, self.lock = set(), threading.Lock()
        self.cuts = 0
        os.mkdir(folder)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(folder, ".s.PGSQL.5432"))
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def address(self):
        return f"host={self.folder} user=postgres dbname={DATABASE}"

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(os.path.join(self.server.socket, ".s.PGSQL.5432"))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.joined.add((client, server))
            for pump in (self.ask, self.answer):
                threading.Thread(target=self.run, args=(pump, client, server), daemon=True).start()

    def run(self, pump, client, server):
        try:
            pump(client, server)
        except OSError:
            pass
        self.part(client, server)

    def part(self, client, server):
        with self.lock:
            self.joined.discard((client, server))
        for end in (client, server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def cut(self):
        with self.lock:
            joined = list(self.joined)
        for pair in joined:
            self.part(*pair)
        self.cuts += 1

    def answer(self, client, server):
        while received := server.recv(1 << 16):
            if self.delay:
                time.sleep(self.delay)
            client.sendall(received)

    def ask(self, client, server):
        commit = None
        while received := client.recv(1 << 16):
            if self.delay:
                time.sleep(self.delay)
            if b"COMMIT" in received and (found := self.PREPARED.search(received)):
                commit = b"\0" + found[1] + b"\0"
            if self.cut_at and commit and (at := received.find(commit)) >= 0:
                when, self.cut_at = self.cut_at, None
                self.cuts += 1
                if when == "before":
                    # The bind is the type, a length and an empty name before it.
                    server.sendall(received[:at - 5])
                    return
                # No answer comes back, however long the server takes.
                client.shutdown(socket.SHUT_WR)
                server.sendall(received)
                while not received.endswith(self.SYNC):
                    received = client.recv(1 << 16)
                    if not received:
                        return
                    server.sendall(received)
                server.settimeout(5)
                try:
                    server.recv(1 << 16)
                except OSError:
                    pass
                return
            server.sendall(received)
