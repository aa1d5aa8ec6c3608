"""A shared log and sidecars' own files in memory, with the faults of both.

Law of this file: the promises of ``ports.SharedLog`` and ``ports.LocalStore`` are kept to the letter, and what a
fault does is what it does to a real server: it loses the last writes, or all, or goes back to an earlier state.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from validator.core.changes import Change, change, content
from validator.errors import Unavailable
from validator.model import ClientRecord, Reason
from validator.ports import Clock, LogEntry, LogState, Position, Record

_marks = count(1)  # never the same again, as random ones
LARGEST = 1024 * 1024  # bytes of one record
RESTORING_S = 10.0
_PORTION = 2  # records of a scan at once


def unavailable(detail: str = "connection refused") -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, detail)


@dataclass(frozen=True)
class Dump:
    """What a server would write to its disk."""

    records: dict[str, Record] = field(default_factory=dict)
    entries: tuple[LogEntry, ...] = ()
    head: Position | None = None


class FakeServer:
    """What the sidecars share.

    Attributes:
        down, read_only: nobody is answered; nothing is written.
        ahead_s: by how much its clock is.
        dumps: the state after each write, the oldest first; what a failover or an older dump goes back to.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic() - 3600.0
        self.incarnation = 1
        self.state = Dump()
        self.dumps = [self.state]
        self.down = False
        self.read_only = False
        self.appends = 0
        self.ahead_s = 0.0
        self.restoring: dict[int, float] = {}  # by who restores: until when others wait for him

    @property
    def age_s(self) -> float:
        return max(0.0, self._clock.monotonic() - max(self._since, *self.restoring.values(), -math.inf))

    def restores(self, who: int, *, more: bool) -> None:
        self.restoring.pop(who, None)
        if more:
            self.restoring[who] = self._clock.monotonic() + RESTORING_S

    def now(self) -> float:
        return self._clock.now()

    @property
    def mark(self) -> str:
        return self.state.head.mark if self.state.head else ""

    def content(self, key: str) -> str | None:
        record = self.state.records.get(key)
        return record.content if record else None

    def append(
        self,
        position: Position | None,
        records: Sequence[tuple[str, str | None]],
        version: int,
        restored: Sequence[Record] = (),
    ) -> Position | None:
        if (position.mark if position else "") != self.mark:
            return None
        assert all(0 < record.version <= version for record in restored)
        self.appends += 1
        highest = self.state.head.version if self.state.head else 0
        new = max(version, highest) + 1
        entry = LogEntry(
            f"{self.appends}-0",
            f"m{next(_marks)}",
            self.mark,
            new,
            [key for key, _ in records] + [record.key for record in restored],
        )
        written = {key: Record(key, new, text) for key, text in records}
        written |= {record.key: record for record in restored}
        self._keep(
            Dump(
                {**self.state.records, **written},
                (*self.state.entries, entry),
                Position(entry.id, entry.mark, new),
            )
        )
        return self.state.head

    def spoil(self, key: str, text: str) -> None:
        """A record that this program cannot read, written as by another version of it."""
        assert self.append(self.state.head, [(key, text)], 0)

    def garble(self) -> None:
        """The last entry is such that nobody can follow it."""
        last = replace(self.state.entries[-1], previous="?")
        self.state = replace(self.state, entries=(*self.state.entries[:-1], last))

    def trim(self, left: int = 0) -> None:
        self.state = replace(self.state, entries=self.state.entries[len(self.state.entries) - left :])

    def flush(self) -> None:
        self._anew(Dump())

    def go_back(self, writes: int) -> None:
        """A failover that loses the last writes, or an older dump that is loaded."""
        self.dumps = self.dumps[: max(1, len(self.dumps) - writes)]
        self._anew(self.dumps[-1])

    def restart(self) -> None:
        self._since = self._clock.monotonic()
        self.incarnation += 1

    def _anew(self, state: Dump) -> None:
        self.state = state
        self.restoring = {}
        self.restart()

    def _keep(self, state: Dump) -> None:
        self.state = state
        self.dumps.append(state)


class FakeLog:
    """``ports.SharedLog``: how one sidecar sees the server.

    Attributes:
        connected: whether it reaches the server.
        lose_replies: so many of the next writes are made, and nobody hears of it.
        interlude: what happens just before the next write of this sidecar; and between the portions of a scan.
        fewer: so many entries are read at once, at most.
        late: what was read before waiting, or (``reads_last``) after it, is handed over when it is set.
    """

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.connected = True
        self.lose_replies = 0
        self.interlude: Callable[[], Awaitable[None]] | None = None
        self.between: Callable[[], Awaitable[None]] | None = None
        self.fewer = 300
        self.late: asyncio.Event | None = None
        self.reads_last = False
        self.calls = 0

    async def state(self) -> LogState:
        await self._reach()
        server = self.server
        time_s = server.now() + server.ahead_s
        return LogState(server.state.head, server.age_s, str(server.incarnation), time_s=time_s)

    async def append(
        self,
        position: Position | None,
        records: Sequence[tuple[str, str | None]],
        *,
        version: int,
        restored: Sequence[Record] = (),
        restoring: bool = False,
    ) -> Position | None:
        interlude, self.interlude = self.interlude, None
        if interlude is not None:
            await interlude()
        await self._reach()
        if self.server.read_only:
            raise unavailable("READONLY")
        texts = [json.dumps(text) for _, text in records]
        texts += [json.dumps([record.version, record.content]) for record in restored]
        if any(len(text) > LARGEST for text in texts):
            raise unavailable(f"a record of more than {LARGEST} bytes is not shared")
        written = self.server.append(position, records, version, restored)
        if written is not None:
            self.server.restores(id(self), more=restoring)
        if self.lose_replies:
            self.lose_replies -= 1
            raise unavailable("no answer within 1 s")
        return written

    async def since(self, position: Position | None, *, wait_s: float) -> Sequence[LogEntry]:
        await self._reach()
        if wait_s and self.late is not None and self.reads_last:
            await self.late.wait()
        number = _number(position)
        found = [entry for entry in self.server.state.entries if int(entry.id[:-2]) > number][: self.fewer]
        if wait_s and self.late is not None:
            await self.late.wait()
            await self._reach()
        return found

    async def fetch(self, keys: Sequence[str]) -> Sequence[Record | None]:
        await self._reach()
        return [self.server.state.records.get(key) for key in keys]

    async def written(self, entry: LogEntry, keys: Sequence[str]) -> Sequence[Record | None] | None:
        found = await self.fetch(keys)
        return found if any(each == entry for each in self.server.state.entries) else None

    async def purge(self, older_than_s: float) -> int:  # noqa: ARG002 - the port's shape
        return 0

    async def scan(self) -> AsyncIterator[Sequence[Record]]:
        await self._reach()
        keys = list(self.server.state.records)
        incarnation = self.server.incarnation
        for start in range(0, len(keys), _PORTION):
            if self.server.incarnation != incarnation:  # a cursor means something else to another server
                break
            found = [self.server.state.records.get(key) for key in keys[start : start + _PORTION]]
            yield [record for record in found if record is not None]
            await self._reach()
            between, self.between = self.between, None
            if between is not None:
                await between()
        again = [self.server.state.records.get(key) for key in keys[:1]]
        yield [record for record in again if record is not None]  # as HSCAN may

    async def close(self) -> None:
        self.connected = False

    async def _reach(self) -> None:
        self.calls += 1
        await asyncio.sleep(0)  # as any real one, it never answers in the same turn
        if not self.connected or self.server.down:
            raise unavailable()


class FakeStore:
    """``ports.LocalStore`` whose contents outlive the sidecar.

    Attributes:
        broken: nothing can be written.
        crash: the sidecar ends "before" or "after" the next commit; ``crashed`` says that it has.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rows: dict[str, tuple[Record, bool]] = {}
        self.followed: tuple[Position, float] | None = None
        self.broken = False
        self.crash: str | None = None
        self.crashed = False
        self.commits = 0

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        version: int | Sequence[int] | None = None,
        unshared: bool = False,
        position: Position | None = None,
    ) -> None:
        await asyncio.sleep(0)
        if self.broken or self.crashed:
            raise unavailable("disk full")
        crash, self.crash = self.crash, None
        if crash == "before":
            self.crashed = True
            raise unavailable("killed")
        versions = version if isinstance(version, Sequence) else [version or 0] * len(changes)
        for made, number in zip(changes, versions, strict=True):
            self.rows[made.key] = Record(made.key, number, content(made)), unshared
        if position is not None:
            self.followed = position, self._clock.now()
        self.commits += 1
        if crash == "after":
            self.crashed = True
            raise unavailable("killed")

    async def clients(self, client_key: str) -> Sequence[ClientRecord]:
        found = [change(record.key, record.content) for record, _ in self.rows.values() if record.content]
        records = [getattr(one, "record", None) for one in found]
        return [r for r in records if isinstance(r, ClientRecord) and r.client_id == client_key]

    async def position(self) -> tuple[Position, float] | None:
        return self.followed

    async def records(self) -> AsyncIterator[Sequence[Record]]:
        for record, _ in list(self.rows.values()):
            await asyncio.sleep(0)
            yield [record]

    async def unshared(self) -> Sequence[Record]:
        return [record for record, unshared in self.rows.values() if unshared]

    async def healthy(self) -> bool:
        return not self.broken

    async def close(self) -> None: ...


def _number(position: Position | None) -> int:
    return int(position.entry[:-2]) if position else 0
