"""The wall clock jumps, by seconds to years, forward and back, while the server runs and across a restart; the monotonic clock does not.

Pushes are under way at each jump: an upload session with its first piece, an OCI image whose blobs are there and whose manifest is not, a deleted
artifact within its time of grace. After it nothing acknowledged may be lost, the sweep takes nothing that is named or being pushed, tokens that
have expired are refused and others are not, and going back and on again ends in the same state. The server never ends by itself.
"""
import base64
import json
import os
import random
import time

import shim
from oracle import MANIFEST, Upload, judge, leaks, sha256
from server import Client, NotReady, Refused, Server, administrator, set_up, token

SHORT = 8
DAY = 86_400
# A second, ten days and three years each way; the beginning of the epoch, and the end of 32 bits.
JUMPS = [1, -1, 3600, -3600, 10 * DAY, -10 * DAY, 3 * 365 * DAY, -3 * 365 * DAY]

missing = shim.missing


def run(run):
    library = shim.build(run.folder)
    server = Server(run.binary, run.folder)
    os.makedirs(server.data)
    control = shim.Shim(library, run.folder, server.data)
    server.environment = control.environment
    # Sweeps by the schedule's own grace, so that a jump may end it early; and a scrub and a survey that wait for times of the wall clock.
    server.settings = {"sweep_interval_minutes": 1, "own_file_bytes_min": 1 << 20, "upload_lifetime_hours": 24}
    try:
        torture(run, server, control)
    finally:
        server.kill()


def torture(run, server, control):
    server.start()
    authorization = set_up(server)
    server.administrator = token(administrator(server), "administrator", ["admin"])
    everything = []
    for number in range(run.count):
        jump = JUMPS[number % len(JUMPS)]
        is_across_restart = number // len(JUMPS) % 2 == 1 if run.count > len(JUMPS) else run.chance.random() < 0.4
        when = f"jump {number + 1}: {jump:+} s {'across a restart' if is_across_restart else 'while it runs'}"
        try:
            everything.append(once(run, server, control, authorization, number, jump, is_across_restart, when))
        except (OSError, Refused, NotReady) as error:
            run.fail(f"{when}: {type(error).__name__}: {error}")
        if server.process.poll() is not None:
            run.fail(f"{when}: the server ended with {server.process.returncode}")
            server.start()
        run.cycles += 1
        judge(run, everything, Client(server, authorization), when)
        run.say(f"{when}, {len(everything)} pushes looked at")
    # From now on the clock is right.
    control.clock_offset = 0
    server.kill()
    server.start()
    judge(run, everything, Client(server, authorization), "at the end")
    for wrong in leaks(server, everything, say=lambda _: None):
        run.fail(f"at the end: {wrong}")
    judge(run, everything, Client(server, authorization), "after the last sweeps")


def once(run, server, control, authorization, number, jump, is_across_restart, when):
    """One push with the jump in its midst."""
    client, admin = Client(server, authorization), administrator(server)
    work = Push(number, run.seed)
    work.begin(client)
    session = sign_in(server)
    if is_across_restart:
        server.kill()
        control.clock_offset += jump
        server.start()
        client.close()
        admin.close()
    else:
        control.clock_offset += jump
    sweep(admin, 3600)
    run.sweeps += 1
    # A session of half an hour has ended when the clock says so, and not before; one of the future is not believed for longer than it has.
    status = Client(server, session).call("GET", "/api/v1/auth/me")[0]
    if status not in ((401,) if jump > 1800 else (200,) if jump >= 0 else (200, 401)):
        run.fail(f"{when}: a session of half an hour is answered {status}")
    work.finish(client, is_forward_past_lifetime=jump > DAY)
    run.acknowledged += 1
    # Back where it was: what was pushed while it was wrong is as good as all else.
    if run.chance.random() < 0.5:
        control.clock_offset -= jump
        sweep(admin, 3600)
        run.sweeps += 1
    return work


def sign_in(server):
    body = json.dumps({"username": "admin", "password": server.password})
    response, answer, _ = Client(server, None).call("POST", "/api/v1/auth/login", body, "application/json")
    if response != 200:
        raise Refused(f"sign-in: {response} {answer!r}", response)
    return "Bearer " + json.loads(answer)["access_token"]


def sweep(admin, grace_seconds):
    """409: the schedule's own is running."""
    while admin.must([200, 409], "POST", "/api/v1/admin/storage-gc", json.dumps({"grace_seconds": grace_seconds}), "application/json").status == 409:
        time.sleep(0.05)


class Push(Upload):
    """An image, in pieces; and an artifact that is deleted and put again."""

    def __init__(self, number, seed):
        super().__init__(seed, number, lambda *_: None)
        chance = random.Random(f"{seed}/clock/{number}")
        self.layer, self.file = chance.randbytes(1_300_000), chance.randbytes(20_000)
        self.config = json.dumps({"number": number}).encode()
        self.session = None

    def begin(self, client):
        self.put(client, [200, 201], f"/general/gen/clock/{self.number}", self.file, "PUT",
                 f"/api/v1/repositories/gen/artifacts/clock/{self.number}", self.file)
        self.delete(client, f"/general/gen/clock/{self.number}", "DELETE", f"/api/v1/repositories/gen/artifacts/clock/{self.number}")
        # No manifest names it yet: what keeps it is that it was uploaded just now.
        self.blob(client, self.config)
        self.session = self.location(client.must([202], "PATCH", self.started(client), self.layer[:700_000]))

    def finish(self, client, is_forward_past_lifetime):
        status, body, response = client.call("PATCH", self.session, self.layer[700_000:])
        if status == 404 and is_forward_past_lifetime:
            # Its day is over, says the clock; the client begins anew.
            self.blob(client, self.layer)
        elif status == 202:
            self.blob(client, b"", self.location(response), self.layer)
        else:
            raise Refused(f"PATCH after the jump: {status} {body[:200]!r}", status)
        # Asked for as a client does that finds its blob missing: 404 is an answer, a manifest that names what is gone is not.
        digest = "sha256:" + sha256(self.config)
        if client.call("HEAD", f"/v2/img/clock/blobs/{digest}")[0] == 404:
            self.blob(client, self.config)
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(self.config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + sha256(self.layer), "size": len(self.layer)}],
        }).encode()
        place = f"/v2/img/clock/manifests/t{self.number}"
        self.put(client, [201], place, manifest, "PUT", place, manifest, MANIFEST)
        for content in (self.layer, self.config):
            self.blob(client, content)
        self.put(client, [200, 201], f"/general/gen/clock/{self.number}", self.file, "PUT",
                 f"/api/v1/repositories/gen/artifacts/clock/{self.number}", self.file)

    def started(self, client):
        return self.location(client.must([202], "POST", "/v2/img/clock/blobs/uploads/"))

    def blob(self, client, content, session=None, whole=None):
        digest = "sha256:" + sha256(whole or content)
        path = session or self.started(client)
        self.put(client, [201], f"/v2/img/clock/blobs/{digest}", whole or content, "PUT",
                 path + ("&" if "?" in path else "?") + "digest=" + digest, content)

    @staticmethod
    def location(response):
        location = response.getheader("Location")
        return location if location.startswith("/") else "/" + location.split("/", 3)[3]
