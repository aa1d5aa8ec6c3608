"""What a server in trouble does, each fault on its own, and how it heals."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from fake_log import FakeServer
from fleet_support import BILLING, KEY, ORDERS, REVOKED, Start, cut_off, rejoin, revoked
from structlog.testing import capture_logs
from support_http import turns

from validator.core.changes import ApplicationChange, content
from validator.errors import Unavailable
from validator.model import Knowledge, RegistrationStatus
from validator.registry.following import STALE_S
from validator.testing import ManualClock


async def test_a_server_that_has_just_begun_is_not_believed_yet(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    server.restart()
    one = await start()
    assert one.registry.knowledge is Knowledge.BEHIND
    with pytest.raises(Unavailable):
        await one.writer.create(ORDERS)
    clock.advance(1.0)
    await one.replica.step()
    assert one.registry.knowledge is Knowledge.CURRENT


async def test_after_a_flush_everything_is_restored(start: Start, server: FakeServer, clock: ManualClock) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    await one.writer.revoke(REVOKED)
    before = server.state.records
    server.flush()  # and not even two has followed what was acknowledged
    for sidecar in (two, one):
        await sidecar.replica.step()
        await sidecar.replica.step()
    clock.advance(1.0)
    await rejoin(one, two)
    assert server.state.records == before
    assert revoked(two)
    assert two.registry.get("app-1") == ORDERS


async def test_who_lags_restores_nothing_over_what_is_newer(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    await two.replica.step()
    await two.replica.settled()
    await one.writer.delete("app-1")
    server.flush()
    for _ in range(2):
        await two.replica.step()  # restores the application, for it knows no better
    assert server.content(KEY) is not None
    clock.advance(1.0)
    await rejoin(one, two)
    assert server.content(KEY) is None
    assert one.registry.get("app-1") is None is two.registry.get("app-1")


async def test_a_restart_amid_a_scan_hides_nothing(start: Start, server: FakeServer, clock: ManualClock) -> None:
    one, two = await start("one"), await start("two")
    for number in range(5):
        await one.writer.revoke(replace(REVOKED, value=f"client-{number}"))
    await two.replica.step()
    await one.writer.unrevoke(replace(REVOKED, value="client-4"))
    await two.replica.step()
    await two.replica.settled()
    await cut_off(two)
    await one.writer.revoke(replace(REVOKED, value="client-4"))
    server.trim()  # two has to look through everything, and knows that client-4 was lifted
    two.log.connected = True

    async def restart() -> None:
        server.restart()

    two.log.between = restart
    await two.replica.step()
    clock.advance(1.0)
    await rejoin(two, one)
    for sidecar in (one, two):
        assert all(revoked(sidecar, replace(REVOKED, value=f"client-{number}")) for number in range(5))


async def test_after_a_failover_that_lost_the_last_writes(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    await two.replica.step()
    await one.writer.set_registration("app-1", "svc", RegistrationStatus.REVOKED)
    server.go_back(1)
    clock.advance(1.0)
    await rejoin(one, two)
    found = two.registry.get("app-1")
    assert found is not None
    assert found.registrations["svc"] is RegistrationStatus.REVOKED


async def test_a_trimmed_log_is_reconciled(start: Start, server: FakeServer) -> None:
    one, two = await start("one"), await start("two")
    await cut_off(two)
    await one.writer.create(ORDERS)
    await one.writer.create(BILLING)
    await one.writer.delete("app-1")
    server.trim(1)
    before = two.replica.reconciliations
    await rejoin(two)
    assert two.replica.reconciliations == before + 1
    assert two.registry.get("app-1") is None
    assert two.registry.get("app-2") == BILLING


async def test_what_is_written_while_it_reconciles_is_caught(start: Start, server: FakeServer) -> None:
    one, two = await start("one"), await start("two")
    await cut_off(two)
    for number in range(5):
        await one.writer.create(replace(ORDERS, id=f"app-{number}", client_id=f"client-{number}"))
    server.trim()
    two.log.between = lambda: one.writer.delete("app-0")
    await rejoin(two)
    assert two.registry.get("app-0") is None
    assert two.registry.get("app-4") is not None


@pytest.mark.parametrize("moment", range(0, 40, 2))
async def test_a_door_that_is_closed_while_it_reconciles_stays_closed(
    start: Start, server: FakeServer, clock: ManualClock, moment: int
) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.revoke(replace(REVOKED, expires_at=clock.now() + 10))
    for number in range(5):
        await one.writer.create(replace(ORDERS, id=f"app-{number}", client_id=f"client-{number}"))
    server.flush()
    await one.replica.step()
    reconciling = asyncio.ensure_future(one.replica.step())
    await turns(moment)
    with suppress(Unavailable):
        await one.writer.revoke(REVOKED)
    await reconciling
    clock.advance(20)
    await rejoin(one, two)
    assert revoked(one)
    assert revoked(two)


async def test_a_lost_reply_is_unknown_and_then_found_out(start: Start) -> None:
    one = await start()
    one.log.lose_replies = 1
    with pytest.raises(Unavailable, match="not known"):
        await one.writer.create(ORDERS)
    assert one.registry.get("app-1") is None
    await one.replica.step()
    assert one.registry.get("app-1") == ORDERS


async def test_a_server_that_takes_no_writes_is_followed_and_told_later(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one, two = await start("one"), await start("two")
    server.read_only = True
    with pytest.raises(Unavailable, match="in force at this sidecar"):
        await one.writer.revoke(REVOKED)
    with capture_logs() as lines:
        for _ in range(20):
            await one.replica.step()
            clock.advance(1.0)
    assert [line["event"] for line in lines] == ["shared store takes no writes"]
    assert one.registry.knowledge is Knowledge.CURRENT
    server.read_only = False
    clock.advance(5.0)
    await rejoin(one, two)
    assert revoked(two)


async def test_a_record_that_cannot_be_read_is_not_guessed_and_others_go_on(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one = await start()
    server.spoil("future\0thing", "{}")
    server.append(server.state.head, [(KEY, content(ApplicationChange("app-1", ORDERS)))], 0)
    with capture_logs() as lines:
        for _ in range(10):
            await one.replica.step()
    assert [line["event"] for line in lines] == ["shared record cannot be read"]
    assert one.registry.knowledge is Knowledge.BEHIND
    assert one.registry.get("app-1") == ORDERS
    await one.replica.settled()
    assert one.store.followed is None or one.store.followed[0].mark != server.mark
    await one.start()  # a restart does not forget that there is something that it cannot read
    await one.replica.step()
    assert one.registry.knowledge is Knowledge.BEHIND
    server.state = replace(server.state, records={key: r for key, r in server.state.records.items() if key == KEY})
    clock.advance(5.0)
    await one.replica.step()
    assert one.registry.knowledge is Knowledge.CURRENT


async def test_a_log_that_goes_back_to_where_the_file_was_left_hides_no_loss(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    """While a record cannot be read, the file does not say that it has followed further; nor that it was there."""
    one = await start()
    await one.writer.create(BILLING)
    server.spoil("future\0thing", "{}")
    await one.replica.step()
    await one.writer.create(ORDERS)
    server.go_back(2)
    await one.start()
    clock.advance(1.0)
    await rejoin(one)
    assert server.content(KEY) is not None


async def test_two_applications_at_one_place_the_one_written_last_keeps_it(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    server.go_back(1)
    clock.advance(2.0)
    await two.replica.step()
    await two.writer.create(replace(ORDERS, id="app-9"))
    with capture_logs() as lines:
        await rejoin(one, two)
    (line,) = [line for line in lines if line["log_level"] == "warning" and "removed" in line]
    assert (line["kept"], line["removed"]) == ("app-9", "app-1")
    for sidecar in (one, two):
        found = sidecar.registry.find("plain", "orders")
        assert found is not None
        assert found.id == "app-9"
        assert sidecar.registry.get("app-1") is None
    assert server.content(KEY) is None


async def test_of_two_writes_that_know_nothing_of_each_other_the_later_holds(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    """Though the first has seen more: versions are times where that is more than the last one and one."""
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    await rejoin(two)
    two.log.connected = False
    for status in RegistrationStatus:
        await one.writer.set_registration("app-1", "svc", status)
    server.go_back(len(RegistrationStatus))
    clock.advance(2.0)
    await rejoin(two)
    await two.writer.set_registration("app-1", "svc", RegistrationStatus.PENDING)
    await rejoin(one, two)
    found = one.registry.get("app-1")
    assert found is not None
    assert found.registrations["svc"] is RegistrationStatus.PENDING


async def test_what_was_written_before_anything_was_shared_is_shared_but_holds_against_nothing(
    start: Start, server: FakeServer
) -> None:
    one, two = await start("one"), await start("two", follow=False)
    await one.writer.create(ORDERS)
    for application in (replace(ORDERS, name="older"), BILLING):
        await two.store.commit([ApplicationChange(application.id, application)])
    await two.start()
    await rejoin(two, one)
    assert two.registry.get("app-1") == ORDERS
    assert one.registry.get("app-2") == BILLING
    assert server.state.records[ApplicationChange("app-2", None).key].version > 0


async def test_who_was_away_for_a_month_does_not_bring_back_what_was_deleted(
    start: Start, server: FakeServer, clock: ManualClock
) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    await one.writer.create(BILLING)
    await rejoin(two)
    await cut_off(two)
    await one.writer.delete("app-1")
    clock.advance(STALE_S + 1)
    server.trim()
    server.state = replace(  # what was deleted is no longer remembered
        server.state, records={key: r for key, r in server.state.records.items() if r.content}
    )
    with capture_logs() as lines:
        await rejoin(two, one)
    assert "records of long ago dropped" in [line["event"] for line in lines]
    assert two.registry.get("app-1") is None
    assert two.registry.get("app-2") == BILLING
    assert server.content(KEY) is None


async def test_but_what_nobody_else_has_it_restores(start: Start, server: FakeServer, clock: ManualClock) -> None:
    one = await start()
    await one.writer.create(ORDERS)
    await cut_off(one)
    clock.advance(STALE_S + 1)
    server.flush()
    clock.advance(1.0)
    await rejoin(one)
    assert server.content(KEY) is not None
