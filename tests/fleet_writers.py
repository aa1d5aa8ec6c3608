"""Who writes to a fleet all the time, each time to another member, and notes what was acknowledged.

Law of this file: one application belongs to one writer, and a writer asks for one thing at a time. After an answer
that says nothing for certain it goes on as if both had happened. No pytest.
"""

import asyncio
import http.client
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping

from fleet_ledger import Entry, Ledger
from fleet_processes import SERVICE, STRATEGY, Fleet, bearer

_OPEN = 6  # of one writer at a time
_WATCHED = 10  # of those that it closed last
_OLD = 4  # and of all that it has closed
_PAUSE_S = (0.02, 0.4)
_TRIES = 8


class Writer:
    """``run`` it as a task.

    Args:
        watched: credentials that are asked for; those of this writer are kept in it.
        token: a token of a client, with that ``jti``.
        counts: what was answered to writes.
    """

    def __init__(
        self,
        number: int,
        fleet: Fleet,
        ledger: Ledger,
        watched: MutableMapping[str, Mapping[str, str]],
        token: Callable[[str, str], str],
        rng: random.Random,
        counts: Counter[str],
    ) -> None:
        self._number = number
        self._fleet = fleet
        self._ledger = ledger
        self._watched = watched
        self._token = token
        self._rng = rng
        self._counts = counts
        self._names = itertools.count()
        self._open: list[Entry] = []
        self._closed: list[Entry] = []
        self._old: list[Entry] = []

    async def run(self, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            if len(self._open) < _OPEN:
                await self._create()
            elif self._rng.random() < 0.3:
                await self._rename(self._rng.choice(self._open))
            else:
                await self._close(self._open.pop(self._rng.randrange(len(self._open))))
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))

    async def _create(self) -> None:
        name = f"w{self._number}-{next(self._names)}"
        entry = Entry(name, f"client-{name}", f"jti-{name}", bearer(self._token(f"client-{name}", f"jti-{name}")))
        self._ledger.entries[name] = entry
        entry.states.add((name, "approved"))
        body = {
            "id": name,
            "name": name,
            "strategy": STRATEGY,
            "client_id": entry.client,
            "registrations": [SERVICE],
        }
        if await self._write("POST", "/v1/applications", body) is not None:
            entry.states = {(name, "approved")}
            self._ledger.open(entry)
            self._open.append(entry)
            self._watched[name] = entry.headers

    async def _rename(self, entry: Entry) -> None:
        name = f"{entry.id} renamed {next(self._names)}"
        entry.states.add((name, "approved"))
        body = {"name": name, "strategy": STRATEGY, "client_id": entry.client, "registrations": [SERVICE]}
        if await self._write("PUT", f"/v1/applications/{entry.id}", body) is not None:
            entry.states = {(name, "approved")}

    async def _close(self, entry: Entry) -> None:
        """In one way, and where that is not acknowledged, by revoking the client until it is."""
        entry.closing = True
        how = self._rng.choice(("client_id", "application_id", "jti", "delete", "registration"))
        for _ in range(_TRIES):
            member = await self._close_by(entry, how)
            if member is not None:
                self._ledger.closed(entry, how, member)
                break
            how = "client_id"
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))
        self._watch(entry)

    async def _close_by(self, entry: Entry, how: str) -> int | None:
        if how == "delete":
            return await self._ended(entry, None, "DELETE", f"/v1/applications/{entry.id}")
        if how == "registration":
            path = f"/v1/applications/{entry.id}/registrations/{SERVICE}"
            return await self._ended(entry, "revoked", "PUT", path, {"status": "revoked"})
        value = {"client_id": entry.client, "application_id": entry.id, "jti": entry.jti}[how]
        self._ledger.maybe_revoked.add((how, value))
        member = await self._write("POST", "/v1/revocations", {how: value})
        if member is not None:
            self._ledger.revoked.add((how, value))
        return member

    async def _ended(
        self, entry: Entry, status: str | None, method: str, path: str, body: object = None
    ) -> int | None:
        after = {None if state is None or status is None else (state[0], status) for state in entry.states}
        entry.states |= after
        member = await self._write(method, path, body)
        if member is not None:
            entry.states = after
        return member

    async def _write(self, method: str, path: str, body: object = None) -> int | None:
        """The number of the member that acknowledged it; ``None``: nobody did."""
        member = self._rng.randrange(len(self._fleet.members))
        try:
            answer = await self._fleet.members[member].call(method, path, body)
        except (OSError, http.client.HTTPException):
            self._counts["broken"] += 1
            await asyncio.sleep(0.05)
            return None
        good = http.HTTPStatus.OK <= answer.status < http.HTTPStatus.MULTIPLE_CHOICES
        self._counts["acknowledged" if good else str(answer.status)] += 1
        return member if good else None

    def _watch(self, entry: Entry) -> None:
        """The last ones that were closed, and a few of all that were."""
        if entry.closed_at is None:
            self._watched.pop(entry.id, None)
            return
        self._closed.append(entry)
        for each in (*self._old, *self._closed[-_WATCHED - 1 : -_WATCHED]):
            self._watched.pop(each.id, None)
        past = self._closed[:-_WATCHED]
        self._old = self._rng.sample(past, min(_OLD, len(past)))
        for each in self._old:
            self._watched[each.id] = each.headers
