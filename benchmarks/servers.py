"""Starting servers for a measurement, and reading what they cost."""
import base64, http.client, json, os, re, signal, subprocess, time

PASSWORD = "Bench-Password-1"
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A process that listens on a loopback port; its whole family's CPU time counts."""

    def __init__(self, name, command, port, log, env=None):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, stdout=open(log, "ab"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                connection.request("GET", "/livez")
                connection.getresponse().read()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"{name} does not answer; its log: {log}")

    def pids(self):
        found = [self.process.pid]
        for pid in found:
            path = f"/proc/{pid}/task/{pid}/children"
            if os.path.exists(path):
                found += [int(child) for child in open(path).read().split()]
        return found

    def cpu_seconds(self):
        total = 0
        for pid in self.pids():
            fields = open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def status(self, field):
        text = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M).group(1)) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def granary(binary, scratch, *flags):
    """Granary on its defaults but the access log, as the peers run without one."""
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("GRANARY_")} | {"ADMIN_PASSWORD": PASSWORD}
    command = [binary, "serve", "--data", f"{scratch}/granary", "--listen", f"127.0.0.1:{port}", "--set", "access_log=false", *flags]
    return Server("granary", command, port, f"{scratch}/granary.log", env)


def authorization():
    return "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


def call(server, method, path, body=None, content_type="application/json"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    if isinstance(body, dict):
        body = json.dumps(body)
    connection.request(method, path, body, {"Authorization": authorization(), "Content-Type": content_type})
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 400:
        raise SystemExit(f"{method} {path}: {response.status} {answer[:300]!r}")
    return answer


def make_repository(server, key, form):
    call(server, "POST", "/api/v1/repositories", {"key": key, "name": key, "format": form, "repo_type": "local", "is_public": True})


def wrk(server, seconds, connections, *args, script=None, script_args=()):
    """Requests answered, errors (other statuses, lost connections) and the server's CPU seconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    if script:
        command += ["-s", script]
    command += [*args]
    if script_args:
        command += ["--", *script_args]
    before = server.cpu_seconds()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = server.cpu_seconds() - before
    count = int(re.search(r"(\d+) requests in", out).group(1))
    took = re.search(r"requests in ([\d.]+)(ms|s|m)", out)
    elapsed = float(took.group(1)) * {"ms": 0.001, "s": 1, "m": 60}[took.group(2)]
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    errors += sum(int(n) for line in re.findall(r"Socket errors: (.*)", out) for n in re.findall(r"\d+", line))
    return {"requests": count, "seconds": elapsed, "errors": errors, "cpu": cpu}
