"""Whether the time of an answer tells what may not be seen, by Welch's t over many samples.

What a pair compares differs in one thing alone: both paths have the same length, made of random letters; both are asked over one warm connection that
stays open, in random order; each name is one of several, so that no place in a table decides; the answers must be equal but for the request's own id.
"""
import argparse, base64, collections, gc, hashlib, io, json, random, re, socket, statistics, struct, sys, tarfile, time
from servers import PASSWORD, authorization, call, granary

LIMIT = 4.5
CUT = 0.01  # of the slowest samples, of both kinds together
ITSELF = re.compile(rb"(?im)^(date|x-[a-z-]*id):[^\r\n]*\r\n")


class Connection:
    """One connection that stays open; time is from the first byte sent to the last received."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request):
        clock, answer, wanted = time.perf_counter_ns, b"", None
        started = clock()
        self.socket.sendall(request)
        while wanted is None or len(answer) < wanted:
            more = self.socket.recv(1 << 16)
            if not more:
                raise SystemExit(f"the connection ended: {answer[:300]!r}")
            answer += more
            if wanted is None and (end := answer.find(b"\r\n\r\n")) >= 0:
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", answer[:end])
                wanted = end + 4 + int(length.group(1)) if length else end + 4
        return clock() - started, answer


def request(method, target, credential=None, body=b""):
    head = f"{method} {target} HTTP/1.1\r\nHost: timing\r\n" + (f"Authorization: {credential}\r\n" if credential else "")
    if body or method != "GET":
        head += f"Content-Length: {len(body)}\r\nContent-Type: application/octet-stream\r\n"
    return head.encode() + b"\r\n" + body


def welch(a, b):
    spread = statistics.variance(a) / len(a) + statistics.variance(b) / len(b)
    return (statistics.fmean(a) - statistics.fmean(b)) / spread**0.5 if spread else 0.0


class Report:
    def __init__(self):
        self.failed = False
        print(f"{'pair':<52}{'n':>7}{'n':>7}{'median':>10}{'median':>10}{'t':>8}")

    def add(self, title, first, second):
        """`first` and `second`: nanoseconds of each kind."""
        bound = sorted(first + second)[int((len(first) + len(second)) * (1 - CUT)) - 1]
        first, second = ([n for n in each if n <= bound] for each in (first, second))
        t = welch(first, second)
        self.failed |= abs(t) >= LIMIT
        medians = "".join(f"{statistics.median(each) / 1000:>7.1f} us" for each in (first, second))
        print(f"{title:<52}{len(first):>7}{len(second):>7}{medians}{t:>8.2f}{'' if abs(t) < LIMIT else '  DIFFERENT'}", flush=True)


# What each format's clients ask for; {r} is a repository, {n} a name in it.
PATHS = {
    "generic file": ("generic", "/general/{r}/{n}/1/f"),
    "npm packument": ("npm", "/npm/{r}/{n}"), "npm tarball": ("npm", "/npm/{r}/{n}/-/{n}-1.0.0.tgz"),
    "oci manifest": ("oci", "/v2/{r}/{n}/manifests/one"), "oci tags": ("oci", "/v2/{r}/{n}/tags/list"),
    "pypi page": ("pypi", "/pypi/{r}/simple/{n}/"),
    "maven file": ("maven", "/maven/{r}/org/{n}/1/{n}-1.pom"), "REST repository": ("generic", "/api/v1/repositories/{r}"),
    "REST download": ("generic", "/api/v1/repositories/{r}/download/{n}/1/f"), "REST artifacts": ("generic", "/api/v1/repositories/{r}/artifacts"),
}


class World:
    """Private repositories with a few names in each, and as many names that nobody has."""

    def __init__(self, server, rng, each=8):
        self.server, self.rng = server, rng
        self.repositories, self.names = collections.defaultdict(list), [self.word() for _ in range(each)]
        self.no_repositories, self.no_names = [self.word() for _ in range(each)], [self.word() for _ in range(each)]
        for form in sorted({form for form, _ in PATHS.values()}):
            for _ in range(each):
                self.repositories[form].append(key := self.word())
                call(server, "POST", "/api/v1/repositories", {"key": key, "name": key, "format": form, "repo_type": "local", "is_public": False})
                for name in self.names:
                    self.publish(form, key, name)

    def word(self):
        return "".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz", k=12))

    def publish(self, form, key, name):
        server, put = self.server, lambda path, body, kind="application/octet-stream": call(self.server, "PUT", path, body, kind)
        if form == "generic":
            put(f"/general/{key}/{name}/1/f", f"the bytes of {name}")
        elif form == "maven":
            put(f"/maven/{key}/org/{name}/1/{name}-1.pom",
                f"<project><modelVersion>4.0.0</modelVersion><groupId>org</groupId><artifactId>{name}</artifactId><version>1</version></project>")
        elif form == "npm":
            tarball = tar({"package/package.json": json.dumps({"name": name, "version": "1.0.0"})})
            version = {"name": name, "version": "1.0.0", "dist": {
                "shasum": hashlib.sha1(tarball).hexdigest(), "integrity": "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()}}
            put(f"/npm/{key}/{name}", json.dumps({
                "_id": name, "name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}, "_attachments": {
                    f"{name}-1.0.0.tgz": {
                        "content_type": "application/octet-stream", "data": base64.b64encode(tarball).decode(), "length": len(tarball)}}}),
                "application/json")
        elif form == "oci":
            config = b"{}"
            digest = "sha256:" + hashlib.sha256(config).hexdigest()
            call(server, "POST", f"/v2/{key}/{name}/blobs/uploads/?digest={digest}", config, "application/octet-stream")
            put(f"/v2/{key}/{name}/manifests/one", json.dumps({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": len(config)}}),
                "application/vnd.oci.image.manifest.v1+json")
        elif form == "pypi":
            content = tar({f"{name}-1.0/PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"})
            parts = {":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": name, "version": "1.0",
                     "filetype": "sdist"}
            lines = b"".join(f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in parts.items())
            lines += f'--b\r\nContent-Disposition: form-data; name="content"; filename="{name}-1.0.tar.gz"\r\n\r\n'.encode()
            lines += content + b"\r\n--b--\r\n"
            call(server, "POST", f"/pypi/{key}/", lines, "multipart/form-data; boundary=b")


def tar(files):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return held.getvalue()


def make_user(server, name):
    """A user without any right of their own; the token that they send, and their id."""
    made = json.loads(call(server, "POST", "/api/v1/users", {"username": name, "email": f"{name}@example.org", "password": PASSWORD + name}))
    basic = "Basic " + base64.b64encode(f"{name}:{PASSWORD}{name}".encode()).decode()
    body = json.dumps({"name": "timing", "scopes": ["read:artifacts", "write:artifacts", "read:repositories"]}).encode()
    asked = request("POST", "/api/v1/auth/tokens", basic, body).replace(b"application/octet-stream", b"application/json")
    said = Connection(server.port).ask(asked)[1]
    return "Bearer " + json.loads(said.split(b"\r\n\r\n", 1)[1])["token"], made["user"]["id"]


def plain(answer, target):
    """An answer without what names the request itself."""
    for word in sorted(filter(None, re.split(r"[/?]", target)), key=len, reverse=True):
        answer = answer.replace(word.encode(), b"-")
    return ITSELF.sub(b"", answer)


def interleaved(rng, kinds, count):
    order = [kind for kind in kinds for _ in range(count)]
    rng.shuffle(order)
    return order


def measure_gets(server, world, rng, count, report):
    token, _ = make_user(server, "newcomer")
    connection = Connection(server.port)
    for who, credential in (("nobody", None), ("without rights", token)):
        for title, (form, path) in PATHS.items():
            keys = world.repositories[form]
            targets = {
                "private": [path.format(r=r, n=n) for r in keys for n in world.names],
                "no repository": [path.format(r=r, n=n) for r in world.no_repositories for n in world.names],
                "no name": [path.format(r=r, n=n) for r in keys for n in world.no_names] if "{n}" in path else [],
            }
            kinds = [kind for kind, them in targets.items() if them]
            asked = {kind: [(target, request("GET", target, credential)) for target in targets[kind]] for kind in kinds}
            # Whoever may read it gets it: there is something to hide.
            if b" 200 " not in connection.ask(request("GET", targets["private"][0], authorization()))[1][:16]:
                raise SystemExit(f"{targets['private'][0]} is not there")
            answers = {plain(connection.ask(bytes_)[1], target) for kind in kinds for target, bytes_ in asked[kind]}
            if len(answers) != 1:
                raise SystemExit(f"{title}: the answers differ: {answers}")
            times = collections.defaultdict(list)
            gc.collect()
            for number, kind in enumerate(interleaved(rng, kinds, 200) + interleaved(rng, kinds, count)):
                taken = connection.ask(rng.choice(asked[kind])[1])[0]
                if number >= 200 * len(kinds):
                    times[kind].append(taken)
            for kind in kinds[1:]:
                report.add(f"{title}, {who}: private / {kind}", times["private"], times[kind])


def measure_uploads(server, rng, count, size, report):
    """Everything is uploaded by one who may write to one repository and knows nothing of the other."""
    tag = f"{size >> 10}k"
    for key in (f"theirs-{tag}", f"ours-{tag}"):
        call(server, "POST", "/api/v1/repositories", {"key": key, "name": key, "format": "generic", "repo_type": "local", "is_public": False})
    token, user = make_user(server, f"writer-{tag}")
    target = json.loads(call(server, "GET", f"/api/v1/repositories/ours-{tag}"))["id"]
    call(server, "POST", "/api/v1/permissions", {
        "principal_type": "user", "principal_id": user, "target_type": "repository", "target_id": target, "actions": ["read", "write"]})
    connection, warm = Connection(server.port), min(200, count)
    known = [rng.randbytes(size) for _ in range(count + warm)]

    def put(key, credential, body):
        name = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=16))
        taken, answer = connection.ask(request("PUT", f"/general/{key}/{name}/1/f", credential, body))
        if b" 201 " not in answer[:16]:
            raise SystemExit(f"an upload: {answer[:300]!r}")
        return taken

    for body in known:
        put(f"theirs-{tag}", authorization(), body)
    fresh, times = [rng.randbytes(size) for _ in known], collections.defaultdict(list)
    bodies = {"others have": known, "nobody has": fresh}
    # In another order than they came in.
    rng.shuffle(known)
    gc.collect()
    for number, kind in enumerate(interleaved(rng, bodies, warm) + interleaved(rng, bodies, count)):
        taken = put(f"ours-{tag}", token, bodies[kind].pop())
        if number >= 2 * warm:
            times[kind].append(taken)
    report.add(f"upload of {size >> 10} KiB: others have / nobody has", times["others have"], times["nobody has"])


def main():
    parser = argparse.ArgumentParser()
    for name in ("granary", "scratch"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--uploads", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", choices=("gets", "uploads"))
    options = parser.parse_args()
    print(f"seed {options.seed}; the slowest {CUT * 100:.0f} % of both kinds together are left out; |t| must be below {LIMIT}")
    rng, report = random.Random(options.seed), Report()
    gc.disable()
    server = granary(options.granary, options.scratch, "--set", "rate_limits=false")
    try:
        if options.only != "uploads":
            measure_gets(server, World(server, rng), rng, options.requests, report)
        if options.only != "gets":
            measure_uploads(server, rng, options.uploads, 4 << 10, report)
            measure_uploads(server, rng, options.large, 256 << 10, report)
    finally:
        server.stop()
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
