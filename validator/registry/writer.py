"""The registry as it is written to: ``ports.ClientRecords`` by plans.

Law of this file: what may be written, and what a write changes, is decided here, by what is in force at that
moment; a plan only says so and changes nothing. What makes it durable and has it applied is a journal.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from validator.core.changes import ApplicationChange, Change, ClientChange, Forgotten, RevocationChange
from validator.core.registry import canonical_client_id
from validator.core.revocations import normal_revocation
from validator.errors import Unavailable
from validator.model import Application, ClientRecord, Origin, Reason, RegistrationStatus, Revocation
from validator.ports import Clock, Conflict, Journal, NotFound, ReadOnly, RegistryError, T
from validator.registry.index import MemoryRegistry

_MARK_BYTES = 16  # random; never the same again
_MAX_TRIES = 10  # each time another sidecar has changed a registered client in between

_Changes = Sequence[Change]
_ClientPlan = Callable[[ClientRecord | None], tuple[_Changes, T]]


class Clients(Protocol):
    """Where the records of registered clients are, which the index does not hold."""

    async def clients(self, client_key: str) -> Sequence[ClientRecord]:
        """One for each strategy that knows the client, deleted ones among them; everything that was applied to the
        index before the call is seen. Raises ``Unavailable``."""


class _OvertakenError(RegistryError):
    """The record that the plan goes by may have changed since it was read."""


class RegistryWriter:
    """``ports.ClientRecords``; each write is a task of its own: a caller who goes away cancels only his waiting.

    Args:
        index: what is in force; read here, and changed by the journal alone.
        journal: makes durable and applies what is planned.
        store: the ``LocalStore``, where whatever is applied is in it already.
    """

    def __init__(self, index: MemoryRegistry, journal: Journal, *, clock: Clock, store: Clients) -> None:
        self._index = index
        self._journal = journal
        self._clock = clock
        self._store = store
        self._closed = False
        self._writes: set[asyncio.Task[Any]] = set()
        self._client_writes = asyncio.Lock()  # those that read a record first do not overtake each other

    async def close(self) -> None:
        """Waits for the writes under way; later ones are ``Unavailable``. Journal and store stay open."""
        self._closed = True
        if self._writes:
            await asyncio.wait(set(self._writes))

    def get(self, application_id: str) -> Application | None:
        """The application in force under this id."""
        return self._index.get(application_id)

    def list(
        self, *, strategy: str | None = None, client_id: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[Application]:
        """Those in force, in order of id, beyond ``after``."""
        return self._index.list(strategy=strategy, client_id=client_id, after=after, limit=limit)

    def revocation(self, revocation: Revocation) -> Revocation | None:
        """The entry for the same thing, if it counts now."""
        return self._index.revocation(revocation)

    def revocations(self, *, limit: int = 1000) -> Sequence[Revocation]:
        """Those that count now, the newest first."""
        return self._index.revocations(limit=limit)

    async def records(self, client_id: str) -> Sequence[ClientRecord]:
        """One for each strategy that knows the client id, deleted ones among them. Raises ``Unavailable``."""
        self._demand_open()
        return await self._store.clients(canonical_client_id(client_id))

    # Writes; each raises Unavailable

    async def create(self, application: Application) -> None:
        """Raises ``Conflict`` naming which of id and client id is taken."""
        await self._write(self._journal.commit(partial(self._create, _stored_form(application))))

    async def replace(self, application: Application) -> None:
        """Raises ``NotFound``, ``ReadOnly`` or ``Conflict``."""
        await self._write(self._journal.commit(partial(self._replace, _stored_form(application))))

    async def delete(self, application_id: str) -> None:
        """Raises ``NotFound`` or ``ReadOnly``."""
        await self._write(self._journal.commit(partial(self._delete, application_id)))

    async def set_registration(
        self, application_id: str, service: str, status: RegistrationStatus | None
    ) -> Application:
        """``None`` removes it. Raises ``NotFound`` (of either) or ``ReadOnly``."""
        plan = partial(self._set_registration, application_id, service, status)
        return await self._write(self._journal.commit(plan))

    async def revoke(self, revocation: Revocation) -> None:
        """Two entries for the same thing become one with the later end."""
        plan = partial(self._revoke, normal_revocation(revocation))
        await self._write(self._journal.commit(plan, urgent=True))

    async def unrevoke(self, revocation: Revocation) -> bool:
        """Whether there was one to lift."""
        return await self._write(self._journal.commit(partial(self._unrevoke, normal_revocation(revocation))))

    async def forget_cached(self, strategy: str | None = None, client_id: str | None = None) -> None:
        """Nothing that is cached anywhere of this client (both ``None``: of anybody) is used again."""
        if (strategy is None) != (client_id is None):
            raise ValueError("what is cached is forgotten of a client under its strategy, or of all")
        client_key = canonical_client_id(client_id) if client_id is not None else None
        change = Forgotten(strategy, client_key, secrets.token_urlsafe(_MARK_BYTES))
        await self._write(self._journal.commit(lambda: ([change], None), urgent=True))

    # Writes about a registered client

    async def record(self, application: Application, sealed: str) -> None:
        """The application and its client's record at once. Raises ``Conflict``."""
        plan = partial(self._record, _stored_form(application), sealed)
        await self._write(self._journal.commit(plan))

    async def reseal(self, strategy: str, client_id: str, sealed: str) -> None:
        """One that is deleted stays as it is."""
        place = strategy, canonical_client_id(client_id)
        await self._write(self._about(lambda: place, partial(self._reseal, place, sealed)))

    async def adopt(self, application_id: str, new_id: str, name: str) -> Application:
        """Another id and name for the same application; what was revoked under the old id is under the new one
        too. Raises ``NotFound``, ``ReadOnly`` or ``Conflict``."""
        place = partial(self._place, application_id)
        return await self._write(self._about(place, partial(self._adopt, application_id, new_id, name)))

    async def forget(self, block: Revocation) -> None:
        """The application of the client that ``block`` names is gone, the client's record is one of a deleted
        client, and ``block`` holds. That there is no such application is no error."""
        block = normal_revocation(block)
        if block.kind != "client_id" or block.strategy is None:
            raise ValueError("a client to forget is named by its id and strategy")
        place = block.strategy, block.value
        await self._write(self._about(lambda: place, partial(self._forget, place, block)))

    async def _write(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            self._demand_open()
        except Unavailable:
            work.close()
            raise
        task = asyncio.ensure_future(work)
        self._writes.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: its caller may be gone

    def _demand_open(self) -> None:
        if self._closed:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the registry's store is closed")

    async def _about(self, where: Callable[[], tuple[str, str]], plan: _ClientPlan[T]) -> T:
        """Commits a plan that goes by a client's record, which nobody has changed since it was read."""
        async with self._client_writes:
            for _ in range(_MAX_TRIES):
                place, seen = where(), self._index.client_changes
                record = next((r for r in await self._store.clients(place[1]) if r.strategy == place[0]), None)
                judged = partial(self._unless_overtaken, where, place, seen, partial(plan, record))
                try:
                    return await self._journal.commit(judged)
                except _OvertakenError:
                    continue
        raise Unavailable(Reason.STORE_UNAVAILABLE, "others keep changing registered clients")

    def _unless_overtaken(
        self,
        where: Callable[[], tuple[str, str]],
        place: tuple[str, str],
        seen: int,
        plan: Callable[[], tuple[_Changes, T]],
    ) -> tuple[_Changes, T]:
        if self._index.client_changes != seen or where() != place:
            raise _OvertakenError("the client's record has changed")
        return plan()

    # Plans: what a write changes, and what its caller gets

    def _create(self, application: Application) -> tuple[_Changes, None]:
        if (holder := self._index.held(application.id)) is not None:
            where = " by an application of the configuration file" if holder.origin is Origin.FILE else ""
            raise Conflict(f"the id {application.id!r} is taken{where}")
        self._index.check_free(application)
        return [_as_it_is(application)], None

    def _replace(self, application: Application) -> tuple[_Changes, None]:
        self._stored(application.id)
        self._index.check_free(application)
        return [_as_it_is(application)], None

    def _delete(self, application_id: str) -> tuple[_Changes, None]:
        self._stored(application_id)
        return [ApplicationChange(application_id, None)], None

    def _set_registration(
        self, application_id: str, service: str, status: RegistrationStatus | None
    ) -> tuple[_Changes, Application]:
        old = self._stored(application_id)
        registrations = dict(old.registrations)
        if status is not None:
            registrations[service] = status
        elif registrations.pop(service, None) is None:
            raise NotFound(f"application {application_id!r} has no registration for the service {service!r}")
        new = replace(old, registrations=registrations)
        return [_as_it_is(new)], new

    def _revoke(self, revocation: Revocation) -> tuple[_Changes, None]:
        return [RevocationChange(self._index.merged(revocation))], None

    def _unrevoke(self, revocation: Revocation) -> tuple[_Changes, bool]:
        entry = self._index.revocation(revocation)
        return ([], False) if entry is None else ([RevocationChange(entry, lifted=True)], True)

    def _record(self, application: Application, sealed: str) -> tuple[_Changes, None]:
        if self._index.held(application.id) is not None:
            raise Conflict(f"the id {application.id!r} is taken")
        self._index.check_free(application)
        strategy, client_key = _place(application)
        blocks = [Revocation("client_id", client_key, name) for name in (None, strategy)]
        if any(self._index.revocation(block) is not None for block in blocks):
            # Tokens of the one that had it may live, and an operator's word stands.
            raise Conflict(f"the client id {application.client_id!r} is blocked: it was deleted here, or revoked")
        record = ClientRecord(strategy, application.client_id, application.id, sealed)
        return [_as_it_is(application), ClientChange(strategy, client_key, record)], None

    def _reseal(self, place: tuple[str, str], sealed: str, record: ClientRecord | None) -> tuple[_Changes, None]:
        if record is None or record.deleted:
            return [], None
        return [ClientChange(*place, replace(record, sealed=sealed))], None

    def _adopt(
        self, application_id: str, new_id: str, name: str, record: ClientRecord | None
    ) -> tuple[_Changes, Application]:
        old = self._stored(application_id)
        if new_id != application_id and self._index.held(new_id) is not None:
            raise Conflict(f"the application id {new_id!r} is taken by another application")
        new = replace(old, id=new_id, name=name)
        changes: list[Change] = []
        blocked = self._index.revocation(Revocation("application_id", application_id))
        if blocked is not None:
            changes.append(RevocationChange(self._index.merged(replace(blocked, value=new_id))))
        if new_id != application_id:
            changes.append(ApplicationChange(application_id, None))
        changes.append(_as_it_is(new))
        if record is not None:
            changes.append(ClientChange(*_place(new), replace(record, application_id=new_id, adopted=True)))
        return changes, new

    def _forget(
        self, place: tuple[str, str], block: Revocation, record: ClientRecord | None
    ) -> tuple[_Changes, None]:
        changes: list[Change] = [RevocationChange(self._index.merged(block))]
        stored = self._index.stored_at(*place)
        if stored is not None:
            changes.append(ApplicationChange(stored.id, None))
        if record is not None:
            gone = replace(record, sealed="", deleted_at=self._clock.now())
            changes.append(ClientChange(*place, gone))
        return changes, None

    def _stored(self, application_id: str) -> Application:
        holder = self._index.held(application_id)
        if holder is None:
            raise NotFound(f"there is no application {application_id!r}")
        if holder.origin is Origin.FILE:
            raise ReadOnly(f"application {application_id!r} stands in the configuration file: change it there")
        return holder

    def _place(self, application_id: str) -> tuple[str, str]:
        return _place(self._stored(application_id))


def _stored_form(application: Application) -> Application:
    return replace(application, origin=Origin.API, registrations=dict(application.registrations))


def _as_it_is(application: Application) -> Change:
    return ApplicationChange(application.id, application)


def _place(application: Application) -> tuple[str, str]:
    return application.strategy, canonical_client_id(application.client_id)
