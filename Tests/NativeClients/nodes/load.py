"""A mixed load against several nodes. `load.py URL PASSWORD SECONDS FILE [DIRECT...]`

Writers publish files, Python projects, npm packages, images and Maven releases, each its own, read back at the load balancer what was acknowledged,
at once, and look at what was written before; a file is deleted now and then. A request that fails is tried again, as clients do. What was
acknowledged is in FILE (path, sha256 or `gone`) at the end, and is read once more from every address in DIRECT. Prints one line of JSON.
"""
import base64, hashlib, http.client, io, json, os, random, sys, tarfile, threading, time, urllib.parse, zipfile

url, password, seconds, kept = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
address = urllib.parse.urlsplit(url).netloc
authorization = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
end = time.monotonic() + seconds
lock = threading.Lock()
# Path to SHA-256; None: deleted.
acknowledged = {}
counts, failures, written = {"requests": 0, "retries": 0, "failed": 0, "stale": 0, "wrong": 0}, {}, {}


def count(name, how=None):
    with lock:
        counts[name] += 1
        if how:
            failures[how] = failures.get(how, 0) + 1


def ask(method, path, body=None, at=address, fields={}):
    connection = http.client.HTTPConnection(at, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": authorization, **fields})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def insist(method, path, body=None, at=address, fields={}):
    """The first answer that is none of a node that is away, within a client's patience."""
    for attempt in range(40):
        count("requests")
        try:
            answer = ask(method, path, body, at, fields)
            if answer[0] < 500:
                return answer
            how = f"{method} {answer[0]}"
        except (OSError, http.client.HTTPException) as error:
            how = f"{method} {type(error).__name__}"
        count("retries", how)
        time.sleep(min(1, 0.05 * 2**attempt))
    count("failed", f"{method} given up")
    return 0, b"", {}


class Refused(Exception):
    """A client would give up here."""


def must(allowed, method, path, body=None, **more):
    answer = insist(method, path, body, **more)
    if answer[0] not in allowed:
        raise Refused(f"{method} {path.split('?')[0].rstrip('0123456789')}: {answer[0]}")
    return answer


def keep(path, body):
    """What was acknowledged: the next node has it at once."""
    with lock:
        acknowledged[path] = hashlib.sha256(body).hexdigest() if body is not None else None
    look(path)


def look(path, at=address):
    """Whether it is as it was acknowledged."""
    with lock:
        if path not in acknowledged:
            return True
        digest = acknowledged[path]
    status, data, _ = insist("GET", path, at=at)
    with lock:
        # Being deleted since then.
        if acknowledged.get(path, digest) != digest or path not in acknowledged:
            return True
    if digest is None:
        if status == 200:
            count("stale", f"deleted and there: {path}")
        return status == 404
    if status == 404:
        count("stale", f"not there: {path}")
    elif status == 200 and hashlib.sha256(data).hexdigest() != digest:
        count("wrong", f"wrong: {path}")
    return status == 200 and hashlib.sha256(data).hexdigest() == digest


def names(path, name):
    """An index that was asked for after something was acknowledged has it."""
    status, data, _ = insist("GET", path)
    if status == 404 or status == 200 and name.encode() not in data:
        count("stale", f"{path} without {name}: {status}")


# --- One thing published, in each format. Names are the writer's own and never come again, so "it is there already" is an earlier try's answer. ---

def publish_file(own, number, content):
    path = f"/general/files/{own}/1/{number}"
    must((200, 201), "PUT", path, content)
    keep(path, content)
    if number % 5 == 0:
        with lock:
            del acknowledged[path]
        must((200, 204, 404), "DELETE", path)
        keep(path, None)


def publish_python(own, number, content):
    name, version, line = f"load_{own}", f"1.{number}", "\r\n"
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/data.bin", content)
        archive.writestr(f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: load\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    data, file = wheel.getvalue(), f"{name}-{version}-py3-none-any.whl"
    members = {":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": name, "version": version, "filetype": "bdist_wheel",
               "pyversion": "py3", "sha256_digest": hashlib.sha256(data).hexdigest()}
    form = "".join(f'--part{line}Content-Disposition: form-data; name="{key}"{line}{line}{value}{line}' for key, value in members.items())
    form += f'--part{line}Content-Disposition: form-data; name="content"; filename="{file}"{line}Content-Type: application/octet-stream{line}{line}'
    must((200, 400, 409), "POST", "/pypi/python/", form.encode() + data + f"{line}--part--{line}".encode(),
         fields={"Content-Type": "multipart/form-data; boundary=part"})
    index = f"/pypi/python/simple/{name.replace('_', '-')}/"
    _, listed, _ = must((200,), "GET", index, fields={"Accept": "application/vnd.pypi.simple.v1+json"})
    files = [entry["url"] for entry in json.loads(listed)["files"] if entry["filename"] == file]
    if not files:
        return count("stale", f"{index} without {file}")
    keep(urllib.parse.urlsplit(urllib.parse.urljoin(url + index, files[0])).path, data)


def publish_npm(own, number, content):
    name, version = f"load-{own}", f"1.0.{number}"
    file, packed = f"{name}-{version}.tgz", io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for member, data in ("package.json", json.dumps({"name": name, "version": version}).encode()), ("data.bin", content):
            entry = tarfile.TarInfo(f"package/{member}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    content = packed.getvalue()
    document = {
        "_id": name, "name": name, "dist-tags": {"latest": version},
        "versions": {version: {"name": name, "version": version, "dist": {
            "tarball": f"{url}/npm/js/{name}/-/{file}", "shasum": hashlib.sha1(content).hexdigest(),
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()}}},
        "_attachments": {file: {"content_type": "application/octet-stream", "data": base64.b64encode(content).decode(), "length": len(content)}}}
    must((200, 201, 403, 409), "PUT", f"/npm/js/{name}", json.dumps(document).encode(), fields={"Content-Type": "application/json"})
    names(f"/npm/js/{name}", f'"{version}"')
    keep(f"/npm/js/{name}/-/{file}", content)


def publish_image(own, number, content):
    # The list of an image's tags comes in pages.
    image = f"/v2/images/load{own}x{number // 50}"

    def push(data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        # A session that went with its node is begun anew, as clients do.
        for _ in range(10):
            _, _, fields = must((202,), "POST", f"{image}/blobs/uploads/", b"")
            place = urllib.parse.urlsplit(urllib.parse.urljoin(url, fields["Location"]))
            place = place.path + "?" + (place.query + "&" if place.query else "") + "digest=" + urllib.parse.quote(digest)
            if insist("PUT", place, data, fields={"Content-Type": "application/octet-stream"})[0] == 201:
                return digest, len(data)
        raise Refused("no session lasts")

    config, layer = push(json.dumps({"architecture": "amd64", "os": "linux", "number": number, "of": own}).encode()), push(content)
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config[0], "size": config[1]},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer[0], "size": layer[1]}]}).encode()
    must((201,), "PUT", f"{image}/manifests/{number}", manifest, fields={"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
    keep(f"{image}/manifests/{number}", manifest)
    keep(f"{image}/blobs/{layer[0]}", content)
    names(f"{image}/tags/list", f'"{number}"')


def publish_maven(own, number, content):
    artifact = f"/maven/releases/org/example/load{own}"
    path = f"{artifact}/1.{number}/load{own}-1.{number}.jar"
    must((200, 201, 409), "PUT", path, content)
    keep(path, content)
    names(f"{artifact}/maven-metadata.xml", f"<version>1.{number}</version>")


REPOSITORIES = {"files": "generic", "python": "pypi", "js": "npm", "images": "docker", "releases": "maven"}
PUBLISH = [publish_file, publish_python, publish_npm, publish_image, publish_maven, publish_file]


def write(writer):
    # Another run is another owner of names.
    randomness, own, number, mine = random.Random(), f"{os.getpid()}x{writer}", 0, []
    publish = PUBLISH[writer % len(PUBLISH)]
    while time.monotonic() < end:
        number += 1
        content = randomness.randbytes(randomness.choice([100, 5_000, 70_000, 1_500_000]))
        try:
            publish(own, number, content)
            with lock:
                written[publish.__name__] = written.get(publish.__name__, 0) + 1
                mine = list(acknowledged) if number % 20 == 1 else mine
        except Refused as error:
            count("failed", str(error))
        # Somebody reads what is older.
        for path in randomness.sample(mine, min(3, len(mine))):
            look(path)


for key, format in REPOSITORIES.items():
    asked = json.dumps({"key": key, "name": key, "format": format, "repo_type": "local"}).encode()
    status = insist("POST", "/api/v1/repositories", asked, fields={"Content-Type": "application/json"})[0]
    if status not in (200, 201, 409):
        sys.exit(f"no repository {key}: {status}")
threads = [threading.Thread(target=write, args=(n,)) for n in range(len(PUBLISH))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with open(kept, "w") as file:
    for path, digest in acknowledged.items():
        file.write(f"{path} {digest or 'gone'}\n")
lost = 0
for at in [urllib.parse.urlsplit(direct).netloc for direct in sys.argv[5:]]:
    for path in acknowledged:
        if not look(path, at):
            lost += 1
            failures[f"lost at {at}: {path}"] = 1
print(json.dumps({"acknowledged": len(acknowledged), "lost": lost, **counts, "published": written, "how": failures}))
sys.exit(0 if lost == counts["wrong"] == counts["stale"] == counts["failed"] == 0 and len(written) == len(set(PUBLISH)) else 1)
