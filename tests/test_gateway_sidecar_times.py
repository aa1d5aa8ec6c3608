"""Sidecars that take their time, in the test gateway.

Law of this file: a client waits for sidecars no longer than timeout_ms, and for one step of one sidecar no longer
than is configured for it. No clock is asked for more than that: a busy machine loses seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio
from gateway import builds, peers
from gateway.builds import BUILDS, MODULES, Build
from gateway.desk import Desk, open_desk
from gateway.gateway import Route
from gateway.stage import BEARER, Answer, is_unavailable
from gateway.stub import IDENTITY, After, Play, StubSidecar, reply

pytestmark = pytest.mark.programs

LONG_MS = 20_000
AT_ONCE_S = LONG_MS / 1000 / 2  # far less than the whole time
STALL_MS = 600


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


async def timed(opened: Desk, headers: dict[str, str] = BEARER) -> tuple[Answer, float]:
    began = time.monotonic()
    answer = await opened.client.get("/", headers)
    return answer, time.monotonic() - began


STEPS = {
    "connect": (peers.unaccepting, "connecting failed: timeout"),
    "send": (lambda: peers.silent(reading=False), "sending failed: timeout"),
    "read": (peers.silent, "receiving failed: timeout"),
}
HEAVY = {"Authorization": "Bearer " + "a" * 60_000}  # more than the kernel takes for a peer that does not read


@pytest.mark.parametrize("step", STEPS)
async def test_step_has_a_time_of_its_own(build: Build, step: str) -> None:
    peer, said = STEPS[step]
    with peer() as url:
        async with desk(build, url, **{f"{step}_timeout_ms": 100}) as opened:
            answer, took_s = await timed(opened, HEAVY if step == "send" else BEARER)
            assert is_unavailable(answer)
            assert took_s < AT_ONCE_S
            assert f"{url}: {said}" in opened.gateway.error_log()


@pytest.mark.parametrize("step", STEPS)
async def test_step_takes_no_more_than_the_whole(build: Build, step: str) -> None:
    peer, said = STEPS[step]
    with peer() as url:
        async with desk(build, url, timeout_ms=200, **{f"{step}_timeout_ms": LONG_MS}) as opened:
            answer, took_s = await timed(opened, HEAVY if step == "send" else BEARER)
            assert is_unavailable(answer)
            assert took_s < AT_ONCE_S
            assert f"{url}: {said}" in opened.gateway.error_log()


@pytest.mark.parametrize("step", STEPS)
async def test_step_that_takes_too_long_leaves_the_rest_to_the_next(
    build: Build, sidecars: list[StubSidecar], step: str
) -> None:
    peer, _ = STEPS[step]
    with peer() as url:
        async with desk(build, url, sidecars[0].url, **{f"{step}_timeout_ms": 100}) as opened:
            answer, took_s = await timed(opened, HEAVY if step == "send" else BEARER)
    assert answer.upstream_headers["x-application-id"] == "by-1"
    assert took_s < AT_ONCE_S


@pytest.mark.parametrize("after", [After.KEEP, After.STALL])
async def test_time_for_reading_is_that_of_the_whole_reply(
    build: Build, sidecars: list[StubSidecar], after: After
) -> None:
    first = sidecars[0]
    first.play(Play([bytes([byte]) for byte in allowed_by("drop by drop")], after, pause_s=0.1))
    async with desk(build, first.url, read_timeout_ms=250) as opened:
        answer, took_s = await timed(opened)
    assert is_unavailable(answer)
    assert took_s < AT_ONCE_S


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_slow_connection_takes_from_the_time_of_the_next_step(scheme: str) -> None:
    with builds.opened(MODULES) as build, peers.late() as (url, accept):
        async with desk(build, url.replace("http", scheme), timeout_ms=3500) as opened:
            # The kernel tries again after whole seconds, so that the connection is there after two or three.
            asyncio.get_running_loop().call_later(1.2, accept)
            answer, took_s = await timed(opened, HEAVY)
            said = {"http": "sending failed: timeout", "https": "the TLS handshake failed: timeout"}[scheme]
            assert said in opened.gateway.error_log()
    assert is_unavailable(answer)
    assert took_s < 5


async def test_times_that_are_kept_change_nothing(build: Build, sidecars: list[StubSidecar]) -> None:
    steps = {f"{step}_timeout_ms": 5000 for step in STEPS}
    async with desk(build, sidecars[0].url, **steps) as opened:
        assert [await opened.ask() for _ in range(3)] == [(200, "by-1")] * 3
    assert len({request.connection for request in sidecars[0].asked}) == 1


async def test_heavy_request_is_no_matter_where_somebody_reads(build: Build, sidecars: list[StubSidecar]) -> None:
    async with desk(build, sidecars[0].url) as opened:
        answer = await opened.client.get("/", HEAVY)
    assert answer.upstream_headers["x-application-id"] == "by-1"
    assert sidecars[0].asked[0].header("Authorization") == HEAVY["Authorization"]


async def test_all_stalled_cost_no_more_than_the_timeout(build: Build, sidecars: list[StubSidecar]) -> None:
    for sidecar in sidecars:
        sidecar.play(Play([], After.STALL))
    async with desk(build, *(sidecar.url for sidecar in sidecars), timeout_ms=STALL_MS) as opened:
        answer, took_s = await timed(opened)
    assert is_unavailable(answer)
    assert took_s < STALL_MS / 1000 * 2  # one after the other they would be allowed three times that
    assert [len(sidecar.asked) for sidecar in sidecars] == [1, 1, 1]
