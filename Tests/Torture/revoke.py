"""Credentials and rights are taken away under load, one after another, and the server is killed in the midst of it.

From the moment at which the act was answered, no request that is sent afterwards may be answered as allowed, on whatever connection, and however hot
the answer was; what nobody asked to take away is never refused. Then SIGKILL, right after an answer or while an act is under way, and a restart:
what was acknowledged stays taken, what was never asked for still holds, and what was under way is wholly done or not at all, for every credential it
is about, and succeeds when it is asked for again. Tickets that were made before are void, and of writes that were refused nothing is there.

The count is of kills. An act is in the ledger before it is asked for, and after its answer; whether it was answered is read before a request is
sent, so a wrong answer is one by any clock.
"""
import multiprocessing
import os
import random
import selectors
import subprocess
import threading
import time
from collections import Counter

from holders import ACTS, Office
from pipeline import Pipeline
from server import Client, Refused, Server

SHORT = 6
WORKERS, CONNECTIONS = 2, 18
# Acts that wait for their turn when a round begins, and how many of them are left alone in it.
STANDING_ACTS, SPARED = 16, 4
ALLOWED, REFUSED = (200, 201, 202), (401, 403, 404, 429)
STANDING, ASKED, TAKEN = range(3)
# Workers get their acts as they are, functions and all.
FORK = multiprocessing.get_context("fork")


def missing():
    """Why it cannot run here."""
    return None


class Request:
    """One of a holder's, and what is known of its right to it."""

    def __init__(self, holder, right, unique, chance):
        self.holder, self.right, self.expected = holder, right, None
        if right == "read":
            self.method, self.body = "GET", b""
            self.path, self.expected = chance.choice(holder.reads)
        else:
            self.method, self.path, self.body = holder.write(unique)

    def state(self, states):
        act = self.holder.act
        return states[act.number] if act is not None and self.right in act.takes else STANDING

    def bytes(self):
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.holder.fields.items())
        return f"{self.method} {self.path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body

    def wrong(self, before, after, status, body):
        """What is wrong with this answer, in words; None when nothing is. `before` is what was known before it was sent, `after` when it had come."""
        words = f"{self.method} {self.path} by {self.holder.words}{f' ({self.holder.act.words})' if self.holder.act else ''}: {status}"
        if status in ALLOWED:
            if before == TAKEN:
                return f"{words} after it was taken away"
            if self.expected is not None and body != self.expected:
                return f"{words} with {len(body)} other bytes"
        elif status not in REFUSED:
            return f"{words} {body[:200]!r}"
        elif after == STANDING and self.holder.is_good():
            return f"{words}, and nobody took it away: {body[:200]!r}"
        return None


class Connection(Pipeline):
    """Requests of many holders on one socket, answered in their order; every third asks for one thing as fast as it can, others send ahead."""

    def __init__(self, worker, number):
        self.worker, self.number = worker, number
        self.chance = random.Random(f"{worker.seed}/{number}")
        self.depth = 3 if number % 3 == 1 else 1
        self.favourite, self.refusals = None, 0
        self.connect(worker.port)

    def next(self):
        if self.number % 3 != 0:
            return self.worker.draw(self.chance)
        # What is remembered by whole requests, and given again without a look inside, as long as it lasts and for a while after.
        if self.favourite is None or self.refusals > 20 or not self.favourite.holder.is_good(5):
            self.favourite, self.refusals = self.worker.draw(self.chance, "read"), 0
        return self.favourite

    def fill(self):
        while len(self.flying) < self.depth:
            request = self.next()
            self.send(request.bytes(), request, request.state(self.worker.states))
        self.write()

    def judge(self, status, body, request, before):
        worker = self.worker
        words = request.wrong(before, request.state(worker.states), status, body)
        if words:
            worker.wrong.append(words)
        worker.counts["requests"] += 1
        if before == TAKEN:
            worker.counts["requests for what was taken"] += 1
            if request.right == "write" and len(worker.refused) < 200:
                worker.refused.append(request.path)
        if request is self.favourite and status in REFUSED:
            self.refusals += 1


class Worker:
    def __init__(self, seed, port, acts, states, dying):
        self.seed, self.port, self.states, self.dying = seed, port, states, dying
        self.holders = [holder for act in acts for holder in act.everybody()]
        self.counts, self.wrong, self.refused = Counter(), [], []

    def draw(self, chance, right=None):
        while True:
            holder = chance.choice(self.holders)
            if holder.is_good(5):
                right = right or ("write" if holder.write and chance.random() < 0.3 else "read")
                return Request(holder, right, f"{self.seed}-{self.counts['requests']}-{chance.randrange(1 << 30)}".replace("/", "-"), chance)

    def run(self):
        connections = [Connection(self, number) for number in range(CONNECTIONS)]
        with selectors.DefaultSelector() as selector:
            for connection in connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            try:
                while not self.dying.value and len(self.wrong) < 20:
                    for connection in connections:
                        connection.fill()
                    for key, _ in selector.select(timeout=0.05):
                        key.data.read()
            except OSError as error:
                # Whoever ends the server says so before.
                if not self.dying.value:
                    self.wrong.append(f"a connection: {error}, and no kill was near")


def work(results, *arguments):
    worker = None
    try:
        worker = Worker(*arguments)
        worker.run()
    except Exception as error:
        results.put(({}, [f"worker: {error!r}"], []))
        return
    results.put((worker.counts, worker.wrong, worker.refused))


def run(run):
    server = Server(run.binary, run.folder)
    # Guesses are counted by address, which everybody has one of; the control plane's limits would be reached by what is refused here.
    server.settings = {"trusted_proxies": "127.0.0.0/8", "rate_limits": "false", "access_log": "false", "access_token_minutes": 1440}
    try:
        server.start()
        with open(os.path.join(run.folder, "ledger"), "w") as ledger:
            Torture(run, server, ledger).run()
    finally:
        server.kill()


class Torture:
    def __init__(self, run, server, ledger):
        self.tally, self.server, self.ledger, self.chance = run, server, ledger, run.chance
        self.office = Office(server, run.chance)
        self.acts, self.deck, self.counts, self.refused = [], [], Counter(), []
        self.states = FORK.RawArray("b", STANDING_ACTS * (run.count + 1))
        self.dying = FORK.RawValue("b", 0)

    def run(self):
        run = self.tally
        self.office.open()
        while run.cycles < run.count and run.is_good():
            self.deal()
            requests, acts = self.counts["requests"], run.acknowledged
            moment = self.round()
            run.cycles += 1
            self.server.start()
            self.office.admin.close()
            older = [act for act in self.acts if self.states[act.number] == TAKEN]
            self.look(f"after kill {run.cycles}", set(self.chance.sample(older, min(24, len(older)))))
            run.say(f"kill {run.cycles} {moment}: {run.acknowledged - acts} acts under {self.counts['requests'] - requests} requests")
        self.look("at the end", set(self.acts))
        self.look_for_refused()
        if self.server.end() != 0:
            run.fail("the server did not end well")
        verified = subprocess.run([run.binary, "audit", "verify", "--data", self.server.data], capture_output=True, text=True)
        if verified.returncode != 0:
            run.fail(f"the audit log: {verified.returncode} {verified.stdout}{verified.stderr}")
        run.figures.update(self.counts)
        run.figures["kinds of acts"] = len({act.words for act in self.acts if self.states[act.number] == TAKEN})

    def standing(self):
        return [act for act in self.acts if self.states[act.number] == STANDING]

    def deal(self):
        """New acts, until enough wait; each kind has its turn."""
        while len(self.standing()) < STANDING_ACTS:
            if not self.deck:
                self.deck = self.chance.sample(ACTS, len(ACTS))
            self.acts.append(self.deck.pop()(self.office, len(self.acts)))

    def round(self):
        """Load, acts under it, and a kill; says when it came."""
        run, results = self.tally, FORK.Queue()
        self.dying.value = 0
        # Those of earlier rounds go on asking for what they lost.
        acts = self.standing() + self.acts[-2 * STANDING_ACTS:]
        workers = [
            FORK.Process(
                target=work, args=(results, f"{run.seed}/{run.cycles}/{number}", self.server.port, acts, self.states, self.dying), daemon=True)
            for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        moment = "after an answer" if self.chance.random() < 0.5 else "during an act"
        try:
            time.sleep(self.chance.uniform(0.3, 0.8))
            standing = self.standing()
            self.chance.shuffle(standing)
            for act in standing[SPARED:-1]:
                self.take(act)
                time.sleep(self.chance.uniform(0, 0.12))
            self.strike(standing[-1], moment)
        finally:
            # Also when something above went wrong: nobody is left asking.
            self.dying.value = 1
            self.server.kill()
            for _ in workers:
                counts, wrong, refused = results.get(timeout=120)
                self.counts.update(counts)
                self.refused += refused
                for words in wrong:
                    run.lose(words)
            for worker in workers:
                worker.join()
        return moment

    def strike(self, act, moment):
        def kill():
            self.dying.value = 1
            self.server.kill()
        if moment == "after an answer":
            self.take(act, then=kill)
            return
        killer = threading.Timer(self.chance.uniform(0, 0.015), kill)
        try:
            self.take(act, first=killer.start)
        except OSError:
            pass  # It was under way.
        if killer.is_alive():
            killer.join()

    def take(self, act, first=lambda: None, then=None):
        """The act, and at once whether it counts."""
        holder = self.chance.choice(act.holders)
        ticket = self.office.ticket(holder) if "read" in act.takes and self.chance.random() < 0.3 else None
        probe = Request(holder, self.chance.choice([right for right in act.takes if right in holder.rights()]), f"p{act.number}", self.chance)
        client = Client(self.server, None)
        client.call("GET", "/livez")
        self.note("ask", act)
        self.states[act.number] = ASKED
        first()
        act.perform(self.office)
        self.states[act.number] = TAKEN
        self.note("ack", act)
        self.tally.acknowledged += 1
        if then:
            then()
            return
        self.check(client, probe, "at once")
        if ticket:
            self.counts["tickets"] += 1
            status = client.call("GET", ticket)[0]
            if status not in REFUSED:
                self.tally.lose(f"a ticket of {holder.words}: {status} after {act.words}")
        client.close()

    def note(self, word, act):
        self.ledger.write(f"{word} {act.number} {act.words}\n")
        self.ledger.flush()

    def check(self, client, request, when):
        before = request.state(self.states)
        status, body, _ = client.call(request.method, request.path, request.body or None, fields=request.holder.fields)
        words = request.wrong(before, before, status, body)
        if words:
            self.tally.lose(f"{when}: {words}")
        elif before == TAKEN and request.right == "write":
            self.refused.append(request.path)
        return status in ALLOWED

    def look(self, when, older):
        """At everything that stands or was under way, and at these of what was taken."""
        client = Client(self.server, None)
        for act in self.acts:
            if self.states[act.number] == TAKEN and act not in older:
                continue
            if self.states[act.number] == ASKED:
                self.finish(client, act, when)
            for holder in act.everybody():
                if holder.is_good(5):
                    for right in holder.rights():
                        self.check(client, Request(holder, right, f"{when}-{act.number}-{self.office.next()}".replace(" ", "-"), self.chance), when)
        client.close()

    def finish(self, client, act, when):
        """Of what was under way: all of it happened, or nothing; asked for again, it is done."""
        answers = {self.check(client, Request(holder, right, f"f{act.number}-{self.office.next()}", self.chance), when)
                   for holder in act.holders for right in holder.rights() if right in act.takes and holder.is_good(5)}
        if len(answers) > 1:
            self.tally.lose(f"{when}: {act.words}, which was under way, is done in part")
        # What is done already is answered in many ways.
        act.perform(self.office, also=(400, 401, 404, 409))
        self.states[act.number] = TAKEN
        self.note("again", act)
        self.counts["under way when killed"] += 1

    def look_for_refused(self):
        """No write that was refused is there."""
        for path in self.refused:
            address = path.replace("uploads/?digest=", "")
            status = self.office.admin.call("GET", address)[0]
            if status != 404:
                self.tally.lose(f"{path} was refused, and is there: {status}")
        self.counts["refused writes looked for"] = len(self.refused)
