"""The embedded registry: SQLite behind ``ports.RegistryAdmin``.

Law of this file: a write is committed to the disk first, then put into memory and told to the epoch, and only
then does the call return; so an acknowledged write survives kill -9 and is in force for the next request. SQL
runs on one dedicated thread and never in the event loop; reads are answered from memory. Foreign exceptions
end here: ``Unavailable`` while running, ``StoreError`` for the person who starts the program.

One process owns a file at a time: what another process writes into it is seen at the next start.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from validator.adapters.memory import MemoryRegistry, normal_revocation
from validator.adapters.sqlite_file import Opened, StoreError, connect
from validator.core.registry import canonical_client_id
from validator.errors import Unavailable
from validator.model import Application, Origin, Reason, RegistrationStatus, Revocation
from validator.ports import Clock, Conflict, NotFound, ReadOnly

__all__ = ["SqliteRegistry", "StoreError"]

_T = TypeVar("_T")
_HEALTH_TIMEOUT_S = 2.0  # a probe that waits longer tells its caller nothing new

_APPLICATIONS = """
SELECT id, name, strategy, client_id, active, group_names,
       (SELECT json_group_object(service, status) FROM registrations WHERE application_id = applications.id)
FROM applications ORDER BY id
"""
_UPSERT_APPLICATION = """
INSERT INTO applications (id, name, strategy, client_id, client_key, active, group_names)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, strategy = excluded.strategy,
    client_id = excluded.client_id, client_key = excluded.client_key, active = excluded.active,
    group_names = excluded.group_names
"""
_UPSERT_REVOCATION = """
INSERT OR REPLACE INTO revocations (kind, strategy, value, created_at, expires_at) VALUES (?, ?, ?, ?, ?)
"""


class SqliteRegistry:
    """``ports.RegistryAdmin``; made by ``open``, ended by ``close``."""

    def __init__(self, memory: MemoryRegistry, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._opened: Opened | None = None
        self._closed = False
        self._lock = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, path: Path | None, *, memory: MemoryRegistry, clock: Clock, own: bool = True) -> Self:
        """Opens or creates the file (``None``: in memory, gone at the end) and loads it into ``memory``.

        Args:
            own: no other sidecar may have the file at the same time; ``False``: for a look at it.

        Raises:
            StoreError: it cannot be used; the message names the file, the cause and what to do.
        """
        registry = cls(memory, clock)
        try:
            applications, revocations = await registry._on_thread(registry._open, path, own)
            memory.load_stored(applications, revocations)
        except BaseException:
            await registry.close()
            raise
        return registry

    async def close(self) -> None:
        """Waits for the writes under way, then closes the file; later writes are ``Unavailable``."""
        if self._closed:
            return
        self._closed = True
        if self._writes:
            await asyncio.wait(set(self._writes))
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

    def get(self, application_id: str) -> Application | None:
        """The application in force under this id."""
        return self._memory.get(application_id)

    def list(
        self, *, strategy: str | None = None, client_id: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[Application]:
        """Those in force, in order of id, beyond ``after``."""
        return self._memory.list(strategy=strategy, client_id=client_id, after=after, limit=limit)

    def revocation(self, revocation: Revocation) -> Revocation | None:
        """The entry for the same thing, if it counts now."""
        return self._memory.revocation(revocation)

    def revocations(self, *, limit: int = 1000) -> Sequence[Revocation]:
        """Those that count now, the newest first."""
        return self._memory.revocations(limit=limit)

    async def create(self, application: Application) -> None:
        """Raises ``Conflict`` naming which of id and client id is taken, or ``Unavailable``."""
        await self._write(partial(self._create, _stored_form(application)))

    async def replace(self, application: Application) -> None:
        """Raises ``NotFound``, ``ReadOnly``, ``Conflict`` or ``Unavailable``."""
        await self._write(partial(self._replace, _stored_form(application)))

    async def delete(self, application_id: str) -> None:
        """Raises ``NotFound``, ``ReadOnly`` or ``Unavailable``."""
        await self._write(partial(self._delete, application_id))

    async def set_registration(
        self, application_id: str, service: str, status: RegistrationStatus | None
    ) -> Application:
        """``None`` removes it. Raises ``NotFound`` (of either), ``ReadOnly`` or ``Unavailable``."""
        return await self._write(partial(self._set_registration, application_id, service, status))

    async def revoke(self, revocation: Revocation) -> None:
        """Two entries for the same thing become one with the later end. Raises ``Unavailable``."""
        await self._write(partial(self._revoke, normal_revocation(revocation)))

    async def unrevoke(self, revocation: Revocation) -> bool:
        """Whether there was one to lift. Raises ``Unavailable``."""
        return await self._write(partial(self._unrevoke, normal_revocation(revocation)))

    # Each write runs as a task of its own under one lock: check in memory, commit, apply to memory. A caller
    # who goes away in between cancels only its own waiting.

    async def _write(self, job: Callable[[], Awaitable[_T]]) -> _T:
        if self._closed:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the registry's store is closed")
        task = asyncio.ensure_future(self._serialised(job))
        self._writes.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: its caller may be gone

    async def _serialised(self, job: Callable[[], Awaitable[_T]]) -> _T:
        async with self._lock:
            self._memory.forget_expired()
            return await job()

    async def _create(self, application: Application) -> None:
        if (holder := self._memory.held(application.id)) is not None:
            where = " by an application of the configuration file" if holder.origin is Origin.FILE else ""
            raise Conflict(f"the id {application.id!r} is taken{where}")
        self._memory.check_free(application)
        await self._commit(save(application))
        self._memory.apply(application)

    async def _replace(self, application: Application) -> None:
        self._stored(application.id)
        self._memory.check_free(application)
        await self._commit(save(application))
        self._memory.apply(application)

    async def _delete(self, application_id: str) -> None:
        self._stored(application_id)
        await self._commit([("DELETE FROM applications WHERE id = ?", (application_id,))])
        self._memory.remove(application_id)

    async def _set_registration(
        self, application_id: str, service: str, status: RegistrationStatus | None
    ) -> Application:
        old = self._stored(application_id)
        registrations = dict(old.registrations)
        if status is not None:
            registrations[service] = status
        elif registrations.pop(service, None) is None:
            raise NotFound(f"application {application_id!r} has no registration for the service {service!r}")
        new = replace(old, registrations=registrations)
        await self._commit(save(new))
        self._memory.apply(new)
        return new

    async def _revoke(self, revocation: Revocation) -> None:
        entry = self._memory.merged(revocation)
        await self._commit([save_revocation(entry)])
        self._memory.revoke(entry)

    async def _unrevoke(self, revocation: Revocation) -> bool:
        row = (revocation.kind, revocation.strategy or "", revocation.value)
        await self._commit([("DELETE FROM revocations WHERE kind = ? AND strategy = ? AND value = ?", row)])
        return self._memory.unrevoke(revocation)

    def _stored(self, application_id: str) -> Application:
        holder = self._memory.held(application_id)
        if holder is None:
            raise NotFound(f"there is no application {application_id!r}")
        if holder.origin is Origin.FILE:
            raise ReadOnly(f"application {application_id!r} stands in the configuration file: change it there")
        return holder

    async def _commit(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        """All of the statements or none, on the disk when this returns."""
        try:
            await self._on_thread(self._transaction, statements)
        except sqlite3.IntegrityError as error:
            raise Conflict("the id or the client id is taken by a write of another process") from error
        except sqlite3.Error as error:
            raise Unavailable(Reason.STORE_UNAVAILABLE, f"the registry's store: {error}") from error

    # From here on: the thread's side.

    async def _on_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _open(self, path: Path | None, own: bool) -> tuple[Sequence[Application], Sequence[Revocation]]:
        self._opened = opened = connect(path, own=own)
        try:
            connection = opened.connection
            # A lock would make the start fail, and expired entries harm nobody: they are skipped when read.
            connection.execute("DELETE FROM revocations WHERE expires_at <= ?", (self._clock.now(),))
            return _load_applications(connection), _load_revocations(connection)
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(
                f"the registry's store {path} cannot be read: {error}. Restore it from a backup, or move it "
                "away to start with an empty one"
            ) from error

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _usable(self) -> sqlite3.Connection:
        if self._opened is None:
            raise sqlite3.OperationalError("the file is closed")
        # SQLite would go on writing into a file that has been deleted or replaced, and the write be lost.
        if not self._opened.still_there():
            raise sqlite3.OperationalError("the file has been moved or deleted since the start: restart")
        return self._opened.connection

    def _transaction(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        connection = self._usable()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("DELETE FROM revocations WHERE expires_at <= ?", (self._clock.now(),))
            for sql, parameters in statements:
                connection.execute(sql, parameters)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _probe(self) -> None:
        connection = self._usable()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _stored_form(application: Application) -> Application:
    return replace(application, origin=Origin.API, registrations=dict(application.registrations))


def save_revocation(entry: Revocation) -> tuple[str, tuple[object, ...]]:
    """The statement that writes an entry down, with what stands for its marks."""
    row = (entry.kind, entry.strategy or "", entry.value, entry.created_at, entry.expires_at)
    return _UPSERT_REVOCATION, row


def save(application: Application) -> Sequence[tuple[str, tuple[object, ...]]]:
    """The statements that write an application down whole, each with what stands for its marks."""
    row = (
        application.id,
        application.name,
        application.strategy,
        application.client_id,
        canonical_client_id(application.client_id),
        int(application.active),
        ",".join(application.groups),
    )
    return [
        (_UPSERT_APPLICATION, row),
        ("DELETE FROM registrations WHERE application_id = ?", (application.id,)),
        *(
            (
                "INSERT INTO registrations (application_id, service, status) VALUES (?, ?, ?)",
                (application.id, service, status.value),
            )
            for service, status in application.registrations.items()
        ),
    ]


def _load_applications(connection: sqlite3.Connection) -> list[Application]:
    # Most applications of a large registry hold one of few sets of registrations, and of groups: equal sets
    # share one object, which is what keeps a million of them small.
    shapes: dict[str, Mapping[str, RegistrationStatus]] = {}
    groups: dict[str, tuple[str, ...]] = {"": ()}
    loaded = []
    for application_id, name, strategy, client_id, active, joined, text in connection.execute(_APPLICATIONS):
        shape = shapes.get(text)
        if shape is None:
            shape = shapes[text] = {
                sys.intern(service): RegistrationStatus(status) for service, status in json.loads(text).items()
            }
        belongs = groups.get(joined)
        if belongs is None:
            belongs = groups[joined] = tuple(joined.split(","))
        loaded.append(
            Application(application_id, name, sys.intern(strategy), client_id, shape, bool(active), groups=belongs)
        )
    return loaded


def _load_revocations(connection: sqlite3.Connection) -> list[Revocation]:
    rows = connection.execute(
        "SELECT kind, value, strategy, created_at, expires_at FROM revocations ORDER BY created_at"
    )
    return [
        Revocation(kind, value, strategy or None, created_at, expires_at)
        for kind, value, strategy, created_at, expires_at in rows
    ]
