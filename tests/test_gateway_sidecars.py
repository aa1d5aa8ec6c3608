"""Several sidecars behind one route, in the test gateway.

Law of this file: while any sidecar decides, the client gets its decision, and those that failed rest; where none
does, it gets a 503.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio
from gateway import builds, peers
from gateway.builds import BUILDS, Build
from gateway.desk import Desk, open_desk
from gateway.gateway import Route
from gateway.stage import BEARER, is_unavailable
from gateway.stub import IDENTITY, After, Play, StubSidecar, problem, reply

pytestmark = pytest.mark.programs

LONG_MS = 20_000
STALL_MS = 600
PATIENCE_S = 20.0


@pytest.fixture(scope="module", params=BUILDS)
def build(request: pytest.FixtureRequest) -> Iterator[Build]:
    with builds.opened(request.param) as opened:
        yield opened


def desk(build: Build, *urls: str, **config: object) -> AbstractAsyncContextManager[Desk]:
    url, *others = urls
    whole = {"validator_url": url, "fallback_validator_urls": others, "strategy": "plain", "timeout_ms": LONG_MS}
    return open_desk(build, [Route("/", "orders", whole | config)])


def allowed_by(name: str) -> bytes:
    return reply("200 OK", f"X-Application-Id: {name}", *IDENTITY[1:])


@pytest_asyncio.fixture
async def sidecars() -> AsyncIterator[list[StubSidecar]]:
    """Three that allow, each in its own name."""
    started = [StubSidecar() for _ in range(3)]
    for number, sidecar in enumerate(started, start=1):
        await sidecar.start()
        sidecar.play(allowed_by(f"by-{number}"))
    yield started
    for sidecar in started:
        await sidecar.stop()


def asked(sidecars: list[StubSidecar]) -> list[int]:
    return [len(sidecar.asked) for sidecar in sidecars]


def urls(sidecars: list[StubSidecar]) -> list[str]:
    return [sidecar.url for sidecar in sidecars]


# Who is asked

NO_DECISION: dict[str, Play | bytes] = {
    "garbage": b"\x00\xff garbage\r\n\r\n",
    "a page": reply("500 Oops", body=b"<html>"),
    "no identity": reply("200 OK"),
    "half a reply": Play([allowed_by("half")[:40]], After.CLOSE),
    "closed": Play([], After.CLOSE),
    "reset": Play([], After.RESET),
    "reset in a reply": Play([allowed_by("half")[:40]], After.RESET),
}
UNDECIDED: dict[str, Play | bytes] = {
    "404": problem("404 Not Found", "strategy_unknown"),
    "503": problem("503 Service Unavailable", "store_unavailable"),
    "503 of the identity provider": problem("503 Service Unavailable", "idp_unavailable", "Retry-After: 9"),
}


async def test_first_is_asked_as_long_as_it_decides(build: Build, sidecars: list[StubSidecar]) -> None:
    async with desk(build, *urls(sidecars)) as opened:
        assert [await opened.ask() for _ in range(5)] == [(200, "by-1")] * 5
    assert asked(sidecars) == [5, 0, 0]


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "429 Too Many Requests"])
async def test_refusal_is_a_decision(build: Build, sidecars: list[StubSidecar], status: str) -> None:
    sidecars[0].play(problem(status, "revoked"))
    async with desk(build, *urls(sidecars)) as opened:
        assert [(await opened.ask())[0] for _ in range(3)] == [int(status[:3])] * 3
    assert asked(sidecars) == [3, 0, 0]


@pytest.mark.parametrize("name", NO_DECISION)
async def test_next_decides_and_the_one_that_failed_rests(
    build: Build, sidecars: list[StubSidecar], name: str
) -> None:
    sidecars[0].play(NO_DECISION[name])
    async with desk(build, *urls(sidecars)) as opened:
        assert [await opened.ask() for _ in range(3)] == [(200, "by-2")] * 3
        assert opened.gateway.error_log().count("a sidecar is passed over for now") == 1
    assert asked(sidecars) == [1, 3, 0]
    first, second = sidecars[0].asked[0], sidecars[1].asked[0]
    assert (first.line, first.header("Authorization")) == (second.line, second.header("Authorization"))
    assert second.header("Host") == sidecars[1].url.removeprefix("http://")


@pytest.mark.parametrize("name", UNDECIDED)
async def test_next_decides_where_the_first_cannot_and_yet_is_well(
    build: Build, sidecars: list[StubSidecar], name: str
) -> None:
    sidecars[0].play(UNDECIDED[name])
    async with desk(build, *urls(sidecars)) as opened:
        assert [await opened.ask() for _ in range(3)] == [(200, "by-2")] * 3
    assert asked(sidecars) == [3, 3, 0]


async def test_sidecar_that_is_down_is_passed_over(build: Build, sidecars: list[StubSidecar]) -> None:
    with peers.refusing() as down:
        async with desk(build, down, sidecars[1].url) as opened:
            assert [await opened.ask() for _ in range(3)] == [(200, "by-2")] * 3
            assert opened.gateway.error_log().count("connecting failed") == 1


async def test_stalled_sidecar_leaves_time_for_the_next(build: Build, sidecars: list[StubSidecar]) -> None:
    sidecars[0].play(Play([], After.STALL))
    sidecars[1].play(Play([allowed_by("x")[:-1]], After.STALL))
    async with desk(build, *urls(sidecars), timeout_ms=STALL_MS) as opened:
        for _ in range(4):
            assert await opened.ask() == (200, "by-3")
    assert asked(sidecars) == [3, 3, 4]  # what is only slow is passed over after the third time


@pytest.mark.parametrize("refusal", ["401 Unauthorized", "403 Forbidden"])
async def test_fallbacks_refusal_is_passed_on(build: Build, sidecars: list[StubSidecar], refusal: str) -> None:
    sidecars[0].play(NO_DECISION["closed"])
    sidecars[1].play(problem(refusal, "revoked"))
    async with desk(build, *urls(sidecars)) as opened:
        answer = await opened.client.get("/")
    assert (answer.status, json.loads(answer.body)["reason"]) == (int(refusal[:3]), "revoked")
    assert asked(sidecars) == [1, 1, 0]


async def test_credential_that_is_malformed_harms_no_sidecar(build: Build, sidecars: list[StubSidecar]) -> None:
    async with desk(build, *urls(sidecars)) as opened:
        assert (await opened.client.get("/", {"Authorization": "Bearer a\tb"})).status == 200  # a tab is none
        crowd = BEARER | {f"X-{number}": "1" for number in range(120)}
        assert (await opened.client.get("/", crowd)).status == 401
        assert await opened.ask() == (200, "by-1")
    assert asked(sidecars) == [2, 0, 0]


# Nobody decides


@pytest.mark.parametrize("name", [*NO_DECISION, *UNDECIDED])
async def test_nobody_decides(build: Build, sidecars: list[StubSidecar], name: str) -> None:
    said = (NO_DECISION | UNDECIDED)[name]
    for sidecar in sidecars:
        sidecar.play(said)
    async with desk(build, *urls(sidecars)) as opened:
        answer = await opened.client.get("/")
    assert asked(sidecars) == [1, 1, 1]
    if name == "503 of the identity provider":
        assert json.loads(answer.body)["reason"] == "idp_unavailable"
    else:
        assert is_unavailable(answer)


async def test_outage_of_the_identity_provider_is_said_whoever_else_is_down(
    build: Build, sidecars: list[StubSidecar]
) -> None:
    sidecars[0].play(UNDECIDED["503 of the identity provider"])
    sidecars[1].play(NO_DECISION["closed"])
    async with desk(build, *urls(sidecars[:2])) as opened:
        answer = await opened.client.get("/")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "9")
    assert json.loads(answer.body)["reason"] == "idp_unavailable"


async def test_those_that_rest_are_asked_where_nobody_is_up(build: Build, sidecars: list[StubSidecar]) -> None:
    for sidecar in sidecars:
        sidecar.play(NO_DECISION["closed"])
    async with desk(build, *urls(sidecars)) as opened:
        assert await opened.ask() == (503, None)
        for sidecar, name in zip(sidecars, ("a", "b", "c"), strict=True):
            sidecar.play(allowed_by(name))
        assert await opened.ask() == (200, "a")


# Back again


async def test_sidecar_that_failed_is_asked_again_after_a_while(build: Build, sidecars: list[StubSidecar]) -> None:
    first, second, _ = sidecars
    first.play(NO_DECISION["closed"])
    async with desk(build, first.url, second.url) as opened:
        assert await opened.ask() == (200, "by-2")
        first.play(allowed_by("back"))
        assert await opened.ask() == (200, "by-2")
        answers = [answer async for answer in until_asked(opened, first)]
        assert set(answers[:-1]) <= {(200, "by-2")}
        assert answers[-1] == (200, "back")
        second.play(allowed_by("by-2"))
        assert [await opened.ask() for _ in range(5)] == [(200, "back")] * 5
    assert second.asked == []


async def test_sidecar_that_is_still_down_costs_one_request_at_a_time(
    build: Build, sidecars: list[StubSidecar]
) -> None:
    first, second, _ = sidecars
    first.play(NO_DECISION["closed"])
    async with desk(build, first.url, second.url, timeout_ms=STALL_MS) as opened:
        await opened.ask()
        first.play(Play([], After.STALL))
        tries = asyncio.create_task(drain(until_asked(opened, first)))
        await seen(first)
        answers = await asyncio.gather(*(opened.ask() for _ in range(50)))
        assert set(answers) == {(200, "by-2")}
        assert await tries == {(200, "by-2")}
    assert len(first.asked) == 1


async def until_asked(opened: Desk, sidecar: StubSidecar) -> AsyncIterator[tuple[int, str | None]]:
    """Asks again and again, until the sidecar has been asked."""
    deadline = time.monotonic() + PATIENCE_S
    while not sidecar.asked:
        assert time.monotonic() < deadline, "it is never asked again"
        yield await opened.ask()


async def drain(answers: AsyncIterator[tuple[int, str | None]]) -> set[tuple[int, str | None]]:
    return {answer async for answer in answers}


async def seen(sidecar: StubSidecar) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not sidecar.asked:  # noqa: ASYNC110 - the stub sets no event
            await asyncio.sleep(0.001)


# Connections that died in the pool


async def test_stale_connection_is_tried_again_at_the_same_sidecar(
    build: Build, sidecars: list[StubSidecar]
) -> None:
    first, second, _ = sidecars
    async with desk(build, first.url, second.url) as opened:
        await opened.ask()
        first.play(NO_DECISION["closed"], allowed_by("again"))
        assert await opened.ask() == (200, "again")
        assert len(first.asked) == 2
        assert len({request.connection for request in first.asked}) == 2
        assert await opened.ask() == (200, "again")  # it does not rest
    assert second.asked == []


async def test_retry_is_over_a_new_connection_however_many_have_died(
    build: Build, sidecars: list[StubSidecar]
) -> None:
    first, second, _ = sidecars
    whole = allowed_by("by-1")
    first.play(Play([whole[:20], whole[20:]], pause_s=0.05))
    async with desk(build, first.url, second.url) as opened:
        await asyncio.gather(*(opened.ask() for _ in range(5)))
        dead = {request.connection for request in first.asked}
        assert len(dead) > 1
        first.answer_by(lambda asked: NO_DECISION["closed"] if asked.connection in dead else allowed_by("new"))
        assert await opened.ask() == (200, "new")
    assert len(first.asked) == 2
    assert second.asked == []


async def test_next_is_asked_after_one_retry(build: Build, sidecars: list[StubSidecar]) -> None:
    first, second, _ = sidecars
    async with desk(build, first.url, second.url) as opened:
        await opened.ask()
        first.play(NO_DECISION["reset"])
        assert await opened.ask() == (200, "by-2")
    assert (len(first.asked), len(second.asked)) == (2, 1)


async def test_no_retry_on_a_fresh_connection_or_once_a_byte_has_come(
    build: Build, sidecars: list[StubSidecar]
) -> None:
    first, second, _ = sidecars
    async with desk(build, second.url, first.url) as opened:
        await opened.ask()
        second.play(NO_DECISION["half a reply"])
        first.play(NO_DECISION["closed"])
        assert await opened.ask() == (503, None)
    assert (len(second.asked), len(first.asked)) == (1, 1)
