"""document.py FOLDER TARBALL [BUNDLE]: the document npm sends to publish the package packed there, on standard output."""
import base64
import hashlib
import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
tarball = (folder / sys.argv[2]).read_bytes()
manifest = json.loads((folder / "package.json").read_text())
name, version = manifest["name"], manifest["version"]
stem = f"{name}-{version}"
manifest["_id"] = f"{name}@{version}"
manifest["dist"] = {
    "integrity": "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode(),
    "shasum": hashlib.sha1(tarball).hexdigest(),
    "tarball": f"http://elsewhere.test/{name}/-/{stem}.tgz",
}
attachments = {
    stem + ".tgz": {"content_type": "application/octet-stream", "data": base64.b64encode(tarball).decode(), "length": len(tarball)}
}
if len(sys.argv) > 3:
    bundle = pathlib.Path(sys.argv[3]).read_text()
    attachments[stem + ".sigstore"] = {"content_type": json.loads(bundle)["mediaType"], "data": bundle, "length": len(bundle)}
json.dump(
    {
        "_id": name, "name": name, "dist-tags": {"latest": version}, "versions": {version: manifest}, "access": "public",
        "_attachments": attachments,
    },
    sys.stdout,
)
