"""However much there is, all others have their turn in between."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fake_log import FakeServer, FakeStore
from fleet_support import BILLING, ORDERS, REVOKED, Sidecar, Start, cut_off, rejoin
from support_http import turns

from validator.core.changes import ApplicationChange, Change, ClientChange, Forgotten, RevocationChange, content
from validator.errors import Unavailable
from validator.model import ClientRecord, Knowledge
from validator.ports import Position
from validator.registry import following
from validator.registry.following import STALE_S
from validator.registry.mirror import stays
from validator.registry.write_behind import WriteBehind
from validator.testing import ManualClock

MANY: Sequence[Change] = [
    ApplicationChange(f"many-{n}", replace(ORDERS, id=f"many-{n}", client_id=f"client-{n}")) for n in range(1200)
]


@contextmanager
def others(sidecar: Sidecar) -> Iterator[list[tuple[int, int]]]:
    """Whenever somebody else had his turn: how many of a hundredth of the many were in force, and how many records
    were newer than the log's."""
    seen: list[tuple[int, int]] = []

    async def look() -> None:
        while True:
            held = sum(sidecar.registry.held(change.key.split("\0")[1]) is not None for change in MANY[::100])
            newer = len(sidecar.replica._follower._mirror.ahead)
            if (held, newer) not in seen:
                seen.append((held, newer))
            await asyncio.sleep(0)

    looking = asyncio.ensure_future(look())
    yield seen
    looking.cancel()


async def test_what_others_have_written_is_put_in_force_in_portions(start: Start) -> None:
    one, two = await start("one"), await start("two")
    await one.replica.commit(lambda: (MANY, None))
    with others(two) as seen:
        await two.replica.step()
    assert {held for held, _ in seen} >= {0, 4, 8}


async def test_what_is_dropped_goes_in_portions(start: Start, server: FakeServer, clock: ManualClock) -> None:
    one = await start("one")
    await one.replica.commit(lambda: (MANY, None))
    await cut_off(one)
    server.flush()
    clock.advance(STALE_S + 1)
    two = await start("two")
    await rejoin(two)
    await two.writer.create(BILLING)
    one.log.connected = True
    with others(one) as seen:
        await one.replica.step()
        await one.replica.step()
    assert {both for both in seen if both[0] < 12} >= {(10, 1000), (2, 200)}
    assert one.registry.held("many-1199") is None
    assert one.registry.held(BILLING.id) is not None


class Recording(FakeStore):
    """Also keeps how much was written at once, and which position with it."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.written: list[tuple[int, str | None]] = []

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        version: int | Sequence[int] | None = None,
        unshared: bool = False,
        position: Position | None = None,
    ) -> None:
        await super().commit(changes, version=version, unshared=unshared, position=position)
        self.written.append((len(changes), position and position.mark))


async def test_the_file_is_written_in_portions_and_the_position_with_the_last(clock: ManualClock) -> None:
    store = Recording(clock)
    behind = WriteBehind(store)
    behind.put([(change, 7) for change in MANY], position=Position("1-0", "mark", 7))
    await behind.settled()
    assert store.written == [(500, ""), (500, ""), (200, "mark")]
    assert len(store.rows) == len(MANY)


async def test_after_a_crash_between_the_portions_the_rest_is_not_taken_for_written(clock: ManualClock) -> None:
    store = Recording(clock)
    behind = WriteBehind(store)
    store.crash = "after"
    behind.put([(change, 7) for change in MANY], position=Position("1-0", "mark", 7))
    with pytest.raises(Unavailable):
        await behind.settled()
    assert len(store.rows) == 500
    assert store.followed is not None
    assert store.followed[0].mark == ""
    assert len(list(behind.records())) == len(MANY)
    store.crashed = False
    await behind.settled()
    assert store.followed[0].mark == "mark"
    assert len(store.rows) == len(MANY)
    await behind.close()


async def test_what_is_being_written_is_not_taken_for_written(clock: ManualClock) -> None:
    store = Recording(clock)
    behind = WriteBehind(store)
    behind.put([(change, 7) for change in MANY])
    await turns(3)  # it has begun
    behind.put([(MANY[-1], 8)])
    assert [record.version for record in behind.records()] == [7] * (len(MANY) - 1 - len(store.rows)) + [8]
    assert len(store.rows) < len(MANY)
    await behind.settled()
    await behind.close()
    assert list(behind.records()) == []


@pytest.mark.parametrize(
    "change",
    [
        ApplicationChange("a", ORDERS),
        ApplicationChange("a", None),
        RevocationChange(REVOKED),
        RevocationChange(REVOKED, lifted=True),
        ClientChange("s", "c", ClientRecord("s", "c", "a", "", adopted=False, deleted_at=None)),
        ClientChange("s", "c", None),
        Forgotten(None, None, "mark"),
    ],
)
def test_what_stays_is_what_has_a_content(change: Change) -> None:
    assert stays(change) is (content(change) is not None)


async def test_of_many_records_that_cannot_be_read_each_has_its_turn(
    start: Start, server: FakeServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_FETCHED", 2)
    one = await start("one")
    for number in range(5):
        server.spoil(f"future\0{number}", "{}")
    await one.replica.step()
    server.state = replace(
        server.state, records={k: r for k, r in server.state.records.items() if k < "future\0" + "2"}
    )
    for _ in range(3):
        clock.advance(5.0)
        await one.replica.step()
    assert set(one.replica._follower._mirror.unreadable) == {"future\0" + "0", "future\0" + "1"}
    server.state = replace(server.state, records={})
    clock.advance(5.0)
    await one.replica.step()
    assert one.registry.knowledge is Knowledge.CURRENT
