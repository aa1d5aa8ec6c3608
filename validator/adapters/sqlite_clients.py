"""What is known of clients that were registered dynamically, beside the applications in the same file.

Law of this file: a client's application, how the client is managed at the identity provider, and what its deletion
leaves behind change in one transaction or not at all. What is kept sealed arrives sealed; no key is known here.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from validator.adapters.memory import normal_revocation
from validator.adapters.sqlite import SqliteRegistry, save, save_revocation
from validator.core.registry import canonical_client_id
from validator.errors import Unavailable
from validator.model import Application, Reason, Revocation
from validator.ports import ClientRecord, Conflict

# Clients that were deleted are remembered for so long, so that a repeated deletion finds what it asks for.
DELETED_KEPT_S = 30 * 86400.0

_RECORDS = """
SELECT strategy, client_id, application_id, sealed, adopted, deleted_at FROM registered_clients
WHERE client_key = ? ORDER BY strategy
"""
_INSERT = """
INSERT OR REPLACE INTO registered_clients
    (strategy, client_key, client_id, application_id, sealed, adopted, deleted_at) VALUES (?, ?, ?, ?, ?, 0, NULL)
"""
_DELETED = """
UPDATE registered_clients SET sealed = '', deleted_at = ? WHERE strategy = ? AND client_key = ?
"""
_SEAL = "UPDATE registered_clients SET sealed = ? WHERE strategy = ? AND client_key = ? AND deleted_at IS NULL"
_ADOPT = "UPDATE registered_clients SET application_id = ?, adopted = 1 WHERE strategy = ? AND client_key = ?"


class SqliteClients(SqliteRegistry):
    """``ports.ClientRecords`` in the registry's own file."""

    async def records(self, client_id: str) -> Sequence[ClientRecord]:
        """One for each strategy that knows the client id, deleted ones among them. Raises ``Unavailable``."""
        if self._closed:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the registry's store is closed")
        try:
            rows = await self._on_thread(self._rows, canonical_client_id(client_id))
        except sqlite3.Error as error:
            raise Unavailable(Reason.STORE_UNAVAILABLE, f"the registry's store: {error}") from error
        return [
            ClientRecord(strategy, client, application_id, sealed, bool(adopted), deleted_at is not None)
            for strategy, client, application_id, sealed, adopted, deleted_at in rows
        ]

    async def record(self, application: Application, sealed: str) -> None:
        """The application and its client's record at once. Raises ``Conflict`` or ``Unavailable``."""
        await self._write(partial(self._record, application, sealed))

    async def reseal(self, strategy: str, client_id: str, sealed: str) -> None:
        """Raises ``Unavailable``."""
        row = (sealed, strategy, canonical_client_id(client_id))
        await self._write(partial(self._commit, [(_SEAL, row)]))

    async def adopt(self, application_id: str, new_id: str, name: str) -> Application:
        """Another id and name for the same application; what was revoked under the old id is under the new one
        too. Raises ``NotFound``, ``ReadOnly``, ``Conflict`` or ``Unavailable``."""
        return await self._write(partial(self._adopt, application_id, new_id, name))

    async def forget(self, block: Revocation) -> None:
        """The application of the client that ``block`` names is gone, the client's record is one of a deleted
        client, and ``block`` holds. That there is no such application is no error. Raises ``Unavailable``."""
        await self._write(partial(self._forget, normal_revocation(block)))

    async def _record(self, application: Application, sealed: str) -> None:
        if self._memory.held(application.id) is not None:
            raise Conflict(f"the id {application.id!r} is taken")
        self._memory.check_free(application)
        place = (application.strategy, canonical_client_id(application.client_id))
        blocks = [Revocation("client_id", place[1], strategy) for strategy in (None, place[0])]
        if any(self._memory.revocation(block) is not None for block in blocks):
            # Tokens of the one that had it may live, and an operator's word stands.
            raise Conflict(f"the client id {application.client_id!r} is blocked: it was deleted here, or revoked")
        row = (*place, application.client_id, application.id, sealed)
        await self._commit([*save(application), (_INSERT, row)])
        self._memory.apply(application)

    async def _adopt(self, application_id: str, new_id: str, name: str) -> Application:
        old = self._stored(application_id)
        if new_id != application_id and self._memory.held(new_id) is not None:
            raise Conflict(f"the application id {new_id!r} is taken by another application")
        new = replace(old, id=new_id, name=name)
        blocked = self._memory.revocation(Revocation("application_id", application_id))
        block = replace(blocked, value=new_id) if blocked is not None else None
        await self._commit(
            [
                ("DELETE FROM applications WHERE id = ?", (application_id,)),
                *save(new),
                (_ADOPT, (new_id, new.strategy, canonical_client_id(new.client_id))),
                *([save_revocation(block)] if block is not None else []),
            ]
        )
        if block is not None:
            self._memory.revoke(block)
        self._memory.remove(application_id)
        self._memory.apply(new)
        return new

    async def _forget(self, block: Revocation) -> None:
        if block.kind != "client_id" or block.strategy is None:
            raise ValueError("a client to forget is named by its id and strategy")
        entry = self._memory.merged(block)
        place = (block.strategy, block.value)
        now = self._clock.now()
        await self._commit(
            [
                ("DELETE FROM applications WHERE strategy = ? AND client_key = ?", place),
                (_DELETED, (now, *place)),
                ("DELETE FROM registered_clients WHERE deleted_at <= ?", (now - DELETED_KEPT_S,)),
                save_revocation(entry),
            ]
        )
        self._memory.revoke(entry)
        stored = self._memory.stored_at(*place)
        if stored is not None:
            self._memory.remove(stored.id)

    # From here on: the thread's side.

    def _rows(self, client_key: str) -> list[tuple[str, str, str, str, int, float | None]]:
        return self._usable().execute(_RECORDS, (client_key,)).fetchall()
