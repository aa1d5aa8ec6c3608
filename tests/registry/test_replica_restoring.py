"""What a server has lost, or was never told, and how it gets it: in pieces, and with others who wait for it."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from fake_log import RESTORING_S, FakeServer
from fleet_support import BILLING, KEY, ORDERS, REVOKED, Sidecar, Start, cut_off, rejoin, revoked
from structlog.testing import capture_logs
from support_http import turns

from validator.adapters import redis_log
from validator.core.changes import ApplicationChange, Change, RevocationChange
from validator.errors import Unavailable
from validator.model import Knowledge, RegistrationStatus
from validator.registry.batches import MAX_RECORD_BYTES
from validator.registry.following import STALE_S
from validator.testing import ManualClock

MANY = [replace(ORDERS, id=f"many-{n}", client_id=f"client-{n}") for n in range(450)]  # three batches
LARGE = replace(
    ORDERS,
    id="large",
    client_id="large",
    registrations={f"{n:04}" + "\u00e9" * 240: RegistrationStatus.APPROVED for n in range(1000)},
)
REVOCATION = RevocationChange(REVOKED).key


async def fill(sidecar: Sidecar) -> None:
    changes: list[Change] = [ApplicationChange(one.id, one) for one in MANY]
    await sidecar.replica.commit(lambda: (changes, None))


# In pieces


async def test_who_begins_while_another_restores_waits_until_all_is_there(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one = await start("one")
    await fill(one)
    server.flush()
    two = await start("two", follow=False)
    known: list[Knowledge] = []
    begun = server.appends

    async def look() -> None:
        one.log.interlude = look
        if server.appends > begun:
            clock.advance(5.0)
            await two.replica.step()
            known.append(two.registry.knowledge)

    one.log.interlude = look
    for _ in range(2):
        await one.replica.step()
    assert known == [Knowledge.BEHIND] * 3
    await rejoin(two)
    assert two.registry.get(MANY[-1].id) is not None
    assert server.restoring == {}


async def test_they_wait_from_before_it_is_known_what_is_to_be_restored(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one = await start("one")
    await fill(one)
    await one.replica.step()
    server.flush()
    ages: list[float] = []

    async def look() -> None:
        clock.advance(5.0)
        ages.append(server.age_s)

    one.log.between = look
    for _ in range(2):
        await one.replica.step()
    assert ages == [0.0]
    assert len(server.state.records) == len(MANY)


async def test_who_does_not_come_back_is_not_waited_for_for_ever(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one = await start("one")
    await fill(one)
    server.flush()

    async def stop() -> None:
        one.log.interlude = stop
        if len(server.state.records) > 200:
            server.read_only = True

    one.log.interlude = stop
    for _ in range(2):
        await one.replica.step()
    assert 200 < len(server.state.records) < len(MANY)
    two = await start("two")
    for seconds, knowledge in ((RESTORING_S, Knowledge.BEHIND), (1.0, Knowledge.CURRENT)):
        clock.advance(seconds)
        await two.replica.step()
        assert two.registry.knowledge is knowledge


async def test_nobody_waits_for_one_whose_rest_another_has_restored(start: Start, server: FakeServer) -> None:
    one, two = await start("one"), await start("two")
    await fill(one)
    await rejoin(two)
    server.flush()

    async def overtake() -> None:
        if len(server.state.records) < 200:
            one.log.interlude = overtake
            return
        for _ in range(3):
            await two.replica.step()

    one.log.interlude = overtake
    for _ in range(2):
        await one.replica.step()
    assert len(server.state.records) == len(MANY)
    assert server.restoring == {}


# A revocation that whoever lifted it could not know of


async def test_a_revocation_made_while_cut_off_holds_against_a_lifting_by_others(
    start: Start, server: FakeServer
) -> None:
    """Though that bears the higher version: clocks differ."""
    one, two = await start("one"), await start("two")
    await cut_off(one)
    await two.writer.revoke(REVOKED)
    await two.writer.unrevoke(REVOKED)
    lifted = server.state.records[REVOCATION]
    with pytest.raises(Unavailable):
        await one.writer.revoke(REVOKED)
    assert one.store.rows[REVOCATION][0].version < lifted.version
    with capture_logs() as lines:
        await rejoin(one, two)
    assert revoked(one)
    assert revoked(two)
    assert server.state.records[REVOCATION].version > lifted.version
    assert not one.store.rows[REVOCATION][1]
    (line,) = [line for line in lines if line["event"] == "revocation holds against its lifting"]
    assert (line["log_level"], line["kind"], line["value"]) == ("warning", "client_id", "orders")
    assert not [line for line in lines if line["log_level"] == "error"]
    await two.writer.unrevoke(REVOKED)  # now that it is known
    await rejoin(one)
    assert not revoked(one)


async def test_so_does_one_from_before_anything_was_shared(start: Start) -> None:
    one, two = await start("one"), await start("two", follow=False)
    await one.writer.revoke(REVOKED)
    await one.writer.unrevoke(REVOKED)
    await two.store.commit([RevocationChange(REVOKED)])
    await two.start()
    await rejoin(two, one)
    assert revoked(one)
    assert revoked(two)


async def test_who_was_away_for_a_month_opens_no_door(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    two = await start("two")
    await two.writer.revoke(REVOKED)
    await two.writer.create(ORDERS)
    await cut_off(two)
    server.flush()
    three = await start("three", follow=False)
    clock.advance(STALE_S + 1)
    await rejoin(three)
    await three.writer.create(BILLING)
    await rejoin(two, three)
    assert two.registry.get("app-1") is None
    assert revoked(two)
    assert revoked(three)


# One that cannot be shared


async def test_a_record_too_large_to_be_shared_keeps_nothing_else_back(start: Start, server: FakeServer) -> None:
    one = await start("one", follow=False)
    await one.store.commit([ApplicationChange(each.id, each) for each in (*MANY, LARGE)])
    await one.store.commit([RevocationChange(REVOKED)])
    await one.start()
    with capture_logs() as lines:
        await rejoin(one)
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["record"]) == ("record cannot be shared", "application large")
    assert server.state.entries[0].keys[0] == REVOCATION
    assert len(server.state.records) == len(MANY) + 1
    assert one.registry.get("large") == LARGE
    assert one.replica.waiting == 1
    appends = server.appends
    await one.start()  # says it anew, and goes on from where it was
    with capture_logs() as lines:
        await rejoin(one)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["record cannot be shared"]
    assert (server.appends, one.replica.reconciliations) == (appends, 0)
    await one.writer.delete("large")
    assert one.replica.waiting == 0
    await one.writer.create(replace(LARGE, registrations={}))
    server.flush()
    for _ in range(2):
        await one.replica.step()
    assert len(server.state.records) == len(MANY) + 2


async def test_nor_does_one_that_the_others_could_not_read(start: Start, server: FakeServer) -> None:
    one = await start("one", follow=False)
    unnamed = replace(ORDERS, name="\n")  # stored before this was refused
    await one.store.commit([ApplicationChange(each.id, each) for each in (unnamed, BILLING)])
    await one.start()
    await rejoin(one)
    assert list(server.state.records) == [ApplicationChange("app-2", None).key]
    assert one.replica.waiting == 1


def test_what_is_too_large_is_what_the_log_refuses() -> None:
    assert MAX_RECORD_BYTES == redis_log.MAX_RECORD_BYTES


async def test_what_waits_is_told(start: Start) -> None:
    one = await start("one")
    await one.writer.create(ORDERS)
    await cut_off(one)
    assert one.replica.waiting == 0
    with suppress(Unavailable):
        await one.writer.revoke(REVOKED)
    assert one.replica.waiting == 1
    await rejoin(one)
    assert one.replica.waiting == 0


# A full disk


async def test_with_a_full_disk_it_restores_what_only_its_memory_has(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.revoke(REVOKED)
    await rejoin(two)
    two.store.broken = True
    await one.writer.create(ORDERS)
    await one.writer.revoke(replace(REVOKED, value="billing"))
    await two.replica.step()
    await cut_off(one)
    server.flush()
    await two.replica.step()
    await two.replica.step()
    clock.advance(1.0)
    await two.replica.step()
    assert two.registry.knowledge is Knowledge.CURRENT
    assert server.content(KEY) is not None
    assert len(server.state.records) == 3
    two.store.broken = False
    await two.replica.settled()
    assert two.store.followed is not None
    assert two.store.followed[0] == server.state.head


async def test_an_entry_that_cannot_be_read_is_reconciled(start: Start, server: FakeServer) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    server.garble()
    await rejoin(two)
    assert two.registry.get("app-1") == ORDERS
    await turns()
    await asyncio.gather(one.replica.close(), two.replica.close())
