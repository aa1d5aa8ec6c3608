"""The registry's file where it is shared: versions, what others have not been told, how far they were followed."""

import asyncio
import contextlib
import sqlite3

import pytest
from blockbuster import blockbuster_ctx
from registry_support import app

from validator.adapters import sqlite_rows
from validator.adapters.sqlite import SqliteStore
from validator.core.changes import (
    ApplicationChange,
    ClientChange,
    Forgotten,
    RevocationChange,
    change,
    content,
)
from validator.errors import Unavailable
from validator.model import ClientRecord, Revocation
from validator.ports import Conflict, Position, Record
from validator.registry.marks import KEPT_S
from validator.testing import ManualClock

DAY_S = 86400.0
RECORD = ClientRecord("plain", "c1", "1", "sealed", adopted=True)


@pytest.fixture(autouse=True)
def no_blocking_calls():
    with blockbuster_ctx("validator"):
        yield


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["file", "memory"])
def path(request, tmp_path):
    return tmp_path / "state.db" if request.param == "file" else None


@pytest.fixture
async def store(path, clock):
    async with opened(path, clock) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(path, clock):
    made, _ = await SqliteStore.open(path, clock=clock)
    try:
        yield made
    finally:
        await made.close()


def put(application):
    return ApplicationChange(application.id, application)


def jti(value, expires_at=None):
    return RevocationChange(Revocation("jti", value, None, 1.0, expires_at))


def record(made, version):
    return Record(made.key, version, content(made))


async def everything(store):
    found = [one async for portion in store.records() for one in portion]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}


def keyed(*records):
    return {one.key: one for one in records}


ONE_OF_EACH = [
    put(app("1", "c1", services="orders billing", groups=("b", "a"))),
    RevocationChange(Revocation("client_id", "c2", "plain", 5.0, 9e9)),
    jti("j"),
    ClientChange("plain", "c1", RECORD),
    Forgotten("plain", "c1", "mark-1"),
    Forgotten(None, None, "mark-2"),
]


class TestRecords:
    async def test_of_what_was_never_shared_the_version_is_0(self, store):
        await store.commit(ONE_OF_EACH)
        assert await everything(store) == keyed(*(record(one, 0) for one in ONE_OF_EACH))

    async def test_each_reads_as_the_change_that_was_written(self, store):
        await store.commit(ONE_OF_EACH, version=7)
        found = await everything(store)
        assert found == keyed(*(record(one, 7) for one in ONE_OF_EACH))
        assert sorted((change(one.key, one.content) for one in found.values()), key=lambda one: one.key) == sorted(
            ONE_OF_EACH, key=lambda one: one.key
        )

    async def test_each_may_have_a_version_of_its_own(self, store):
        await store.commit(ONE_OF_EACH, version=range(3, 9))
        assert [one.version for one in (await everything(store)).values()] == unordered(range(3, 9))
        with pytest.raises(Unavailable):
            await store.commit([jti("other")], version=[1, 2])
        assert jti("other").key not in await everything(store)

    async def test_what_is_no_more_is_known_for_thirty_days(self, store, clock):
        gone = [
            ApplicationChange("1", None),
            RevocationChange(Revocation("jti", "j"), lifted=True),
            ClientChange("plain", "c1", None),
        ]
        await store.commit(ONE_OF_EACH, version=7)
        await store.commit(gone, version=8)
        found = await everything(store)
        assert all(found[one.key] == Record(one.key, 8, None) for one in gone)
        clock.advance(30 * DAY_S - 1)
        found = await everything(store)
        assert all(found[one.key].content is None for one in gone)
        clock.advance(1)
        assert not {one.key for one in gone} & (await everything(store)).keys()
        await store.commit([put(app("9", "c9"))])
        assert {key for key, version in await versions(store) if version == 8} == set()

    async def test_what_comes_back_is_there_again(self, store, clock):
        await store.commit([put(app("1", "c1"))], version=1)
        await store.commit([ApplicationChange("1", None)], version=2)
        await store.commit([put(app("1", "c3"))], version=3)
        clock.advance(31 * DAY_S)
        await store.commit([], position=Position("e", "m", 3))
        assert await everything(store) == keyed(record(put(app("1", "c3")), 3))

    async def test_expired_revocations_leave_nothing_behind(self, store, clock):
        await store.commit([jti("a", clock.now() + 10), jti("b", clock.now() + 20)], version=4, unshared=True)
        clock.advance(10)
        assert (await everything(store)).keys() == {jti("b").key}
        assert [one.key for one in await store.unshared()] == [jti("b").key]
        await store.commit([put(app("1", "c1"))])
        assert {key for key, _ in await versions(store)} == {jti("b").key}

    async def test_deleted_clients_leave_nothing_behind_either(self, store, clock):
        gone = ClientRecord("plain", "c1", "1", "", deleted_at=clock.now())
        await store.commit([ClientChange("plain", "c1", gone)], version=4)
        clock.advance(30 * DAY_S)
        await store.commit([put(app("1", "c1"))])
        assert await store.clients("c1") == []
        assert await versions(store) == []

    async def test_marks_are_kept_for_a_day(self, store, clock):
        await store.commit([Forgotten("plain", "c1", "mark")], version=4)
        clock.advance(DAY_S - 1)
        assert len(await everything(store)) == 1
        clock.advance(1)
        assert await everything(store) == {}

    def test_for_as_long_as_in_memory(self):
        assert sqlite_rows.MARKS_KEPT_S == KEPT_S

    async def test_in_portions_of_one_moment(self, tmp_path, clock):
        async with opened(tmp_path / "state.db", clock) as store:
            await store.commit([put(app(f"{n:04}", f"c{n}")) for n in range(2500)], version=1)
            reading = store.records()
            first = await anext(reading)
            await store.commit([put(app("0000", "new")), put(app("9999", "new too"))], version=2)
            await store.commit([ApplicationChange("2400", None), jti("j")], version=3)
            rest = [portion async for portion in reading]
            assert [len(portion) for portion in (first, *rest)] == [1000, 1000, 500]
            found = [one for portion in (first, *rest) for one in portion]
            assert {one.version for one in found} == {1}
            assert len({one.key for one in found}) == 2500
            assert len(await everything(store)) == 2502

    async def test_a_reading_that_is_left_off_holds_nothing_up(self, path, clock):
        async with opened(path, clock) as store:
            await store.commit([put(app(f"{n:04}", f"c{n}")) for n in range(1500)])
            async with contextlib.aclosing(store.records()) as reading:
                await anext(reading)
            other = store.records()
            await anext(other)
            await store.close()
            with pytest.raises(Unavailable, match="closed"):
                await anext(other)


class TestUnshared:
    async def test_until_it_is_shared(self, store):
        await store.commit([jti("j"), jti("k")], version=3)
        assert await store.unshared() == []
        changes = [
            jti("j", 9e9),
            RevocationChange(Revocation("jti", "k"), lifted=True),
            Forgotten(None, None, "m"),
        ]
        await store.commit(changes, unshared=True)
        assert await store.unshared() == unordered(
            [record(changes[0], 3), record(changes[1], 3), record(changes[2], 0)]
        )
        await store.commit(changes[:2], version=5)
        assert await store.unshared() == [record(changes[2], 0)]
        await store.commit([changes[2]])
        assert await store.unshared() == []

    async def test_of_each_kind(self, store):
        await store.commit(ONE_OF_EACH, unshared=True)
        assert keyed(*await store.unshared()) == keyed(*(record(one, 0) for one in ONE_OF_EACH))

    async def test_over_a_restart(self, tmp_path, clock):
        async with opened(tmp_path / "state.db", clock) as store:
            await store.commit([jti("j")], unshared=True)
        async with opened(tmp_path / "state.db", clock) as store:
            assert await store.unshared() == [record(jti("j"), 0)]


class TestPosition:
    async def test_is_that_of_the_last_commit_that_had_one(self, tmp_path, clock):
        async with opened(tmp_path / "state.db", clock) as store:
            assert await store.position() is None
            await store.commit([jti("j")], version=1, position=Position("1-0", "a", 1))
            clock.advance(5)
            await store.commit([], position=Position("2-0", "b", 2))
            told = clock.now()
            clock.advance(5)
            await store.commit([jti("k")])
        async with opened(tmp_path / "state.db", clock) as store:
            assert await store.position() == (Position("2-0", "b", 2), told)

    async def test_comes_with_its_changes_or_not_at_all(self, store):
        with pytest.raises(Unavailable):
            await store.commit([jti("j"), jti("\ud800")], version=1, position=Position("1-0", "a", 1))
        assert await store.position() is None
        assert await everything(store) == {}

    @pytest.mark.parametrize("version", [2**63, -(2**63) - 1])
    async def test_numbers_beyond_all_bounds_are_refused(self, store, version):
        with pytest.raises(Unavailable):
            await store.commit([jti("j")], version=version)
        assert await everything(store) == {}


class TestPlaces:
    """What is shared is read as it is now: a place may be taken before its former holder's change comes by."""

    async def test_a_shared_application_takes_the_place_of_another(self, store):
        await store.commit([put(app("1", "c1")), put(app("2", "c2"))], version=1)
        await store.commit([put(app("2", "c1"))], version=3)
        assert await everything(store) == keyed(record(put(app("2", "c1")), 3))
        assert await versions(store) == [(put(app("2", "c1")).key, 3)]
        await store.commit([put(app("1", "c2"))], version=2)
        assert await everything(store) == keyed(record(put(app("2", "c1")), 3), record(put(app("1", "c2")), 2))

    async def test_two_may_change_places_at_once(self, store):
        await store.commit([put(app("1", "c1")), put(app("2", "c2"))], version=1)
        await store.commit([put(app("1", "c2")), put(app("2", "c1"))], version=2)
        assert await everything(store) == keyed(record(put(app("1", "c2")), 2), record(put(app("2", "c1")), 2))

    async def test_one_that_is_not_shared_does_not(self, store):
        await store.commit([put(app("1", "c1"))])
        with pytest.raises(Conflict):
            await store.commit([jti("j"), put(app("2", "c1"))])
        assert await everything(store) == keyed(record(put(app("1", "c1")), 0))


class TestLoading:
    async def test_marks_come_back_in_their_order(self, tmp_path, clock):
        told = [Forgotten("plain", "b", "1"), Forgotten("plain", "a", "2"), Forgotten(None, None, "3")]
        async with opened(tmp_path / "state.db", clock) as store:
            for one in told:
                await store.commit([one], version=1)
                clock.advance(1)
        store, loaded = await SqliteStore.open(tmp_path / "state.db", clock=clock)
        await store.close()
        assert loaded.forgotten == told
        clock.advance(DAY_S)
        store, loaded = await SqliteStore.open(tmp_path / "state.db", clock=clock)
        await store.close()
        assert loaded == ([], [], [])

    async def test_a_file_of_version_3_is_brought_up(self, tmp_path, clock):
        path = tmp_path / "state.db"
        async with opened(path, clock) as store:
            await store.commit(ONE_OF_EACH[:4])
            before = await everything(store)
        await asyncio.to_thread(_back_to_version_3, path)
        async with opened(path, clock) as store:
            assert await everything(store) == before
            await store.commit([put(app("2", "c2"))], version=1, position=Position("1-0", "a", 1))
            assert (await everything(store))[put(app("2", "c2")).key].version == 1


def _back_to_version_3(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            DROP TABLE versions; DROP TABLE shared_log; DROP INDEX registered_clients_by_end;
            PRAGMA user_version = 3;
            """
        )


class TestTrouble:
    async def test_closed_is_unavailable(self, path, clock):
        async with opened(path, clock) as store:
            pass
        for call in (store.commit([jti("j")]), store.clients("c1"), store.position(), store.unshared()):
            with pytest.raises(Unavailable, match="closed"):
                await call
        with pytest.raises(Unavailable, match="closed"):
            await anext(store.records())

    async def test_a_file_that_is_gone_is_not_read_either(self, tmp_path, clock):
        path = tmp_path / "state.db"
        async with opened(path, clock) as store:
            await store.commit([jti(f"{number}") for number in range(1001)])
            reading = store.records()
            await anext(reading)
            path.rename(tmp_path / "moved.db")
            for further in (reading, store.records()):
                with pytest.raises(Unavailable, match="moved or deleted"):
                    await anext(further)


class unordered(list):  # noqa: N801 - reads as what it is
    """Equal to any sequence of the same things."""

    def __eq__(self, other):
        return sorted(self, key=repr) == sorted(other, key=repr)

    __hash__ = None


async def versions(store):
    rows = await store._on_thread(
        lambda: store._opened.connection.execute("SELECT key, version FROM versions").fetchall()
    )
    return [(key.decode(), version) for key, version in rows]
