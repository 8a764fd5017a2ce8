"""What a small GET takes in instructions (callgrind: of the program, not of the kernel) and in system calls (strace): figures without noise.

Each is the difference between many requests and few on one connection, so that what the server does by itself falls out. The counts
by function stay in the folder of the results: callgrind_annotate --inclusive=yes callgrind.file
"""
import glob, os, re, shutil, signal, socket, subprocess

import servers
from gate import Result, Row, wait_until
from rows.reads import FLAGS, Standing

FEW, MANY = 200, 800


def ask(source, count):
    """GETs one after the other on one connection."""
    server, path, authorization = source
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\n{f'Authorization: {authorization}' + chr(13) + chr(10) if authorization else ''}\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        for _ in range(count):
            connection.sendall(head)
            got = b""
            while b"\r\n\r\n" not in got:
                piece = connection.recv(65536)
                if not piece:
                    raise SystemExit(f"{server.name} {path}: closed after {got[:100]!r}")
                got += piece
            fields, body = got.split(b"\r\n\r\n", 1)
            if b" 200 " not in fields.split(b"\r\n")[0]:
                raise SystemExit(f"{server.name} {path}: {fields[:200]!r}")
            left = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", fields).group(1)) - len(body)
            while left > 0:
                left -= len(connection.recv(65536))


class Counted:
    """A Standing whose servers run under callgrind."""

    def __init__(self, bench):
        self.folder, self.out = bench.folder("callgrind"), bench.out
        tool = ("valgrind", "--tool=callgrind", "--instr-atstart=yes", f"--callgrind-out-file={self.folder}/%p.out")
        # Its reader of debug information does not know what the compiler writes; the names of functions stay.
        subprocess.run(["strip", "-g", "-o", f"{self.folder}/server", bench.binary], check=True)
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", f"{self.folder}/sigsuspend.so", f"{bench.here}/sigsuspend.c"], check=True)
        port = servers.free_port()
        command = [*tool, *servers.granary_command(f"{self.folder}/server", f"{self.folder}/granary", port, *FLAGS, "--set", "event_loop_threads=1")]
        environment = servers.granary_environment(LD_PRELOAD=f"{self.folder}/sigsuspend.so")
        self.granary = servers.Server("granary", command, port, f"{self.folder}/granary.log", environment, patience=180)
        bench.closing.append(self.granary)
        self.nginx = servers.nginx(self.folder, 1, before=tool, more="master_process off;", patience=180)
        bench.closing.append(self.nginx)

    def total(self, server):
        """Instructions since the last time."""
        pid = server.process.pid
        before = set(glob.glob(f"{self.folder}/{pid}.out*"))
        subprocess.run(["vgdb", f"--pid={pid}", "dump"], check=True, capture_output=True, timeout=60)
        wait_until(lambda: set(glob.glob(f"{self.folder}/{pid}.out*")) > before, 30, "a dump of callgrind")
        self.latest = (set(glob.glob(f"{self.folder}/{pid}.out*")) - before).pop()
        text = open(self.latest).read()
        return int(re.search(r"^(?:summary|totals): (\d+)", text, re.M).group(1))

    def per_request(self, case, source):
        ask(source, FEW)
        self.total(source[0])
        ask(source, FEW)
        few = self.total(source[0])
        ask(source, MANY)
        many = self.total(source[0])
        shutil.copy(self.latest, f"{self.out}/callgrind.{case.replace(' ', '-')}")
        return (many - few) / (MANY - FEW)


class Files(Standing):
    """The same files behind servers that somebody else started."""

    def __init__(self, granary, nginx, scratch):
        self.granary, self.nginx, self.registry, self.scratch = granary, nginx, None, scratch
        self.fill()


def calls_per_request(source):
    """System calls of the whole process."""
    def calls(count):
        pid = source[0].pids()[-1]  # of nginx its worker
        out = f"/tmp/granary-strace.{pid}"
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", out, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        tracer.stderr.readline()  # attached
        ask(source, count)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)
        text = open(out).read()
        os.remove(out)
        return int(next(row for row in text.splitlines() if row.endswith("total")).split()[3])
    return (calls(MANY) - calls(FEW)) / (MANY - FEW)


def run(bench):
    title, results = "GET 1 KiB, one connection", []
    if not shutil.which("valgrind") or not shutil.which("vgdb"):
        raise SystemExit("valgrind is not to be had here")
    counted = bench.once("callgrind", Counted)
    sources = Files(counted.granary, counted.nginx, counted.folder).sources("1k")
    cases = ("file", "private file", "blob", "nginx")
    instructions = {case: counted.per_request(case, sources[case]) for case in cases}
    plain = bench.once("pinned", lambda bench: Standing(bench, "pinned", ("taskset", "-c", "0"), workers=1)).sources("1k")
    calls = {case: calls_per_request(plain[case]) for case in cases} if shutil.which("strace") else {}
    for case in cases:
        bench.say(f"  {case:<28}{instructions[case]:>12,.0f} instructions/request{f'{calls[case]:>8.2f} system calls/request' if calls else ''}")
    for case in cases[:-1]:
        results.append(Result("instructions", title, f"instructions per request, {case} / nginx", instructions[case] / instructions["nginx"],
                              bottleneck="the program alone, without the kernel",
                              detail=f"{instructions[case]:,.0f} and {instructions['nginx']:,.0f}"))
    for case in cases[:-1] if calls else ():
        results.append(Result("instructions", title, f"system calls per request, {case} / nginx", calls[case] / calls["nginx"],
                              detail=f"{calls[case]:.2f} and {calls['nginx']:.2f}"))
    return results


ROWS = [Row("instructions", "GET 1 KiB: instructions and system calls per request", run, 1)]
