"""The short way past the parser answers as the long way: to the byte, to the count, and in every state.

Law of this file: whatever bytes come over whatever connections, and whatever changes between them, two planes over
equal pipelines are told the same, and one of them has no frames. Nothing here says what an answer should be, but
one test: that no request passes which a judgement from the start would refuse.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support_http import ISSUER, CannedIdp, turns, until
from support_pipeline import ALL_METHODS, COOKIE, Kitchen, app, basic

from validator.core import sessions
from validator.core.sessions import KeyRing
from validator.model import Method, Proof, RegistrationStatus, Revocation, Session
from validator.pipeline import Lifetimes, Pipeline, Strategy
from validator.server.connection import Connection
from validator.server.dataplane import Bounds, Plane
from validator.server.frames import Asked
from validator.testing import ManualClock, TokenMint

CONNECTIONS = 2
RINGS = [bytes(range(32))]
START = ManualClock()
MINT = TokenMint(ISSUER, START, alg="ES256", keyring=ISSUER)
FOREIGN = TokenMint(ISSUER, START, alg="ES256", keyring="foreign")


def sealed(identifier: str, token_id: str | None) -> bytes:
    now = START.now()
    return KeyRing(RINGS).seal(
        Session(identifier, "plain", "orders", now, now, now + 86400, token_id), identifier.encode().ljust(12)[:12]
    )


def bearer(**claims: Any) -> bytes:
    return b"Bearer " + MINT.mint({"client_id": "orders", **claims}).encode()


GOOD = bearer(jti="jti-1")
OTHER = bearer(jti="jti-2")
BILLING = bearer(client_id="billing", jti="jti-3")
BRIEF = bearer(jti="jti-4", exp=START.now() + 20)
FORGED = b"Bearer " + FOREIGN.mint({"client_id": "orders", "jti": "jti-1"}).encode()
PAIR = basic("orders", "s3cret")
WRONG = basic("orders", "wrong")
SESSION = sealed("session-one", "jti-1")
SEALED = sealed("session-two", None)
AUTHORIZATIONS = [
    GOOD, OTHER, BILLING, BRIEF, FORGED, PAIR, WRONG, b"", b"Bearer ", b"bearer" + GOOD[6:], GOOD + b" ",
    b"Bearer  " + GOOD[7:], b"Basic orders:s3cret", b"Digest x", GOOD[:-1], GOOD + b"\r\nX: y", b" " + GOOD,
    GOOD + b"\x00", GOOD + b"\n", GOOD + b"\r\n " + GOOD, GOOD + b"\r\nAuthorization: " + GOOD,
    b"Bearer " + b"x" * 600,
]  # fmt: skip
OURS = COOKIE.encode() + b"="
COOKIES = [
    OURS + SESSION, OURS + SEALED, OURS, OURS + GOOD, OURS + SESSION + b" ", OURS + b" " + SESSION,
    b"a=b; " + OURS + SESSION,
    OURS + SESSION + b"; a=b", OURS + SESSION + b"; " + OURS + SEALED, b"second-" + OURS + SESSION, b"a=b",
    OURS + SESSION + b"\r\nCookie: " + OURS + SEALED, OURS + SESSION[:-1], OURS + b"x" * 5000,
    OURS + SESSION + b"\r\nAuthorization: " + GOOD,
]  # fmt: skip
TARGETS = [
    b"/v1/authorize/plain/svc", b"/v1/authorize/plain/more", b"/v1/authorize/other/svc",
    b"/v1/authorize/plain/none", b"/v1/authorize/plain/svc?x=1", b"/v1/authorize/plain/svc/path",
    b"/v1/authorize/none/svc", b"http://h/v1/authorize/plain/svc", b"/", b"/v1/authorize/plain/s%76c",
    b"/v1/authorize/plain,other/svc", b"/v1/authorize/other%2Cplain/svc", b"/v1/authorize/plain,plain/svc",
]  # fmt: skip
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
# Behind a credential, in the place of a trace: as long as one, nearly one, or more than one.
TRACES = [
    TRACE, OTHER_TRACE, b"-" * 55, b"0" * 55, TRACE.upper(), TRACE[:-1], TRACE + b"0", TRACE + b" ", b" " + TRACE,
    TRACE[:-1] + b"\n", TRACE[:20] + b"\r\nAuthorization: " + GOOD[:18], TRACE[:-6] + b"\r\nX: y",
    TRACE[:20] + b"\r\n\r\nGET / HTTP/1.1" + b"0" * 17, TRACE[:-2] + b"\r\n", TRACE + b"\r\ntraceparent: " + TRACE,
    TRACE + b"\r\nAuthorization: " + GOOD, b"\r\n " + TRACE[:-3], TRACE + b"\r\nAccept: */*", TRACE[:-1] + b"\x00",
    TRACE + b"\r\ntransfer-encoding: chunked", TRACE + b"\r\nContent-Length: 3", b"",
]  # fmt: skip
EXTRAS = [
    b"Accept: */*", b"User-Agent: nginx", b"Content-Length: 0", b"Connection: keep-alive", b"Connection: close",
    b"Connection: upgrade", b"Upgrade: websocket", b"Expect: 100-continue", b"Expect: other", b"X-Other: 1",
    b"Host: second", b"Transfer-Encoding: chunked", b"Content-Length: 3", b"Accept:", b"Accept: a\r\n b",
    b"Cookie: a=b", b"Authorization: " + OTHER, b"authorization: " + GOOD, b"Cookie: " + OURS + SEALED,
    b"traceparent: " + TRACE, b"Traceparent: " + OTHER_TRACE, b"traceparent: x", b"tracestate: a=b",
    b"Accept: \x01", b"User-Agent: \xff", b"Host : x", b"X-Padding: " + b"x" * 900, b"user-agent: " + b"x" * 1100,
]  # fmt: skip
BODIES = [b"", b"abc", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"\r\n", b"0\r\nAuthorization: x\r\n\r\n"]


Frame = tuple[bytes, bytes]  # what stands before a credential, and behind it


def frame(line: bytes, behind: bytes = b"", body: bytes = b"") -> Frame:
    return line + b"\r\nHost: validator\r\n", behind + b"\r\n\r\n" + body


LINES = [b"GET %b HTTP/1.1" % target for target in (*TARGETS[:2], TARGETS[-3])]
TRACED = [b"\r\ntraceparent: " + trace for trace in TRACES]
FRAMES = [frame(line, behind) for line in LINES for behind in (b"", b"\r\nAccept: */*", *TRACED[:2])]
NO_FRAMES = [
    frame(LINES[0].replace(b"GET", b"HEAD")),
    frame(LINES[0].replace(b"1.1", b"1.0")),
    frame(LINES[0], b"\r\nConnection: close"),
    frame(LINES[0], b"\r\nExpect: 100-continue"),
    frame(LINES[0], b"\r\nContent-Length: 3", b"abc"),
    frame(LINES[0].replace(b"svc", b"svc?x=1")),
    frame(LINES[0], b"\r\nTraceparent: " + TRACE),
    frame(LINES[0], b"\r\nAccept: */*" + TRACED[0]),
    frame(LINES[0] + b"\r\nConnection: close", TRACED[0]),
    *(frame(LINES[0], traced) for traced in TRACED[2:]),
]
CREDENTIALS = [
    *(b"Authorization: " + value for value in AUTHORIZATIONS[:7]),
    *(b"Cookie: " + value for value in COOKIES[:4]),
]


def unusual(random: Random) -> bytes:
    """One request, or nearly one."""
    method = random.choice([b"GET", b"GET", b"GET", b"HEAD", b"POST", b"get"])
    version = random.choice([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"])
    lines = [b"Host: validator"]
    if random.randrange(3):
        name = random.choice([b"Authorization: ", b"Authorization: ", b"authorization: ", b"Authorization:"])
        lines.append(name + random.choice(AUTHORIZATIONS))
    if not random.randrange(3):
        lines.append(random.choice([b"Cookie: ", b"cookie: "]) + random.choice(COOKIES))
    lines += random.choices(EXTRAS, k=random.randrange(3))
    random.shuffle(lines)
    lines = [method + b" " + random.choice(TARGETS) + b" " + version, *lines]
    return b"\r\n".join(lines) + b"\r\n\r\n" + random.choice(BODIES)


def cast(random: Random) -> list[bytes]:
    """Requests that have frames and credentials in common."""
    frames = [random.choice(FRAMES), random.choice([*FRAMES, random.choice(NO_FRAMES)])]
    credentials = random.choices(CREDENTIALS, k=2)
    return [before + one + behind for before, behind in frames for one in credentials]


def place(random: Random, request: bytes) -> int:
    """Anywhere, or where something begins or ends."""
    marks = [match.end() for match in re.finditer(rb"\r\n|: ", request)]
    return random.choice(
        [random.randrange(len(request)), len(request) - random.randrange(8), random.choice(marks)]
    )


def sent(random: Random, known: Sequence[bytes]) -> list[bytes]:
    """What comes over a connection, as it comes: whole, several at once, in pieces, or damaged."""
    request = random.choice([*known, unusual(random)])
    at = place(random, request)
    match random.randrange(8):
        case 0:
            return [request + random.choice(known)]
        case 1:
            return [request[:at], request[at:]]
        case 2 | 3:
            damage = random.choice([b"\r\n", b"\n", b"\r", b"\x00", b" ", b":", b"\t", b"a", b""])
            return [request[:at] + damage + request[at + random.choice([0, len(damage), 1]) :]]
        case 4:
            return [random.choice([b"\r\n", b"\n", b"\r"]) + request]
        case 5:
            return [request[:at]]
        case 6:  # as long, and something else
            return [request.replace(b"Accept", b"Expect").replace(b"Host: v", b"Host:\tv")]
    return [request, request, random.choice(known)]


@dataclass
class Wire:
    """A transport that keeps what is done with it."""

    seen: list[bytes] = field(default_factory=list)
    closed: bool = False

    def write(self, data: bytes) -> None:
        self.seen.append(data)

    def close(self) -> None:
        self.seen.append(b"<closed>")
        self.closed = True

    def abort(self) -> None:
        self.seen.append(b"<aborted>")
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.seen.append(b"<paused>")

    def resume_reading(self) -> None:
        self.seen.append(b"<resumed>")


class NoFrames:
    """Stands in for frames where every request goes the long way."""

    def replay(self, _data: bytes) -> bytes | None:
        return None

    def learn(self, _data: bytes, _asked: Asked | None) -> None:
        return

    def forget(self) -> None:
        return


class Replayed:
    """Frames that count what they answer."""

    def __init__(self, frames: Any) -> None:
        self._frames = frames
        self.learn = frames.learn
        self.forget = frames.forget
        self.answered = 0

    def replay(self, data: bytes) -> bytes | None:
        wire: bytes | None = self._frames.replay(data)
        self.answered += wire is not None
        return wire


class Ring(KeyRing):
    """Seals alike whenever it is asked alike: the nonces count."""

    def __init__(self) -> None:
        super().__init__(RINGS)
        self._nonces = count()

    def seal(self, session: Session, nonce: bytes) -> bytes:
        return super().seal(session, next(self._nonces).to_bytes(len(nonce), "big"))


SETUPS: list[dict[str, Any]] = [
    {"fingerprint": b"one"},
    {"fingerprint": b"two", "methods": ALL_METHODS - {Method.SESSION}},
    {"fingerprint": b"three", "methods": ALL_METHODS - {Method.BEARER}},
]


class Side:
    """A plane over a kitchen, and its connections."""

    def __init__(self, *, short: bool) -> None:
        self._short = short
        self._ids = count()
        self._ring = Ring()
        self.answered = 0
        self.clock = clock = ManualClock()
        self.idp = CannedIdp(clock, {"orders": "s3cret"})
        self.idp.claims = {"jti": "jti-minted"}
        applications = [app("orders", "svc", "more"), app("billing"), app("orders", strategy="other")]
        self.kitchen = Kitchen(clock, self.idp, applications=applications)
        self._set_up(0, 30.0)
        self.plane = Plane(self.kitchen.pipeline, COOKIE, bounds=Bounds(), clock=clock)
        self._frames()
        self.connections: list[Connection] = []
        self.wires: list[Wire] = []
        for at in range(CONNECTIONS):
            self._connect(at)

    def _set_up(self, setup: int, ttl_s: float) -> None:
        options = {**SETUPS[setup], "ring": self._ring}
        others = {"other": {"ring": self._ring}} if setup != 1 else {}
        self.kitchen.reload({"plain": options, **others}, lifetimes=Lifetimes(ttl_s, 5.0))

        def begin(strategy: Strategy, proof: Proof, now: float) -> Session:
            return sessions.begin(
                f"session-{next(self._ids)}",
                proof.strategy,
                proof.client_id,
                proof.token_id,
                now=now,
                ends=proof.ends_at,
                rules=strategy.session_rules,
            )

        pipeline: Pipeline = self.kitchen.pipeline
        pipeline._begin = begin  # type: ignore[method-assign]  # its own names sessions at random

    def _frames(self) -> None:
        frames: Any = Replayed(self.plane.frames) if self._short else NoFrames()
        self.plane.frames = frames

    def reload(self, setup: int, ttl_s: float, cookie: str, max_header_bytes: int) -> None:
        """As the sidecar does it."""
        self.count()
        self._set_up(setup, ttl_s)
        self.plane.bounds = Bounds(max_header_bytes=max_header_bytes)
        self.plane.replace(self.kitchen.pipeline, cookie)
        self._frames()
        self.kitchen.caches.begin_anew()

    def count(self) -> None:
        self.answered += getattr(self.plane.frames, "answered", 0)

    def _connect(self, at: int) -> None:
        wire, connection = Wire(), self.plane.connection()
        connection.connection_made(wire)  # type: ignore[arg-type]  # as much of a transport as is used
        self.wires[at : at + 1] = [wire]
        self.connections[at : at + 1] = [connection]

    def feed(self, at: int, data: bytes) -> None:
        self.connections[at].data_received(data)

    def settle(self, at: int) -> list[bytes]:
        """What was done since; a connection that has ended makes room for another."""
        seen, self.wires[at].seen = self.wires[at].seen, []
        if self.wires[at].closed:
            self.hang_up(at)
        return seen

    def idle(self) -> bool:
        return all(connection._task is None for connection in self.connections)

    def hang_up(self, at: int) -> None:
        self.connections[at].connection_lost(None)
        self._connect(at)

    def told(self) -> tuple[Any, ...]:
        """All that is counted."""
        caches = self.kitchen.caches
        return (
            {labels: (tally.judged, tally.replayed) for labels, tally in self.kitchen.tallies.items()},
            (caches.proof_hits, caches.proof_misses, caches.replies.evictions, caches.denials.evictions),
            (len(caches.replies), len(caches.denials), len(caches.proofs), caches.epoch.value),
            (self.plane.bad_requests, len(self.plane.connections), self.kitchen.verifications),
        )

    async def close(self) -> int:
        """How often the short way was taken."""
        self.count()
        for connection in self.connections:
            connection.connection_lost(None)
        await self.kitchen.close()
        await turns(3)
        return self.answered


# Changes, as the sidecar and its control plane make them

Change = Callable[[Side], None]
ORDERS = app("orders", "svc", "more")


def _revoke(*revocation: Any) -> list[Change]:
    entry = Revocation(*revocation)
    return [
        lambda side: side.kitchen.registry.revoke(replace(entry, created_at=side.clock.now())),
        lambda side: (side.kitchen.registry.unrevoke(entry), None)[1],
    ]


def _reload(*how: Any) -> Change:
    return lambda side: side.reload(*how)


SHORT = len(LINES[0] + CREDENTIALS[0])  # fits with little beside it
RELOADS = [
    _reload(0, 30.0, COOKIE, 32768),
    _reload(0, 3.0, COOKIE, 32768),
    _reload(1, 30.0, COOKIE, 32768),
    _reload(2, 30.0, COOKIE, 32768),
    _reload(0, 30.0, "second-" + COOKIE, 32768),
    _reload(0, 30.0, COOKIE, SHORT + 30),
    _reload(0, 30.0, COOKIE, SHORT + 40),
]
CHANGES: list[Change] = [
    *_revoke("client_id", "orders"),
    *_revoke("client_id", "orders", "other"),
    *_revoke("application_id", ORDERS.id),
    *_revoke("jti", "jti-1"),
    *_revoke("jti", "jti-minted"),
    *_revoke("session_id", "session-one"),
    *_revoke("session_id", "session-0"),
    *_revoke("sessions_of", "orders", "plain"),
    *(
        lambda side, changed=changed: side.kitchen.registry.apply(changed)
        for changed in (
            ORDERS,
            ORDERS,
            replace(ORDERS, name="Renamed"),
            replace(ORDERS, active=False),
            replace(ORDERS, client_id="else"),
            replace(ORDERS, registrations={"more": RegistrationStatus.APPROVED}),
            replace(ORDERS, registrations={"svc": RegistrationStatus.REVOKED}),
        )
    ),
    lambda side: side.kitchen.registry.remove(ORDERS.id),
    lambda side: side.kitchen.caches.epoch.touch_all(),
    lambda side: side.kitchen.caches.forget_client("plain", "orders"),
    lambda side: side.kitchen.caches.forget(),
    lambda side: side.idp.clients.update(orders="changed"),
    lambda side: side.idp.clients.update(orders="s3cret"),
    lambda side: (side.idp.mint.rotate(), None)[1],
    lambda side: (side.idp.mint.rotate(retire=True), None)[1],
    *RELOADS,
    lambda side: side.plane.frames.forget(),
    lambda side: side.plane.begin_to_drain(),
    *(lambda side, at=at: side.hang_up(at) for at in range(CONNECTIONS)),
]
# What differs between an answer of before and one of now: how long it lasts, and the session, if it opens one.
_OF_NOW = re.compile(rb"(?<=Cache-Control: )[^\r]*|(?:X-Session-Id|Set-Cookie): [^\n]*\n")
_ANSWERS = re.compile(rb"HTTP/1.1 (?!100)")
_NAMED = re.compile(rb"X-Session-Id: ([^\r]*)")
FETCH, TURN, BACK = "fetch", "turn", "back"
STEPS_S = [0.5, 1.0, 4.0, 6.0, 19.5, 29.5, 31.0, 91.0, 301.0, 901.0]
Step = tuple[int, list[bytes]] | Change | float | str
Alike = Callable[[asyncio.Runner, Sequence[Step]], int]


def asked(credential: bytes, of: Frame = FRAMES[0]) -> Step:
    before, behind = of
    return 0, [before + credential + behind]


def pieces(credential: bytes, left: int) -> list[bytes]:
    """A traced request of which so many bytes come later."""
    before, behind = FRAMES[2]
    request = before + credential + behind
    return [request[:-left], request[-left:]]


# What chance seldom finds.
HAND_MADE: list[list[Any]] = [
    [
        RELOADS[5],
        asked(CREDENTIALS[0]),
        asked(b"Authorization: x", FRAMES[1]),
        asked(CREDENTIALS[0], FRAMES[1]),
    ],
    [asked(CREDENTIALS[3]), asked(CREDENTIALS[3]), 19.5, 1.0, asked(CREDENTIALS[3])],
    [asked(CREDENTIALS[6]), TURN, asked(CREDENTIALS[6]), asked(CREDENTIALS[6], NO_FRAMES[0])],
    *(  # learnt with a trace or without; then whatever else comes in its place, and both again
        [
            *(asked(credential, FRAMES[0]) for _ in range(first)),
            *(asked(credential, FRAMES[at]) for at in (2, 3, 2, 0, 0)),
            asked(credential, tried),
            *(asked(credential, FRAMES[at]) for at in (0, 2, 3, 1, 0)),
        ]
        for credential in (CREDENTIALS[0], CREDENTIALS[6], CREDENTIALS[7])
        for first in (0, 2)
        for tried in NO_FRAMES
    ),
    *(  # what looks like the end of a traced frame, before the request is whole
        [asked(credential, FRAMES[2]), asked(credential, FRAMES[2]), (0, [*pieces(credential, at)])]
        for credential in (CREDENTIALS[0], CREDENTIALS[7])
        for at in range(1, len(TRACED[0]) + 5)
    ),
    *(
        [*before, asked(credential), asked(credential), *changed, asked(credential), asked(credential)]
        for credential in (CREDENTIALS[0], CREDENTIALS[7])
        for before in ([], [RELOADS[2]])  # with and without sessions
        for changed in ([change, *more] for change in CHANGES for more in ([], [1.0, FETCH]))
    ),
]


def steps(random: Random) -> list[Step]:
    """What two planes are to live through: a few requests, again and again, and what comes between them."""
    known = cast(random)
    changes: list[Step] = [*random.choices(CHANGES, k=2)]
    history: list[Step] = [random.choice(RELOADS)] if random.randrange(2) else []
    for _ in range(random.randrange(4, 20)):
        at = random.randrange(CONNECTIONS)
        match random.randrange(8):
            case 0 | 1:
                pieces = sent(random, known)
                history.append((at, pieces))
                if not random.randrange(3):
                    history.append((1 - at, pieces[-1:]))
            case 2 | 3:
                history.append(
                    random.choice([*changes, random.choice(STEPS_S), random.choice([FETCH, TURN, BACK])])
                )
            case _:
                history.append((at, random.choices(known, k=random.randrange(1, 5))))
    return history


async def step_on(side: Side, step: Step) -> None:
    if isinstance(step, tuple):
        at, pieces = step
        for data in pieces:
            side.feed(at, data)
    elif isinstance(step, float):
        side.clock.advance(step)
    elif step is FETCH:
        side.kitchen.issuer._due = 0.0
        await side.kitchen.issuer.tend()
    elif step is BACK:
        side.clock.set_now(side.clock.now() - 10)
        side.kitchen.caches.forget()  # as the sweep does it
    elif callable(step):
        step(side)
    else:
        await turns(5)


async def lived(history: Sequence[Step], *, short: bool) -> tuple[list[Any], int]:
    """All that was written, done and counted after each step; and how often the short way was taken."""
    side = Side(short=short)
    await side.kitchen.issuer.tend()
    records = []
    for step in history:
        await step_on(side, step)
        records += [side.told(), *(side.settle(at) for at in range(CONNECTIONS))]
    await until(side.idle)
    records += [side.settle(at) for at in range(CONNECTIONS)]
    return records, await side.close()


async def passed(history: Sequence[Step], *, short: bool) -> tuple[list[Any], int]:
    """What every answer said. The long way keeps none, and has done with each before the next step."""
    side = Side(short=short)
    await side.kitchen.issuer.tend()
    records, answers = [], 0
    for step in history:
        if not short:
            side.kitchen.caches.replies.clear()
            side.kitchen.caches.denials.clear()
        await step_on(side, step)
        await until(side.idle)
        for at in range(CONNECTIONS):
            seen = b"".join(side.settle(at))
            records.append(_OF_NOW.sub(b"", seen))
            answers += len(_ANSWERS.findall(seen))
            for identifier in _NAMED.findall(seen):
                named = Revocation("session_id", identifier.decode())
                assert side.kitchen.registry.revocation(named) is None
    counted = sum(tally.judged + tally.replayed for tally in side.kitchen.tallies.values())
    assert counted + side.plane.bad_requests == answers  # none twice, none not at all
    return records, await side.close()


def told_alike(runner: asyncio.Runner, history: Sequence[Step]) -> int:
    """How often the short way was taken."""
    told, answered = runner.run(lived(history, short=True))
    due, _ = runner.run(lived(history, short=False))
    for one, other in zip(told, due, strict=True):
        assert one == other
    return answered


def never_too_kind(runner: asyncio.Runner, history: Sequence[Step]) -> int:
    """The same."""
    told, answered = runner.run(passed(history, short=True))
    due, _ = runner.run(passed(history, short=False))
    for one, other in zip(told, due, strict=True):
        assert one == other
    return answered


@pytest.mark.parametrize("alike", [told_alike, never_too_kind])
def test_the_short_way_says_it_after_every_change(alike: Alike) -> None:
    with asyncio.Runner() as runner, capture_logs():
        assert sum(alike(runner, history) for history in HAND_MADE) > len(HAND_MADE)


@pytest.mark.parametrize("alike", [told_alike, never_too_kind])
def test_the_short_way_says_what_the_long_way_does(alike: Alike) -> None:
    """Few histories, but such as can be made shorter when one of them fails."""
    with asyncio.Runner() as runner, capture_logs():

        @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.randoms(use_true_random=False))
        def histories(random: Random) -> None:
            history = steps(random)
            note("\n".join(map(repr, history)))
            alike(runner, history)

        histories()


@pytest.mark.parametrize(("alike", "examples"), [(told_alike, 450), (never_too_kind, 200)])
def test_the_short_way_says_it_for_many_histories(alike: Alike, examples: int) -> None:
    answered = 0
    with asyncio.Runner() as runner, capture_logs():
        for seed in range(examples):
            try:
                answered += alike(runner, steps(Random(seed)))
            except AssertionError as error:
                error.add_note(f"of the history {seed}")
                raise
    assert answered > examples  # or hardly anything was compared


@pytest.mark.parametrize("known", [FRAMES[0], FRAMES[2]], ids=["untraced", "traced"])
async def test_a_request_with_another_trace_goes_the_short_way(known: Frame) -> None:
    """And so does one without, in between, wherever one with a trace was seen."""
    side = Side(short=True)
    await side.kitchen.issuer.tend()
    for of in (known, FRAMES[2]):
        await step_on(side, asked(CREDENTIALS[0], of))
    side.count()
    before = side.answered
    for of in (FRAMES[3], FRAMES[0], FRAMES[2], FRAMES[0], FRAMES[3]):
        await step_on(side, asked(CREDENTIALS[0], of))
    assert await side.close() - before >= 5


async def test_where_nothing_is_traced_nothing_else_is_looked_for() -> None:
    side = Side(short=True)
    await side.kitchen.issuer.tend()
    await step_on(side, asked(CREDENTIALS[0]))
    frames: Any = side.plane.frames
    ((_, _, tail),) = frames._frames._by_authorization.values()
    assert tail == b"\r\n\r\n"
    await step_on(side, asked(CREDENTIALS[0], FRAMES[2]))
    ((_, _, tail),) = frames._frames._by_authorization.values()
    assert tail == ()
    await step_on(side, asked(CREDENTIALS[1]))  # judged first, by the parser, and without a trace
    ((_, _, tail),) = frames._frames._by_authorization.values()
    assert tail == ()
    await side.close()
