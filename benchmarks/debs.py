"""Debian packages to publish in numbers."""
import gzip, hashlib, io, tarfile


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


EMPTY = gzip.compress(tar([]), mtime=0)


def deb(number, version):
    """A package of about the size its stanza has in Debian: what counts here is the stanza."""
    noise = hashlib.sha256(f"{number}".encode()).hexdigest()
    control = (f"Package: package-{number}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Somebody <somebody@example.org>\n"
               f"Installed-Size: {number % 9000 + 10}\nDepends: libc6 (>= 2.{number % 40}), package-{number // 2} (>= 1.0), package-{number // 3}\n"
               f"Section: utils\nPriority: optional\nHomepage: https://example.org/{noise[:12]}\n"
               f"Description: the package of number {number}\n It has a longer description of two lines, as most of them have,\n"
               f" with something in it that no other has: {noise}.\n")
    members = [("debian-binary", b"2.0\n"), ("control.tar.gz", gzip.compress(tar([("./control", control.encode())]), 1, mtime=0)),
               ("data.tar.gz", EMPTY)]
    out = b"!<arch>\n"
    for name, content in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
    return f"package-{number}_{version}_amd64.deb", out
