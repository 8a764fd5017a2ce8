"""A server with few descriptors, and more connections than it can have. It refuses or closes, and keeps listening; whoever was accepted gets right
answers or honest ones; nothing acknowledged is lost; and five seconds after the crowd has left it works as before.

One cycle is one crowd.
"""
import os
import random
import resource
import socket
import threading
import time

from oracle import Load, judge, leaks
from server import Client, NotReady, Refused, Server, administrator, set_up

SHORT = 1
DESCRIPTORS = 256
CROWD = 500
RECOVERY_SECONDS = 5


def missing():
    """Why it cannot run here; None when it can."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY or hard > CROWD + 200 else f"this user may open {hard} files only"


def run(run):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (CROWD + 200 if soft < CROWD + 200 else soft, hard))
    server = Server(run.binary, run.folder)
    # A shell takes the limit on itself and becomes the server: RocksDB, segments and connections share what is left.
    server.wrapper = ["sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh"]
    try:
        torture(run, server)
    finally:
        server.kill()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def torture(run, server):
    server.start()
    authorization = set_up(server)
    everything = []
    with open(os.path.join(run.folder, "ledger"), "w") as ledger:
        load = Load(run, server, authorization, ledger)
        for _ in range(run.count):
            crowd(run, server, authorization, load, everything)
            run.cycles += 1
            if not run.is_good():
                break
        for leak in leaks(server, everything, say=run.say):
            run.fail(leak)
        judge(run, everything, Client(server, authorization), "after the last sweeps")
        server.kill()
        server.start()
        judge(run, everything, Client(server, authorization), "after a restart")


def crowd(run, server, authorization, load, everything):
    """Connections that ask for nothing take every descriptor, and go again one by one, while writers go on."""
    stopping, held, begun, statuses = threading.Event(), [], [], {}
    lock = threading.Lock()

    def write():
        while not stopping.is_set():
            upload = load.next()
            with lock:
                begun.append(upload)
            client = Client(server, authorization)
            try:
                load.perform(upload, client)
                outcome = "acknowledged"
            except OSError:
                outcome = "cut or not connected"
            except Refused as refusal:
                outcome = refusal.status
                if refusal.status not in (500, 503, 507):
                    run.fail(str(refusal))
            with lock:
                statuses[outcome] = statuses.get(outcome, 0) + 1
            client.close()
            time.sleep(0.02)

    writers = [threading.Thread(target=write) for _ in range(run.writers)]
    for writer in writers:
        writer.start()
    for _ in range(CROWD):
        try:
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=2)
            # Half a request, so that nobody takes it for idle.
            connection.send(b"GET /livez HTTP/1.1\r\n")
            held.append(connection)
        except OSError:
            pass
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if held and run.chance.random() < 0.3:
            held.pop(random.randrange(len(held))).close()
    stopping.set()
    for connection in held:
        connection.close()
    left = time.monotonic()
    for writer in writers:
        writer.join()
    if server.process.poll() is not None:
        run.fail(f"the server ended with {server.process.returncode}")
        server.start()
    recovered = None
    while recovered is None and time.monotonic() - left < 30:
        try:
            if Client(server, None).call("GET", "/readyz")[0] == 200:
                recovered = time.monotonic() - left
        except OSError:
            time.sleep(0.05)
    if recovered is None or recovered > RECOVERY_SECONDS:
        run.fail(f"not ready {recovered or 30:.1f} s after the crowd left")
        server.kill()
        server.start()
    run.figures["s slowest recovery"] = max(run.figures.get("s slowest recovery", 0), round(recovered or 30, 2))
    client = Client(server, authorization)
    judge(run, begun, client, "after the crowd")
    load.again(begun, client)
    everything += begun
    run.say("answers in the crowd: " + ", ".join(f"{count} {what}" for what, count in sorted(statuses.items(), key=str)))
