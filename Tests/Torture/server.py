"""The server under test as a process, and clients of it."""
import base64
import collections
import http.client
import json
import os
import signal
import subprocess
import time

SEGMENT_BYTES = 16 << 20
# A server that is not ready by then has failed. It is watched for longer, to tell one that is late from one that hangs.
READY_SECONDS, LATE_SECONDS = 60, 300


class Refused(Exception):
    """An answer that no kill explains."""

    def __init__(self, text, status=0):
        super().__init__(text)
        self.status = status


class NotReady(Exception):
    """The server ended instead of becoming ready, or never became it."""


class Server:
    """One server on `data`, with `settings` (of `--set`) and `environment` beside those it needs. Log and port are in `folder`."""

    def __init__(self, binary, folder, data=None):
        self.binary, self.folder, self.data = binary, folder, data or os.path.join(folder, "data")
        self.port, self.process, self.settings, self.environment = 0, None, {}, {}
        # What the server is started by, if not by us.
        self.wrapper = []
        # An administrator's token, where there is one: a password costs more than all the rest.
        self.administrator = None
        self.password = base64.b16encode(os.urandom(16)).decode()

    def launch(self, port_file):
        settings = {"segment_bytes_max": SEGMENT_BYTES, "sweep_interval_minutes": 0, **self.settings}
        command = self.wrapper + [self.binary, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--port-file", port_file]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        with open(os.path.join(self.folder, "server.log"), "a") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, "ADMIN_PASSWORD": self.password, **self.environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self):
        """The seconds until it was ready."""
        port_file = os.path.join(self.folder, "port")
        if os.path.exists(port_file):
            os.remove(port_file)
        began = time.monotonic()
        self.launch(port_file)
        doing = None
        while (waited := time.monotonic() - began) < LATE_SECONDS:
            if self.process.poll() is not None:
                raise NotReady(f"the server ended with {self.process.returncode}" + (f", late: {doing}" if doing else ""))
            if waited > READY_SECONDS and doing is None:
                doing = state(self.process.pid)
            if self.port == 0 and os.path.exists(port_file):
                with open(port_file) as f:
                    self.port = int(f.read().strip().rsplit(":", 1)[-1] or 0)
            try:
                if self.port and Client(self, None).call("GET", "/readyz")[0] == 200:
                    if doing:
                        raise NotReady(f"the server became ready after {time.monotonic() - began:.0f} s; what it did after {READY_SECONDS}: {doing}")
                    return time.monotonic() - began
            except OSError:
                pass
            time.sleep(0.01)
        raise NotReady(f"the server does not become ready within {LATE_SECONDS} s; what it did after {READY_SECONDS}: {doing}")

    def kill(self):
        """Ends it at once, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


class Client:
    """One connection, made anew after an error."""

    def __init__(self, server, authorization):
        self.server, self.authorization, self.connection = server, authorization, None

    def call(self, method, path, body=None, kind="application/octet-stream", fields=None):
        headers = {"Content-Type": kind, **(fields or {})}
        if self.authorization:
            headers["Authorization"] = self.authorization
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60, blocksize=1 << 18)
            self.connection.request(method, path, body=body, headers=headers)
            response = self.connection.getresponse()
            return response.status, response.read(), response
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(str(error)) from error

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def must(self, statuses, *call):
        status, body, response = self.call(*call)
        if status not in statuses:
            raise Refused(f"{call[0]} {call[1]}: {status} {body[:300]!r}", status)
        return response


def administrator(server):
    return Client(server, server.administrator or "Basic " + base64.b64encode(f"admin:{server.password}".encode()).decode())


def set_up(server):
    """The repositories, without trash so that what is deleted must go, and a token: checking a password for every request would be the load."""
    admin = administrator(server)
    for key, kind in (("gen", "generic"), ("img", "docker"), ("py", "pypi")):
        body = json.dumps({"key": key, "name": key, "format": kind, "repo_type": "local", "trash_days": 0})
        admin.must([200], "POST", "/api/v1/repositories", body, "application/json")
    return token(admin, "load", ["read:artifacts", "write:artifacts", "delete:artifacts"])


def token(admin, name, scopes):
    status, answer, _ = admin.call("POST", "/api/v1/auth/tokens", json.dumps({"name": name, "scopes": scopes}), "application/json")
    if status != 200:
        raise Refused(f"no token: {status} {answer!r}", status)
    return "Bearer " + json.loads(answer)["token"]


def state(pid):
    """What a process and its machine are at, in words: its threads by what they wait for in the kernel, its memory, and what the machine has left."""
    def read(path):
        try:
            with open(path) as f:
                return f.read()
        except OSError as error:
            return str(error)

    def lines(path, *names):
        return " ".join(" ".join(line.split()) for line in read(path).splitlines() if line.startswith(names))

    threads = collections.Counter()
    for task in os.listdir(f"/proc/{pid}/task"):
        status = lines(f"/proc/{pid}/task/{task}/status", "State:")
        threads[f"{status} in {read(f'/proc/{pid}/task/{task}/wchan')}"] += 1
    return (f"{dict(threads)}; {lines(f'/proc/{pid}/status', 'VmRSS', 'VmHWM')}; {lines('/proc/meminfo', 'MemAvailable', 'Shmem:', 'Dirty', 'Writeback:')}; "
            f"load {read('/proc/loadavg').strip()}; {lines('/proc/pressure/memory', 'full')}")
