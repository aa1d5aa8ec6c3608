"""A fleet of sidecars and a trivial model of it: whatever fails, in whatever order.

Each history is drawn by Hypothesis: writes, requests, crashes, connections lost, and what a server in trouble
does. The model knows what was acknowledged; registry, caches, epoch, pipeline, writer and replica are real.

``VALIDATOR_HISTORIES`` sets how many histories are tried (default 300), for instance 5000 before a release.
"""

import asyncio
import json
import math
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from fake_log import FakeServer
from fleet_support import Sidecar
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs
from support_http import CannedIdp
from support_pipeline import RING, Seen

from validator.core.changes import ApplicationChange, Change, RevocationChange, change, content
from validator.core.registry import authorize
from validator.errors import AuthError, Unavailable
from validator.model import Application, Knowledge, Method, Proof, RegistrationStatus, Revocation
from validator.ports import RegistryError
from validator.testing import ManualClock

HISTORIES = int(os.environ.get("VALIDATOR_HISTORIES", "300"))
IDS = ["app-1", "app-2", "app-3"]
CLIENTS = ["orders", "billing"]
SERVICES = ["svc", "more"]
GARBAGE = '["of a later version"]'
LONG_S = 30 * 86400  # no token of a history ends in it

Op = tuple[str, tuple[Any, ...]]

_ids, _clients, _services = st.sampled_from(IDS), st.sampled_from(CLIENTS), st.sampled_from(SERVICES)
_statuses = st.sampled_from([*RegistrationStatus, None])
_ends = st.sampled_from([None, None, 40.0, 400.0])
_things = st.one_of(
    st.tuples(st.just("client_id"), _clients, st.sampled_from([None, "plain"])),
    st.tuples(st.just("application_id"), _ids, st.none()),
    st.tuples(st.just("jti"), st.sampled_from([f"token-{client}" for client in CLIENTS]), st.none()),
    st.tuples(st.just("session_id"), st.integers(0, 3).map(str), st.none()),
    st.tuples(st.just("sessions_of"), _clients, st.just("plain")),
)
_ops: st.SearchStrategy[Op] = st.one_of(
    st.tuples(st.just("create"), st.tuples(_ids, _clients, _services)),
    st.tuples(st.just("create"), st.tuples(_ids, _clients, _services)),
    st.tuples(st.just("replace"), st.tuples(_ids, _clients, _services)),
    st.tuples(st.just("delete"), st.tuples(_ids)),
    st.tuples(st.just("register"), st.tuples(_ids, _services, _statuses)),
    st.tuples(st.just("revoke"), st.tuples(_things, _ends)),
    st.tuples(st.just("revoke"), st.tuples(_things, _ends)),
    st.tuples(st.just("unrevoke"), st.tuples(_things)),
    st.tuples(st.just("record"), st.tuples(_ids, _clients)),
    st.tuples(st.just("adopt"), st.tuples(_ids, _ids)),
    st.tuples(st.just("forget"), st.tuples(_clients)),
    st.tuples(st.just("forget_cached"), st.just(())),
)
_which = st.integers(0, 2)


@st.composite
def _rivals(draw: st.DrawFn) -> tuple[Op, Op]:
    """Two writes that get in each other's way."""
    match draw(st.integers(0, 2)):
        case 0:
            thing = draw(_things)
            return ("revoke", (thing, draw(_ends))), ("revoke", (thing, draw(_ends)))
        case 1:
            client = draw(_clients)
            return ("create", (draw(_ids), client, "svc")), ("create", (draw(_ids), client, "more"))
    return draw(_ops), draw(_ops)


def ends(text: str | None) -> float:
    """Until when a revocation counts by what is written of it; 0: not at all."""
    if text is None:
        return 0.0
    until = json.loads(text)[1]
    return math.inf if until is None else float(until)


class Truth:
    """What was acknowledged, and what may be true besides."""

    def __init__(self) -> None:
        self.possible: dict[str, set[str | None]] = {}
        self.low: dict[str, float] = {}  # revoked, acknowledged, until at least
        self.high: dict[str, float] = {}  # and until at most
        self.ever: dict[str, float] = {}  # as a sidecar that was away may still have it
        self.unshared: set[str] = set()
        self.lossy = False  # the server has lost something that it had acknowledged

    def of(self, key: str) -> set[str | None]:
        return self.possible.get(key, {None})

    def certain(self, key: str) -> bool:
        return not self.lossy and key not in self.unshared and len(self.of(key)) == 1

    def acknowledged(self, made: Change) -> None:
        key, text = made.key, content(made)
        clean = not self.lossy and key not in self.unshared
        self.possible[key] = {text} if clean else self.of(key) | {text}
        if isinstance(made, RevocationChange):
            self._raise(key, ends(text))
            self.low[key] = 0.0 if made.lifted else max(self.low.get(key, 0.0), ends(text))
            if clean:
                self.high[key] = ends(text)

    def unknown(self, made: Change, *, urgent: bool) -> None:
        key, text = made.key, content(made)
        self.possible[key] = self.of(key) | {text}
        if urgent:
            self.unshared.add(key)
        if isinstance(made, RevocationChange):
            self._raise(key, ends(text))
            if made.lifted:
                self.low[key] = 0.0

    def _raise(self, key: str, until: float) -> None:
        self.high[key] = max(self.high.get(key, 0.0), until)
        self.ever[key] = max(self.ever.get(key, 0.0), until)

    def settle(self, key: str, text: str | None) -> None:
        """All have this now, and nobody has another."""
        self.possible[key] = {text}
        if key.startswith("revocation"):
            self.low[key] = self.high[key] = self.ever[key] = ends(text)


class Fleet(RuleBasedStateMachine):
    @initialize(size=st.integers(2, 3), apart=st.booleans())
    def begin(self, size: int, apart: bool) -> None:
        self.stack = ExitStack()
        self.lines = self.stack.enter_context(capture_logs())
        self.runner = self.stack.enter_context(asyncio.Runner())
        self.clock = ManualClock()
        self.server = FakeServer(self.clock)
        idp = CannedIdp(self.clock)
        self.truth = Truth()
        self.tokens = {
            client: idp.mint.mint(
                {"client_id": client, "jti": f"token-{client}", "exp": int(self.clock.now()) + LONG_S}
            )
            for client in CLIENTS
        }
        self.cookies: list[bytes] = []
        self.knows: dict[str, dict[str, float]] = {}
        self.sworn: dict[str, dict[str, float]] = {}
        self.denied: dict[tuple[str, str, str | None, str], float] = {}
        self.reconciled = 0
        self.spoilt: dict[str, str | None] = {}
        self.under_way: dict[str, asyncio.Task[Any]] = {}
        self.sidecars = [Sidecar(f"sidecar-{number}", self.server, self.clock, idp) for number in range(size)]
        for sidecar in self.sidecars:
            self.knows[sidecar.name], self.sworn[sidecar.name] = {}, {}
            self.run(sidecar.start())
            if not apart:
                self.run(sidecar.replica.step())

    def run(self, work: Awaitable[Any]) -> Any:
        async def begun() -> Any:
            return await work

        return self.runner.run(begun())

    def at(self, which: int) -> Sidecar:
        return self.sidecars[which % len(self.sidecars)]

    # Writes

    @rule(which=_which, op=_ops)
    def write(self, which: int, op: Op) -> None:
        self.run(self.perform(self.at(which), op))

    @rule(which=_which, ops=_rivals())
    def write_in_between(self, which: int, ops: tuple[Op, Op]) -> None:
        """Another sidecar writes after this one has planned and before it has written."""
        op, other = ops
        one, another = self.at(which), self.at(which + 1)
        one.log.interlude = lambda: self.perform(another, other)
        self.run(self.perform(one, op))
        one.log.interlude = None

    @rule(which=_which, op=_ops, when=st.sampled_from(["before", "after"]))
    def crash_while_writing(self, which: int, op: Op, when: str) -> None:
        sidecar = self.at(which)
        self.run(sidecar.replica._behind.close())  # so that the crash meets this write
        sidecar.store.crash = when
        self.run(self.perform(sidecar, op))
        sidecar.store.crash = None
        if sidecar.store.crashed:  # by what it wrote besides, a moment later
            self.run(self.restart_now(sidecar))

    @rule(which=_which, op=_ops)
    def lose_the_reply(self, which: int, op: Op) -> None:
        sidecar = self.at(which)
        sidecar.log.lose_replies = 1
        self.run(self.perform(sidecar, op))
        sidecar.log.lose_replies = 0

    @rule(which=_which, ops=_rivals(), writes=st.integers(1, 2))
    def lose_it_and_write_elsewhere(self, which: int, ops: tuple[Op, Op], writes: int) -> None:
        """The server forgets what it has acknowledged, and another sidecar writes before the first is back."""
        one, another = self.at(which), self.at(which + 1)
        self.run(self.perform(one, ops[0]))
        self.fail_over(writes)
        one.log.connected = False
        self.clock.advance(1.5)
        self.run(self.hear())
        for _ in range(2):
            self.run(another.replica.step())
        self.run(self.perform(another, ops[1]))

    @rule(which=_which, op=_ops)
    def crash_while_restoring(self, which: int, op: Op) -> None:
        """The server has forgotten a write, and takes none when it is to be restored."""
        sidecar = self.at(which)
        self.run(self.perform(sidecar, op))
        self.fail_over(1)
        self.server.read_only = True
        self.clock.advance(1.5)
        self.run(self.hear())
        for _ in range(2):
            self.run(sidecar.replica.step())
        self.server.read_only = False
        self.run(self.restart_now(sidecar))

    async def perform(self, sidecar: Sidecar, op: Op) -> None:
        sidecar.planned = ()
        try:
            await self.call(sidecar, *op)
        except RegistryError:
            pass
        except Unavailable:
            for made in sidecar.planned:
                self.truth.unknown(made, urgent=sidecar.urgent or sidecar.store.crashed)
                self.note(sidecar, made, in_force=sidecar.urgent, sworn=False)
        else:
            assert sidecar.urgent or not sidecar.planned or sidecar.replica.following
            for made in sidecar.planned:
                if op[0] == "create" and self.truth.certain(made.key):
                    assert self.truth.of(made.key) == {None}, "created in the place of another"
                self.truth.acknowledged(made)
                self.note(sidecar, made, in_force=True, sworn=True)
        if sidecar.store.crashed:
            await self.restart_now(sidecar)
        else:
            await self.check_requests(sidecar)

    def note(self, sidecar: Sidecar, made: Change, *, in_force: bool, sworn: bool) -> None:
        if not isinstance(made, RevocationChange):
            return
        if made.lifted:
            for known in (*self.knows.values(), *self.sworn.values()):
                known.pop(made.key, None)
            return
        for known, told in ((self.knows, in_force and not sidecar.store.crashed), (self.sworn, sworn)):
            if told:
                known[sidecar.name][made.key] = max(known[sidecar.name].get(made.key, 0.0), ends(content(made)))

    async def call(self, sidecar: Sidecar, name: str, arguments: tuple[Any, ...]) -> None:
        writer = sidecar.writer
        match name, arguments:
            case "create" | "replace", (identifier, client, service):
                made = Application(
                    identifier, name, "plain", client, {service: RegistrationStatus.APPROVED}, origin=_API
                )
                await (writer.create(made) if name == "create" else writer.replace(made))
            case "delete", (identifier,):
                await writer.delete(identifier)
            case "register", (identifier, service, status):
                await writer.set_registration(identifier, service, status)
            case "revoke", (thing, after_s):
                now = self.clock.now()
                until = None if after_s is None else now + after_s
                await writer.revoke(self.entry(thing, now, until))
            case "unrevoke", (thing,):
                await writer.unrevoke(self.entry(thing, 0.0, None))
            case "record", (identifier, client):
                made = Application(identifier, "recorded", "plain", client, {"svc": RegistrationStatus.APPROVED})
                await writer.record(made, "sealed")
            case "adopt", (identifier, new_id):
                await writer.adopt(identifier, new_id, "adopted")
            case "forget", (client,):
                await writer.forget(Revocation("client_id", client, "plain", self.clock.now(), None))
            case "forget_cached", _:
                await writer.forget_cached()

    def entry(self, thing: tuple[str, str, str | None], created: float, until: float | None) -> Revocation:
        kind, value, strategy = thing
        if kind == "session_id":
            number = int(value)
            value = RING.open(self.cookies[number], "plain").id if number < len(self.cookies) else value
        return Revocation(kind, value, strategy, created, until)

    # Requests

    @rule(which=_which)
    def request(self, which: int) -> None:
        self.run(self.check_requests(self.at(which)))

    async def check_requests(self, sidecar: Sidecar) -> None:
        """What is answered, from whatever cache, is what a judgement by what is in force would be."""
        for service in SERVICES:
            for client, token in self.tokens.items():
                seen = await sidecar.kitchen.ask(token, service=service)
                proof = Proof("plain", Method.BEARER, client, math.inf, math.inf, f"token-{client}")
                self.check_answer(sidecar, proof, service, seen)
                if seen.status == 200 and "set-cookie" in seen.headers and len(self.cookies) < 4:
                    self.cookies.append(seen.cookie)
            for cookie in self.cookies:
                session = RING.open(cookie, "plain")
                if self.clock.now() - session.seen_at > 600:
                    continue
                seen = await sidecar.kitchen.ask(cookie=cookie, service=service)
                proof = Proof(
                    "plain", Method.SESSION, session.client_id, math.inf, math.inf, None, session=session
                )
                self.check_answer(sidecar, proof, service, seen)

    def check_answer(self, sidecar: Sidecar, proof: Proof, service: str, seen: Seen) -> None:
        """A denial from a time when everything was known may be given again, as any that is cached, and so may one
        whose revocation has just run out; no other."""
        judged = self.judged(sidecar, proof, service)
        asked = (sidecar.name, proof.client_id, proof.session and proof.session.id, service)
        known = seen.status == 403 and sidecar.registry.knowledge is Knowledge.CURRENT
        if known or (seen.reason == "revoked" and judged[1] == "revoked"):
            self.denied[asked] = self.clock.now()
        elif (seen.status == 403 and judged[0] == 503) or (seen.reason == "revoked" and self.has_run_out(asked)):
            assert self.clock.now() - self.denied.get(asked, 0.0) < sidecar.kitchen.lifetimes.negative_ttl_s
            return
        assert seen.said == judged, (seen.said, judged, *asked)

    def has_run_out(self, asked: tuple[str, str, str | None, str]) -> bool:
        return self.clock.now() > self.denied.get(asked, math.inf)

    def judged(self, sidecar: Sidecar, proof: Proof, service: str) -> tuple[int, str | None]:
        registry = sidecar.registry
        application = registry.find("plain", proof.client_id)
        if registry.covers(proof, application):
            return 401, "revoked"
        if application is None and registry.knowledge is not Knowledge.CURRENT:
            return 503, "store_unavailable"
        try:
            authorize(application, service, registry.knowledge)
        except AuthError as error:
            return error.reason.status, error.reason.value
        return 200, None

    # What happens to sidecars

    @rule(which=_which)
    def follow(self, which: int) -> None:
        sidecar = self.at(which)
        if sidecar.name not in self.under_way:
            self.run(sidecar.replica.step())
            if self.server.down or not sidecar.log.connected:
                assert sidecar.registry.knowledge is not Knowledge.CURRENT
            self.run(self.check_requests(sidecar))

    @rule(which=_which, fewer=st.sampled_from([1, 300]))
    def read_less_at_once(self, which: int, fewer: int) -> None:
        self.at(which).log.fewer = fewer

    @rule(which=_which, op=_ops)
    def follow_while_another_writes(self, which: int, op: Op) -> None:
        one, another = self.at(which), self.at(which + 1)
        if one.name not in self.under_way:
            one.log.between = lambda: self.perform(another, op)
            self.run(one.replica.step())
            one.log.between = None

    @rule(which=_which)
    def read_and_hear_late(self, which: int) -> None:
        """What was read is handed over only later; meanwhile this sidecar may write, and others."""
        sidecar = self.at(which)

        async def begin() -> None:
            sidecar.log.late = asyncio.Event()
            self.under_way[sidecar.name] = asyncio.ensure_future(sidecar.replica.step())
            for _ in range(5):
                await asyncio.sleep(0)

        if sidecar.name not in self.under_way and sidecar.replica.following:
            self.run(begin())

    @precondition(lambda self: self.under_way)
    @rule()
    def hear_now(self) -> None:
        self.run(self.hear())

    async def hear(self) -> None:
        for sidecar in self.sidecars:
            if (task := self.under_way.pop(sidecar.name, None)) is not None:
                assert sidecar.log.late is not None
                sidecar.log.late.set()
                sidecar.log.late = None
                await task

    @rule(which=_which)
    def crash(self, which: int) -> None:
        self.run(self.restart_now(self.at(which)))

    async def restart_now(self, sidecar: Sidecar) -> None:
        await self.hear()
        self.reconciled += sidecar.replica.reconciliations
        sidecar.store.crashed = True  # what was on its way to the file does not arrive
        await sidecar.replica.close()
        await sidecar.start()
        # What it had heard from others, but not written down, it hears again; what it acknowledged it knows.
        known, stored = self.knows[sidecar.name], sidecar.store.rows
        heard = {key: min(until, ends(stored[key][0].content)) for key, until in known.items() if key in stored}
        self.knows[sidecar.name] = heard | self.sworn[sidecar.name]

    @rule(which=_which)
    def lose_or_find_the_server(self, which: int) -> None:
        sidecar = self.at(which)
        sidecar.log.connected = not sidecar.log.connected
        self.run(self.hear())

    @rule(which=_which)
    def fill_or_empty_the_disk(self, which: int) -> None:
        store = self.at(which).store
        store.broken = not store.broken

    # What happens to the server, and to time

    @rule(seconds=st.sampled_from([0.001, 0.3, 1.0, 6.0, 50.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(down=st.booleans())
    def stop_or_start_the_server(self, down: bool) -> None:
        if self.server.down and not down:
            self.server.restart()
        self.server.down = down

    @rule(read_only=st.booleans())
    def refuse_writes(self, read_only: bool) -> None:
        self.server.read_only = read_only

    @rule(left=st.integers(0, 2))
    def trim(self, left: int) -> None:
        self.server.trim(left)

    @rule()
    def flush(self) -> None:
        self.truth.lossy = True
        self.spoilt = {}
        self.server.flush()

    @rule(writes=st.integers(1, 4))
    def fail_over(self, writes: int) -> None:
        self.truth.lossy = True
        self.server.go_back(writes)
        while any(record.content == GARBAGE for record in self.server.state.records.values()):
            self.server.go_back(1)
        self.spoilt = {}

    @precondition(lambda self: not self.truth.lossy and not self.spoilt)
    @rule(key=st.sampled_from([ApplicationChange(IDS[0], None).key, "future\0thing"]))
    def write_what_nobody_can_read(self, key: str) -> None:
        self.spoilt[key] = self.server.content(key)
        self.server.spoil(key, GARBAGE)

    @precondition(lambda self: self.spoilt)
    @rule()
    def mend(self) -> None:
        for key, text in self.spoilt.items():
            if self.server.content(key) == GARBAGE:
                self.server.append(self.server.state.head, [(key, text)], 0)
                if key.startswith("future"):
                    records = {k: r for k, r in self.server.state.records.items() if k != key}
                    object.__setattr__(self.server.state, "records", records)
        self.spoilt = {}

    # What holds

    @invariant()
    def what_is_revoked_here_stays_so(self) -> None:
        for sidecar in getattr(self, "sidecars", []):
            for key, until in self.knows[sidecar.name].items():
                if until > self.clock.now():
                    assert self.revoked_until(sidecar, key) >= until, (sidecar.name, key)

    @invariant()
    def nobody_claims_to_know_what_he_cannot(self) -> None:
        for sidecar in getattr(self, "sidecars", []):
            current = sidecar.registry.knowledge is Knowledge.CURRENT
            assert not current or (sidecar.replica.following and sidecar.replica.stale_s() == 0.0)
            if current and sidecar.up_to_date:
                assert all(self.server.content(key) != GARBAGE for key in self.spoilt), sidecar.name

    @invariant()
    def who_has_followed_has_the_truth(self) -> None:
        for sidecar in getattr(self, "sidecars", []):
            if not sidecar.up_to_date or self.truth.lossy:
                continue
            for key, possible in self.truth.possible.items():
                if not self.truth.certain(key) or key in self.spoilt:
                    continue
                (text,) = possible
                if key.startswith("application"):
                    assert self.held(sidecar, key) == text, (sidecar.name, key)
                elif key.startswith("revocation") and ends(text) > self.clock.now():
                    assert self.revoked_until(sidecar, key) >= ends(text), (sidecar.name, key)
                    known = self.knows[sidecar.name]
                    known[key] = max(known.get(key, 0.0), ends(text))

    def held(self, sidecar: Sidecar, key: str) -> str | None:
        made = sidecar.registry.held(key.split("\0")[1])
        return None if made is None else content(ApplicationChange(made.id, made))

    def revoked_until(self, sidecar: Sidecar, key: str) -> float:
        made = change(key, None)
        assert isinstance(made, RevocationChange)
        entry = sidecar.registry.revocation(made.entry)
        if entry is None:
            return 0.0
        return math.inf if entry.expires_at is None else entry.expires_at

    @rule()
    def heal(self) -> None:
        self.run(self.healed())

    async def healed(self) -> None:
        """Everything is well again: all are soon the same, and as was acknowledged."""
        await self.hear()
        self.server.down = self.server.read_only = False
        self.mend()
        for sidecar in self.sidecars:
            sidecar.store.broken = False
            sidecar.log.connected = True
        for _ in range(12):
            for sidecar in self.sidecars:
                await sidecar.replica.step()
            self.clock.advance(1.0)
        for sidecar in self.sidecars:
            await sidecar.replica.settled()
            assert sidecar.up_to_date, (sidecar.name, self.lines)
            assert sidecar.registry.knowledge is Knowledge.CURRENT
            assert not sidecar.replica._mirror.ahead
        removed = {ApplicationChange(line["removed"], None).key for line in self.lines if "removed" in line}
        assert self.truth.lossy or not removed
        self.reconciled += sum(sidecar.replica.reconciliations for sidecar in self.sidecars)
        self.compare(removed)
        stored = [change(r.key, r.content) for r in self.server.state.records.values() if r.content]
        places = [one.application.client_id for one in stored if isinstance(one, ApplicationChange)]  # type: ignore[union-attr]
        assert len(places) == len(set(places)), places
        for sidecar in self.sidecars:
            await self.check_requests(sidecar)
        self.begin_again()

    def compare(self, removed: set[str]) -> None:
        keys = set(self.truth.possible) | set(self.server.state.records)
        for key in keys:
            text = self.server.content(key)
            for sidecar in self.sidecars:
                row = sidecar.store.rows.get(key)
                assert (row[0].content if row else None) == text, (sidecar.name, key, row)
                assert not (row and row[1]), "it still counts as unshared"
                if key.startswith("application"):
                    assert self.held(sidecar, key) == text, (sidecar.name, key)
                if key.startswith("revocation"):
                    until = ends(text)
                    assert self.revoked_until(sidecar, key) == (until if until > self.clock.now() else 0.0)
            if key.startswith("revocation"):
                self.compare_revocation(key, text)
            else:
                assert text in self.truth.of(key) or (key in removed and text is None), key
            self.truth.settle(key, text)

    def compare_revocation(self, key: str, text: str | None) -> None:
        low, now = self.truth.low.get(key, 0.0), self.clock.now()
        assert low <= now or ends(text) >= low, "an acknowledged revocation is lost"
        high = (self.truth.ever if self.reconciled else self.truth.high).get(key, 0.0)
        assert ends(text) <= max(high, now), "nobody has revoked this"

    def begin_again(self) -> None:
        self.truth.unshared.clear()
        self.truth.lossy = False
        self.reconciled = 0
        self.lines.clear()
        self.server.dumps = [self.server.state]
        for sidecar in self.sidecars:
            sidecar.replica._follower.reconciliations = 0

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            try:
                self.run(self.healed())
            finally:
                self.run(self.stop())
                self.stack.close()

    async def stop(self) -> None:
        await self.hear()
        for sidecar in self.sidecars:
            await sidecar.replica.close()
            await sidecar.writer.close()
            await sidecar.kitchen.close()


_API = Application("", "", "", "").origin
_Between = Callable[[], Awaitable[None]]

Fleet.TestCase.settings = settings(
    max_examples=HISTORIES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class TestFleet(Fleet.TestCase):  # type: ignore[misc,valid-type]
    """Every sidecar that has heard of it goes by it; all that was acknowledged is true in the end."""
