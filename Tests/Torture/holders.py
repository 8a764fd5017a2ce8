"""Credentials of every kind, what each opens, and the one act that takes it away: what `revoke` is about.

A `Holder` asks with one credential. An `Act` is one request of an administrator or an owner, the holders it takes something from, and what it takes;
whoever stands beside it and must notice nothing is a bystander. Each function of `ACTS` makes one, of accounts of its own.
"""
import base64
import json
import time

from oracle import MANIFEST, sha256
from server import Client, Refused, administrator

PASSWORD, OTHER_PASSWORD = "a long enough phrase for one", "another phrase, long enough as well"
# Docker's tokens are good for 300 s.
EXCHANGED_SECONDS = 240
READ_WRITE = ["read:artifacts", "write:artifacts"]
LAYER = b"layer"
FILES = [f"shared/{number}/f" for number in range(4)]


class Holder:
    """Asks with these fields. `reads` are paths and what is there; `write` makes the method, path and body of one more write."""

    def __init__(self, words, fields, reads, write, until=None):
        self.words, self.fields, self.reads, self.write, self.until, self.act = words, fields, reads, write, until, None

    def is_good(self, seconds=0):
        """Not about to expire."""
        return self.until is None or time.monotonic() + seconds < self.until

    def rights(self):
        return ["read", "write"] if self.write else ["read"]


class Act:
    def __init__(self, number, words, holders, perform, takes=("read", "write"), bystanders=()):
        self.number, self.words, self.holders, self.perform, self.takes = number, words, holders, perform, takes
        self.bystanders = list(bystanders)
        for holder in holders:
            holder.act = self

    def everybody(self):
        return self.holders + self.bystanders


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def generic_write(prefix, repository="one"):
    return lambda unique: ("PUT", f"/general/{repository}/{prefix}/{unique}/f", unique.encode())


def image_write(unique):
    body = unique.encode()
    return "POST", f"/v2/img/app/blobs/uploads/?digest=sha256:{sha256(body)}", body


class Office:
    """An administrator who gives and takes, and the places that everybody shares."""

    def __init__(self, server, chance):
        self.server, self.chance, self.admin, self.count, self.ids = server, chance, administrator(server), 0, {}

    def ask(self, method, path, body=None, also=(), **fields):
        """What was answered, which must be a success or one of the statuses `also`."""
        client = Client(self.server, None) if fields else self.admin
        text = None if body is None else json.dumps(body)
        status, answer, _ = client.call(method, path, text, "application/json", {name.replace("_", "-"): value for name, value in fields.items()})
        if client is not self.admin:
            client.close()
        if status not in (200, 201, 204, *also):
            raise Refused(f"{method} {path}: {status} {answer[:300]!r}", status)
        return json.loads(answer) if status == 200 and answer.startswith(b"{") else {}

    def open(self):
        """Places to ask for: files and an image that are private, and a project's."""
        self.ids["works project"] = self.ask("POST", "/api/v1/projects", {"key": "works", "name": "works"})["id"]
        for key, kind, more in (("one", "generic", {}), ("img", "docker", {}), ("works", "generic", {"project_id": self.ids["works project"]})):
            self.repository(key, kind, more)
        for path in FILES:
            for key in ("one", "works"):
                self.put(key, path)
        digest = "sha256:" + sha256(LAYER)
        self.admin.must([201], "POST", f"/v2/img/app/blobs/uploads/?digest={digest}", LAYER)
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": len(LAYER)}}).encode()
        self.admin.must([201], "PUT", "/v2/img/app/manifests/one", self.manifest, MANIFEST)
        self.image = [("/v2/img/app/manifests/one", self.manifest), (f"/v2/img/app/blobs/{digest}", LAYER)]
        self.ids["crew"] = self.group("crew")
        self.grant("group", self.ids["crew"], ["write"], "one")

    def repository(self, key, kind, more):
        about = {"key": key, "name": key, "format": kind, "repo_type": "local", "trash_days": 0, **more}
        self.ids[key] = self.ask("POST", "/api/v1/repositories", about)["id"]

    def put(self, key, path):
        self.admin.must([200, 201], "PUT", f"/general/{key}/{path}", path.encode())

    @staticmethod
    def files(key="one", paths=FILES):
        return [(f"/general/{key}/{path}", path.encode()) for path in paths]

    # What acts are made of.

    def next(self):
        self.count += 1
        return self.count

    def user(self, role=None):
        """Name and id of a new account."""
        name = f"u{self.next()}"
        account = self.ask("POST", "/api/v1/users", {"username": name, "email": f"{name}@example.org", "password": PASSWORD})["user"]["id"]
        if role:
            self.ask("POST", f"/api/v1/users/{account}/roles", {"role_id": role})
        return name, account

    def group(self, name):
        return self.ask("POST", "/api/v1/groups", {"name": name})["id"]

    def grant(self, kind, principal, actions, key, patterns=None):
        body = {"principal_type": kind, "principal_id": principal, "target_type": "repository", "target_id": self.ids[key], "actions": actions}
        return self.ask("POST", "/api/v1/permissions", {**body, **({"patterns": patterns} if patterns else {})})["id"], body

    def holder(self, words, authorization, reads=None, write=None, until=None):
        """Whoever guesses wrong is counted by address: everybody has one of their own."""
        number = self.next()
        fields = dict(authorization) if isinstance(authorization, dict) else {"Authorization": authorization}
        fields["X-Forwarded-For"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        return Holder(words, fields, reads or self.files(), write or generic_write(f"h{number}"), until)

    def token(self, name, reads=None, write=None):
        """An API token by one of its carriers, and its id."""
        made = self.ask("POST", "/api/v1/auth/tokens", {"name": "t", "scopes": READ_WRITE}, Authorization=basic(name, PASSWORD))
        return self.carried(f"{name}'s token", made["token"], reads, write), made["id"]

    def carried(self, words, text, reads=None, write=None):
        carrier = self.chance.choice([
            {"Authorization": f"Bearer {text}"}, {"Authorization": basic("anybody", text)}, {"Authorization": text}, {"X-API-Key": text}])
        return self.holder(words, carrier, reads, write)

    def password(self, name, reads=None, write=None):
        return self.holder(f"{name}'s password", basic(name, PASSWORD), reads, write)

    def session(self, name, reads=None, write=None):
        made = self.ask("POST", "/api/v1/auth/login", {"username": name, "password": PASSWORD}, X_Forwarded_For="10.255.0.1")
        return self.holder(f"{name}'s session", f"Bearer {made['access_token']}", reads, write)

    def exchanged(self, holder):
        """Docker's token for what the holder has: its clients send the field Authorization and no other."""
        until = time.monotonic() + EXCHANGED_SECONDS
        key = holder.fields.get("X-API-Key")
        fields = {**holder.fields, "Authorization": f"Bearer {key}"} if key else holder.fields
        status, answer, _ = Client(self.server, None).call(
            "GET", "/v2/token?service=granary&scope=repository:img/app:pull,push", None, "text/plain", fields)
        if status != 200:
            raise Refused(f"no token for {holder.words}: {status} {answer[:300]!r}", status)
        return self.holder(f"docker's token of {holder.words}", f"Bearer {json.loads(answer)['token']}", self.image, image_write, until)

    def some(self, name, reads=None, write=None):
        """Two of an account's credentials."""
        kinds = [lambda *rest: self.token(*rest)[0], self.password, self.session]
        return [kind(name, reads, write) for kind in self.chance.sample(kinds, 2)]

    def all(self, name):
        """What hangs on an account's password, and its docker token."""
        password, session = self.password(name), self.session(name)
        return [password, session, self.exchanged(self.chance.choice([password, session]))]

    def ticket(self, holder):
        """The path with a ticket to it, or None for who gets none."""
        path = holder.reads[0][0]
        body = json.dumps({"purpose": "download", "resource_path": path})
        status, answer, _ = Client(self.server, None).call("POST", "/api/v1/auth/ticket", body, "application/json", holder.fields)
        return f"{path}?ticket={json.loads(answer)['ticket']}" if status == 200 else None


# Each makes an act: (office, number of the act).

def token_deleted(office, number):
    name, account = office.user("developer")
    (token, id), (other, _) = office.token(name), office.token(name)
    path = office.chance.choice(["/api/v1/auth/tokens", f"/api/v1/users/{account}/tokens", "/api/v1/users/me/tokens"])

    def perform(office, also=()):
        by = {} if account in path else {"Authorization": basic(name, PASSWORD)}
        office.ask("DELETE", f"{path}/{id}", None, also, **by)
    return Act(number, "a token deleted", [token, office.exchanged(token)], perform, bystanders=[other])


def session_ended(office, number):
    name, _ = office.user("developer")
    session, (token, _) = office.session(name), office.token(name)

    def perform(office, also=()):
        office.ask("POST", "/api/v1/auth/logout", {}, also, Authorization=session.fields["Authorization"])
    return Act(number, "a session ended", [session, office.exchanged(session)], perform, bystanders=[token, office.password(name)])


def password_changed(office, number):
    name, _ = office.user("developer")

    def perform(office, also=()):
        words = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        office.ask("POST", "/api/v1/users/me/password", words, also, Authorization=basic(name, PASSWORD))
    return Act(number, "a password changed by its owner", office.all(name), perform, bystanders=[office.token(name)[0]])


def of_account(words, act, keeps_tokens=False):
    """An act of an administrator on a whole account."""
    def make(office, number):
        name, account = office.user("developer")
        token = office.token(name)[0]
        holders = office.all(name) + ([] if keeps_tokens else [token])
        return Act(number, words, holders, lambda office, also=(): act(office, account, also), bystanders=[token] if keeps_tokens else [])
    return make


def service_token_deleted(office, number):
    account, (holder, id), (other, _) = service_account(office)

    def perform(office, also=()):
        office.ask("DELETE", f"/api/v1/service-accounts/{account}/tokens/{id}", None, also)
    return Act(number, "a service account's token deleted", [holder], perform, bystanders=[other])


def service_account_deleted(office, number):
    account, (one, _), (two, _) = service_account(office)
    return Act(number, "a service account deleted", [one, two],
               lambda office, also=(): office.ask("DELETE", f"/api/v1/service-accounts/{account}", None, also))


def service_account(office):
    account = office.ask("POST", "/api/v1/service-accounts", {"name": f"s{office.next()}"})["id"]
    office.grant("service_account", account, ["write"], "one")
    made = [office.ask("POST", f"/api/v1/service-accounts/{account}/tokens", {"name": name, "scopes": READ_WRITE}) for name in ("one", "two")]
    return account, *((office.carried("a service account's token", each["token"]), each["id"]) for each in made)


def repository_token_deleted(office, number):
    name, account = office.user()
    office.grant("user", account, ["admin"], "one")
    by = {"Authorization": basic(name, PASSWORD)}
    made = office.ask("POST", "/api/v1/repositories/one/tokens", {"name": "t", "scopes": READ_WRITE}, **by)
    return Act(number, "a repository's token deleted", [office.carried(f"{name}'s token of a repository", made["token"])],
               lambda office, also=(): office.ask("DELETE", f"/api/v1/repositories/one/tokens/{made['id']}", None, also, **by),
               bystanders=[office.token(name)[0]])


def permission_deleted(office, number):
    name, account = office.user()
    id, _ = office.grant("user", account, ["write"], "one")
    return Act(number, "a permission deleted", office.some(name),
               lambda office, also=(): office.ask("DELETE", f"/api/v1/permissions/{id}", None, also))


def permission_narrowed(office, number):
    name, account = office.user()
    id, body = office.grant("user", account, ["write"], "one")
    return Act(number, "a permission narrowed to reading", office.some(name),
               lambda office, also=(): office.ask("PUT", f"/api/v1/permissions/{id}", {**body, "actions": ["read"]}, also), takes=("write",))


def names_changed(office, number):
    name, account = office.user()
    prefix = f"team-{office.next()}"
    office.put("one", f"{prefix}/1/f")
    id, body = office.grant("user", account, ["write"], "one", [prefix])
    return Act(number, "a permission's names changed", office.some(name, office.files("one", [f"{prefix}/1/f"]), generic_write(prefix)),
               lambda office, also=(): office.ask("PUT", f"/api/v1/permissions/{id}", {**body, "patterns": ["other-*"]}, also))


def member_removed(office, number):
    (name, account), (other, second) = office.user(), office.user()
    members = f"/api/v1/groups/{office.ids['crew']}/members"
    office.ask("POST", members, {"user_ids": [account, second]})
    return Act(number, "a member taken from a group", office.some(name),
               lambda office, also=(): office.ask("DELETE", members, {"user_ids": [account]}, also), bystanders=[office.password(other)])


def of_group(words, act):
    def make(office, number):
        name, account = office.user()
        group = office.group(f"group {office.next()}")
        id, _ = office.grant("group", group, ["write"], "one")
        office.ask("POST", f"/api/v1/groups/{group}/members", {"user_ids": [account]})
        return Act(number, words, office.some(name), lambda office, also=(): act(office, group, id, also))
    return make


def project_member_removed(office, number):
    name, account = office.user()
    members = f"/api/v1/projects/{office.ids['works project']}/members"
    about = {"principal_type": "user", "principal_id": account}
    office.ask("POST", members, {**about, "actions": ["write"]})
    return Act(number, "a member taken from a project", office.some(name, office.files("works"), generic_write(f"h{office.next()}", "works")),
               lambda office, also=(): office.ask("DELETE", members, about, also))


def role_taken(office, number):
    name, account = office.user("developer")
    return Act(number, "a role taken", office.some(name),
               lambda office, also=(): office.ask("DELETE", f"/api/v1/users/{account}/roles/developer", None, also))


def repository_closed(office, number):
    key = f"open{number}"
    office.repository(key, "generic", {"is_public": True})
    office.put(key, FILES[0])
    holder = office.holder("nobody", {}, office.files(key, FILES[:1]))
    holder.write = None
    return Act(number, "a repository made private", [holder],
               lambda office, also=(): office.ask("PATCH", f"/api/v1/repositories/{key}", {"is_public": False}, also))


ACTS = [
    token_deleted, session_ended, password_changed, service_token_deleted, service_account_deleted, repository_token_deleted, permission_deleted,
    permission_narrowed, names_changed, member_removed, project_member_removed, role_taken, repository_closed,
    of_account("a password reset", lambda office, id, also: office.ask("POST", f"/api/v1/users/{id}/password/reset", None, also), keeps_tokens=True),
    of_account("a password that must change", lambda office, id, also: office.ask("POST", f"/api/v1/users/{id}/force-password-change", None, also),
               keeps_tokens=True),
    of_account("an account switched off", lambda office, id, also: office.ask("PATCH", f"/api/v1/users/{id}", {"is_active": False}, also)),
    of_account("an account deleted", lambda office, id, also: office.ask("DELETE", f"/api/v1/users/{id}", None, also)),
    of_group("a group's permission deleted", lambda office, _, id, also: office.ask("DELETE", f"/api/v1/permissions/{id}", None, also)),
    of_group("a group deleted", lambda office, group, _, also: office.ask("DELETE", f"/api/v1/groups/{group}", None, also)),
]
