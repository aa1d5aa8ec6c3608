"""A file of an earlier version is brought up with all it holds; a killed process leaves no half of a client."""

import asyncio
import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from clients_support import only
from registry_support import app, opened, proof

from validator.adapters.sqlite_file import VERSION, StoreError
from validator.model import RegistrationStatus, Revocation
from validator.testing import ManualClock

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def clock():
    return ManualClock()


_VERSION_1 = """
CREATE TABLE applications (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, strategy TEXT NOT NULL, client_id TEXT NOT NULL,
    client_key TEXT NOT NULL, active INTEGER NOT NULL CHECK (active IN (0, 1)), UNIQUE (strategy, client_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE registrations (application_id TEXT NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    service TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'revoked', 'rejected')),
    PRIMARY KEY (application_id, service)
) STRICT, WITHOUT ROWID;
CREATE TABLE revocations (kind TEXT NOT NULL CHECK (kind IN ('client_id', 'application_id', 'session_id', 'jti')),
    strategy TEXT NOT NULL, value TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL,
    PRIMARY KEY (kind, strategy, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_end ON revocations (expires_at) WHERE expires_at IS NOT NULL;
INSERT INTO applications VALUES ('1', 'One', 'plain', 'c1', 'c1', 1);
INSERT INTO registrations VALUES ('1', 'orders', 'approved');
INSERT INTO revocations VALUES ('jti', '', 'revoked', 1.0, NULL);
INSERT INTO revocations VALUES ('client_id', 'plain', 'c9', 1.0, 9e9);
PRAGMA application_id = 1262704210;
PRAGMA user_version = 1;
"""


def of_version_1(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(_VERSION_1)
    path.chmod(0o600)


def version_of(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def schema_of(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [(kind, name, table, re.sub(r"--[^\n]*|\s", "", sql or "")) for kind, name, table, sql in rows]


class TestOlderFiles:
    async def test_version_1_is_brought_up_with_all_it_holds(self, path, clock):
        of_version_1(path)
        for _ in range(2):  # and stays so
            async with opened(path, clock) as (store, memory):
                assert dict(memory.find("plain", "c1").registrations) == {"orders": RegistrationStatus.APPROVED}
                assert memory.covers(proof(token_id="revoked"), None)
                assert memory.covers(proof("c9"), None)
                assert await store.records("c1") == []
        async with opened(path, clock) as (store, memory):
            await store.record(app("2", "c2"), "sealed")
            await store.revoke(Revocation("sessions_of", "c2", "plain", 1.0, 9e9))
            await store.delete("1")
        async with opened(path, clock) as (store, memory):
            assert (await only(store, "c2")).sealed == "sealed"
            assert [r.kind for r in memory.revocations()].count("sessions_of") == 1
        assert version_of(path) == VERSION

    async def test_its_schema_is_that_of_a_new_file(self, path, tmp_path):
        of_version_1(path)
        new = tmp_path / "new.db"
        for file in (path, new):
            async with opened(file):
                pass
        assert schema_of(path) == schema_of(new)

    async def test_a_failed_upgrade_changes_nothing(self, path):
        of_version_1(path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE registered_clients (nobodys TEXT)")
            connection.commit()
        before = schema_of(path)
        with pytest.raises(StoreError):
            async with opened(path):
                pass
        assert (version_of(path), schema_of(path)) == (1, before)

    @pytest.mark.parametrize("version", [0, -1])
    async def test_a_file_without_a_version_is_left_alone(self, path, version):
        of_version_1(path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(StoreError, match="no version"):
            async with opened(path):
                pass
        assert version_of(path) == version


class TestAfterKill:
    pytestmark = pytest.mark.programs

    def test_kill_9_loses_nothing_that_was_acknowledged(self, path):
        recorded, forgotten = set(), set()
        for _ in range(3):
            writer = subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(path)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=_ROOT,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
            try:
                lines = [writer.stdout.readline() for _ in range(random.randint(1, 40))]
            finally:
                writer.send_signal(signal.SIGKILL)
                lines += writer.stdout.read().splitlines()
                writer.stdout.close()
                assert writer.wait(10) == -signal.SIGKILL
            for line in lines:
                if len(words := line.split()) == 2:
                    (recorded if words[0] == "recorded" else forgotten).add(words[1])
            assert recorded
            asyncio.run(self._all_there(path, recorded, forgotten))

    async def _all_there(self, path, recorded, forgotten):
        async with opened(path) as (store, memory):
            for client_id in recorded | forgotten:
                record = await only(store, client_id)
                application = memory.find("plain", client_id)
                # Both at once or neither, whichever of the two was done last.
                assert record.deleted == (application is None) == memory.covers(proof(client_id), None)
                assert (record.sealed == "") == record.deleted
                assert record.deleted or client_id not in forgotten


_WRITER = """
import asyncio, sys, uuid
from pathlib import Path
from validator.adapters.sqlite import SqliteStore
from validator.model import Application, Revocation
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

    store = RegistryWriter(memory, LocalJournal(file, apply), clock=clock, store=file)
    number = 0
    while True:
        number, new = number + 1, str(uuid.uuid4())
        await store.record(Application(new, "n", "plain", new), "sealed")
        print("recorded", new, flush=True)
        if number % 2:
            await store.forget(Revocation("client_id", new, "plain", clock.now(), clock.now() + 1000))
            print("forgotten", new, flush=True)

asyncio.run(main())
"""
