"""The embedded registry in trouble: nothing is lost or invented, and every failure says what to do."""

import asyncio
import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from registry_support import RecordingEpoch, app, on_thread, opened

from validator.adapters.sqlite import StoreError
from validator.adapters.sqlite_file import VERSION, connect
from validator.errors import Unavailable
from validator.model import Reason, RegistrationStatus
from validator.ports import Conflict
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


class TestOwner:
    async def test_two_sidecars_never_have_one_store(self, path):
        async with opened(path):
            with pytest.raises(StoreError, match=r"give each its own store.path; .* where they share none$"):
                async with opened(path):
                    pass

    async def test_a_look_at_the_store_needs_no_ownership(self, pair, path):
        registry, _ = pair
        await registry.create(app("1", "c1"))
        async with opened(path, own=False) as (_, memory):
            assert memory.find("plain", "c1") is not None
        await registry.create(app("2", "c2"))  # whoever owns it still does

    async def test_the_store_is_free_once_its_sidecar_has_ended(self, path):
        for _ in range(2):
            async with opened(path):
                pass

    async def test_a_store_that_does_not_serve_is_left_free(self, path):
        path.write_bytes(b"no database" * 100)
        for _ in range(2):
            with pytest.raises(StoreError, match="not a database"):
                async with opened(path):
                    pass


class TestFailures:
    async def test_a_full_disk_is_unavailable_and_changes_nothing(self, pair, epoch):
        registry, memory = pair
        await registry.create(app("1", "c1"))
        await on_thread(registry, "PRAGMA max_page_count = 1")
        epoch.taken()
        many = " ".join(f"service-{n:060}" for n in range(1000))
        for write in (
            registry.create(app("2", "c2", services=many)),
            registry.replace(app("1", "c1", services=many)),
        ):
            with pytest.raises(Unavailable, match="full") as raised:
                await write
            assert raised.value.reason is Reason.STORE_UNAVAILABLE
        assert [a.id for a in registry.list()] == ["1"]
        assert memory.find("plain", "c1").registrations == {"orders": RegistrationStatus.APPROVED}
        assert epoch.taken() == []
        await on_thread(registry, "PRAGMA max_page_count = 1000000")
        await registry.create(app("2", "c2"))

    async def test_a_locked_file_is_unavailable_within_bounds_and_heals(self, path, pair):
        registry, _ = pair
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            healthy, refused = await asyncio.gather(
                registry.healthy(), registry.create(app("1", "c1")), return_exceptions=True
            )
            other.execute("ROLLBACK")
        assert healthy is False
        assert isinstance(refused, Unavailable)
        assert "locked" in refused.detail
        assert str(path) not in refused.detail
        assert await registry.healthy()
        await registry.create(app("1", "c1"))

    async def test_a_write_of_another_process_is_a_conflict_and_leaves_no_half(self, path, pair):
        registry, _ = pair
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("INSERT INTO applications VALUES ('9', 'n', 'plain', 'c1', 'c1', 1, '')")
            with pytest.raises(Conflict, match="another process"):
                await registry.create(app("1", "c1"))
            await registry.create(app("2", "c2"))
            assert other.execute("SELECT id FROM applications ORDER BY id").fetchall() == [("2",), ("9",)]

    @pytest.mark.parametrize("replaced", [True, False])
    async def test_a_file_that_is_gone_takes_no_more_writes(self, path, pair, replaced):
        registry, memory = pair
        await registry.create(app("1", "c1"))
        path.rename(path.with_suffix(".moved"))
        if replaced:
            path.touch()
        assert not await registry.healthy()
        with pytest.raises(Unavailable, match="moved or deleted"):
            await registry.create(app("2", "c2"))
        assert memory.find("plain", "c1").id == "1"

    async def test_closed_is_unavailable(self, path):
        async with opened(path) as (registry, _):
            pass
        assert not await registry.healthy()
        with pytest.raises(Unavailable, match="closed"):
            await registry.create(app("1", "c1"))
        await registry.close()

    async def test_no_directory(self, tmp_path):
        with pytest.raises(StoreError, match="nowhere of the registry's store does not exist: create it"):
            async with opened(tmp_path / "nowhere" / "state.db"):
                pass

    async def test_a_directory_in_the_files_place(self, path):
        path.mkdir()
        with pytest.raises(StoreError, match="is not a file"):
            async with opened(path):
                pass

    def test_a_read_only_directory(self):
        with tempfile.TemporaryDirectory() as outer:
            Path(outer).chmod(0o755)
            directory = Path(outer) / "store"
            directory.mkdir(mode=0o555)
            with (
                _unprivileged(),
                pytest.raises(StoreError, match=r"store of .* is not writable for user id \d+"),
            ):
                connect(directory / "state.db")
            Path(outer).chmod(0o700)
            if os.geteuid() == 0:
                with _unprivileged(), pytest.raises(StoreError, match="cannot be reached: Permission denied"):
                    connect(directory / "state.db")

    async def test_no_database(self, path):
        path.write_bytes(b"certainly not SQLite" * 100)
        with pytest.raises(StoreError, match=r"state\.db cannot be used: file is not a database\. Restore it"):
            async with opened(path):
                pass
        assert path.read_bytes().startswith(b"certainly")

    async def test_a_damaged_database(self, path):
        async with opened(path) as (registry, _):
            for number in range(200):
                await registry.create(app(f"{number:050}", f"c{number}"))
        content = bytearray(path.read_bytes())
        content[8192:] = os.urandom(len(content) - 8192)
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"Restore it from a backup, or move it away"):
            async with opened(path):
                pass

    async def test_a_newer_schema_is_refused_and_left_alone(self, path):
        async with opened(path) as (registry, _):
            await on_thread(registry, f"PRAGMA user_version = {VERSION + 1}")
        before = path.read_bytes()
        with pytest.raises(StoreError, match=rf"newer version \(schema {VERSION + 1}, this one knows {VERSION}\)"):
            async with opened(path):
                pass
        assert path.read_bytes() == before

    async def test_another_programs_database_is_refused_and_left_alone(self, path):
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE theirs (x)")
        before = path.read_bytes()
        with pytest.raises(StoreError, match="database of another program"):
            async with opened(path):
                pass
        assert path.read_bytes() == before


@contextlib.contextmanager
def _unprivileged():
    """Root may write anywhere, so a test run by root asks as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
