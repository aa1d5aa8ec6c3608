"""Failure drills: what requests get from sidecars that stall, lie and answer late, in the test gateway.

Law of this file: no answer is ever wrong, and none is taken for another's. With one sidecar a request is answered
right or with the generic 503; with a healthy one behind it every request is answered right.
"""

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from gateway.drill import (
    ONE,
    ONE_CACHED,
    PATHS,
    Connection,
    Counts,
    Drill,
    Question,
    allowed_as,
    lanes,
    summary,
)
from gateway.gateway import Gateway
from gateway.stub import After, Asked, Play, StubSidecar, problem, reply

pytestmark = [pytest.mark.asyncio, pytest.mark.programs]

TIMEOUT_MS = 1500
# An answer that takes longer hangs; what is more than the timeout is for a machine that is busy with other tests.
LIMIT_S = TIMEOUT_MS / 1000 + 0.9


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def check(title: str, drill: Drill) -> None:
    print("\n" + drill.summary(title))  # noqa: T201  pytest -rP shows it
    assert drill.broken() == []


def name_of(asked: Asked) -> str:
    """``a-1`` of ``Bearer a-1``."""
    return (asked.header("Authorization") or "Bearer nobody").removeprefix("Bearer ")


def good(asked: Asked) -> bytes:
    """Each credential has an answer of its own, so that nobody's can be taken for another's unseen."""
    name = name_of(asked)
    if name.startswith("denied"):
        return problem("403 Forbidden", "not_registered", "Cache-Control: private, max-age=5")
    if name.startswith("refused"):
        return problem("401 Unauthorized", "token_expired", 'WWW-Authenticate: Bearer realm="plain"')
    return reply("200 OK", *identity_of(name), "Cache-Control: private, max-age=30")


def identity_of(name: str) -> tuple[str, ...]:
    return (
        f"X-Application-Id: app-{name}",
        f"X-Application-Name: {name} app",
        f"X-Credential-Identifier: {name}",
        "X-Auth-Method: bearer",
    )


STUB_QUESTIONS = [
    question
    for number in range(12)
    for question in (
        allowed_as("allowed", bearer(f"a-{number}"), f"a-{number}", "bearer"),
        Question("denied", bearer(f"denied-{number}"), 403, "not_registered"),
        allowed_as("allowed", bearer(f"b-{number}"), f"b-{number}", "bearer"),
        Question("refused", bearer(f"refused-{number}"), 401, "token_expired"),
    )
]


@dataclass(frozen=True, slots=True)
class StubScene:
    """The first sidecar does what a test says, the second is healthy."""

    sidecar: StubSidecar
    gateway: Gateway

    def drill(self) -> Drill:
        return Drill(self.gateway.port, PATHS, STUB_QUESTIONS, limit_s=LIMIT_S)


@pytest_asyncio.fixture(params=["tcp", "unix"])
async def stub_scene(request: pytest.FixtureRequest) -> AsyncIterator[StubScene]:
    with tempfile.TemporaryDirectory(prefix="drill-") as directory:
        path = Path(directory) / "data.sock" if request.param == "unix" else None
        async with started(StubSidecar(path)) as sidecar, started(StubSidecar()) as healthy:
            healthy.answer_by(good)
            gateway = Gateway(lanes(sidecar.url, healthy.url, TIMEOUT_MS))
            await asyncio.to_thread(gateway.start)
            try:
                yield StubScene(sidecar, gateway)
            finally:
                await asyncio.to_thread(gateway.stop)


@asynccontextmanager
async def started(stub: StubSidecar) -> AsyncIterator[StubSidecar]:
    await stub.start()
    try:
        yield stub
    finally:
        await stub.stop()


def half_a_header(asked: Asked) -> Play:
    whole = good(asked)
    return Play([whole[: whole.index(b"\r\n") + 9]], After.STALL)


def too_slow(asked: Asked) -> Play:
    return Play([b"", good(asked)], pause_s=TIMEOUT_MS / 1000 * 1.3)


def silent(_asked: Asked) -> Play:
    return Play([], After.STALL)


@pytest.mark.parametrize("stub_scene", ["tcp"], indirect=True)
@pytest.mark.parametrize("trouble", [half_a_header, too_slow, silent], ids=lambda trouble: trouble.__name__)
async def test_stalled(stub_scene: StubScene, trouble: Callable[[Asked], Play]) -> None:
    stub_scene.sidecar.answer_by(good)
    async with stub_scene.drill() as drill:
        await drill.phase("before", 100)
        stub_scene.sidecar.answer_by(trouble)
        await drill.phase("stalled", 16)
        stub_scene.sidecar.answer_by(good)
        await drill.until_well()
    check(trouble.__name__.replace("_", " "), drill)
    assert drill.counts[ONE].unavailable > 0


async def test_who_waits_for_anothers_question_waits_no_longer_than_alone(stub_scene: StubScene) -> None:
    """Twenty first requests of one credential, of which the decision cache lets one ask."""
    stub_scene.sidecar.answer_by(silent)
    question, counts = STUB_QUESTIONS[0], Counts("")

    async def ask() -> None:
        async with await Connection.open(stub_scene.gateway.port) as connection:
            began = time.monotonic()
            counts.judge(question, await connection.ask(ONE_CACHED, question.headers))
            counts.slowest_s = max(counts.slowest_s, time.monotonic() - began)

    await asyncio.gather(*(ask() for _ in range(20)))
    print("\n" + summary("waiting for another", ONE_CACHED, counts))  # noqa: T201
    assert counts.unavailable == 20
    assert counts.slowest_s < LIMIT_S


EVIL = identity_of("evil")
GARBAGE = {
    "noise": bytes(range(256)) * 8,
    "zeros": b"\0" * 4096,
    "line feeds": b"\r\n" * 100,
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/1.0": reply("200 OK", *EVIL).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": b"\0\0\x12\x04\0\0\0\0\0" + b"\0" * 18,
    "TLS alert": b"\x15\x03\x03\0\x02\x02\x28",
    "a page": reply("200 OK", "Content-Type: text/html", body=b"<h1>evil</h1>"),
    "redirection": reply("302 Found", *EVIL, "Location: http://evil/"),
    "204": reply("204 No Content", *EVIL),
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + reply("200 OK", *EVIL),
    "500": reply("500 Internal Server Error", *EVIL),
    "bare line feeds": reply("200 OK", *EVIL).replace(b"\r\n", b"\n"),
    "chunked": reply("200 OK", *EVIL, "Transfer-Encoding: chunked", length=0) + b"0\r\n\r\n",
    "two lengths": reply("200 OK", *EVIL, "Content-Length: 0"),
    "negative length": reply("200 OK", *EVIL, length=-1),
    "huge length": reply("200 OK", *EVIL, length=10**12),
    "no length": b"\r\n".join([b"HTTP/1.1 200 OK", *(line.encode() for line in EVIL), b"", b""]),
    "identity twice": reply("200 OK", *EVIL, "X-Application-Id: app-1"),
    "identity missing": reply("200 OK", *EVIL[:2]),
    "control character": reply("200 OK", "X-Application-Id: ev\x01il", *EVIL[1:]),
    "folded header": reply("200 OK", *EVIL, "X-More: 1\r\n evil"),
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X-Evil: evil\r\n" * 5000,
    "endless line": b"HTTP/1.1 200 OK\r\nX-Evil: " + b"e" * 100_000,
    "two answers": reply("200 OK", *EVIL) * 2,
    "an answer and a half": reply("200 OK", *EVIL) + b"HTTP/1.1 20",
}


async def test_answering_garbage(stub_scene: StubScene) -> None:
    """First nothing else, then good answers in between on the same connections."""
    kinds = itertools.cycle(GARBAGE.values())
    chance = random.Random(5)
    stub_scene.sidecar.answer_by(good)
    async with stub_scene.drill() as drill:
        await drill.phase("before", 100)
        stub_scene.sidecar.answer_by(lambda _: next(kinds))
        await drill.until_unavailable(ONE)
        await drill.until_unavailable(ONE_CACHED)
        only = await drill.phase("garbage", 4 * len(GARBAGE))
        assert (only[ONE].right, only[ONE_CACHED].right) == (0, 0)
        stub_scene.sidecar.answer_by(lambda asked: good(asked) if chance.random() < 0.8 else next(kinds))
        mixed = await drill.phase("mixed", 400)
        stub_scene.sidecar.answer_by(good)
        await drill.until_well()
    check("garbage", drill)
    assert mixed[ONE].right > 0
    assert mixed[ONE].unavailable > 0


async def test_answers_that_come_late_are_nobodys(stub_scene: StubScene) -> None:
    """Each credential has an answer of its own, and some of them come once nobody waits for them any more."""
    chance = random.Random(7)

    def some_late(asked: Asked) -> Play | bytes:
        whole, luck = good(asked), chance.random()
        if luck > 0.15:
            return whole
        cut = chance.randrange(len(whole))
        return Play([whole[:cut], whole[cut:]], pause_s=TIMEOUT_MS / 1000 * chance.choice([0.6, 1.02, 1.1, 1.3]))

    stub_scene.sidecar.answer_by(some_late)
    async with stub_scene.drill() as drill:
        await drill.phase("late", 80)
        stub_scene.sidecar.answer_by(good)
        await drill.until_well()
    check("somebody else's late", drill)
    assert drill.counts[ONE].unavailable > 0


KEPT = "Cache-Control: private, max-age=30"
FULL = (
    "X-Application-Id: app-split",
    "X-Application-Name: split app",
    "X-Credential-Identifier: split",
    "X-Auth-Method: client_credentials",
    "X-Application-Groups: gold, internal",
    "X-Claim-Tenant: acme",
    "X-Session-Id: session-1",
    "Set-Cookie: __Host-session=sealed; Path=/; Secure; HttpOnly",
)
TOLD = {"x_application_groups": "gold, internal", "x_claim_tenant": "acme"}
ALLOWED = allowed_as("200", {}, "split", "client_credentials", **TOLD)
CHALLENGE = 'WWW-Authenticate: Bearer realm="a", Basic realm="a"'
# Each with its right answer; None where the sidecar does not decide.
SPLIT: list[tuple[bytes, Question | None]] = [
    (reply("200 OK", *FULL, KEPT), ALLOWED),
    (reply("200 OK", *FULL, "X-Access-Token: eyJ.e30.c2ln", "Cache-Control: no-store"), ALLOWED),
    (problem("401 Unauthorized", "token_expired", CHALLENGE, KEPT), Question("401", {}, 401, "token_expired")),
    (problem("403 Forbidden", "not_registered", KEPT), Question("403", {}, 403, "not_registered")),
    (
        problem("429 Too Many Requests", "too_many_attempts", "Retry-After: 7", KEPT),
        Question("429", {}, 429, "too_many_attempts"),
    ),
    (problem("503 Service Unavailable", "idp_unavailable", "Retry-After: 9"), None),
    (problem("404 Not Found", "strategy_unknown"), None),
]


def split(asked: Asked) -> Play:
    """By the credential: which reply, and behind which byte it is cut."""
    number, at = map(int, name_of(asked).split("-")[1:])
    whole = SPLIT[number][0]
    return Play([whole[:at], whole[at:]], pause_s=0.002)


@pytest.mark.parametrize("path", PATHS)
async def test_reply_split_at_every_byte(stub_scene: StubScene, path: str) -> None:
    """What decides nothing is 503 with one sidecar, and is decided by the other where there is one."""
    stub_scene.sidecar.answer_by(split)
    counts = Counts("")
    cuts = [(number, at) for number, (whole, _) in enumerate(SPLIT) for at in range(1, len(whole))]

    async def ask_all(mine: list[tuple[int, int]]) -> None:
        async with await Connection.open(stub_scene.gateway.port) as connection:
            for number, at in mine:
                credential = f"cut-{number}-{at}"
                question = SPLIT[number][1] or allowed_as("decided by the other", {}, credential, "bearer")
                counts.judge(question, await connection.ask(path, bearer(credential)))

    await asyncio.gather(*(ask_all(cuts[lane::32]) for lane in range(32)))
    print("\n" + summary("split at every byte", path, counts))  # noqa: T201
    undecided = sum(SPLIT[number][1] is None for number, _ in cuts)
    assert counts.wrong == []
    assert counts.unavailable == (undecided if path in {ONE, ONE_CACHED} else 0)
    assert len(stub_scene.sidecar.asked) == len(cuts)
