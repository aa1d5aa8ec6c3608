"""The embedded registry's file: SQLite behind ``ports.LocalStore``.

Law of this file: a commit is on the disk as a whole, or not at all, when the call returns; so an acknowledged
write survives kill -9. SQL runs on one dedicated thread and never in the event loop. Foreign exceptions end here:
``Unavailable`` while running, ``StoreError`` for the person who starts the program.

One process owns a file at a time: what another process writes into it is seen at the next start.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from validator.adapters import sqlite_rows as rows
from validator.adapters.sqlite_file import Opened, StoreError, connect
from validator.adapters.sqlite_rows import Loaded
from validator.core.changes import Change
from validator.errors import Unavailable
from validator.model import ClientRecord, Reason
from validator.ports import Clock, Conflict, Position, Record

__all__ = ["Loaded", "SqliteStore", "StoreError"]

_T = TypeVar("_T")
_Reading = Generator[Sequence[Record], None, None]
_HEALTH_TIMEOUT_S = 2.0  # a probe that waits longer tells its caller nothing new


class SqliteStore:
    """``ports.LocalStore``; made by ``open``, ended by ``close``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._opened: Opened | None = None
        self._closed = False
        self._readings: set[_Reading] = set()  # the thread's own

    @classmethod
    async def open(cls, path: Path | None, *, clock: Clock, own: bool = True) -> tuple[Self, Loaded]:
        """Opens or creates the file (``None``: in memory, gone at the end).

        Args:
            own: no other sidecar may have the file at the same time; ``False``: for a look at it.

        Returns:
            The store, and what an index is to take over from it (``MemoryRegistry.load_stored``).

        Raises:
            StoreError: it cannot be used; the message names the file, the cause and what to do.
        """
        store = cls(clock)
        try:
            return store, await store._on_thread(store._open, path, own)
        except BaseException:
            await store.close()
            raise

    async def close(self) -> None:
        """Waits for what is under way, then closes the file; later calls are ``Unavailable``."""
        if self._closed:
            return
        self._closed = True
        await self._on_thread(self._close)
        self._thread.shutdown(wait=False)

    async def healthy(self) -> bool:
        """Whether a write would find the file there, writable and free, within two seconds."""
        if self._closed:
            return False
        try:
            await asyncio.wait_for(self._on_thread(self._probe), _HEALTH_TIMEOUT_S)
        except (sqlite3.Error, TimeoutError):
            return False
        return True

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        version: int | Sequence[int] | None = None,
        unshared: bool = False,
        position: Position | None = None,
    ) -> None:
        """See ``ports.LocalStore``. Raises ``Conflict`` where nothing is shared and another process has written
        into the file."""
        try:
            await self._asked(self._commit, changes, version, unshared, position)
        except sqlite3.IntegrityError as error:
            if version is None:
                raise Conflict("the id or the client id is taken by a write of another process") from error
            raise _unavailable(error) from error

    async def clients(self, client_key: str) -> Sequence[ClientRecord]:
        """One for each strategy that knows the client, deleted ones among them."""
        return await self._asked(self._read, rows.clients, client_key)

    async def position(self) -> tuple[Position, float] | None:
        """The last one committed, and when."""
        return await self._asked(self._read, rows.position)

    async def records(self) -> AsyncIterator[Sequence[Record]]:
        """Everything that is stored, as it was at the first portion, whatever is written in between."""
        reading = await self._asked(self._begin_reading)
        try:
            while portion := await self._asked(self._next, reading):
                yield portion
        finally:
            if not self._closed:
                await self._on_thread(self._end_reading, reading)

    async def unshared(self) -> Sequence[Record]:
        """What others have not been told."""
        return await self._asked(self._read, rows.unshared, self._clock.now())

    async def _asked(self, work: Callable[..., _T], *arguments: object) -> _T:
        if self._closed:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the registry's store is closed")
        try:
            return await self._on_thread(work, *arguments)
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OverflowError, ValueError) as error:
            raise _unavailable(error) from error

    async def _on_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # From here on: the thread's side.

    def _open(self, path: Path | None, own: bool) -> Loaded:
        self._opened = opened = connect(path, own=own)
        try:
            # A lock would make the start fail, and expired entries harm nobody: they are skipped when read.
            rows.purge(opened.connection, self._clock.now())
            return rows.load(opened.connection)
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(
                f"the registry's store {path} cannot be read: {error}. Restore it from a backup, or move it "
                "away to start with an empty one"
            ) from error

    def _close(self) -> None:
        for reading in list(self._readings):
            self._end_reading(reading)
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _usable(self) -> Opened:
        if self._opened is None:
            raise sqlite3.OperationalError("the file is closed")
        # SQLite would go on writing into a file that has been deleted or replaced, and the write be lost.
        if not self._opened.still_there():
            raise sqlite3.OperationalError("the file has been moved or deleted since the start: restart")
        return self._opened

    def _commit(
        self,
        changes: Sequence[Change],
        version: int | Sequence[int] | None,
        unshared: bool,
        position: Position | None,
    ) -> None:
        connection = self._usable().connection
        now = self._clock.now()
        connection.execute("BEGIN IMMEDIATE")
        try:
            rows.purge(connection, now)
            rows.write(connection, changes, version, unshared=unshared, now=now)
            if position is not None:
                rows.write_position(connection, position, now)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _read(self, read: Callable[..., _T], *arguments: object) -> _T:
        return read(self._usable().connection, *arguments)

    def _begin_reading(self) -> _Reading:
        reading = self._portions(self._usable())
        self._readings.add(reading)
        return reading

    def _portions(self, opened: Opened) -> _Reading:
        now = self._clock.now()
        connection = opened.another()
        if connection is None:  # it is in this very connection, which writes: all of it at once
            yield from list(rows.portions(opened.connection, now))
            return
        try:
            connection.execute("BEGIN")
            yield from rows.portions(connection, now)
        finally:
            connection.close()

    def _next(self, reading: _Reading) -> Sequence[Record]:
        self._usable()  # what was moved away is not read to its end as if it were the registry
        return next(reading, ())

    def _end_reading(self, reading: _Reading) -> None:
        self._readings.discard(reading)
        reading.close()

    def _probe(self) -> None:
        connection = self._usable().connection
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, f"the registry's store: {error}")
