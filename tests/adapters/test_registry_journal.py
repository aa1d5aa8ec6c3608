"""Planned, durable, applied: in this order, one write after the other, whatever fails in between."""

import asyncio

import pytest
from registry_support import RecordingEpoch, app, opened, proof

from validator.adapters.sqlite import SqliteStore
from validator.core.changes import ApplicationChange, ClientChange, Forgotten, RevocationChange
from validator.errors import Unavailable
from validator.model import ClientRecord, Reason, Revocation
from validator.ports import Conflict, NotFound, Position
from validator.registry.index import MemoryRegistry
from validator.registry.journal import LocalJournal
from validator.registry.writer import RegistryWriter
from validator.testing import ManualClock

REVOKED = RevocationChange(Revocation("jti", "j"))


@pytest.fixture
def clock():
    return ManualClock()


class RecordingStore:
    """``ports.LocalStore`` that writes down what it is told, and fails or waits on command."""

    def __init__(self, *, shared=False):
        self.told = []
        self.fails = False
        self.gate = None
        self.shared = shared

    async def commit(self, changes, **how):
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the disk is full")
        self.told.append(("stored", list(changes), how))

    async def position(self):
        return (Position("1-0", "m", 1), 0.0) if self.shared else None

    async def apply(self, changes):
        self.told.append(("applied", list(changes)))


def journal_over(store):
    return LocalJournal(store, store.apply)


class TestJournal:
    async def test_stored_and_then_applied(self):
        store = RecordingStore()
        assert await journal_over(store).commit(lambda: ([REVOKED], "said")) == "said"
        assert store.told == [("stored", [REVOKED], {"unshared": False}), ("applied", [REVOKED])]

    async def test_what_changes_nothing_is_not_stored(self):
        store = RecordingStore()
        assert await journal_over(store).commit(lambda: ([], "said")) == "said"
        assert store.told == []

    async def test_others_may_be_told_later_where_sharing_was_on_before(self):
        store = RecordingStore(shared=True)
        await journal_over(store).commit(lambda: ([REVOKED], None))
        assert store.told[0] == ("stored", [REVOKED], {"unshared": True})

    async def test_what_is_not_stored_is_not_applied(self):
        store = RecordingStore()
        store.fails = True
        with pytest.raises(Unavailable, match="the disk is full"):
            await journal_over(store).commit(lambda: ([REVOKED], None))
        assert store.told == []

    async def test_but_what_is_urgent_is_and_the_caller_hears_that_it_does_not_last(self):
        store = RecordingStore()
        store.fails = True
        with pytest.raises(Unavailable, match=r"in force until the next start only.*the disk is full"):
            await journal_over(store).commit(lambda: ([REVOKED], None), urgent=True)
        assert store.told == [("applied", [REVOKED])]

    async def test_a_plan_sees_every_write_before_it(self):
        store = RecordingStore()
        store.gate = asyncio.Event()
        journal = journal_over(store)
        seen = []

        def plan(number):
            seen.append((number, len(store.told)))
            return [REVOKED], None

        writing = [asyncio.create_task(journal.commit(lambda n=n: plan(n))) for n in range(3)]
        await asyncio.sleep(0)
        store.gate.set()
        await asyncio.gather(*writing)
        assert seen == [(0, 0), (1, 2), (2, 4)]

    async def test_a_refused_plan_changes_nothing_and_holds_nobody_up(self):
        store = RecordingStore()
        journal = journal_over(store)

        def refuse():
            raise Conflict("taken")

        with pytest.raises(Conflict):
            await journal.commit(refuse)
        await journal.commit(lambda: ([REVOKED], None))
        assert len(store.told) == 2


class Overtaken(LocalJournal):
    """Others write before each of the first plans, as in a log that is shared."""

    def __init__(self, store, apply, others):
        super().__init__(store, apply)
        self.others = others

    async def commit(self, plan, *, urgent=False):
        if self.others:
            changes = self.others.pop(0)
            await self._store.commit(changes)
            await self._apply(changes)
        return await super().commit(plan, urgent=urgent)


class Scene:
    def __init__(self, store, index, others, clock):
        self.store, self.index, self.others = store, index, others

        async def apply(changes):
            index.apply_changes(changes)

        self.writer = RegistryWriter(index, Overtaken(store, apply, others), clock=clock, store=store)


@pytest.fixture
async def scene(clock):
    store, _ = await SqliteStore.open(None, clock=clock)
    index = MemoryRegistry(clock=clock, epoch=RecordingEpoch(), strategies=["plain", "azure"])
    made = Scene(store, index, [], clock)
    await made.writer.record(app("1", "c1"), "sealed")
    yield made
    await made.writer.close()
    await store.close()


class TestOvertaken:
    """A client's record is read before its write is planned: what others have done to it since is not lost."""

    def theirs(self, **changes):
        values = {"application_id": "konnect", "sealed": "theirs", "adopted": True, **changes}
        return ClientChange("plain", "c1", ClientRecord("plain", "c1", **values))

    async def test_a_seal_keeps_what_others_wrote_beside_it(self, scene):
        scene.others.append([self.theirs()])
        await scene.writer.reseal("plain", "c1", "mine")
        (record,) = await scene.writer.records("c1")
        assert (record.application_id, record.sealed, record.adopted) == ("konnect", "mine", True)

    async def test_one_that_others_deleted_stays_deleted(self, scene):
        scene.others.append([self.theirs(sealed="", deleted_at=5.0)])
        await scene.writer.reseal("plain", "c1", "mine")
        (record,) = await scene.writer.records("c1")
        assert (record.sealed, record.deleted) == ("", True)

    async def test_an_adopted_one_that_others_moved(self, scene):
        moved = ClientChange("azure", "c3", ClientRecord("azure", "c3", "1", "theirs"))
        scene.others.append([ApplicationChange("1", app("1", "c3", "azure")), moved])
        await scene.writer.adopt("1", "konnect", "Name")
        assert scene.index.find("azure", "c3").id == "konnect"
        (record,) = await scene.writer.records("c3")
        assert (record.application_id, record.adopted) == ("konnect", True)

    async def test_one_that_was_given_another_client_takes_no_record_along(self, scene):
        scene.others.append([ApplicationChange("1", app("1", "c3"))])
        await scene.writer.adopt("1", "konnect", "Name")
        assert scene.index.find("plain", "c3").id == "konnect"
        assert await scene.writer.records("c3") == []
        (record,) = await scene.writer.records("c1")
        assert (record.application_id, record.adopted) == ("1", False)

    async def test_an_application_that_is_gone_by_then(self, scene):
        scene.others.append([ApplicationChange("1", None), self.theirs()])
        with pytest.raises(NotFound):
            await scene.writer.adopt("1", "konnect", "Name")

    async def test_not_for_ever(self, scene):
        scene.others += [[self.theirs(sealed=f"theirs-{number}")] for number in range(100)]
        with pytest.raises(Unavailable, match="others keep changing"):
            await scene.writer.reseal("plain", "c1", "mine")


class TestForgettingCached:
    async def test_each_time_under_another_mark(self, scene):
        seen = {scene.index.forgotten_mark("plain", "c1")}
        for place in [("plain", "c1"), (), ("plain", "c1"), ()]:
            await scene.writer.forget_cached(*place)
            assert scene.index.forgotten_mark("plain", "c1") not in seen
            seen.add(scene.index.forgotten_mark("plain", "c1"))

    async def test_half_a_name_is_nobodys(self, scene):
        for place in [("plain", None), (None, "c1")]:
            with pytest.raises(ValueError, match="under its strategy, or of all"):
                await scene.writer.forget_cached(*place)

    async def test_it_and_a_revocation_are_urgent(self, clock):
        store = RecordingStore()
        store.fails = True
        index = MemoryRegistry(clock=clock, epoch=RecordingEpoch(), strategies=["plain"])

        async def apply(changes):
            index.apply_changes(changes)

        writer = RegistryWriter(index, LocalJournal(store, apply), clock=clock, store=store)
        for write in (
            writer.forget_cached(),
            writer.revoke(Revocation("jti", "j")),
            writer.create(app("1", "c1")),
        ):
            with pytest.raises(Unavailable):
                await write
        assert index.covers(proof(token_id="j"), None)
        assert index.forgotten_mark("plain", "c1") != ""
        assert index.find("plain", "c1") is None

    async def test_over_a_restart(self, tmp_path):
        async with opened(tmp_path / "state.db") as (registry, memory):
            await registry.forget_cached("plain", "c1")
            mark = memory.forgotten_mark("plain", "c1")
        async with opened(tmp_path / "state.db") as (_, memory):
            assert memory.forgotten_mark("plain", "c1") == mark != ""


class TestApplying:
    @pytest.fixture
    def epoch(self):
        return RecordingEpoch()

    @pytest.fixture
    def index(self, clock, epoch):
        return MemoryRegistry(clock=clock, epoch=epoch, strategies=["plain", "azure"])

    def test_each_as_narrowly_as_it_reaches_and_once(self, index, epoch):
        ended = RevocationChange(Revocation("client_id", "c2", None, 1.0))
        for changes, told in (
            ([ApplicationChange("1", app("1", "c1"))], [("client", "plain", "c1")]),
            ([RevocationChange(Revocation("jti", "j"))], [("id", "j")]),
            ([RevocationChange(Revocation("application_id", "1"))], [("client", "plain", "c1")]),
            ([ended], [("client", "azure", "c2"), ("client", "plain", "c2")]),
            ([ClientChange("plain", "c1", None), Forgotten("plain", "c1", "m")], []),
            ([RevocationChange(Revocation("jti", "j"), lifted=True)], [("id", "j")]),
            ([ApplicationChange("1", None)], [("client", "plain", "c1")]),
        ):
            index.apply_changes(changes)
            assert epoch.taken() == told
            index.apply_changes(changes)
            assert epoch.taken() == []

    def test_a_revocation_is_as_it_is_given_not_merged(self, index, clock):
        index.apply_changes([RevocationChange(Revocation("jti", "j", None, 1.0))])
        index.apply_changes([RevocationChange(Revocation("jti", "j", None, 2.0, clock.now() + 10))])
        assert index.revocation(Revocation("jti", "j")).expires_at == clock.now() + 10
        clock.advance(10)
        assert not index.covers(proof(token_id="j"), None)
        index.apply_changes([])
        assert index._revocations == {}

    def test_in_force_when_it_is_told(self, index, epoch):
        seen = []
        epoch.look = lambda: seen.append((index.find("plain", "c1"), index.find("plain", "c2")))
        index.apply_changes([ApplicationChange("1", app("1", "c1"))])
        assert [found and found.id for found in seen.pop()] == ["1", None]

    def test_a_place_may_be_taken_before_its_holder_has_left(self, index):
        one, two = app("1", "c1"), app("2", "c2")
        index.apply_changes([ApplicationChange(one.id, one), ApplicationChange(two.id, two)])
        index.apply_changes([ApplicationChange("2", app("2", "c1"))])
        assert index.find("plain", "c1").id == "2"
        index.apply_changes([ApplicationChange("1", app("1", "c2"))])
        assert [index.find("plain", client).id for client in ("c1", "c2")] == ["2", "1"]
        index.apply_changes([ApplicationChange("2", None)])
        assert index.find("plain", "c1") is None
        assert [found.id for found in index.list()] == ["1"]

    def test_another_index_is_made_the_same(self, index, clock):
        index.load_file([app("filed", "cf")])
        index.apply_changes(
            [
                ApplicationChange("1", app("1", "c1")),
                ApplicationChange("2", app("2", "cf")),
                RevocationChange(Revocation("jti", "j", None, 1.0)),
                Forgotten("plain", "c1", "m"),
            ]
        )
        other = MemoryRegistry(clock=clock, epoch=RecordingEpoch(), strategies=["plain", "azure"])
        other.apply_changes(list(index.stored()))
        assert list(other.stored()) == list(index.stored())
        assert other.find("plain", "cf").id == "2"
        other.load_file([app("filed", "cf")])
        assert other.list() == index.list()
        assert other.revocations() == index.revocations()
        assert other.forgotten_mark("plain", "c1") == index.forgotten_mark("plain", "c1")
