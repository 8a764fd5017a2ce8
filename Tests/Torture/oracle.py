"""What must be there after a fault: the load that acknowledges it, and the judge."""
import gzip
import hashlib
import io
import json
import math
import os
import random
import sys
import threading
import time
import zipfile

from server import SEGMENT_BYTES, Client, Refused, administrator

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "NativeClients", "pypi"))
import packages  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def archive(names, is_gzip=False):
    """Some kilobytes of text for each name, as a zip or as a gzip file."""
    text = random.Random("licence").randbytes(3000).hex().encode()
    members = [(name, text + random.Random(name).randbytes(4000).hex().encode()) for name in names]
    target = io.BytesIO()
    if is_gzip:
        with gzip.GzipFile("", "wb", 6, target, mtime=0) as file:
            file.write(b"".join(content for _, content in members))
    else:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
            for number, (name, content) in enumerate(members):
                file.writestr(zipfile.ZipInfo(f"{number}/{name}"), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


class Place:
    """Where bytes must be once the request that put them there was answered, and must not be once their deletion was."""

    def __init__(self, path, content):
        self.path, self.digest, self.size = path, sha256(content), len(content)
        self.may_be_there, self.may_be_absent = False, True


class Upload:
    """One upload of a round: how it is sent and where its bytes are read. The content comes from the seed, so that none is kept in memory."""

    def __init__(self, seed, number, write, bytes_max=12 << 20):
        self.bytes_max = bytes_max
        self.seed, self.number, self.write, self.places, self.acked = seed, number, write, {}, False
        self.kind = random.Random(f"{seed}/{number}/kind").choices(["generic", "oci", "pypi", "versions", "resumed", "archives"], [6, 3, 2, 2, 1, 1])[0]
        # Of an upload session: where it goes on, and how much of it was told to be there.
        self.session, self.told = None, 0

    def send(self, client):
        """Sends everything, also a second time; gives the number of bytes."""
        r = random.Random(f"{self.seed}/{self.number}/content")
        if self.kind == "generic" and self.number > 8 and r.random() < 0.3:
            # Bytes that another uploads, deletes, or uploads again about now.
            r = random.Random(f"{self.seed}/{self.number - r.randrange(1, 8)}/content")
            r.random()
        content = r.randbytes(int(2 ** r.uniform(10, math.log2(self.bytes_max))))  # from 1 KiB on, small ones as often as large
        getattr(self, self.kind)(client, content)
        self.acked = True
        return len(content)

    def versions(self, client, content):
        """What chunks save: most of it is in others of the kind, too."""
        r = random.Random(f"{self.seed}/{self.number}/blocks")
        blocks = [random.Random(f"{self.seed}/block/{r.randrange(12)}").randbytes(256 << 10) for _ in range(r.randrange(5, 12))]
        self.generic(client, b"".join(blocks) + content[:4096])

    def archives(self, client, content):
        """What is worth opening: a zip or gzip file whose members are in others, too, and begin alike."""
        r = random.Random(f"{self.seed}/{self.number}/members")
        self.generic(client, archive([f"{self.seed}/member/{r.randrange(60)}" for _ in range(r.randrange(40, 80))] + [content[:64].hex()], r.random() < 0.3))

    def resumed(self, client, content):
        """An OCI blob in pieces. What a piece's answer said is there must be there after the fault."""
        digest = "sha256:" + sha256(content)
        name = f"img/app{self.number % 5}"
        place = f"/v2/{name}/blobs/{digest}"
        if self.session is None or not self.go_on(client, place):
            session = self.location(client.must([202], "POST", f"/v2/{name}/blobs/uploads/"))
            self.write("session", self.number, session)
            self.session, self.told = session, 0
        step = max(1, len(content) // 5)
        while self.told < len(content):
            piece = content[self.told : self.told + step]
            self.session = self.location(client.must([202], "PATCH", self.session, piece))
            self.write("told", self.number, self.told + len(piece))
            self.told += len(piece)
        self.put(client, [201], place, content, "PUT", self.session + ("&" if "?" in self.session else "?") + "digest=" + digest)

    def go_on(self, client, place):
        """Whether the session is there; it may not be once its end was asked for, nor before its first byte."""
        status, _, response = client.call("GET", self.session)
        if status == 404 and (place in self.places or self.told == 0):
            return False
        received = response.getheader("Range", "0-0").split("-")[-1]
        there = int(received) + 1 if received != "0" else 0
        if status != 204 or there < self.told:
            raise Refused(f"the session {self.session} was told to have {self.told} bytes: {status}, {there} bytes")
        self.told = there
        return True

    @staticmethod
    def location(response):
        location = response.getheader("Location")
        return location if location.startswith("/") else "/" + location.split("/", 3)[3]

    def put(self, client, statuses, place, content, *call):
        """Intent on the ledger, the request, its acknowledgement on the ledger."""
        known = self.places.setdefault(place, Place(place, content))
        known.may_be_there = True
        self.write("intent", self.number, known.digest, place)
        client.must(statuses, *call)
        self.write("ack", self.number, known.digest, place)
        known.may_be_absent = False

    def delete(self, client, place, *call):
        known = self.places[place]
        known.may_be_absent = True
        self.write("intent-delete", self.number, known.digest, place)
        client.must([200, 204], *call)
        self.write("ack-delete", self.number, known.digest, place)
        known.may_be_there = False

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
            path = self.location(client.must([202], "POST", f"/v2/{name}/blobs/uploads/"))
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

    # Whether the fault itself may make the server refuse requests, before it ends it.
    faults_refuse = False
    # The longest upload, about.
    bytes_max = 12 << 20

    def __init__(self, run, server, authorization, ledger):
        self.run, self.server, self.authorization, self.seed, self.ledger = run, server, authorization, run.seed, ledger
        self.lock = threading.Lock()
        self.number, self.is_deaf = 0, False

    def write(self, *words):
        if self.is_deaf:
            raise OSError("what is heard after the fault is not believed")
        with self.lock:
            self.ledger.write(" ".join(map(str, words)) + "\n")
            self.ledger.flush()

    def next(self):
        with self.lock:
            self.number += 1
            return Upload(self.seed, self.number, self.write, self.bytes_max)

    def again(self, uploads, client):
        """Sends again what was not acknowledged; it must succeed."""
        for upload in uploads:
            if not upload.acked:
                try:
                    self.perform(upload, client)
                except (OSError, Refused) as error:
                    self.run.fail(f"upload {upload.number} sent again: {error}")

    def perform(self, upload, client):
        size = upload.send(client)
        with self.lock:
            self.run.acknowledged += 1
        return size

    def round(self, writers, after_bytes, jitter, fault):
        """Runs writers until that many bytes were sent and then a little longer, calls `fault`, which ends the server, and gives what was begun."""
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
                        self.run.fail(f"upload {upload.number}: {error}, and no fault was near")
                    break
                except Refused as refusal:
                    if not (stopping.is_set() and self.faults_refuse):
                        self.run.fail(str(refusal))
                    break
                with self.lock:
                    sent[0] += size
                    if sent[0] >= after_bytes:
                        enough.set()
            client.close()

        def sweep():
            client = administrator(self.server)
            while not stopping.is_set():
                try:
                    client.must([200, 409], "POST", "/api/v1/admin/storage-gc", '{"grace_seconds":0}', "application/json")
                    self.run.sweeps += 1
                except OSError:
                    break
                except Refused as refusal:
                    if not (stopping.is_set() and self.faults_refuse):
                        self.run.fail(str(refusal))
                    break
            client.close()

        threads = [threading.Thread(target=write) for _ in range(writers)] + [threading.Thread(target=sweep)]
        for thread in threads:
            thread.start()
        enough.wait(timeout=5)
        time.sleep(jitter)
        stopping.set()
        fault()
        for thread in threads:
            thread.join()
        return begun


def judge(run, uploads, client, when):
    """Counts as lost what is not as it was acknowledged."""
    for upload in uploads:
        for wrong in upload.judge(client):
            run.lose(f"{when}: {wrong}")


def rest(admin):
    """Waits until the background has nothing left to cut or to open: what it empties is swept in the rounds after that."""
    before, deadline = None, time.monotonic() + 120
    while time.monotonic() < deadline:
        lines = admin.call("GET", "/metrics")[1].decode().splitlines()
        now = [line for line in lines if line.startswith(("granary_chunk", "granary_archive")) and "seconds" not in line and "_rounds" not in line]
        is_idle = admin.server.settings.get("chunking") == "false" or "granary_chunk_waiting_blobs 0" in now
        if now == before and is_idle:
            return
        before = now
        time.sleep(1)


def leaks(server, uploads, say=print):
    """What is left of the dead after two sweeps, in words; nothing when all is well."""
    admin = administrator(server)

    def sweep(dry_run):
        body = json.dumps({"grace_seconds": 0, "dry_run": dry_run})
        status, answer, _ = admin.call("POST", "/api/v1/admin/storage-gc", body, "application/json")
        if status != 200:
            raise Refused(f"no sweep: {status} {answer!r}")
        return json.loads(answer)

    if server.settings.get("chunk_delay_seconds") == 0:
        rest(admin)
    # What the background cut into chunks between the last sweep and the look is not left: two sweeps after it, it is gone.
    for _ in range(5):
        for _ in range(2):
            done = sweep(False)
            if done["errors"]:
                yield f"a sweep says {done['errors']}"
        dry = sweep(True)
        left = {name: dry[name] for name in ("storage_keys_deleted", "waiting_blobs", "orphans", "segments_removed", "damaged_blobs") if dry[name]}
        if not left:
            break
        time.sleep(0.2)
    for name, count in left.items():
        yield f"{count} {name} after two sweeps"
    living = {place.digest: place.size for upload in uploads for place in upload.places.values() if place.may_be_there}
    store = os.path.join(server.data, "store")
    used = {name: os.stat(os.path.join(path, name)).st_size for path, _, names in os.walk(store) for name in names}
    for name in used:
        if len(name) == 64 and name not in living:
            yield f"the file of {name} is left, and nothing names it"
    # A segment is left alone while half of it lives; two for blobs, one for chunks and one for the sweep still take records.
    bound = 2 * sum(living.values()) + 6 * SEGMENT_BYTES
    say(f"{sum(living.values()) >> 20} MiB live in {sum(used.values()) >> 20} MiB on disk, bound {bound >> 20} MiB")
    if sum(used.values()) > bound:
        yield f"the store has {sum(used.values())} bytes for {sum(living.values())} that live"
