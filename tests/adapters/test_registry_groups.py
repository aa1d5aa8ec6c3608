"""Groups of applications: kept in their order, over a restart and an upgrade, and every change is told."""

import contextlib
import sqlite3
from dataclasses import replace

import pytest
from registry_support import RecordingEpoch, app, filed, opened

from validator.adapters.sqlite_file import VERSION
from validator.model import RegistrationStatus, Revocation

# A file as version 2 of the schema had it, with one of everything.
_VERSION_2 = """
CREATE TABLE applications (id TEXT PRIMARY KEY, name TEXT NOT NULL, strategy TEXT NOT NULL,
    client_id TEXT NOT NULL, client_key TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)), UNIQUE (strategy, client_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE registrations (application_id TEXT NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    service TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'revoked', 'rejected')),
    PRIMARY KEY (application_id, service)
) STRICT, WITHOUT ROWID;
CREATE TABLE revocations (
    kind TEXT NOT NULL CHECK (kind IN ('client_id', 'application_id', 'session_id', 'jti', 'sessions_of')),
    strategy TEXT NOT NULL, value TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL,
    PRIMARY KEY (kind, strategy, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_end ON revocations (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE registered_clients (strategy TEXT NOT NULL, client_key TEXT NOT NULL, client_id TEXT NOT NULL,
    application_id TEXT NOT NULL, sealed TEXT NOT NULL, adopted INTEGER NOT NULL CHECK (adopted IN (0, 1)),
    deleted_at REAL, PRIMARY KEY (strategy, client_key)
) STRICT, WITHOUT ROWID;
INSERT INTO applications VALUES ('1', 'One', 'plain', 'c1', 'c1', 1);
INSERT INTO applications VALUES ('2', 'Two', 'azure', 'C2', 'C2', 0);
INSERT INTO registrations VALUES ('1', 'orders', 'approved');
INSERT INTO registrations VALUES ('1', 'billing', 'pending');
INSERT INTO revocations VALUES ('jti', '', 'revoked', 1.0, NULL);
INSERT INTO registered_clients VALUES ('plain', 'c1', 'c1', '1', 'sealed', 1, NULL);
PRAGMA application_id = 1262704210;
PRAGMA user_version = 2;
"""


def query(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def of_version_2(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(_VERSION_2)
    path.chmod(0o600)
    return path


class TestKept:
    @pytest.mark.parametrize(
        "groups", [(), ("gold",), ("gold", "internal"), ("z", "a"), ("g'--;\"", "a/b:@")], ids=str
    )
    async def test_over_a_restart_in_the_order_written(self, path, groups):
        async with opened(path) as (registry, memory):
            await registry.create(app("1", "c1", groups=groups))
            assert memory.find("plain", "c1").groups == groups
        async with opened(path) as (_, memory):
            assert memory.find("plain", "c1").groups == groups

    async def test_a_replacement_takes_them_away_or_changes_them(self, path):
        async with opened(path) as (registry, _):
            await registry.create(app("1", "c1", groups=("gold",)))
            await registry.replace(app("1", "c1", groups=("silver", "gold")))
            await registry.create(app("2", "c2", groups=("gold",)))
            await registry.replace(app("2", "c2"))
        async with opened(path) as (_, memory):
            assert [memory.get(each).groups for each in "12"] == [("silver", "gold"), ()]

    async def test_other_changes_leave_them(self, path):
        async with opened(path) as (store, _):
            await store.record(app("1", "c1", groups=("gold", "internal")), "sealed")
            await store.set_registration("1", "more", RegistrationStatus.PENDING)
            await store.adopt("1", "konnects", "Another name")
        async with opened(path) as (_, memory):
            assert memory.get("konnects").groups == ("gold", "internal")

    async def test_equal_ones_are_held_once(self, path):
        async with opened(path) as (registry, _):
            for number in range(3):
                await registry.create(app(f"{number}", f"c{number}", groups=("gold", "internal")))
        async with opened(path) as (_, memory):
            assert len({id(memory.get(f"{number}").groups) for number in range(3)}) == 1


class TestTold:
    async def test_a_change_of_groups_moves_the_epoch_of_the_client(self, path):
        epoch = RecordingEpoch()
        async with opened(path, epoch=epoch) as (registry, memory):
            await registry.create(app("1", "c1", groups=("gold",)))
            epoch.taken()
            seen = []
            epoch.look = lambda: seen.append(memory.find("plain", "c1").groups)
            await registry.replace(app("1", "c1", groups=("silver",)))
            assert epoch.taken() == [("client", "plain", "c1")]
            assert seen == [("silver",)]

    async def test_so_does_one_of_the_file(self, path):
        epoch = RecordingEpoch()
        async with opened(path, epoch=epoch) as (_, memory):
            one, other = filed(app("1", "c1")), filed(app("2", "c2"))
            memory.load_file([one, other])
            epoch.taken()
            memory.load_file([replace(one, groups=("gold",)), other])
            assert epoch.taken() == [("client", "plain", "c1")]
            memory.load_file([replace(one, groups=("gold",)), other])
            assert epoch.taken() == []


class TestUpgrade:
    async def test_a_file_of_version_2_opens_with_all_it_holds(self, of_version_2):
        for _ in range(2):  # and stays so
            async with opened(of_version_2) as (store, memory):
                one, two = memory.get("1"), memory.get("2")
                assert (one.name, one.client_id, one.active, one.groups) == ("One", "c1", True, ())
                assert dict(one.registrations) == {
                    "orders": RegistrationStatus.APPROVED,
                    "billing": RegistrationStatus.PENDING,
                }
                assert (two.name, two.strategy, two.client_id, two.active) == ("Two", "azure", "C2", False)
                assert memory.revocation(Revocation("jti", "revoked")) is not None
                (record,) = await store.records("c1")
                assert (record.application_id, record.sealed, record.adopted) == ("1", "sealed", True)
        assert query(of_version_2, "PRAGMA user_version") == [(VERSION,)]
        assert query(of_version_2, "PRAGMA integrity_check") == [("ok",)]

    async def test_and_takes_groups_from_then_on(self, of_version_2):
        async with opened(of_version_2) as (store, memory):
            await store.replace(replace(memory.get("1"), groups=("gold", "internal")))
        async with opened(of_version_2) as (_, memory):
            assert memory.get("1").groups == ("gold", "internal")
            assert memory.get("2").groups == ()
