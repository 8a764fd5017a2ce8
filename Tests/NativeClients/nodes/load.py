"""Writers and readers against several nodes. `load.py URL PASSWORD SECONDS FILE [DIRECT...]`

Every writer puts files of its own and reads each back, at the load balancer, as soon as it was acknowledged. A request that fails is tried again, as
clients do. What was acknowledged is in FILE (path, sha256) at the end, and read once more from every address in DIRECT. Prints one line of JSON.
"""
import base64, hashlib, http.client, json, os, random, sys, threading, time, urllib.parse

url, password, seconds, kept = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
address = urllib.parse.urlsplit(url).netloc
authorization = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
end = time.monotonic() + seconds
lock = threading.Lock()
acknowledged, counts, failures = {}, {"requests": 0, "retries": 0, "failed": 0, "stale": 0, "wrong": 0}, {}


def count(name, how=None):
    with lock:
        counts[name] += 1
        if how:
            failures[how] = failures.get(how, 0) + 1


def ask(method, path, body=None, at=address):
    connection = http.client.HTTPConnection(at, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": authorization})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def insist(method, path, body=None, at=address):
    """The first answer that is none of a node that is away, within a client's patience."""
    for attempt in range(40):
        count("requests")
        try:
            status, data = ask(method, path, body, at)
            if status < 500:
                return status, data
            how = f"{method} {status}"
        except (OSError, http.client.HTTPException) as error:
            how = f"{method} {type(error).__name__}"
        count("retries", how)
        time.sleep(min(1, 0.05 * 2**attempt))
    count("failed", f"{method} given up")
    return 0, b""


def write(writer):
    randomness = random.Random(writer)
    number = 0
    while time.monotonic() < end:
        number += 1
        size = randomness.choice([100, 5_000, 70_000, 1_500_000])
        body = randomness.randbytes(size)
        path = f"w{writer}/1/{number}"
        status, _ = insist("PUT", f"/general/files/{path}", body)
        if status not in (200, 201):
            continue
        with lock:
            acknowledged[path] = hashlib.sha256(body).hexdigest()
        # The next node has it at once.
        status, data = insist("GET", f"/general/files/{path}")
        if status == 404:
            count("stale", f"not there: {path}")
        elif status == 200 and data != body:
            count("wrong")


threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with open(kept, "w") as file:
    for path, digest in acknowledged.items():
        file.write(f"{path} {digest}\n")
lost = 0
for at in [urllib.parse.urlsplit(direct).netloc for direct in sys.argv[5:]]:
    for path, digest in acknowledged.items():
        status, data = insist("GET", f"/general/files/{path}", at=at)
        if status != 200 or hashlib.sha256(data).hexdigest() != digest:
            lost += 1
            failures[f"lost at {at}: {path} {status}"] = 1
print(json.dumps({"acknowledged": len(acknowledged), "lost": lost, **counts, "how": failures}))
sys.exit(0 if lost == counts["wrong"] == counts["stale"] == counts["failed"] == 0 and acknowledged else 1)
