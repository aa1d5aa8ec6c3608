"""The embedded registry: what was acknowledged is durable and in force."""

import asyncio
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from registry_support import A_GUID, RecordingEpoch, app, opened, proof

from validator.adapters.sqlite_file import VERSION
from validator.model import Origin, RegistrationStatus, Revocation
from validator.ports import Conflict, NotFound, ReadOnly
from validator.testing import ManualClock


@pytest.fixture(autouse=True)
def no_blocking_calls():
    with blockbuster_ctx("validator"):
        yield


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def epoch():
    return RecordingEpoch()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
async def pair(path, clock, epoch):
    async with opened(path, clock, epoch) as both:
        yield both


class TestDurability:
    async def test_everything_survives_a_restart(self, path, clock):
        first = app("1", A_GUID, services="orders billing")
        second = app("2", "c2", "azure", active=False)
        async with opened(path, clock) as (registry, _):
            await registry.create(first)
            await registry.create(second)
            await registry.create(app("3", "c3"))
            await registry.delete("3")
            await registry.set_registration("1", "billing", RegistrationStatus.PENDING)
            await registry.revoke(Revocation("client_id", "c9", "plain", 5.0))
            await registry.revoke(Revocation("jti", "j", None, 6.0, clock.now() + 60))
            before = registry.list(), registry.revocations()
        async with opened(path, clock) as (registry, memory):
            assert (registry.list(), registry.revocations()) == before
            assert [a.id for a in before[0]] == ["1", "2"]
            found = memory.find("plain", A_GUID.lower())
            assert found.registrations == {
                "orders": RegistrationStatus.APPROVED,
                "billing": RegistrationStatus.PENDING,
            }
            assert (found.client_id, found.origin) == (A_GUID, Origin.API)
            assert memory.find("azure", "c2").active is False
            assert memory.covers(proof("c9"), None)

    async def test_without_a_path_nothing_is_kept(self):
        async with opened(None) as (registry, _):
            await registry.create(app("1", "c1"))
            assert await registry.healthy()
        async with opened(None) as (registry, _):
            assert registry.list() == []

    async def test_the_file_is_the_owners_alone_and_fully_durable(self, path, pair):
        registry, _ = pair
        await registry.create(app("1", "c1"))
        modes = {p.name: oct(p.stat().st_mode & 0o777) for p in path.parent.iterdir()}
        files = ("state.db", "state.db-wal", "state.db-shm", "state.db.lock")
        assert modes == dict.fromkeys(files, "0o600")
        ask = registry.file._opened.connection.execute
        settings = [
            await registry.file._on_thread(lambda name=name: ask(f"PRAGMA {name}").fetchone()[0])
            for name in ("journal_mode", "synchronous", "foreign_keys", "user_version")
        ]
        assert settings == ["wal", 2, 1, VERSION]

    async def test_a_file_that_others_may_read_is_closed_to_them(self, path):
        async with opened(path):
            pass
        path.chmod(0o644)
        async with opened(path):
            assert path.stat().st_mode & 0o777 == 0o600

    def test_kill_9_loses_nothing_that_was_acknowledged(self, path):
        acknowledged = []
        for _ in range(4):
            writer = subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=_ROOT
            )
            try:
                acknowledged += [writer.stdout.readline().strip() for _ in range(random.randint(1, 40))]
            finally:
                writer.send_signal(signal.SIGKILL)
                acknowledged += writer.stdout.read().split()
                writer.stdout.close()
                assert writer.wait(10) == -signal.SIGKILL
            assert "" not in acknowledged
            asyncio.run(self._all_there(path, acknowledged))

    async def _all_there(self, path, acknowledged):
        async with opened(path) as (registry, memory):
            assert {i for i in acknowledged if registry.get(i) is None} == set()
            assert all(memory.covers(proof(token_id=i), None) for i in acknowledged)


_ROOT = Path(__file__).parents[2]
_WRITER = """
import asyncio, sys, uuid
from pathlib import Path
from validator.adapters.sqlite import SqliteStore
from validator.model import Application, RegistrationStatus, Revocation
from validator.registry.index import MemoryRegistry
from validator.registry.journal import LocalJournal
from validator.registry.writer import RegistryWriter
from validator.testing import ManualClock

class Epoch:
    def touch_client(self, strategy, client_id): ...
    def touch_id(self, identifier): ...
    def touch_all(self): ...

async def main():
    clock = ManualClock()
    memory = MemoryRegistry(clock=clock, epoch=Epoch(), strategies=["plain"])
    file, loaded = await SqliteStore.open(Path(sys.argv[1]), clock=clock)
    memory.load_stored(*loaded)

    async def apply(changes):
        memory.apply_changes(changes)

    registry = RegistryWriter(memory, LocalJournal(file, apply), clock=clock, store=file)
    while True:
        new = str(uuid.uuid4())
        await registry.revoke(Revocation("jti", new))
        await registry.create(Application(new, "n", "plain", new, {"orders": RegistrationStatus.APPROVED}))
        sys.stdout.write(new + "\\n")
        sys.stdout.flush()

asyncio.run(main())
"""


class TestWrites:
    async def test_in_force_and_told_when_the_call_returns(self, pair, epoch):
        registry, memory = pair
        epoch.taken()
        await registry.create(app("1", "c1"))
        assert memory.find("plain", "c1").id == "1"
        assert epoch.taken() == [("client", "plain", "c1")]
        await registry.replace(app("1", "c2", "azure"))
        assert memory.find("plain", "c1") is None
        assert epoch.taken() == [("client", "azure", "c2"), ("client", "plain", "c1")]
        changed = await registry.set_registration("1", "billing", RegistrationStatus.APPROVED)
        assert changed == memory.find("azure", "c2")
        assert set(changed.registrations) == {"orders", "billing"}
        assert epoch.taken() == [("client", "azure", "c2")]
        changed = await registry.set_registration("1", "orders", None)
        assert set(changed.registrations) == {"billing"}
        assert epoch.taken() == [("client", "azure", "c2")]
        await registry.revoke(Revocation("jti", "j"))
        assert epoch.taken() == [("id", "j")]
        assert await registry.unrevoke(Revocation("jti", "j")) is True
        assert epoch.taken() == [("id", "j")]
        assert await registry.unrevoke(Revocation("jti", "j")) is False
        assert epoch.taken() == []
        await registry.delete("1")
        assert memory.find("azure", "c2") is None
        assert epoch.taken() == [("client", "azure", "c2")]

    async def test_committed_before_it_is_in_force(self, pair, epoch):
        registry, _ = pair
        events = []
        epoch.look = lambda: events.append("told")
        await registry.file._on_thread(registry.file._opened.connection.set_trace_callback, events.append)
        for write in (
            registry.create(app("1", "c1")),
            registry.set_registration("1", "billing", RegistrationStatus.APPROVED),
            registry.revoke(Revocation("jti", "j")),
            registry.unrevoke(Revocation("jti", "j")),
            registry.delete("1"),
        ):
            await write
            assert [event for event in events if event in {"COMMIT", "told"}] == ["COMMIT", "told"]
            events.clear()

    async def test_a_taken_id_or_client_id_is_named(self, pair):
        registry, memory = pair
        memory.load_file([app("filed", "filed-client")])
        await registry.create(app("1", A_GUID))
        for taken, message in (
            (app("1", "free"), "the id '1' is taken"),
            (
                app("2", A_GUID.lower()),
                "the client id '3f0c.*' under the strategy 'plain' is taken by application '1'",
            ),
            (app("filed", "free"), "the id 'filed' is taken by an application of the configuration file"),
            (app("2", "filed-client"), "taken by application 'filed' of the configuration file"),
        ):
            with pytest.raises(Conflict, match=message):
                await registry.create(taken)
        await registry.create(app("2", A_GUID, "azure"))
        with pytest.raises(Conflict, match="taken by application '1'"):
            await registry.replace(app("2", A_GUID))
        assert memory.find("azure", A_GUID).id == "2"

    async def test_what_is_not_there_cannot_be_written(self, pair):
        registry, _ = pair
        await registry.create(app("1", "c1"))
        for write in (
            registry.replace(app("2", "c2")),
            registry.delete("2"),
            registry.set_registration("2", "orders", RegistrationStatus.APPROVED),
        ):
            with pytest.raises(NotFound, match="no application '2'"):
                await write
        with pytest.raises(NotFound, match="no registration for the service 'billing'"):
            await registry.set_registration("1", "billing", None)

    async def test_the_files_own_are_read_only_and_a_shadowed_one_can_be_deleted(self, pair):
        registry, memory = pair
        await registry.create(app("old", "c1"))
        memory.load_file([app("filed", "c1")])
        for write in (
            registry.replace(app("filed", "c2")),
            registry.delete("filed"),
            registry.set_registration("filed", "orders", None),
        ):
            with pytest.raises(ReadOnly, match="stands in the configuration file: change it there"):
                await write
        await registry.delete("old")
        memory.load_file([])
        assert memory.find("plain", "c1") is None

    async def test_shadowed_ones_come_back_after_a_restart_without_the_file(self, path):
        async with opened(path) as (registry, _):
            await registry.create(app("stored", "c1"))
        async with opened(path) as (registry, memory):
            memory.load_file([app("filed", "c1")])
            assert [s.stored.id for s in memory.shadowed()] == ["stored"]
            assert memory.find("plain", "c1").id == "filed"
            memory.load_file([])
            assert memory.find("plain", "c1").id == "stored"

    async def test_of_a_hundred_parallel_creates_one_wins(self, path):
        async with opened(path) as (registry, _):
            outcomes = await asyncio.gather(
                *(registry.create(app(f"{n}", A_GUID if n % 2 else A_GUID.lower())) for n in range(100)),
                return_exceptions=True,
            )
            assert sum(outcome is None for outcome in outcomes) == 1
            assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 99
            assert len(registry.list()) == 1
        async with opened(path) as (registry, _):
            assert len(registry.list()) == 1

    async def test_no_parallel_registration_is_lost(self, path):
        async with opened(path) as (registry, _):
            await registry.create(app("1", "c1", services=""))
            await asyncio.gather(
                *(registry.set_registration("1", f"s{n}", RegistrationStatus.APPROVED) for n in range(30))
            )
            assert len(registry.get("1").registrations) == 30
        async with opened(path) as (registry, _):
            assert len(registry.get("1").registrations) == 30

    async def test_a_caller_who_goes_away_takes_no_write_with_him(self, path, epoch):
        async with opened(path, epoch=epoch) as (registry, memory):
            gate = threading.Event()
            held = asyncio.get_running_loop().run_in_executor(registry.file._thread, gate.wait, 10)
            writing = asyncio.create_task(registry.create(app("1", "c1")))
            failing = asyncio.create_task(registry.create(app("1", "c1")))
            await asyncio.sleep(0)
            writing.cancel()
            failing.cancel()
            for task in (writing, failing):
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert memory.find("plain", "c1") is None
            epoch.taken()
            gate.set()
            await held
            await registry.close()
            assert memory.find("plain", "c1").id == "1"
            assert epoch.taken() == [("client", "plain", "c1")]
        async with opened(path) as (registry, _):
            assert registry.get("1") is not None

    async def test_a_revocation_is_prolonged_and_never_shortened_on_the_disk_too(self, path, clock):
        async with opened(path, clock) as (registry, _):
            await registry.revoke(Revocation("jti", "j", expires_at=clock.now() + 60))
            await registry.revoke(Revocation("jti", "j", expires_at=clock.now() + 30))
        async with opened(path, clock) as (registry, _):
            assert [r.expires_at for r in registry.revocations()] == [clock.now() + 60]

    async def test_a_lifted_revocation_stays_lifted(self, path):
        async with opened(path) as (registry, _):
            await registry.revoke(Revocation("client_id", A_GUID))
            await registry.revoke(Revocation("client_id", A_GUID, "plain"))
            assert await registry.unrevoke(Revocation("client_id", A_GUID.lower()))
        async with opened(path) as (registry, memory):
            assert [r.strategy for r in registry.revocations()] == ["plain"]
            assert memory.covers(proof(A_GUID), None)

    async def test_expired_revocations_are_pruned_at_open_and_on_write(self, path, clock):
        def rows():
            with contextlib.closing(sqlite3.connect(path)) as reader:
                return {value for (value,) in reader.execute("SELECT value FROM revocations")}

        async with opened(path, clock) as (registry, memory):
            await registry.revoke(Revocation("jti", "a", expires_at=clock.now() + 10))
            await registry.revoke(Revocation("jti", "b", expires_at=clock.now() + 20))
            clock.advance(10)
            await registry.create(app("1", "c1"))
            assert await asyncio.to_thread(rows) == {"b"}
            assert len(memory._revocations) == 1
        clock.advance(10)
        async with opened(path, clock):
            assert await asyncio.to_thread(rows) == set()
