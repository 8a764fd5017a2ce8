"""A data directory with every kind of structure in it, and a reader of its bytes that shares no code with the server (docs/internals)."""
import json
import os
import random
import re
import struct
import time

from oracle import Load, sha256
from server import Client, Server, administrator, set_up

RECORD_KINDS = {1: "blob", 2: "skip", 3: "index", 5: "chunk", 6: "recipe"}


class Span:
    """Bytes of one structure. `blobs` are damaged by a flip in it; empty: nobody's bytes."""

    def __init__(self, kind, path, start, end, blobs=(), place=""):
        self.kind, self.path, self.start, self.end, self.blobs, self.place = kind, path, start, end, frozenset(blobs), place


def id_in(address):
    """Of the session that an address, or a file, is named by."""
    return address.split("?")[0].rstrip("/").rsplit("/", 1)[-1].split(".")[0]


class Pieces:
    """An OCI upload that was told to have its first half."""

    def __init__(self, seed, number):
        self.content, self.name = random.Random(seed).randbytes(300_000), f"img/open{number}"
        self.place = f"/v2/{self.name}/blobs/sha256:{sha256(self.content)}"

    def begin(self, client):
        location = client.must([202], "POST", f"/v2/{self.name}/blobs/uploads/").getheader("Location")
        self.address = location if location.startswith("/") else "/" + location.split("/", 3)[3]
        client.must([202], "PATCH", self.address, self.content[:150_000])
        self.id = id_in(self.address)

    def finish(self, client):
        """Whether it could be gone on with to its end."""
        status, _, response = client.call("GET", self.address)
        if status != 204:
            return False
        there = int(response.getheader("Range").split("-")[-1]) + 1
        if client.call("PATCH", self.address, self.content[there:])[0] != 202:
            return False
        digest = "digest=sha256:" + sha256(self.content)
        return client.call("PUT", self.address + ("&" if "?" in self.address else "?") + digest)[0] == 201


class Ranges:
    """An upload of the REST API that was told to have its third part, and then its first."""

    STEP = 1 << 20

    def __init__(self, seed, number):
        self.content, self.path = random.Random(seed).randbytes(3_500_000), f"open/{number}"
        self.place = f"/general/gen/{self.path}"

    def begin(self, client):
        body = {"repository_key": "gen", "artifact_path": self.path, "total_size": len(self.content), "chunk_size": self.STEP,
                "checksum_sha256": sha256(self.content)}
        status, answer, _ = client.call("POST", "/api/v1/uploads", json.dumps(body), "application/json")
        if status != 201:
            raise RuntimeError(f"no upload session: {status} {answer!r}")
        self.id = json.loads(answer)["session_id"]
        for index in (2, 0):
            if self.send(client, index) != 200:
                raise RuntimeError(f"a part of session {self.id} is refused")

    def send(self, client, index):
        part = self.content[index * self.STEP : (index + 1) * self.STEP]
        first = index * self.STEP
        fields = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(self.content)}"}
        return client.call("PATCH", f"/api/v1/uploads/{self.id}", part, fields=fields)[0]

    def finish(self, client):
        if [self.send(client, index) for index in (1, 3)] != [200, 200]:
            return False
        return client.call("PUT", f"/api/v1/uploads/{self.id}/complete", "{}", "application/json")[0] in (200, 201)


class Specimen:
    """`data` as a server left it: what is in it by address, open sessions, and the spans of its files."""

    def __init__(self, run, data, keeps_old=False):
        self.run, self.data, self.keeps_old = run, data, keeps_old
        # Segments as they were before the last uploads, by path.
        self.old = {}
        # Address to SHA-256; deleted addresses; open upload sessions by their ids.
        self.places, self.gone, self.sessions = {}, [], {}
        # Where each living blob lies, in words: of several records the last counts, and only the server knows which that is.
        self.whereabouts = {}
        self.authorization, self.password = None, None

    def make(self, uploads):
        server = Server(self.run.binary, self.run.folder, self.data)
        server.settings = {"segment_bytes_max": 2 << 20, "own_file_bytes_min": 1 << 20, "chunk_delay_seconds": 0, "chunk_bytes_per_second_max": 0,
                           "archive_cold_hours": 0, "archive_bytes_per_second_max": 0,
                           "sweep_live_percent_min": 100, "sweep_bytes_per_second_max": 0}
        try:
            server.start()
            self.authorization, self.password = set_up(server), server.password
            with open(os.path.join(self.run.folder, "ledger"), "w") as ledger:
                self.fill(server, Load(self.run, server, self.authorization, ledger), uploads)
        finally:
            server.kill()

    def fill(self, server, load, uploads):
        load.bytes_max = 3 << 20
        done = []
        # Starts in between, because what a start finds in the log of the index it writes into tables.
        for part in range(4):
            if part:
                self.rest(server)
                server.start()
            client = Client(server, self.authorization)
            for _ in range(uploads // 4):
                done.append(load.next())
                load.perform(done[-1], client)
            client.close()
        self.rest(server)
        # From here on blobs stay as they came, so that there are some of every kind.
        server.settings["chunking"] = "false"
        server.start()
        self.sweep(server)
        administrator(server).must([200], "POST", "/api/v1/admin/scrub", "{}", "application/json")
        if self.keeps_old:
            names = [os.path.join("store", "segments", name) for name in os.listdir(os.path.join(self.data, "store", "segments"))]
            self.old = {name: self.read(name) for name in names}
        client = Client(server, self.authorization)
        for _ in range(4):
            done.append(load.next())
            load.perform(done[-1], client)
        self.keep_own_files(client)
        self.sweep(server)
        places = [place for upload in done for place in upload.places.values()]
        self.places |= {place.path: place.digest for place in places if place.may_be_there}
        # Deleted: a part of the index that is lost brings such a one back.
        self.gone = [place.path for place in places if not place.may_be_there]
        for path in [path for path in self.places if path.endswith(".whl")]:
            status, body, _ = client.call("GET", path + ".metadata")
            if status == 200:
                self.places[path + ".metadata"] = sha256(body)
        admin = administrator(server)
        for digest in set(self.places.values()):
            self.whereabouts[digest] = json.loads(admin.call("GET", f"/api/v1/admin/sweep/sha256:{digest}")[1])["place"]
        for number in range(4):
            session = (Pieces if number % 2 else Ranges)(f"{self.run.seed}/session/{number}", number)
            session.begin(client)
            self.sessions[session.id] = session
        code = server.end()
        if code != 0:
            raise RuntimeError(f"the server ended with {code}")

    def keep_own_files(self, client):
        """Two at least, which chance alone does not promise."""
        for number in range(2):
            content = random.Random(f"{self.run.seed}/own/{number}").randbytes(1_500_000)
            client.must([200, 201], "PUT", f"/api/v1/repositories/gen/artifacts/own/{number}", content)
            self.places[f"/general/gen/own/{number}"] = sha256(content)

    @staticmethod
    def sweep(server):
        """So that little is left that nothing names."""
        for _ in range(2):
            administrator(server).must([200], "POST", "/api/v1/admin/storage-gc", '{"grace_seconds":0}', "application/json")

    @staticmethod
    def rest(server):
        """Until nothing waits to be cut up, and every archive was looked at; then a clean end."""
        admin = administrator(server)
        rounds = None
        for _ in range(400):
            text = admin.call("GET", "/metrics")[1].decode()
            now = int(float(re.search(r"^granary_archive_rounds_total (\S+)", text, re.M).group(1)))
            rounds = now if rounds is None else rounds
            if "granary_chunk_waiting_blobs 0" in text and now >= rounds + 2:
                break
            time.sleep(0.05)
        time.sleep(0.2)
        server.end()

    # MARK: Bytes

    def spans(self):
        living = set(self.places.values())
        found = []
        recipes = self.recipes()
        by_chunk = {}
        for blob, chunks in recipes.items():
            for chunk in chunks:
                by_chunk.setdefault(chunk, set()).add(blob)
        segments = os.path.join(self.data, "store", "segments")
        for name in sorted(os.listdir(segments)):
            found += segment_spans(os.path.join("store", "segments", name), self.read("store", "segments", name), self.whereabouts, recipes, by_chunk)
        for folder, _, names in os.walk(os.path.join(self.data, "store", "blobs")):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self.data)
                size = os.path.getsize(os.path.join(folder, name))
                length = own_file_length(size)
                blobs = {name} & living
                word = "own-file" if blobs else "dead own-file"
                found.append(Span(f"{word} data", path, 0, length, blobs))
                found.append(Span(f"{word} table", path, length, size - 64, blobs))
                found.append(Span(f"{word} end", path, size - 64, size, blobs))
        for folder, kind in (("index", index_kind), ("keys", lambda name: "key " + name), ("store/uploads", lambda name: "upload " + name[-4:]),
                             ("store", lambda name: name), ("", lambda name: name)):
            path = os.path.join(self.data, folder)
            for name in sorted(os.listdir(path)):
                size = os.path.getsize(os.path.join(path, name))
                if name.endswith(".sst"):
                    found += table_spans(os.path.join(folder, name), self.read(folder, name))
                elif isinstance(self.sessions.get(id_in(name)), Ranges) and name.endswith(".data"):
                    step, path_here = Ranges.STEP, os.path.join(folder, name)
                    found += [Span("upload hole" if part == 1 else "upload data", path_here, part * step, (part + 1) * step) for part in range(3)]
                elif os.path.isfile(os.path.join(path, name)) and size:
                    found.append(Span(kind(name), os.path.join(folder, name), 0, size, place=name))
        return found

    def read(self, *names):
        with open(os.path.join(self.data, *names), "rb") as f:
            return f.read()

    def recipes(self):
        """Of each blob in chunks the chunks, by the last recipe there is."""
        found = {}
        segments = os.path.join(self.data, "store", "segments")
        for name in sorted(os.listdir(segments)):
            content = self.read("store", "segments", name)
            for kind, at, length, digest in records(content):
                if kind.endswith("recipe"):
                    body = content[at + 64 : at + 64 + length]
                    count = struct.unpack_from(">I", body, 4)[0]
                    found[digest] = [body[16 + 36 * i : 48 + 36 * i].hex() for i in range(count)]
        return found


def records(content):
    """Kind, offset, L and SHA-256 of each."""
    at = 64
    while content[at : at + 4] == b"GRec":
        kind, length = RECORD_KINDS[content[at + 5]], struct.unpack_from(">q", content, at + 16)[0]
        if kind == "recipe" and content[at + 64] == 2:
            kind = "archive recipe"
        yield kind, at, length, content[at + 24 : at + 56].hex()
        at += footprint(length)


def table_bytes(length):
    return 4 * -(-length // (1 << 20))


def footprint(length):
    return (64 + length + table_bytes(length) + 63) & ~63


def own_file_length(size):
    rest = size - 64
    return rest - 4 * -(-rest // ((1 << 20) + 4))


def index_kind(name):
    return "wal" if name.endswith(".log") else name.split("-")[0]


def table_spans(path, content):
    """A table of RocksDB: blocks of rows, filters, indexes and what describes them, footer; each block with 5 bytes behind it."""
    offset, size, after = handle(content, len(content) - 52)
    meta = block_entries(content, offset, size)
    # The footer has room for two handles of any length, and then version and magic number.
    padding = handle(content, after)[2]
    at = handle(meta[b"rocksdb.properties"], 0)
    properties = block_entries(content, *at[:2])
    rows = varint(properties[b"rocksdb.data.size"], 0)[0]
    # The filter's own index comes last of it, with the 5 bytes behind it.
    filters = [handle(value, 0) for key, value in meta.items() if b"filter." in key]
    bounds = [0, rows, max([rows] + [offset + size + 5 for offset, size, _ in filters]), at[0], padding, len(content) - 12, len(content)]
    kinds = ("rows", "filter", "index", "end", "padding", "magic")
    return [Span(f"sst {kind}", path, start, end, place=path) for kind, start, end in zip(kinds, bounds, bounds[1:]) if end > start]


def varint(content, at):
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def handle(content, at):
    offset, at = varint(content, at)
    size, at = varint(content, at)
    return offset, size, at


def block_entries(content, offset, size):
    """Keys and values of a block that is not compressed: each key begins like the one before it."""
    block = content[offset : offset + size]
    end = size - 4 - 4 * struct.unpack_from("<I", block, size - 4)[0]
    at, key, entries = 0, b"", {}
    while at < end:
        shared, at = varint(block, at)
        rest, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + block[at : at + rest]
        entries[key] = block[at + rest : at + rest + length]
        at += rest + length
    return entries


def segment_spans(path, content, whereabouts, recipes, by_chunk):
    name, living = "segment " + str(int(os.path.basename(path)[:16], 16)), whereabouts.keys()
    found = [Span("segment header", path, 0, 64, place=name)]
    end = 64
    for kind, at, length, digest in records(content):
        end = at + footprint(length)
        table = at + 64 + length
        # A blob that is kept in chunks has no need of a whole record that was left of it, one that was uploaded again none of its older records.
        is_last = whereabouts.get(digest) == f"{name}, offset {at}"
        blobs = {"blob": {digest} - recipes.keys() if is_last else set(), "recipe": {digest} & living, "archive recipe": {digest} & living,
                 "chunk": by_chunk.get(digest, set()) & living}.get(kind, set())
        word = kind if blobs or kind == "index" else f"dead {kind}"
        found.append(Span(f"{word} header", path, at, at + 64, blobs, name))
        found.append(Span(f"{word} data", path, at + 64, table, blobs, name))
        found.append(Span(f"{word} table", path, table, table + table_bytes(length), blobs, name))
        found.append(Span("padding", path, table + table_bytes(length), end, (), name))
    if content[end : end + 7] == b"GRASEAL":
        found.append(Span("trailer", path, end, end + 64, (), name))
        end += 64
    found.append(Span("allocated", path, end, len(content), (), name))
    return [span for span in found if span.end > span.start]
