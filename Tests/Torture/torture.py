"""SIGKILL under a mixed load, again and again; what was acknowledged must be there, byte for byte, without any repair.

torture.py --binary GRANARY --folder DIR [--kills N] [--seed S] [--writers N]

Writers upload generic files, OCI images and Python wheels, delete some of the files and upload the same bytes again, while the blob store is
swept without a time of grace. Before a request goes out its intent is written to DIR/ledger, after the answer
its acknowledgement. Each round ends with SIGKILL at a random instant, a restart on the same data, and a look at everything the round began:
what was acknowledged must be whole, the rest whole or absent; and what was not acknowledged is sent again and must succeed.
The last round looks at everything once more; then two sweeps must leave no blob that nothing names, no file without a row, and a store that is
not much larger than what lives in it. The exit code is 0 only if nothing was lost and nothing leaked.
"""
import argparse
import base64
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "NativeClients", "pypi"))
import packages  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ROUND_BYTES = 16 << 20
SEGMENT_BYTES = 16 << 20


class Refused(Exception):
    """An answer that no kill explains."""


class Server:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.port, self.process = binary, folder, 0, None
        self.password = base64.b16encode(os.urandom(16)).decode()

    def start(self):
        port_file = os.path.join(self.folder, "port")
        if os.path.exists(port_file):
            os.remove(port_file)
        began = time.monotonic()
        with open(os.path.join(self.folder, "server.log"), "a") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--data", os.path.join(self.folder, "data"), "--listen", f"127.0.0.1:{self.port}", "--port-file", port_file,
                 "--set", f"segment_bytes_max={SEGMENT_BYTES}", "--set", "sweep_interval_minutes=0"],
                env={**os.environ, "ADMIN_PASSWORD": self.password}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while time.monotonic() - began < 60:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}; see {log.name}")
            if self.port == 0 and os.path.exists(port_file):
                with open(port_file) as f:
                    self.port = int(f.read().strip().rsplit(":", 1)[-1] or 0)
            try:
                if self.port and Client(self, None).call("GET", "/readyz")[0] == 200:
                    return time.monotonic() - began
            except OSError:
                pass
            time.sleep(0.01)
        raise SystemExit("the server does not become ready")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


class Client:
    """One connection, made anew after an error."""

    def __init__(self, server, authorization):
        self.server, self.authorization, self.connection = server, authorization, None

    def call(self, method, path, body=None, kind="application/octet-stream"):
        headers = {"Content-Type": kind}
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
            raise Refused(f"{call[0]} {call[1]}: {status} {body[:300]!r}")
        return response


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Place:
    """Where bytes must be once the request that put them there was answered, and must not be once their deletion was."""

    def __init__(self, path, content):
        self.path, self.digest, self.size = path, sha256(content), len(content)
        self.may_be_there, self.may_be_absent = False, True


class Upload:
    """One upload of a round: how it is sent and where its bytes are read. The content comes from the seed, so that none is kept in memory."""

    def __init__(self, seed, number, write):
        self.seed, self.number, self.write, self.places, self.acked = seed, number, write, {}, False
        self.kind = random.Random(f"{seed}/{number}/kind").choices(["generic", "oci", "pypi"], [6, 3, 2])[0]

    def send(self, client):
        """Sends everything, also a second time; gives the number of bytes."""
        r = random.Random(f"{self.seed}/{self.number}/content")
        if self.kind == "generic" and self.number > 8 and r.random() < 0.3:
            # Bytes that another uploads, deletes, or uploads again about now.
            r = random.Random(f"{self.seed}/{self.number - r.randrange(1, 8)}/content")
            r.random()
        content = r.randbytes(int(2 ** r.uniform(10, 23.58)))  # 1 KiB to 12 MiB, small ones as often as large
        getattr(self, self.kind)(client, content)
        self.acked = True
        return len(content)

    def put(self, client, statuses, place, content, *call):
        """Intent on the ledger, the request, its acknowledgement on the ledger."""
        known = self.places.setdefault(place, Place(place, content))
        known.may_be_there = True
        self.write("intent", self.number, known.digest, place)
        client.must(statuses, *call)
        known.may_be_absent = False
        self.write("ack", self.number, known.digest, place)

    def delete(self, client, place, *call):
        known = self.places[place]
        known.may_be_absent = True
        self.write("intent-delete", self.number, known.digest, place)
        client.must([200, 204], *call)
        known.may_be_there = False
        self.write("ack-delete", self.number, known.digest, place)

    def generic(self, client, content):
        path = f"load/{self.number % 7}/{self.number}/file.bin"
        place, address = f"/general/gen/{path}", f"/api/v1/repositories/gen/artifacts/{path}"
        fate = random.Random(f"{self.seed}/{self.number}/fate").random()
        self.put(client, [200, 201], place, content, "PUT", address, content)
        if fate < 0.6:
            self.delete(client, place, "DELETE", address)
        if fate < 0.2:
            self.put(client, [200, 201], place, content, "PUT", address, content)

    def oci(self, client, content):
        name = f"img/app{self.number % 5}"
        config = json.dumps({"architecture": "amd64", "os": "linux", "n": self.number, "rootfs": {"type": "layers", "diff_ids": []}}).encode()
        for blob in (content, config):
            digest = "sha256:" + sha256(blob)
            location = client.must([202], "POST", f"/v2/{name}/blobs/uploads/").getheader("Location")
            path = location if location.startswith("/") else "/" + location.split("/", 3)[3]
            self.put(client, [201], f"/v2/{name}/blobs/{digest}", blob, "PUT", path + ("&" if "?" in path else "?") + "digest=" + digest, blob)
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + sha256(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + sha256(content), "size": len(content)}],
        }).encode()
        place = f"/v2/{name}/manifests/t{self.number}"
        self.put(client, [201], place, manifest, "PUT", place, manifest, MANIFEST)

    def pypi(self, client, content):
        # Hexadecimal text, so that the zip has something to compress.
        file, wheel = packages.wheel(f"load-{self.number}", "1.0", content[: len(content) // 4].hex())
        fields = {":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": f"load-{self.number}", "version": "1.0",
                  "filetype": "bdist_wheel", "pyversion": "py3", "sha256_digest": sha256(wheel)}
        parts = "".join(f'--b0und\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items())
        parts += f'--b0und\r\nContent-Disposition: form-data; name="content"; filename="{file}"\r\n\r\n'
        form = parts.encode() + wheel + b"\r\n--b0und--\r\n"
        place = f"/pypi/py/simple/load-{self.number}/{file}"
        self.put(client, [200], place, wheel, "POST", "/pypi/py/", form, "multipart/form-data; boundary=b0und")

    def judge(self, client):
        """What is wrong now, in words; nothing when all is well."""
        for place in self.places.values():
            status, body, _ = client.call("GET", place.path)
            if not (status == 200 and sha256(body) == place.digest and place.may_be_there or status == 404 and place.may_be_absent):
                yield f"{place.path}: status {status}, {len(body)} bytes, may be there: {place.may_be_there}, absent: {place.may_be_absent}"


class Load:
    """Writers for one round at a time; every intent and acknowledgement goes to the ledger before anything else happens."""

    def __init__(self, server, authorization, seed, ledger):
        self.server, self.authorization, self.seed, self.ledger = server, authorization, seed, ledger
        self.lock = threading.Lock()
        self.number, self.acked, self.sweeps, self.refusals = 0, 0, 0, []

    def write(self, *words):
        with self.lock:
            self.ledger.write(" ".join(map(str, words)) + "\n")
            self.ledger.flush()

    def next(self):
        with self.lock:
            self.number += 1
            return Upload(self.seed, self.number, self.write)

    def perform(self, upload, client):
        size = upload.send(client)
        with self.lock:
            self.acked += 1
        return size

    def round(self, writers, kill_after_bytes, jitter):
        """Runs writers until that many bytes were sent and then a little longer, kills the server, and gives what was begun."""
        begun, sent, stopping, enough = [], [0], threading.Event(), threading.Event()

        def write():
            client = Client(self.server, self.authorization)
            while not stopping.is_set():
                upload = self.next()
                with self.lock:
                    begun.append(upload)
                try:
                    size = self.perform(upload, client)
                except OSError as error:
                    if not stopping.is_set():
                        self.refusals.append(f"upload {upload.number}: {error}, and no kill was near")
                    break
                except Refused as refusal:
                    self.refusals.append(str(refusal))
                    break
                with self.lock:
                    sent[0] += size
                    if sent[0] >= kill_after_bytes:
                        enough.set()
            client.close()

        def sweep():
            client = administrator(self.server)
            while not stopping.is_set():
                try:
                    client.must([200, 409], "POST", "/api/v1/admin/storage-gc", '{"grace_seconds":0}', "application/json")
                    self.sweeps += 1
                except OSError:
                    break
                except Refused as refusal:
                    self.refusals.append(str(refusal))
                    break
            client.close()

        threads = [threading.Thread(target=write) for _ in range(writers)] + [threading.Thread(target=sweep)]
        for thread in threads:
            thread.start()
        enough.wait(timeout=5)
        time.sleep(jitter)
        stopping.set()
        self.server.kill()
        for thread in threads:
            thread.join()
        return begun


def administrator(server):
    return Client(server, "Basic " + base64.b64encode(f"admin:{server.password}".encode()).decode())


def set_up(server):
    """The repositories, and a token for the load: checking a password for every request would be the load."""
    admin = administrator(server)
    for key, kind in (("gen", "generic"), ("img", "docker"), ("py", "pypi")):
        body = json.dumps({"key": key, "name": key, "format": kind, "repo_type": "local"})
        admin.must([200], "POST", "/api/v1/repositories", body, "application/json")
    body = json.dumps({"name": "load", "scopes": ["read:artifacts", "write:artifacts", "delete:artifacts"]})
    status, answer, _ = admin.call("POST", "/api/v1/auth/tokens", body, "application/json")
    if status != 200:
        raise SystemExit(f"no token: {status} {answer!r}")
    return "Bearer " + json.loads(answer)["token"]


def judge(uploads, client, lost, when):
    for upload in uploads:
        for wrong in upload.judge(client):
            lost.append(wrong)
            print(f"LOST {when}: {wrong}", flush=True)


def leaks(server, uploads):
    """What is left of the dead after two sweeps, in words; nothing when all is well."""
    admin = administrator(server)

    def sweep(dry_run):
        body = json.dumps({"grace_seconds": 0, "dry_run": dry_run})
        status, answer, _ = admin.call("POST", "/api/v1/admin/storage-gc", body, "application/json")
        if status != 200:
            raise SystemExit(f"no sweep: {status} {answer!r}")
        return json.loads(answer)

    for _ in range(2):
        done = sweep(False)
        if done["errors"]:
            yield f"a sweep says {done['errors']}"
    left = sweep(True)
    for name in ("storage_keys_deleted", "waiting_blobs", "orphans", "segments_removed", "damaged_blobs"):
        if left[name]:
            yield f"{left[name]} {name} after two sweeps"
    living = {place.digest: place.size for upload in uploads for place in upload.places.values() if place.may_be_there}
    store = os.path.join(server.folder, "data", "store")
    used = {name: os.stat(os.path.join(path, name)).st_size for path, _, names in os.walk(store) for name in names}
    for name in used:
        if len(name) == 64 and name not in living:
            yield f"the file of {name} is left, and nothing names it"
    # A segment is left alone while half of it lives; two still take records.
    bound = 2 * sum(living.values()) + 4 * SEGMENT_BYTES
    print(f"{sum(living.values()) >> 20} MiB live in {sum(used.values()) >> 20} MiB on disk, bound {bound >> 20} MiB", flush=True)
    if sum(used.values()) > bound:
        yield f"the store has {sum(used.values())} bytes for {sum(living.values())} that live"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--writers", type=int, default=6)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)

    server = Server(options.binary, options.folder)
    # Whatever ends this script ends the server: SIGTERM becomes an exit, and exits pass here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        torture(server, options)
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def torture(server, options):
    chance = random.Random(options.seed)
    server.start()
    authorization = set_up(server)
    everything, lost, slowest = [], [], 0.0
    with open(os.path.join(options.folder, "ledger"), "w") as ledger:
        load = Load(server, authorization, options.seed, ledger)
        for kill in range(1, options.kills + 1):
            begun = load.round(options.writers, chance.uniform(0, ROUND_BYTES), chance.uniform(0, 0.05))
            slowest = max(slowest, server.start())
            cut = sum(not upload.acked for upload in begun)
            client = Client(server, authorization)
            judge(begun, client, lost, f"after kill {kill}")
            for upload in begun:
                if not upload.acked:
                    try:
                        load.perform(upload, client)
                    except (OSError, Refused) as error:
                        load.refusals.append(f"upload {upload.number} sent again: {error}")
            client.close()
            everything += begun
            print(f"kill {kill}: {len(begun)} uploads begun, {cut} of them cut short; {load.acked} acknowledged so far", flush=True)
            if load.refusals:
                break
        judge(everything, Client(server, authorization), lost, "at the end")
        for leak in leaks(server, everything):
            load.refusals.append(leak)
        judge(everything, Client(server, authorization), lost, "after the last sweeps")
    code = server.end()
    if code != 0:
        load.refusals.append(f"the server ended with {code} on SIGTERM")
    for refusal in load.refusals:
        print(f"REFUSED {refusal}")
    print(f"slowest restart {slowest:.2f} s, seed {options.seed}")
    print(f"{kill} kills, {load.sweeps} sweeps, {load.acked} acked, {len(lost)} lost", flush=True)
    raise SystemExit(1 if lost or load.refusals else 0)


if __name__ == "__main__":
    main()
