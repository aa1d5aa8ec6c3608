"""A Redis that is emptied before each test, one to break, and a fleet whose members have a link to it each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
import redis_servers
from redis_proofs_support import NEVER_S, PREFIX, Make
from redis_servers import RedisServer
from support_fleet import Member, close_all, fleet
from support_http import CannedIdp
from support_pipeline import app

from validator.adapters.redis_link import RedisLink
from validator.adapters.redis_proofs import RedisProofs
from validator.core.redis_url import RedisEndpoint
from validator.testing import ManualClock


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_servers.one() as server:
        yield server


@pytest.fixture
async def server(running: RedisServer) -> RedisServer:
    await asyncio.to_thread(running.flush)
    return running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def idp(clock: ManualClock) -> CannedIdp:
    return CannedIdp(clock)


@pytest.fixture
def calls() -> Counter[str]:
    """What was asked of Redis, by outcome."""
    return Counter()


@pytest.fixture
async def make(clock: ManualClock, calls: Counter[str]) -> AsyncIterator[Make]:
    """One with a link of its own."""
    links: list[RedisLink] = []

    def proofs(server: RedisServer | RedisEndpoint, *, timeout_s: float = NEVER_S) -> RedisProofs:
        endpoint = server if isinstance(server, RedisEndpoint) else server.endpoint
        link = RedisLink(
            endpoint,
            timeout_s=timeout_s,
            observe=lambda _name, outcome, _seconds: calls.update([outcome]),
        )
        links.append(link)
        return RedisProofs(link, prefix=PREFIX, clock=clock, timeout_s=timeout_s)

    yield proofs
    for link in links:
        await link.close()


@pytest.fixture
async def members(
    server: RedisServer, make: Make, clock: ManualClock, idp: CannedIdp
) -> AsyncIterator[list[Member]]:
    """Six, each with a link of its own."""
    made = fleet(6, clock, idp, lambda: make(server), [app()])
    yield made
    await close_all(made)


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A server to break."""
    with redis_servers.one() as server:
        yield server
