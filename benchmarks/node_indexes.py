"""The index of a large Debian repository on three nodes: made by one, copied by the others. `node_indexes.py PACKAGES PORT PORT PORT`"""
import concurrent.futures, hashlib, http.client, json, re, sys, time
from debs import deb
from servers import authorization

packages, ports = int(sys.argv[1]), [int(word) for word in sys.argv[2:]]


def ask(port, method, path, body=None, kind=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request(method, path, body, {"Authorization": authorization(), **({"Content-Type": kind} if kind else {})})
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 400:
        raise SystemExit(f"{method} {path}: {response.status} {answer[:300]!r}")
    return answer


def publish(numbers):
    connection = http.client.HTTPConnection("127.0.0.1", ports[numbers[0] % len(ports)], timeout=600)
    for number in numbers:
        name, content = deb(number, "1.0")
        connection.request("PUT", f"/debian/many/pool/main/{name}?distribution=stable", content, {"Authorization": authorization()})
        response = connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise SystemExit(f"package {number}: {response.status} {answer[:300]!r}")


def release(port, key):
    """Seconds until it came, and its digest."""
    began = time.monotonic()
    content = ask(port, "GET", f"/debian/{key}/dists/stable/Release")
    return time.monotonic() - began, hashlib.sha256(content).hexdigest()


def work():
    """Of each node: indexes made, and copied."""
    pages = [ask(port, "GET", "/metrics").decode() for port in ports]
    return [tuple(int(float(re.search(rf"^granary_index_{name}_total (\S+)", page, re.M).group(1))) for name in ("builds", "copies")) for page in pages]


def wanted(before, made, copied):
    now = work()
    done = tuple(sum(node[kind] for node in now) - sum(node[kind] for node in before) for kind in (0, 1))
    if done != (made, copied):
        raise SystemExit(f"{made} made and {copied} copied were wanted, {done} it was")


repository = {"key": "many", "name": "many", "format": "debian", "repo_type": "local", "is_public": True}
ask(ports[0], "POST", "/api/v1/repositories", json.dumps(repository), "application/json")
began = time.monotonic()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(publish, [range(start, packages, 8) for start in range(8)]))
print(f"{packages} packages after {time.monotonic() - began:.0f} s", flush=True)

before = work()
alone = [release(port, "many") for port in ports]
wanted(before, 1, len(ports) - 1)
made, copies = alone[0][0], [seconds for seconds, _ in alone[1:]]
print(f"one after the other: made in {made:.2f} s, copied in {' and '.join(f'{each:.2f}' for each in copies)} s: {made / max(copies):.1f}x as fast", flush=True)

# Another index of the same packages, which nobody has yet.
repository = {"key": "all", "name": "all", "format": "debian", "repo_type": "virtual", "is_public": True}
ask(ports[0], "POST", "/api/v1/repositories", json.dumps(repository), "application/json")
ask(ports[0], "POST", "/api/v1/repositories/all/members", json.dumps({"member_key": "many", "priority": 1}), "application/json")
before = work()
with concurrent.futures.ThreadPoolExecutor(len(ports)) as pool:
    together = list(pool.map(lambda port: release(port, "all"), ports))
wanted(before, 1, len(ports) - 1)
if len({digest for _, digest in alone}) > 1 or len({digest for _, digest in together}) > 1:
    raise SystemExit("nodes give different documents")
times = sorted(seconds for seconds, _ in together)
print(f"all at once: the first after {times[0]:.2f} s, the last after {times[-1]:.2f} s", flush=True)
