"""No trouble of Redis changes a decision, and nobody waits for its silence more than once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

import pytest
import redis_servers
from redis_proofs_support import NEVER_S, PREFIX, RIGHT, SLOT, WRONG, Make, begin, counted
from redis_servers import RedisServer, wait_until
from support_fleet import Member, ask_all, close_all, fleet
from support_http import TOKEN, CannedIdp, turns
from support_pipeline import app, basic

from validator.adapters.breaker import BreakerState
from validator.adapters.redis_proofs import RedisProofs
from validator.core.redis_url import RedisEndpoint
from validator.errors import Unavailable
from validator.model import Reason
from validator.ports import Answered, Leave, Settled, Slot
from validator.testing import ManualClock

pytestmark = pytest.mark.programs


def killed(server: RedisServer) -> None:
    server.kill()


def stalled(server: RedisServer) -> None:
    server.stall()


def read_only(server: RedisServer) -> None:
    server.ask("REPLICAOF", "127.0.0.1", redis_servers.free_port())


def too_few_replicas(server: RedisServer) -> None:
    server.config_set("min-replicas-to-write", "1")


def out_of_memory(server: RedisServer) -> None:
    server.config_set("maxmemory", "1")


def no_permission(server: RedisServer) -> None:
    server.ask("ACL", "SETUSER", "default", "-@write")


FAULTS = [killed, stalled, read_only, too_few_replicas, out_of_memory, no_permission]


async def decides_alone(member: Member, idp: CannedIdp, calls: Counter[str]) -> None:
    """All that can be decided is decided rightly, after one failure of Redis and not one more."""
    before, failed = idp.calls[TOKEN], calls.total() - calls["ok"]
    assert (await member.ask(RIGHT)).said == (200, None)
    assert (await member.ask(WRONG)).said == (401, "credentials_rejected")
    seen = [(await member.ask(basic("orders", f"guess-{n}"))).status for n in range(12)]
    assert seen == [401] * 9 + [429] * 3
    assert idp.calls[TOKEN] == before + 11
    assert calls.total() - calls["ok"] == failed + 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_trouble_of_redis_changes_a_decision(
    own: RedisServer,
    make: Make,
    clock: ManualClock,
    idp: CannedIdp,
    calls: Counter[str],
    fault: Callable[[RedisServer], None],
) -> None:
    proofs = make(own, timeout_s=0.5 if fault is stalled else NEVER_S)
    idp.clients["billing"] = "b1lling"
    member = fleet(1, clock, idp, lambda: proofs, [app(), app("billing")])[0]
    await proofs.begin(SLOT, "warm", lease_s=0.01, guess=True, since=None)
    await asyncio.to_thread(fault, own)
    await decides_alone(member, idp, calls)
    assert proofs.state is BreakerState.OPEN
    failed = calls.total() - calls["ok"]
    clock.advance(1)
    assert (await member.ask(basic("billing", "b1lling"))).status == 200
    assert calls.total() - calls["ok"] == failed + 1  # one probe
    await member.close()


async def test_what_is_well_again_is_asked_again(
    own: RedisServer, make: Make, clock: ManualClock, idp: CannedIdp
) -> None:
    one, other = fleet(2, clock, idp, lambda: make(own), [app()])
    await asyncio.to_thread(own.kill)
    assert [(await member.ask(RIGHT)).status for member in (one, other)] == [200, 200]
    await asyncio.to_thread(own.restart)
    clock.advance(1)
    for member in (one, other):
        member.caches.forget()
    await ask_all([one, other], RIGHT, 100)
    assert idp.calls[TOKEN] == 3
    await close_all([one, other])


async def test_an_empty_redis_is_only_asked_anew(
    members: list[Member], server: RedisServer, idp: CannedIdp
) -> None:
    await members[0].ask(RIGHT)
    await asyncio.to_thread(server.flush)
    assert {one.status for one in await ask_all(members, RIGHT, 60)} == {200}
    assert idp.calls[TOKEN] == 2


SAYINGS = [
    b"junk\r\n",
    b"*1\r\n$5\r\njunk!\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*2\r\n$5\r\nleave\r\n:1\r\n",
]


@pytest.mark.parametrize("saying", SAYINGS)
async def test_what_redis_would_not_say_is_not_believed(
    make: Make, clock: ManualClock, idp: CannedIdp, calls: Counter[str], saying: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                writer.write(saying)
                await writer.drain()
        writer.close()

    liar = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with liar:
        port = liar.sockets[0].getsockname()[1]
        proofs = make(RedisEndpoint.parse(f"redis://127.0.0.1:{port}"), timeout_s=0.5)
        member = fleet(1, clock, idp, lambda: proofs, [app()])[0]
        await decides_alone(member, idp, calls)
        await member.close()


@pytest.mark.parametrize("what", ["answer", "asking", "outage", "proven"])
async def test_what_others_have_left_there_is_not_believed(
    members: list[Member], server: RedisServer, idp: CannedIdp, what: str
) -> None:
    await members[0].ask(RIGHT)
    names = await asyncio.to_thread(server.ask, "KEYS", "*:answer")
    assert isinstance(names, list)
    await asyncio.to_thread(server.ask, "DEL", names[0])
    await asyncio.to_thread(server.ask, "DEL", names[0].replace(b":answer", b":" + what.encode()))
    await asyncio.to_thread(server.ask, "RPUSH", names[0].replace(b":answer", b":" + what.encode()), "a list")
    calls = idp.calls[TOKEN]
    if what == "asking":
        await asyncio.to_thread(server.ask, "PEXPIRE", names[0].replace(b":answer", b":asking"), 200)
    assert (await members[1].ask(RIGHT)).status == 200
    assert idp.calls[TOKEN] == calls + 1


async def test_what_is_too_long_is_not_fetched(members: list[Member], server: RedisServer, idp: CannedIdp) -> None:
    await members[0].ask(RIGHT)
    names = await asyncio.to_thread(server.ask, "KEYS", "*:answer")
    assert isinstance(names, list)
    await asyncio.to_thread(server.ask, "SET", names[0], "A" * 100_000)
    assert {one.status for one in await ask_all(members[1:], RIGHT, 50)} == {200}
    assert idp.calls[TOKEN] == 2


async def test_while_the_breaker_is_open_nobody_waits(
    make: Make, own: RedisServer, clock: ManualClock, calls: Counter[str]
) -> None:
    proofs = make(own)
    await asyncio.to_thread(own.kill)
    for _ in range(5):
        with pytest.raises(Unavailable) as caught:
            await begin(proofs)
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert calls.total() == 1
    clock.advance(1)
    results = await asyncio.gather(*(begin(proofs) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert calls.total() == 2


async def test_whoever_gave_up_probing_leaves_the_place_to_the_next(
    make: Make, own: RedisServer, clock: ManualClock
) -> None:
    proofs = make(own)
    await begin(proofs)
    await asyncio.to_thread(own.kill)
    with pytest.raises(Unavailable):
        await begin(proofs)
    await asyncio.to_thread(own.restart)
    await asyncio.to_thread(own.stall)
    clock.advance(1)
    probing = asyncio.create_task(begin(proofs))
    await turns()
    probing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probing
    await asyncio.to_thread(own.resume)
    assert isinstance(await begin(proofs), Leave)


async def test_a_rush_of_our_own_is_not_taken_for_trouble(
    server: RedisServer, make: Make, calls: Counter[str]
) -> None:
    proofs = make(server)
    slots = [Slot(f"tag-{n}", "name") for n in range(1000)]
    found = await asyncio.gather(
        *(proofs.begin(slot, "me", lease_s=6.0, guess=True, since=None) for slot in slots)
    )
    assert {type(standing) for standing in found} == {Leave}
    assert calls == {"ok": 1000}


@pytest.mark.parametrize("fault", [killed, stalled])
async def test_who_stands_in_line_behind_its_silence_does_not_wait_for_it_once_more(
    own: RedisServer, make: Make, calls: Counter[str], fault: Callable[[RedisServer], None]
) -> None:
    proofs = make(own, timeout_s=0.5)
    await asyncio.to_thread(fault, own)
    results = await asyncio.gather(*(begin(proofs) for _ in range(100)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert calls.total() <= 8


async def test_it_is_warm_before_the_first_request(own: RedisServer, make: Make, calls: Counter[str]) -> None:
    proofs = make(own)
    assert await proofs.warm(NEVER_S)
    before = await asyncio.to_thread(own.info, "clients")
    await asyncio.gather(*(begin(proofs) for _ in range(100)))
    assert await asyncio.to_thread(own.info, "clients") == before
    assert calls == {"ok": 108}


async def test_that_it_cannot_be_warmed_is_told_and_forgotten(own: RedisServer, make: Make) -> None:
    proofs = make(own)
    await asyncio.to_thread(own.kill)
    assert not await proofs.warm(NEVER_S)
    await asyncio.to_thread(own.restart)
    assert isinstance(await begin(proofs), Leave)


async def test_a_turn_that_redis_gave_too_late_is_given_back_before_it_runs_out(
    own: RedisServer, make: Make
) -> None:
    late, other = make(own, timeout_s=0.05), make(own)
    await late.begin(SLOT, "warm", lease_s=0.01, guess=True, since=None)
    run = _scripts_run(own)
    await asyncio.to_thread(own.stall)
    with pytest.raises(Unavailable):
        await begin(late, lease_s=600.0)
    await asyncio.to_thread(own.resume)
    await asyncio.to_thread(wait_until, lambda: _scripts_run(own) > run, "what was asked is done")
    await asyncio.to_thread(wait_until, lambda: not own.ask("KEYS", "*:asking"), "the turn is given back")
    assert await counted(own) == 2  # "warm", and this one until it is settled: it may have failed
    assert isinstance(await begin(other, guess=False), Leave)


async def gone_on_alone(proofs: RedisProofs, own: RedisServer, outcome: Settled) -> None:
    """Asks while Redis is silent, and settles when it is still not asked; returns when it has heard of that."""
    await proofs.begin(Slot("other", "name"), "warm", lease_s=0.01, guess=True, since=None)
    await asyncio.to_thread(own.stall)
    with pytest.raises(Unavailable) as caught:
        await begin(proofs, "slow", lease_s=600.0)
    assert caught.value.sent
    with pytest.raises(Unavailable):
        await proofs.settle(SLOT, "slow", (), outcome)
    await asyncio.to_thread(own.resume)
    await asyncio.to_thread(wait_until, lambda: own.ask("KEYS", "*:answer"), "it is settled")


async def test_a_try_that_was_counted_too_late_to_be_told_is_given_back_if_it_was_right(
    own: RedisServer, make: Make
) -> None:
    for number in range(SLOT.counters[0][1] + 1):
        text = f"sealed-{number}"
        await gone_on_alone(make(own, timeout_s=0.05), own, Settled(False, None, text, 60.0))
        assert await begin(make(own)) == Answered(text)
        assert not await asyncio.to_thread(own.ask, "KEYS", "*:tries")
        await asyncio.to_thread(own.ask, "DEL", f"{PREFIX}:proofs:{{tag}}:name:answer")
    assert isinstance(await begin(make(own)), Leave)


@pytest.mark.parametrize(("pair", "tries"), [(RIGHT, 0), (WRONG, 1)])
async def test_a_member_that_goes_on_alone_gives_its_try_back_if_it_was_right(
    own: RedisServer, make: Make, clock: ManualClock, idp: CannedIdp, pair: bytes, tries: int
) -> None:
    proofs = make(own, timeout_s=0.2)
    await proofs.begin(SLOT, "warm", lease_s=0.01, guess=True, since=None)
    await asyncio.to_thread(own.flush)
    member = fleet(1, clock, idp, lambda: proofs, [app()])[0]
    await asyncio.to_thread(own.stall)
    assert (await member.ask(pair)).status == (401 if tries else 200)
    await asyncio.to_thread(own.resume)
    await asyncio.to_thread(wait_until, lambda: own.ask("KEYS", "*:answer"), "it is settled")
    names = await asyncio.to_thread(own.ask, "KEYS", "*:tries")
    assert isinstance(names, list)
    assert [await asyncio.to_thread(own.raw, "HGET", name, "n") for name in names] == [b"1"] * tries
    await member.close()


async def test_and_stays_counted_once_if_it_was_wrong(own: RedisServer, make: Make) -> None:
    await gone_on_alone(make(own, timeout_s=0.05), own, Settled(True, False, "sealed", 60.0))
    assert await counted(own) == 1


async def test_a_turn_is_given_back_while_redis_is_not_asked(own: RedisServer, make: Make) -> None:
    proofs, other = make(own, timeout_s=0.05), make(own)
    standing = await begin(proofs, lease_s=600.0)
    assert isinstance(standing, Leave)
    await asyncio.to_thread(own.stall)
    with pytest.raises(Unavailable):
        await proofs.vouch(SLOT)
    await asyncio.to_thread(own.resume)
    assert proofs.state is BreakerState.OPEN
    with pytest.raises(Unavailable):
        await proofs.settle(SLOT, "me", standing.windows, Settled(True, False, "sealed", 60.0))
    await asyncio.to_thread(wait_until, lambda: not own.ask("KEYS", "*:asking"), "the turn is given back")
    assert await begin(other) == Answered("sealed")


def _scripts_run(server: RedisServer) -> int:
    stats = server.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("eval", "evalsha"))
