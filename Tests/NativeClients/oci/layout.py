"""OCI objects made by hand, for requests that no client sends.

layout.py DIR [TEXT]: DIR gets config, layer and manifest of a small image; prints their digests, in that order.
"""
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def descriptor(kind, content):
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}


def image(folder, text="hello"):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as t:
        entry = tarfile.TarInfo("hello.txt")
        entry.size = len(text.encode())
        t.addfile(entry, io.BytesIO(text.encode()))
    layer = gzip.compress(tar.getvalue(), mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar.getvalue())]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
        }
    ).encode()
    os.makedirs(folder, exist_ok=True)
    for name, content in (("config", config), ("layer", layer), ("manifest", manifest)):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(content)
        print(digest(content))


image(*sys.argv[1:])
