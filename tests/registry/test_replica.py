"""One sidecar, or two, that write and follow: with the log, without it, and with a file that fails.

``step`` is one round of what ``run`` does for ever.
"""

import asyncio
from dataclasses import replace

import pytest
from fake_log import FakeServer
from fleet_support import KEY, ORDERS, REVOKED, Start, cut_off, rejoin, revoked
from structlog.testing import capture_logs
from support_http import turns

from validator.core.changes import ApplicationChange, RevocationChange, content
from validator.errors import Unavailable
from validator.model import Knowledge
from validator.ports import Conflict
from validator.testing import ManualClock

# While all is well


async def test_a_write_is_in_force_here_durable_here_and_in_the_log_when_it_returns(start: Start) -> None:
    one = await start()
    await one.writer.create(ORDERS)
    assert one.registry.get("app-1") == ORDERS
    record, unshared = one.store.rows[KEY]
    assert (record.content, unshared) == (content(ApplicationChange("app-1", ORDERS)), False)
    assert one.server.state.records[KEY] == record
    assert one.store.followed is not None
    assert one.store.followed[0] == one.server.state.head


async def test_another_sidecar_follows_it(start: Start) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    await two.replica.step()
    await two.replica.settled()
    assert two.registry.get("app-1") == ORDERS
    assert two.store.rows[KEY] == one.store.rows[KEY]
    assert two.replica.entries_followed == 1


@pytest.mark.parametrize("seen", [False, True])
async def test_its_own_entries_are_not_followed_again(start: Start, seen: bool) -> None:
    one = await start()
    one.log.reads_last = seen
    one.log.late = asyncio.Event()
    following = asyncio.ensure_future(one.replica.step())
    await turns()
    await one.writer.create(ORDERS)
    one.log.late.set()
    await following
    assert one.replica.entries_followed == 0
    assert one.replica.following
    assert (one.replica.times_lost, one.replica.reconciliations) == (0, 1)  # the one at the start


async def test_a_write_that_was_overtaken_is_judged_again(start: Start) -> None:
    one, two = await start("one"), await start("two")
    one.log.interlude = lambda: two.writer.create(ORDERS)
    with pytest.raises(Conflict):
        await one.writer.create(replace(ORDERS, id="app-9"))
    assert one.registry.get("app-1") == ORDERS
    assert one.registry.get("app-9") is None


async def test_what_is_cached_is_forgotten_everywhere(start: Start) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.forget_cached("plain", "orders")
    await two.replica.step()
    assert two.registry.forgotten_mark("plain", "orders") == one.registry.forgotten_mark("plain", "orders") != ""


async def test_a_caller_who_goes_away_cancels_only_his_waiting(start: Start) -> None:
    one = await start()

    async def leave() -> None:
        caller.cancel()

    one.log.interlude = leave
    caller = asyncio.ensure_future(one.replica.commit(lambda: ([ApplicationChange("app-1", ORDERS)], None)))
    with pytest.raises(asyncio.CancelledError):
        await caller
    await one.replica.close()
    assert one.registry.get("app-1") == ORDERS
    assert KEY in one.store.rows


# Without the log


async def test_without_the_log_nothing_is_written_and_nothing_has_changed(start: Start) -> None:
    one = await start()
    await cut_off(one)
    with pytest.raises(Unavailable, match="nothing was changed"):
        await one.writer.create(ORDERS)
    assert one.registry.get("app-1") is None
    assert not one.store.rows


async def test_a_revocation_without_the_log_is_in_force_here_and_reaches_the_others_later(start: Start) -> None:
    one, two = await start("one"), await start("two")
    await cut_off(one)
    with pytest.raises(Unavailable, match="in force at this sidecar and kept") as caught:
        await one.writer.revoke(REVOKED)
    assert "will reach the others" in caught.value.detail
    assert revoked(one)
    assert not revoked(two)
    await rejoin(one, two)
    assert revoked(two)
    assert not any(unshared for _, unshared in one.store.rows.values())
    assert one.replica.records_restored == 0  # nothing that it had lost


async def test_it_survives_a_crash_before_the_log_is_back(start: Start) -> None:
    one, two = await start("one"), await start("two")
    await cut_off(one)
    with pytest.raises(Unavailable):
        await one.writer.revoke(REVOKED)
    await one.start()
    assert revoked(one)
    await rejoin(one, two)
    assert revoked(two)


async def test_where_the_disk_is_full_as_well_it_is_in_force_until_the_next_start(start: Start) -> None:
    one, two = await start("one"), await start("two")
    await cut_off(one)
    one.store.broken = True
    with pytest.raises(Unavailable, match="until its next start"):
        await one.writer.revoke(REVOKED)
    assert revoked(one)
    one.store.broken = False
    await rejoin(one, two)
    assert revoked(two)


async def test_a_slow_server_keeps_no_door_open(start: Start) -> None:
    """The lock is held by a write that waits; a revocation is in force meanwhile."""
    one = await start()
    gate = asyncio.Event()

    async def stall() -> None:
        await gate.wait()

    one.log.interlude = stall
    slow = asyncio.ensure_future(one.writer.create(ORDERS))
    await turns()
    revoking = asyncio.ensure_future(one.writer.revoke(REVOKED))
    await turns()
    assert revoked(one)
    assert not revoking.done()
    gate.set()
    await asyncio.gather(slow, revoking)
    assert RevocationChange(REVOKED).key in one.server.state.records


async def test_knowledge_is_behind_at_once_and_current_when_all_is_known_again(start: Start) -> None:
    one, two = await start("one"), await start("two")
    assert one.registry.knowledge is Knowledge.CURRENT
    await cut_off(one)
    assert one.registry.knowledge is Knowledge.BEHIND
    await two.writer.create(ORDERS)
    await rejoin(one)
    assert one.registry.knowledge is Knowledge.CURRENT
    assert one.registry.get("app-1") == ORDERS
    assert one.replica.times_lost == 1


async def test_staleness_is_told_and_refused_by_option(start: Start, clock: ManualClock) -> None:
    one = await start(max_stale_s=30.0, refuse_when_stale=True)
    clock.advance(100)
    assert one.replica.stale_s() == 0
    await cut_off(one)
    clock.advance(30)
    await one.replica.step()
    assert (one.replica.stale_s(), one.registry.knowledge) == (30, Knowledge.BEHIND)
    clock.advance(1)
    await one.replica.step()
    assert (one.replica.stale_s(), one.registry.knowledge) == (31, Knowledge.REFUSED)
    await rejoin(one)
    assert (one.replica.stale_s(), one.registry.knowledge) == (0, Knowledge.CURRENT)


async def test_who_refuses_when_stale_decides_nothing_before_it_has_followed_once(
    start: Start, server: FakeServer
) -> None:
    before = await start()
    await before.writer.revoke(REVOKED)
    server.down = True
    for refuses, knowledge in ((True, Knowledge.REFUSED), (False, Knowledge.BEHIND)):
        server.down = True
        one = await start("two", refuse_when_stale=refuses)
        assert (one.replica.ever, one.registry.knowledge) == (False, knowledge)
        server.down = False
        await rejoin(one)
        assert (one.replica.ever, one.registry.knowledge) == (True, Knowledge.CURRENT)
        assert revoked(one)


async def test_one_line_says_that_it_is_lost_and_one_that_it_is_back(start: Start) -> None:
    one = await start()
    with capture_logs() as lines:
        one.log.connected = False
        delays = [await one.replica.step() for _ in range(8)]
        await rejoin(one)
    assert [line["event"] for line in lines] == ["shared store lost", "shared store followed"]
    assert all(0.025 <= delay <= 1.0 for delay in delays)
    assert delays[0] <= 0.05
    assert delays[-1] >= 0.5


async def test_the_first_sync_is_waited_for_but_not_for_ever(start: Start) -> None:
    one = await start(follow=False)
    assert not await one.replica.first_sync(5.0)
    await one.replica.step()
    assert await one.replica.first_sync(5.0)


async def test_it_runs_until_it_is_cancelled(start: Start) -> None:
    one = await start(follow=False, sleep=asyncio.sleep)
    running = asyncio.ensure_future(one.replica.run())
    assert await one.replica.first_sync(5.0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# Its own file


async def test_a_full_disk_is_no_reason_not_to_follow(start: Start, server: FakeServer) -> None:
    one, two = await start("one"), await start("two")
    two.store.broken = True
    with capture_logs() as lines:
        for number in range(5):
            await one.writer.revoke(replace(REVOKED, value=f"client-{number}"))
            await two.replica.step()
            await turns()
    assert [line["event"] for line in lines] == ["registry store cannot be written"]
    assert revoked(two, replace(REVOKED, value="client-4"))
    two.store.broken = False
    await two.replica.settled()
    assert len(two.store.rows) == 5
    assert two.store.followed is not None
    assert two.store.followed[0] == server.state.head


async def test_what_is_written_while_the_file_fails_is_not_undone_by_the_next_try(start: Start) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.create(ORDERS)
    two.store.crash = "before"
    await two.replica.step()  # and begins to write
    await one.writer.delete("app-1")
    await two.replica.step()
    await turns()
    two.store.crashed = False
    await two.replica.settled()
    assert two.store.rows[KEY][0].content is None


async def test_a_write_that_is_shared_but_not_durable_here_is_told_and_in_force(start: Start) -> None:
    one, two = await start("one"), await start("two")
    one.store.broken = True
    with pytest.raises(Unavailable, match="in force everywhere"):
        await one.writer.create(ORDERS)
    await two.replica.step()
    assert one.registry.get("app-1") == ORDERS == two.registry.get("app-1")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_a_crash_at_the_file_the_log_is_followed_from_where_the_file_is(
    start: Start, when: str
) -> None:
    one = await start()
    one.store.crash = when
    with pytest.raises(Unavailable):
        await one.writer.create(ORDERS)
    await one.start()
    await one.replica.step()
    await one.replica.settled()
    assert one.registry.get("app-1") == ORDERS
    assert KEY in one.store.rows


async def test_registered_clients_are_read_with_all_that_is_in_force(start: Start) -> None:
    one, two = await start("one"), await start("two")
    await one.writer.record(ORDERS, "sealed")
    await two.replica.step()
    assert [record.sealed for record in await two.writer.records("orders")] == ["sealed"]


async def test_the_file_hears_of_an_idle_contact_now_and_then(start: Start, clock: ManualClock) -> None:
    one = await start()
    await one.writer.create(ORDERS)
    clock.advance(86400.0)
    await one.replica.step()
    await one.replica.settled()
    assert one.store.followed is not None
    assert one.store.followed[1] == clock.now()


async def test_an_error_of_our_own_is_said_once_and_followed_by_another_try(
    start: Start, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await start()

    async def broken() -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patched, capture_logs() as lines:
        patched.setattr(one.log, "_reach", broken)
        for _ in range(3):
            await one.replica.step()
    assert [line["event"] for line in lines] == ["following the shared store failed", "shared store lost"]
    await rejoin(one)


async def test_how_far_the_clocks_are_apart_is_known(start: Start, server: FakeServer, clock: ManualClock) -> None:
    server.ahead_s = 300.0
    one = await start()
    assert one.replica.clock_skew_s == -300.0
