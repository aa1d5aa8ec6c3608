"""Clients that were registered dynamically: on the disk with their applications, all or nothing."""

import pytest
from clients_support import only
from registry_support import A_GUID, RecordingEpoch, app, filed, on_thread, opened, proof

from validator.adapters.sqlite_rows import GONE_KEPT_S
from validator.errors import Unavailable
from validator.model import Method, Proof, Revocation, Session
from validator.ports import Conflict, NotFound, ReadOnly
from validator.testing import ManualClock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def epoch():
    return RecordingEpoch()


@pytest.fixture
async def pair(path, clock, epoch):
    async with opened(path, clock, epoch) as made:
        yield made


def block(client_id, clock, strategy="plain"):
    return Revocation("client_id", client_id, strategy, clock.now(), clock.now() + 1000)


class TestRecord:
    async def test_survives_with_its_application(self, path):
        async with opened(path) as (store, _):
            await store.record(app("1", "c1"), "sealed")
        async with opened(path) as (store, memory):
            record = await only(store, "c1")
            assert (record.strategy, record.client_id, record.application_id) == ("plain", "c1", "1")
            assert (record.sealed, record.adopted, record.deleted) == ("sealed", False, False)
            assert memory.find("plain", "c1").id == "1"

    async def test_is_in_force_and_told_when_the_call_returns(self, pair, epoch):
        store, memory = pair
        epoch.taken()
        await store.record(app("1", "c1"), "sealed")
        assert memory.find("plain", "c1").id == "1"
        assert ("client", "plain", "c1") in epoch.taken()

    async def test_an_id_or_client_id_that_is_taken_changes_nothing(self, pair):
        store, memory = pair
        await store.create(app("1", "c1"))
        memory.load_file([filed(app("2", "c2"))])
        for taken in (app("1", "new"), app("2", "new"), app("new", "c1"), app("new", "c2")):
            with pytest.raises(Conflict):
                await store.record(taken, "sealed")
            assert await store.records("new") == []
        assert await store.records("c1") == await store.records("c2") == []

    async def test_guid_shaped_ids_compare_without_regard_to_case(self, pair):
        store, _ = pair
        await store.record(app("1", A_GUID), "sealed")
        assert (await only(store, A_GUID.lower())).client_id == A_GUID
        await store.reseal("plain", A_GUID.lower(), "again")
        assert (await only(store, A_GUID)).sealed == "again"

    async def test_each_strategy_has_its_own(self, pair):
        store, _ = pair
        await store.record(app("1", "c1"), "one")
        await store.record(app("2", "c1", "azure"), "two")
        assert [(r.strategy, r.sealed) for r in await store.records("c1")] == [("azure", "two"), ("plain", "one")]
        await store.reseal("plain", "c1", "three")
        assert [r.sealed for r in await store.records("c1")] == ["two", "three"]

    async def test_a_record_shows_nothing_sealed(self, pair):
        store, _ = pair
        await store.record(app("1", "c1"), "sealed-canary")
        assert "canary" not in repr(await store.records("c1"))

    async def test_nothing_half_written(self, pair):
        store, memory = pair
        await on_thread(store, "DROP TABLE registered_clients")
        with pytest.raises(Unavailable):
            await store.record(app("1", "c1"), "sealed")
        assert memory.find("plain", "c1") is None
        assert store.get("1") is None
        assert await on_count(store, "applications") == 0
        with pytest.raises(Unavailable):
            await store.records("c1")

    async def test_a_closed_store_says_so(self, path):
        async with opened(path) as (store, _):
            pass
        with pytest.raises(Unavailable):
            await store.records("c1")
        with pytest.raises(Unavailable):
            await store.record(app("1", "c1"), "sealed")


async def on_count(store, table):
    ((count,),) = await on_thread(store, f"SELECT count(*) FROM {table}")  # noqa: S608
    return count


class TestAdopt:
    async def test_moves_everything_to_the_new_id(self, path, clock):
        async with opened(path, clock) as (store, memory):
            await store.record(app("1", "c1", services="orders billing"), "sealed")
            adopted = await store.adopt("1", "konnect", "Name")
            assert adopted == memory.find("plain", "c1")
            assert store.get("1") is None
        async with opened(path, clock) as (store, memory):
            found = memory.find("plain", "c1")
            assert (found.id, found.name) == ("konnect", "Name")
            assert set(found.registrations) == {"orders", "billing"}
            record = await only(store, "c1")
            assert (record.application_id, record.adopted, record.sealed) == ("konnect", True, "sealed")
            assert [a.id for a in memory.list()] == ["konnect"]

    async def test_under_its_own_id_it_changes_its_name(self, pair):
        store, memory = pair
        await store.record(app("1", "c1"), "sealed")
        await store.adopt("1", "1", "Name")
        assert memory.find("plain", "c1").name == "Name"
        assert (await only(store, "c1")).adopted

    async def test_what_was_revoked_stays_revoked(self, path, clock):
        async with opened(path, clock) as (store, _):
            await store.record(app("1", "c1"), "sealed")
            await store.revoke(Revocation("application_id", "1"))
            await store.adopt("1", "konnect", "Name")
        async with opened(path, clock) as (_, memory):
            assert memory.covers(proof("c1"), memory.find("plain", "c1"))

    async def test_refusals(self, pair):
        store, memory = pair
        await store.record(app("1", "c1"), "sealed")
        await store.create(app("2", "c2"))
        memory.load_file([filed(app("3", "c3"))])
        for new_id in ("2", "3"):
            with pytest.raises(Conflict):
                await store.adopt("1", new_id, "Name")
        with pytest.raises(NotFound):
            await store.adopt("nobody", "4", "Name")
        with pytest.raises(ReadOnly):
            await store.adopt("3", "4", "Name")
        assert memory.find("plain", "c1").id == "1"
        assert not (await only(store, "c1")).adopted


class TestForget:
    async def test_application_record_and_block_at_once(self, path, clock):
        async with opened(path, clock) as (store, memory):
            await store.record(app("1", "c1"), "sealed")
            await store.forget(block("c1", clock))
            assert memory.find("plain", "c1") is None
            assert memory.covers(proof("c1"), None)
        async with opened(path, clock) as (store, memory):
            record = await only(store, "c1")
            assert (record.deleted, record.sealed) == (True, "")
            assert memory.find("plain", "c1") is None
            assert memory.covers(proof("c1"), None)
            await store.reseal("plain", "c1", "late")
            assert (await only(store, "c1")).sealed == ""

    async def test_twice_or_without_an_application_is_no_error(self, pair, clock):
        store, memory = pair
        await store.record(app("1", "c1"), "sealed")
        await store.delete("1")
        await store.forget(block("c1", clock))
        await store.forget(block("c1", clock))
        assert memory.covers(proof("c1"), None)

    async def test_other_clients_are_left_alone(self, pair, clock):
        store, memory = pair
        for application in (app("1", "c1"), app("2", "c2"), app("3", "c1", "azure")):
            await store.record(application, "sealed")
        await store.forget(block("c1", clock))
        assert [a.id for a in memory.list()] == ["2", "3"]
        assert [r.deleted for r in await store.records("c1")] == [False, True]  # azure, plain

    async def test_one_that_the_file_shadows_goes_as_well(self, path, clock):
        async with opened(path, clock) as (store, memory):
            await store.record(app("1", "c1"), "sealed")
            memory.load_file([filed(app("f", "c1"))])
            await store.forget(block("c1", clock))
            assert memory.find("plain", "c1").id == "f"
            memory.load_file([])
            assert memory.find("plain", "c1") is None

    async def test_a_longer_block_is_not_shortened(self, pair, clock):
        store, memory = pair
        await store.record(app("1", "c1"), "sealed")
        await store.revoke(Revocation("client_id", "c1", "plain"))
        await store.forget(block("c1", clock))
        clock.advance(10_000)
        assert memory.covers(proof("c1"), None)

    async def test_a_blocked_id_takes_no_other_client(self, pair, clock):
        store, memory = pair
        await store.record(app("1", "c1"), "sealed")
        await store.forget(block("c1", clock))
        with pytest.raises(Conflict, match="blocked"):
            await store.record(app("2", "c1"), "sealed again")
        assert memory.covers(proof("c1"), None)
        assert (await only(store, "c1")).deleted

    async def test_deleted_clients_are_remembered_for_a_while(self, pair, clock):
        store, _ = pair
        for number in (1, 2):
            await store.record(app(str(number), f"c{number}"), "sealed")
        await store.forget(block("c1", clock))
        clock.advance(GONE_KEPT_S - 1)
        await store.forget(block("c2", clock))
        assert len(await store.records("c1")) == 1
        clock.advance(1)
        await store.forget(block("c2", clock))
        assert await store.records("c1") == []
        assert len(await store.records("c2")) == 1

    async def test_what_the_disk_does_not_take_changes_nothing(self, pair, clock):
        store, memory = pair
        await store.record(app("1", "c1"), "sealed")
        await on_thread(store, "DROP TABLE registered_clients")
        with pytest.raises(Unavailable):
            await store.forget(block("c1", clock))
        assert memory.find("plain", "c1").id == "1"
        assert not memory.covers(proof("c1"), None)

    async def test_it_takes_a_client_and_its_strategy(self, pair):
        store, _ = pair
        with pytest.raises(ValueError, match="id and strategy"):
            await store.forget(Revocation("client_id", "c1"))


class TestSessionsOf:
    def session_proof(self, opened_at, strategy="plain", client_id="c1"):
        session = Session("s", strategy, client_id, opened_at, opened_at, 9e9)
        return Proof(strategy, Method.SESSION, client_id, 9e9, 9e9, session=session)

    async def test_ends_what_was_opened_before_also_after_a_restart(self, path, clock, epoch):
        now = clock.now()
        async with opened(path, clock, epoch) as (store, _):
            epoch.taken()
            await store.revoke(Revocation("sessions_of", "c1", "plain", now, now + 100))
            assert epoch.taken() == [("client", "plain", "c1")]
        async with opened(path, clock) as (_, memory):
            assert memory.covers(self.session_proof(now - 1), None)
            assert memory.covers(self.session_proof(now), None)
            assert memory.covers(self.session_proof(now + 0.001), None)  # by a clock that was set back since
            assert not memory.covers(self.session_proof(now - 1, client_id="c2"), None)
            assert not memory.covers(self.session_proof(now - 1, "azure"), None)
            assert not memory.covers(proof("c1"), None)
            clock.advance(1)
            assert not memory.covers(self.session_proof(now + 0.001), None)
            clock.advance(99)
            assert not memory.covers(self.session_proof(now - 1), None)

    async def test_the_later_of_two_counts_with_the_later_end(self, path, clock):
        now = clock.now()
        for first, second in ((10, 20), (20, 10)):
            for ends in ((100, 50), (50, 100)):
                clock_of_this = ManualClock()
                file = path.with_name(f"{first}-{ends[0]}.db")
                async with opened(file, clock_of_this) as (store, _):
                    for at, end in zip((first, second), ends, strict=True):
                        await store.revoke(Revocation("sessions_of", "c1", "plain", now + at, now + end))
                async with opened(file, clock_of_this) as (_, memory):
                    clock_of_this.advance(21)
                    assert memory.covers(self.session_proof(now + 20), None)
                    assert not memory.covers(self.session_proof(now + 21), None)
                    clock_of_this.advance(78)
                    assert memory.covers(self.session_proof(now + 20), None)

    async def test_it_names_a_strategy(self, pair):
        store, _ = pair
        with pytest.raises(ValueError, match="strategy"):
            await store.revoke(Revocation("sessions_of", "c1"))
