"""An identity provider and a client for it whose every outcome is written down; a Redis and a log in it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from idp_calls import RESET_S, THRESHOLD, MakeClient, Observed
from redis_servers import one
from redis_support import logged

from validator.adapters.breaker import CircuitBreaker
from validator.adapters.idp import IdpClient
from validator.testing import FakeIdp, ManualClock

_NEVER_S = 30.0  # a timeout that no test is meant to reach


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def idp(clock: ManualClock) -> AsyncIterator[FakeIdp]:
    async with FakeIdp({"orders": "s3cret"}, clock=clock, alg="ES256") as running:
        yield running


@pytest.fixture
def observed() -> Observed:
    return []


@pytest.fixture
async def make(clock: ManualClock, observed: Observed) -> AsyncIterator[MakeClient]:
    made: list[IdpClient] = []

    def make_client(**options: Any) -> IdpClient:
        client = IdpClient(
            **{
                "clock": clock,
                "breaker": CircuitBreaker(clock, threshold=THRESHOLD, reset_s=RESET_S),
                "observe": lambda endpoint, outcome, _seconds: observed.append((endpoint, outcome)),
                "total_timeout_s": _NEVER_S,
                "connect_timeout_s": _NEVER_S,
                **options,
            }
        )
        made.append(client)
        return client

    yield make_client
    for client in made:
        await client.close()


@pytest.fixture(scope="module")
def shared_server():
    with one() as running:
        yield running


@pytest.fixture
def server(shared_server):
    shared_server.flush()
    return shared_server


@pytest.fixture
async def log(server):
    async with logged(server.url) as made:
        yield made
