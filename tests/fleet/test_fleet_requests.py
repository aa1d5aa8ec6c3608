"""Three sidecars with two workers each, as one: what one is told all know, and what one asks nobody asks again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis_servers
from fleet_measures import burst, revocations
from fleet_processes import Fleet, basic, bearer, configuration, fleet

from validator.adapters.clock import SystemClock
from validator.model import Endpoint
from validator.testing import FakeIdp

# Ten programs on two cores: they start once for all tests of this file.
pytestmark = [pytest.mark.programs, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

TRIES = 8
BURST, PAIRS, WORKERS = 1000, 6, 2
RESTS_S = 1.1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idp() -> AsyncIterator[FakeIdp]:
    revoked = [f"revoked-{n}" for n in range(TRIES)]
    pairs = [f"{which}-{n}" for which in ("right", "wrong") for n in range(PAIRS)]
    clients = dict.fromkeys(["other", *revoked, *pairs], "secret")
    async with FakeIdp(clients, clock=SystemClock(), audience="api://default") as idp:
        yield idp


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(idp: FakeIdp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    with redis_servers.one() as redis:
        config = configuration(idp.issuer, {"url": redis.url}, list(idp.clients))
        async with fleet(config, tmp_path_factory.mktemp("fleet")) as running:
            yield running


async def test_a_revocation_reaches_every_cache_and_is_never_forgotten(three: Fleet, idp: FakeIdp) -> None:
    victims = [(f"revoked-{n}", bearer(idp.token(f"revoked-{n}"))) for n in range(TRIES)]
    others = {"other": bearer(idp.token("other"))}
    for found in await revocations(three, victims, others, connections=6):
        assert set(found.by_member) == {0, 1, 2}
        assert found.last_allow_s < 1.0
        assert found.there == 0
        assert found.again == 0


@pytest.mark.parametrize(("which", "status"), [("right", 200), ("wrong", 401)])
async def test_a_thousand_first_requests_of_a_pair_are_two_questions_at_most(
    three: Fleet, idp: FakeIdp, which: str, status: int
) -> None:
    """Whoever finds Redis silent for too long asks alone, as he should; then it is another pair's turn."""
    secret = "secret" if which == "right" else "guess"
    said = []
    for number in range(PAIRS):
        before, slow = idp.calls[Endpoint.TOKEN], await _too_slow(three)
        answers = await burst(three, basic(f"{which}-{number}", secret), BURST)
        assert answers == Counter({status: BURST})
        asked, slow = idp.calls[Endpoint.TOKEN] - before, await _too_slow(three) - slow
        assert asked <= len(three.members) * WORKERS
        if asked <= 2:
            return
        assert slow, "nobody had a reason to ask alone"
        said.append((asked, slow))
        await asyncio.sleep(RESTS_S)  # nobody asks a Redis that was just too slow
    pytest.fail(f"questions, and calls to Redis that were answered too late: {said}")


async def _too_slow(running: Fleet) -> float:
    calls = "validator_redis_calls_total"
    return sum(
        [await member.metric(calls) - await member.metric(calls, outcome="ok") for member in running.members]
    )
