"""What opening archives would save: members stored once and rebuilt with zlib. A measurement, not a feature: see docs/decisions.

archives.py NAME FILE... [-- NAME FILE...]...

Each .whl, .jar, .zip (members that are deflated) and .gz is opened. It counts as rebuilt if deflating what was inflated gives every stream bit for bit with
zlib at one level, memory level 8. Of archives that do, the members that differ are kept in groups of 1 MiB compressed with zstd -3, everything else of
the file (headers, directories) with zstd -3, and 64 bytes for each member's place in a recipe. Others are kept as they are.
"""
import hashlib, os, struct, subprocess, sys, time, zipfile, zlib

GROUP, RECIPE_BYTES = 1 << 20, 64
LEVELS = (6, 9, 8, 7, 5, 4, 3, 2, 1)


def packed(data):
    return len(subprocess.run(["zstd", "-3", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout)


def streams(path):
    """(offset, length) of each deflate stream; None when it is no archive this opens."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == b"PK":
        found = []
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name, extra = struct.unpack("<HH", data[member.header_offset + 26:member.header_offset + 30])
                if member.compress_type == zipfile.ZIP_DEFLATED and member.compress_size > 0:
                    found.append((member.header_offset + 30 + name + extra, member.compress_size))
        return data, sorted(found)
    if data[:3] == b"\x1f\x8b\x08":
        at, flags = 10, data[3]
        if flags & 4:
            at += 2 + struct.unpack("<H", data[at:at + 2])[0]
        for flag in (8, 16):
            if flags & flag:
                at = data.index(b"\0", at) + 1
        return data, [(at, len(data) - 8 - at)]
    return data, []


def tar_members(data):
    """A tar's files and what lies between them: where a .tar.gz is cut."""
    import io, tarfile
    pieces, at = [], 0
    try:
        for member in tarfile.open(fileobj=io.BytesIO(data)):
            if member.isreg() and member.size > 0:
                pieces += [data[at:member.offset_data], data[member.offset_data:member.offset_data + member.size]]
                at = member.offset_data + member.size
    except tarfile.TarError:
        pass
    return [piece for piece in pieces + [data[at:]] if piece]


class Store:
    def __init__(self):
        self.seen, self.group, self.size, self.bytes = set(), [], 0, 0

    def add(self, piece):
        digest = hashlib.sha256(piece).digest()
        if digest in self.seen:
            return
        self.seen.add(digest)
        self.group.append(piece)
        self.size += len(piece)
        if self.size >= GROUP:
            self.flush()

    def flush(self):
        if self.group:
            self.bytes += packed(b"".join(self.group))
        self.group, self.size = [], 0


def measure(name, files):
    raw, kept, rebuilt, recipes, rest = 0, 0, 0, 0, 0
    store, inflated, seconds = Store(), 0, 0.0
    for path in files:
        data, found = streams(path)
        raw += len(data)
        plain, exact = [], bool(found)
        for level in LEVELS:
            plain, exact = [], bool(found)
            began = time.process_time()
            for offset, length in found:
                stream = data[offset:offset + length]
                member = zlib.decompress(stream, -15)
                encoder = zlib.compressobj(level, zlib.DEFLATED, -15, 8)
                if encoder.compress(member) + encoder.flush() != stream:
                    exact = False
                    break
                plain.append(member)
            if exact:
                seconds += time.process_time() - began
                break
        if not exact:
            kept += len(data)
            continue
        rebuilt += 1
        frame, at = [], 0
        for offset, length in found:
            frame.append(data[at:offset])
            at = offset + length
        rest += packed(b"".join(frame) + data[at:])
        for member in plain:
            inflated += len(member)
            pieces = tar_members(member) if data[:2] == b"\x1f\x8b" else [member]
            recipes += RECIPE_BYTES * len(pieces)
            # Long pieces in turn are for the chunker: here they are whole.
            for piece in pieces:
                store.add(piece)
    store.flush()
    stored = kept + rest + recipes + store.bytes
    speed = raw / 1e6 / seconds if seconds else 0
    print(f"| {name} | {len(files)} | {raw / 1e6:.1f} | {rebuilt} | {100 * stored / raw:.1f} | {100 * store.bytes / raw:.1f} | "
          f"{100 * (rest + recipes) / raw:.1f} | {speed:.1f} |", flush=True)


def main():
    print("| archives | files | MB | rebuilt exactly | stored, % of raw | of it members | headers, recipes | rebuilding, MB of archive a CPU second |")
    print("|---|---|---|---|---|---|---|---|")
    sets = " ".join(sys.argv[1:]).split(" -- ")
    for words in sets:
        name, *files = words.split()
        measure(name, files)


main()
