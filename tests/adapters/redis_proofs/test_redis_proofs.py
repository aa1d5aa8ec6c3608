"""Whose turn it is to ask, and which tries count, is the same for all who share a Redis."""

import asyncio
from pathlib import Path

import pytest
import redis_servers
from redis_proofs_support import PREFIX, SLOT, Make, begin, counted, left_ms
from redis_servers import RedisServer

from validator.adapters.redis_proofs import RedisProofs
from validator.core.redis_url import RedisEndpoint
from validator.ports import Answered, Exhausted, Leave, OutOfReach, Settled, Standing, Taken

pytestmark = pytest.mark.programs

# Whose turn it is


async def test_one_asks_and_the_others_find_its_answer(server: RedisServer, make: Make) -> None:
    one, other = make(server), make(server)
    leave = await begin(one, "one")
    assert isinstance(leave, Leave)
    assert (leave.proven, list(leave.windows)) == (False, ["one", "one"])
    assert 0 < await left_ms(server, ":asking") <= 6000
    assert isinstance(await begin(other, "other"), Taken)
    await one.settle(SLOT, "one", leave.windows, Settled(right=True, text="sealed", text_s=300))
    assert await begin(other, "other") == Answered("sealed")
    assert 290_000 < await left_ms(server, ":answer") <= 300_000
    assert not await asyncio.to_thread(server.ask, "KEYS", "*:asking")


async def test_an_outage_is_told_to_those_who_waited_for_it_alone(server: RedisServer, make: Make) -> None:
    one, other = make(server), make(server)
    leave = await begin(one, "one")
    waits = await begin(other, "other")
    assert isinstance(leave, Leave)
    assert isinstance(waits, Taken)
    await one.settle(SLOT, "one", leave.windows, Settled(retry_after_s=7.5))
    assert await begin(other, "other", since=waits.since) == OutOfReach(7.5)
    assert await left_ms(server, ":outage") in {-2, *range(1001)}
    assert isinstance(await begin(other, "other"), Leave)
    later = await begin(one, "one")
    assert isinstance(later, Taken)
    assert isinstance(await begin(one, "one", since=later.since), Taken)


async def test_whoever_died_asking_stands_in_nobodys_way_for_long(server: RedisServer, make: Make) -> None:
    dead, other = make(server), make(server)
    await begin(dead, "dead", lease_s=0.05)
    found: Standing = await begin(other, "other")
    while isinstance(found, Taken):
        found = await begin(other, "other", since=found.since)
    assert isinstance(found, Leave)


async def test_only_whose_turn_it_is_gives_it_back(server: RedisServer, make: Make) -> None:
    one = make(server)
    await begin(one, "one")
    await one.settle(SLOT, "late", (), Settled(text="sealed", text_s=0.0, retry_after_s=1.0))
    assert isinstance(await begin(one, "other"), Taken)
    assert not await asyncio.to_thread(server.ask, "KEYS", "*:outage")
    assert not await asyncio.to_thread(server.ask, "KEYS", "*:answer")  # it was over already


# Tries


async def tried(proofs: RedisProofs, owner: str, *, failed: bool, right: bool | None = None) -> None:
    leave = await begin(proofs, owner)
    assert isinstance(leave, Leave)
    await proofs.settle(SLOT, owner, leave.windows, Settled(failed=failed, right=right))


async def test_failed_tries_exhaust_the_window(server: RedisServer, make: Make) -> None:
    proofs = make(server)
    await tried(proofs, "one", failed=True)
    await tried(proofs, "two", failed=False)
    await tried(proofs, "three", failed=True)
    found = await begin(proofs, "four")
    assert isinstance(found, Exhausted)
    assert 50 < found.rest_s <= 60
    assert isinstance(await begin(proofs, "five", guess=False), Leave)


async def test_what_was_given_back_leaves_no_window(server: RedisServer, make: Make) -> None:
    await tried(make(server), "one", failed=False)
    assert not await asyncio.to_thread(server.ask, "KEYS", "*")


async def test_a_try_of_an_earlier_window_is_not_given_back_to_a_later_one(
    server: RedisServer, make: Make
) -> None:
    proofs = make(server)
    leave = await begin(proofs, "slow")
    assert isinstance(leave, Leave)
    for name in ("client", "all"):
        await asyncio.to_thread(server.ask, "DEL", f"{PREFIX}:proofs:{{tag}}:{name}:tries")  # the window ends
    await asyncio.to_thread(server.ask, "DEL", f"{PREFIX}:proofs:{{tag}}:name:asking")
    await tried(proofs, "one", failed=True)
    await proofs.settle(SLOT, "slow", leave.windows, Settled(failed=False))
    await tried(proofs, "two", failed=True)
    assert isinstance(await begin(proofs, "three"), Exhausted)


async def test_who_asked_without_leave_is_counted_if_it_failed(server: RedisServer, make: Make) -> None:
    proofs = make(server)
    await proofs.settle(SLOT, "one", (), Settled(failed=False))
    for owner in ("two", "three"):
        await proofs.settle(SLOT, owner, (), Settled(failed=True))
    found = await begin(proofs, "four")
    assert isinstance(found, Exhausted)
    assert 50 < found.rest_s <= 60


async def test_a_try_counts_once_and_is_given_back_once(server: RedisServer, make: Make) -> None:
    proofs = make(server)
    await tried(proofs, "another", failed=True)
    leave = await begin(proofs, "one")
    assert isinstance(leave, Leave)
    for _ in range(3):
        await proofs.settle(SLOT, "one", (), Settled(failed=True))
    assert await counted(server) == 2
    for _ in range(3):
        await proofs.settle(SLOT, "one", (), Settled(failed=False))
    assert await counted(server) == 1
    for _ in range(3):
        await proofs.settle(SLOT, "two", (), Settled(failed=True))
    assert await counted(server) == 2


async def test_who_proved_right_is_let_through_until_he_is_wrong(server: RedisServer, make: Make) -> None:
    proofs = make(server)
    await tried(proofs, "one", failed=False, right=True)
    assert 0 < await left_ms(server, ":proven") <= 86_400_000
    for owner in ("two", "three"):
        await proofs.settle(SLOT, owner, (), Settled(failed=True))
    leave = await begin(proofs, "four")
    assert isinstance(leave, Leave)
    assert leave.proven
    await proofs.settle(SLOT, "four", leave.windows, Settled(failed=True, right=False))
    assert isinstance(await begin(proofs, "five"), Exhausted)


async def test_nothing_that_was_restored_without_its_end_lasts_for_ever(server: RedisServer, make: Make) -> None:
    proofs = make(server)
    for owner in ("one", "two"):
        await proofs.settle(SLOT, owner, (), Settled(failed=True))
    for name in ("client", "all"):
        await asyncio.to_thread(server.ask, "PERSIST", f"{PREFIX}:proofs:{{tag}}:{name}:tries")
    found = await begin(proofs, "three")
    assert isinstance(found, Exhausted)
    assert found.rest_s == 60
    assert 0 < await left_ms(server, "client:tries") <= 60_000
    assert isinstance(await begin(proofs, "four", guess=False), Leave)
    await asyncio.to_thread(server.ask, "PERSIST", f"{PREFIX}:proofs:{{tag}}:name:asking")
    assert isinstance(await begin(proofs, "five", guess=False), Leave)


async def test_who_is_vouched_for_is_let_through(server: RedisServer, make: Make) -> None:
    proofs = make(server)
    for owner in ("one", "two"):
        await proofs.settle(SLOT, owner, (), Settled(failed=True))
    await proofs.vouch(SLOT)
    assert 0 < await left_ms(server, ":proven") <= 86_400_000
    assert isinstance(await begin(proofs, "three"), Leave)


COMMANDS = "+evalsha +eval +get +set +del +exists +strlen +hget +hmget +hset +hdel +hincrby +pttl +pexpire +time"


async def test_it_needs_few_permissions(tmp_path: Path, make: Make) -> None:
    acl = (f"user validator on >pass ~{PREFIX}:* {COMMANDS}",)
    with redis_servers.one(acl=acl) as server:
        endpoint = RedisEndpoint.parse(f"redis://validator:pass@{server.host}/0")
        proofs = make(endpoint)
        leave = await begin(proofs, "one")
        assert isinstance(leave, Leave)
        waits = await begin(proofs, "two")
        assert isinstance(waits, Taken)
        await proofs.settle(SLOT, "one", leave.windows, Settled(retry_after_s=1.0))
        assert isinstance(await begin(proofs, "two", since=waits.since), OutOfReach)
        for owner in ("three", "four"):
            await proofs.settle(SLOT, owner, (), Settled(failed=True, right=False))
        assert isinstance(await begin(proofs, "five"), Exhausted)
        await proofs.vouch(SLOT)
        leave = await begin(proofs, "six")
        assert isinstance(leave, Leave)
        await proofs.settle(SLOT, "six", leave.windows, Settled(right=True, text="sealed", text_s=9))
        assert await begin(proofs, "seven") == Answered("sealed")
