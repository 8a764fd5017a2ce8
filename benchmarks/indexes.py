"""From the acknowledged publish of one package to fresh documents over all of them, beside apt-ftparchive."""
import argparse, gzip, hashlib, http.client, os, statistics, subprocess, threading, time
from debs import deb
from servers import authorization, granary, make_repository

parser = argparse.ArgumentParser()
for name in ("granary", "scratch"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--packages", type=int, default=100_000)
parser.add_argument("--publishes", type=int, default=10)
options = parser.parse_args()
pool = f"{options.scratch}/archive/pool"


def keep(name, content):
    folder = f"{pool}/{name.rsplit('_', 2)[0][-2:]}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{name}", "wb") as file:
        file.write(content)


class Client:
    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)

    def ask(self, method, path, body=None):
        self.connection.request(method, path, body, {"Authorization": authorization()})
        response = self.connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise SystemExit(f"{method} {path}: {response.status} {answer[:300]!r}")
        return answer

    def publish(self, number, version):
        name, content = deb(number, version)
        keep(name, content)
        self.ask("PUT", f"/debian/many/pool/main/{name}?distribution=stable", content)


def fill(numbers):
    client = Client()
    for number in numbers:
        client.publish(number, "1.0")


def packages_listed(client):
    """Release, and the index it lists, by its digest: what apt does."""
    release = client.ask("GET", "/debian/many/dists/stable/Release").decode()
    rows = release.split("\nSHA256:")[1].splitlines()
    digest = next(row.split()[0] for row in rows if row.endswith(" main/binary-amd64/Packages.gz"))
    content = client.ask("GET", f"/debian/many/dists/stable/main/binary-amd64/by-hash/SHA256/{digest}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise SystemExit("the index is not what Release lists")
    return content


server = granary(options.granary, options.scratch)
make_repository(server, "many", "debian")
started = time.monotonic()
threads = [threading.Thread(target=fill, args=(range(start, options.packages, 8),)) for start in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{options.packages} packages after {time.monotonic() - started:.0f} s", flush=True)

client = Client()
started = time.monotonic()
content = packages_listed(client)
first = time.monotonic() - started
stanzas = gzip.decompress(content).count(b"\nVersion: ")
print(f"index made anew in {first:.1f} s, {server.status('VmHWM'):.0f} MiB resident at the most, Packages.gz {len(content) >> 10} KiB", flush=True)
if stanzas < options.packages:
    raise SystemExit(f"{options.packages} packages were acknowledged, {stanzas} are listed")

ours = []
for publish in range(options.publishes):
    number = (publish * 7919 + 13) % options.packages
    client.publish(number, f"2.{publish}")
    started = time.monotonic()
    content = packages_listed(client)
    ours.append(time.monotonic() - started)
    if f"Version: 2.{publish}\n".encode() not in gzip.decompress(content):
        raise SystemExit("an acknowledged package is not in the index")
server.stop()


def ftparchive():
    """What an archive kept by hand runs after each upload: every file is known to its cache but one."""
    packages = subprocess.run(["apt-ftparchive", "--db", f"{options.scratch}/ftparchive.db", "packages", "pool"], cwd=f"{options.scratch}/archive",
                              capture_output=True, check=True).stdout
    folder = f"{options.scratch}/archive/dists/stable/main/binary-amd64"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/Packages", "wb") as file:
        file.write(packages)
    subprocess.run(["gzip", "-kf", f"{folder}/Packages"], check=True)
    subprocess.run(["apt-ftparchive", "release", f"{options.scratch}/archive/dists/stable"], capture_output=True, check=True)


ftparchive()
theirs = []
for publish in range(min(options.publishes, 3)):
    keep(*deb(publish, "3.0"))
    started = time.monotonic()
    ftparchive()
    theirs.append(time.monotonic() - started)

mine, peer = statistics.median(ours), statistics.median(theirs)
print(f"one publish among {options.packages}: fresh after {mine * 1000:.0f} ms (worst {max(ours) * 1000:.0f}); "
      f"made anew by Granary {first / mine:.1f}x that, apt-ftparchive with its cache {peer / mine:.1f}x ({peer:.1f} s)")
