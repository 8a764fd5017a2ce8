"""Starting servers for a measurement, loading them, and reading what they cost."""
import base64, http.client, json, os, re, resource, shutil, signal, socket, subprocess, time

PASSWORD = "Bench-Password-1"
TICKS = os.sysconf("SC_CLK_TCK")
MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class Server:
    """A process that listens on a loopback port; its whole family's CPU time counts."""

    def __init__(self, name, command, port, log, env=None, patience=30):
        self.name, self.port, self.log = name, port, log
        self.process = subprocess.Popen(command, stdout=open(log, "ab"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env,
                                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES)))
        try:
            self.wait(patience)
        except BaseException:
            self.stop()
            raise

    def wait(self, patience):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience)
                connection.request("GET", "/livez")
                connection.getresponse().read()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"{self.name} does not answer; its log: {self.log}")

    def pids(self):
        found = [self.process.pid]
        for pid in found:
            path = f"/proc/{pid}/task/{pid}/children"
            if os.path.exists(path):
                found += [int(child) for child in open(path).read().split()]
        return found

    def cpu(self):
        """Seconds in the program, and in the kernel for it."""
        user = system = 0
        for pid in self.pids():
            fields = open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        return user / TICKS, system / TICKS

    def cpu_seconds(self):
        return sum(self.cpu())

    def status(self, field):
        text = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M).group(1)) / 1024

    def stop(self):
        # The family too: what traces a server waits for it, and ends for nobody.
        for pid in reversed(self.pids() if self.process.poll() is None else []):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def granary_command(binary, home, port, *flags):
    """Granary on its defaults but the access log, as the peers run without one."""
    return [binary, "serve", "--data", home, "--listen", f"127.0.0.1:{port}", "--set", "access_log=false", *flags]


def granary_environment(**more):
    return {k: v for k, v in os.environ.items() if not k.startswith("GRANARY_")} | {"ADMIN_PASSWORD": PASSWORD} | more


def granary(binary, scratch, *flags, before=()):
    """`before` goes before the command: taskset, strace."""
    port = free_port()
    command = [*before, *granary_command(binary, f"{scratch}/granary", port, *flags)]
    return Server("granary", command, port, f"{scratch}/granary.log", granary_environment())


def nginx(scratch, workers=2, before=(), more="", patience=30):
    """Serves `scratch`/nginx/files with sendfile; PUT below /put/."""
    port, home = free_port(), f"{scratch}/nginx"
    os.makedirs(f"{home}/files/put", exist_ok=True)
    os.makedirs(f"{home}/tmp", exist_ok=True)
    with open(f"{home}/nginx.conf", "w") as file:
        file.write(f"""
worker_processes {workers}; daemon off; pid {home}/pid; error_log {home}/error.log; user root; worker_rlimit_nofile {MOST_FILES}; {more}
events {{ worker_connections {MOST_FILES // 2}; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; client_max_body_size 0; default_type application/octet-stream;
  client_body_temp_path {home}/tmp; proxy_temp_path {home}/tmp; fastcgi_temp_path {home}/tmp; uwsgi_temp_path {home}/tmp; scgi_temp_path {home}/tmp;
  server {{ listen 127.0.0.1:{port} reuseport; root {home}/files; location /put/ {{ dav_methods PUT; create_full_put_path on; }} }} }}
""")
    command = [*before, "nginx", "-p", home, "-c", f"{home}/nginx.conf", "-e", f"{home}/error.log"]
    return Server("nginx", command, port, f"{home}/log", patience=patience)


def docker_registry(scratch, before=()):
    port, home = free_port(), f"{scratch}/registry"
    os.makedirs(home, exist_ok=True)
    with open(f"{home}/config.yml", "w") as file:
        file.write(f"""
version: 0.1
log: {{ level: error, accesslog: {{ disabled: true }} }}
storage: {{ cache: {{ blobdescriptor: inmemory }}, filesystem: {{ rootdirectory: {home}/data }} }}
http: {{ addr: 127.0.0.1:{port} }}
""")
    command = [*before, "docker-registry", "serve", f"{home}/config.yml"]
    return Server("docker-registry", command, port, f"{home}/log", os.environ | {"GOMAXPROCS": "2"})


def wipe(*folders):
    """Gone, and gone from the disk's queue too: else discards of one load land in the next."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    os.sync()


def authorization():
    return "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


def call(server, method, path, body=None, content_type="application/json"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    if isinstance(body, dict):
        body = json.dumps(body)
    connection.request(method, path, body, {"Authorization": authorization(), "Content-Type": content_type})
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 400:
        raise SystemExit(f"{method} {path}: {response.status} {answer[:300]!r}")
    return answer


def make_repository(server, key, form, is_public=True):
    # Without trash: what is deleted here is to go.
    about = {"key": key, "name": key, "format": form, "repo_type": "local", "is_public": is_public, "trash_days": 0}
    call(server, "POST", "/api/v1/repositories", about)


def push_blob(server, repository, digest, body):
    """As docker pushes one: POST, then PUT to where that said. `body` is bytes or an open file."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Authorization": authorization(), "Content-Length": "0"})
    answer = connection.getresponse()
    answer.read()
    location = answer.getheader("Location").split(str(server.port), 1)[-1]
    length = len(body) if isinstance(body, bytes) else os.fstat(body.fileno()).st_size
    connection.request("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", body,
                       {"Authorization": authorization(), "Content-Length": str(length)})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 201:
        raise SystemExit(f"{server.name}: {answer.status} to a push")


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine_cpu():
    """Seconds all cores were busy with whatever it was."""
    user, nice, system, _, _, interrupts, soft, *_ = (int(word) for word in open("/proc/stat").readline().split()[1:])
    return (user + nice + system + interrupts + soft) / TICKS


def under_load(server, command):
    """Runs the load generator: what it printed, and CPU seconds of the server (of them in the kernel), of the generator, and of everybody else."""
    user, system = server.cpu()
    generator, machine = children_cpu(), machine_cpu()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:6])}: {done.stderr.strip()[:400]}")
    after_user, after_system = server.cpu()
    cpu, generator = after_user - user + after_system - system, children_cpu() - generator
    return done.stdout, {"cpu": cpu, "system": after_system - system, "generator": generator,
                         "others": max(0, machine_cpu() - machine - cpu - generator), "said": done.stderr.strip()}


UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def wrk(server, seconds, connections, *args, script=None, script_args=(), before=()):
    """Requests answered, bytes read, errors (other statuses, lost connections), p99 in seconds, and the server's CPU seconds."""
    command = [*before, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "--latency"]
    if script:
        command += ["-s", script]
    command += [*args]
    if script_args:
        command += ["--", *script_args]
    out, cost = under_load(server, command)
    count = int(re.search(r"(\d+) requests in", out).group(1))
    elapsed, unit, size, scale = re.search(r"requests in ([\d.]+)(us|ms|s|m|h), ([\d.]+)([BKMGT])", out).groups()
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    errors += sum(int(n) for line in re.findall(r"Socket errors: (.*)", out) for n in re.findall(r"\d+", line))
    last = re.search(r"99%\s+([\d.]+)(us|ms|s|m|h)", out)
    return cost | {"requests": count, "seconds": float(elapsed) * UNITS[unit], "bytes": float(size) * UNITS[scale], "errors": errors,
                   "p99": float(last.group(1)) * UNITS[last.group(2)] if last else 0.0}
