"""What a server has lost and gets back from several: nobody takes a half of it for the whole."""

import contextlib
import time

import pytest
from redis_servers import RedisServer, one
from redis_support import PREFIX, appended, logged

from validator.adapters.redis_log import RedisLog
from validator.adapters.redis_scripts import RESTORING, RESTORING_MS

pytestmark = pytest.mark.programs

RECORDS = f"{{{PREFIX}}}:records"


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
        await of_long_ago(made, server)
        yield made


async def of_long_ago(log: RedisLog, server: RedisServer) -> None:
    await log.state()
    server.ask("HINCRBY", RECORDS, b"\0since", -3_600_000)


def said(server: RedisServer) -> bytes | None:
    found = server.raw("HGET", RECORDS, RESTORING)
    assert found is None or isinstance(found, bytes)
    return found


async def age_s(log: RedisLog) -> float:
    return (await log.state()).age_s


async def test_while_somebody_restores_the_state_is_new(server: RedisServer, log: RedisLog) -> None:
    assert await age_s(log) >= 3600
    first = await appended(log, None, ("a", "1"), restoring=True)
    async with logged(server.url) as other:
        assert await age_s(other) == 0.0
        second = await appended(other, first, ("b", "1"))  # by one who has nothing to restore
        assert await age_s(other) == 0.0
        await appended(log, second, ("c", "1"))
        assert await age_s(other) >= 3600
    assert said(server) is None


async def test_who_is_done_says_nothing_of_the_others(server: RedisServer, log: RedisLog) -> None:
    async with logged(server.url) as other:
        first = await appended(log, None, ("a", "1"), restoring=True)
        second = await appended(other, first, ("b", "1"), restoring=True)
        third = await appended(other, second, ("b", "2"))
        assert await age_s(other) == 0.0
        await appended(log, third, ("a", "2"))
        assert await age_s(other) >= 3600


async def test_who_said_so_and_was_lost_is_waited_for_no_longer_than_that(
    server: RedisServer, log: RedisLog
) -> None:
    first = await appended(log, None, ("a", "1"), restoring=True)
    owner, _, ends = (said(server) or b"").partition(b"=")
    assert 0 < int(ends) - time.time() * 1000 <= RESTORING_MS
    server.ask("HSET", RECORDS, RESTORING, owner + b"=%d" % (int(ends) - RESTORING_MS - 5000))
    assert 5.0 <= await age_s(log) < 3600  # from when it ran out
    async with logged(server.url) as other:
        server.ask("HSET", RECORDS, RESTORING, owner + b"=%d" % (int(ends) - 3 * RESTORING_MS))
        await appended(other, first, ("b", "1"))
        assert said(server) is None


@pytest.mark.parametrize("text", [b"", b"x", b"a=", b"=", b"a=99999999999999999999", b"a=1 b=x", b"\xff\0"])
async def test_what_nobody_of_us_has_written_there_holds_nobody_up(
    server: RedisServer, log: RedisLog, text: bytes
) -> None:
    server.ask("HSET", RECORDS, RESTORING, text)
    assert await age_s(log) >= 3600
    await appended(log, None, ("a", "1"))
    assert said(server) is None


async def test_a_flush_forgets_it(server: RedisServer, log: RedisLog) -> None:
    await appended(log, None, ("a", "1"), restoring=True)
    server.flush()
    await of_long_ago(log, server)
    assert await age_s(log) >= 3600


async def test_a_refused_write_says_nothing(server: RedisServer, log: RedisLog) -> None:
    first = await appended(log, None, ("a", "1"))
    assert await log.append(None, [("a", "2")], version=0, restoring=True) is None
    assert said(server) is None
    second = await appended(log, first, ("a", "2"), restoring=True)
    assert await log.append(first, [("a", "3")], version=0) is None
    assert await age_s(log) == 0.0
    await appended(log, second, ("a", "4"))


async def test_the_servers_own_time_is_told(server: RedisServer, log: RedisLog) -> None:
    with contextlib.closing(server.client()) as client:
        seconds, micros = client.time()
    assert 0 <= (await log.state()).time_s - (seconds + micros / 1e6) + 0.001 < 60
