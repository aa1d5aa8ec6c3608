"""What is held here, beside what the shared log says.

Law of this file: what the log says is taken as it is, but for what is newer here; and never do two applications
stand at one place, whatever the log says. Memory first, then the file.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import structlog

from validator.core.changes import ApplicationChange, Change, ClientChange, RevocationChange, content
from validator.core.changes import change as change_of
from validator.model import Application
from validator.ports import Apply, Clock, LocalStore, Position, Record, SharedLog
from validator.registry.batches import too_large
from validator.registry.index import MemoryRegistry
from validator.registry.places import Place, place
from validator.registry.weighing import REVOCATIONS, read, weighed
from validator.registry.write_behind import WriteBehind, broken

_log = structlog.get_logger(__name__)

_AT_ONCE: Final = 200  # records; then others have their turn
_NAMED: Final = 200  # characters of a key in the log

_Taken = dict[str, tuple[Change, int]]  # by key: what is to be in force, and its version


class Mirror:
    """For one task at a time: its caller holds the lock.

    Attributes:
        ahead: by key, what is newer here than in the log, or may be.
        unshared: the keys among them that are marked so in the file; the others only while reconciling.
        left_out: the keys among these that cannot be shared as they are.
        unreadable: keys that the log has and that say nothing to this program, with the version of each.
        highest: no version is known here that is higher.
    """

    def __init__(
        self, *, index: MemoryRegistry, apply: Apply, log: SharedLog, behind: WriteBehind, clock: Clock
    ) -> None:
        self._index = index
        self._apply = apply
        self._shared = log
        self._behind = behind
        self._clock = clock
        self.ahead: dict[str, Record] = {}
        self.unshared: set[str] = set()
        self.left_out: set[str] = set()
        self.unreadable: dict[str, int] = {}
        self.highest = 0

    @property
    def version(self) -> int:
        """What the next version is to be higher than: those of before, and time, so that of what is written in two
        places the later is the higher also where neither knows of the other."""
        return max(self.highest, int(self._clock.now() * 1000) - 1)

    @property
    def whole(self) -> bool:
        """Whether the file may say how far it has followed: a restart from there would find all that is to do."""
        return not self.unreadable and len(self.ahead) == len(self.unshared)

    @property
    def to_push(self) -> Sequence[Record]:
        """What is newer here and can be shared."""
        return [record for key, record in self.ahead.items() if key not in self.left_out]

    async def load(self, store: LocalStore) -> None:
        """What the file says that others have not been told."""
        for record in await store.unshared():
            self.ahead[record.key] = record
            self.unshared.add(record.key)
            self.highest = max(self.highest, record.version)

    async def compare_all(self, store: LocalStore) -> AsyncIterator[None]:
        """Takes everything that is held here for newer, until the log says otherwise; a portion at each step. What
        is written here meanwhile is newer than what the file says of it."""
        self.ahead = {key: self.ahead[key] for key in self.unshared}
        for count, record in enumerate(self._behind.records(), 1):
            self._compare(record)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        yield
        async for portion in store.records():
            for record in portion:
                self._compare(record)
            yield

    def _compare(self, record: Record) -> None:
        self.ahead.setdefault(record.key, record)
        self.highest = max(self.highest, record.version)

    async def take(self, records: Sequence[Record]) -> int:
        """Puts in force what the log says; returns how much of it is."""
        taken: _Taken = {}
        for count, record in enumerate(records, 1):
            self._weigh(record, taken)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._part(taken)
        await self._put(taken)
        return len(taken)

    async def drop_unknown(self) -> None:
        """What is held here from a time when it was shared, and the log does not have, counts no more: it may have
        been deleted so long ago that nobody remembers that. A door that was closed stays closed."""
        gone = [
            record
            for key, record in self.ahead.items()
            if record.version and key not in self.unshared and not key.startswith(REVOCATIONS)
        ]
        if not gone:
            return
        _log.warning(
            "records of long ago dropped",
            records=len(gone),
            detail="this sidecar was away for too long to tell what others have deleted since from what they lost",
        )
        for start in range(0, len(gone), _AT_ONCE):
            portion = gone[start : start + _AT_ONCE]
            for record in portion:
                del self.ahead[record.key]
            await self._put({r.key: (read(Record(r.key, r.version, None)), r.version) for r in portion})
            await asyncio.sleep(0)

    def fitting(self, keys: Sequence[str]) -> list[Record]:
        """What is newer here of these keys and can be shared; what cannot is left out, and said once."""
        found: list[Record] = []
        for key in keys:
            record = self.ahead.get(key)
            if record is None or key in self.left_out:
                continue
            if why := unfit(record):
                self._leave_out(record, why)
            else:
                found.append(record)
        return found

    def _leave_out(self, record: Record, why: str) -> None:
        _log.error(
            "record cannot be shared",
            record=record.key.replace("\0", " ")[:_NAMED],
            detail=f"{why[:_NAMED]}. It is in force at this sidecar only: write it anew, or delete it",
        )
        self.left_out.add(record.key)
        if record.key not in self.unshared:
            self.unshared.add(record.key)
            self._behind.put([(change_of(record.key, record.content), record.version)], unshared=True)

    def keep(self, changes: Mapping[str, Change]) -> None:
        """What is in force here and others have not been told."""
        self.highest = version = self.version + 1
        for change in changes.values():
            self._keep(change, version)
        self._behind.put([(change, version) for change in changes.values()], unshared=True)

    def shared(self, changes: Sequence[Change], position: Position) -> None:
        """These are in the log now, with the version of the position."""
        self.highest = max(self.highest, position.version)
        for change in changes:
            self._settle(change.key)
            self.unreadable.pop(change.key, None)
        self._behind.put([(change, position.version) for change in changes], position=self.storable(position))

    def pushed(self, batch: Sequence[Record], position: Position) -> None:
        """What was newer here is in the log now."""
        self.highest = max(self.highest, position.version)
        told = []
        for record in batch:
            self.unreadable.pop(record.key, None)
            if record.key in self.unshared or record.version == 0:
                told.append((read(record), record.version or position.version))
            self._settle(record.key)
        self._behind.put(told, position=self.storable(position))

    def storable(self, position: Position | None) -> Position | None:
        """How far the file says that it has followed. Where it cannot say so of all that led there, it names no
        earlier position either: the log may go back to that, and what came after would be restored by nobody."""
        if position is None or self.whole:
            return position
        return broken(position)

    def _settle(self, key: str) -> None:
        self.ahead.pop(key, None)
        self.unshared.discard(key)
        self.left_out.discard(key)

    def _keep(self, change: Change, version: int) -> None:
        self.ahead[change.key] = Record(change.key, version, content(change))
        self.unshared.add(change.key)
        self.left_out.discard(change.key)

    def _weigh(self, theirs: Record, taken: _Taken) -> None:
        self.highest = max(self.highest, theirs.version)
        try:
            change = read(theirs)
        except ValueError as error:
            self._cannot_read(theirs, error)
            return
        self.unreadable.pop(theirs.key, None)
        mine = self.ahead.get(theirs.key)
        if mine is not None:
            holds = weighed(mine, theirs, untold=theirs.key in self.unshared)
            if holds is mine:
                return
            if holds is theirs:
                self._settle(theirs.key)
                if not mine.version and isinstance(change, ApplicationChange) and mine.content != theirs.content:
                    _log.warning("stored application replaced by the shared one", application_id=change.id)
            else:
                if theirs.content is None:
                    self._say_held(change)
                change = change_of(holds.key, holds.content)
                self.highest = max(self.highest, holds.version)
                self._keep(change, holds.version)
            taken[theirs.key] = change, holds.version
        else:
            taken[theirs.key] = change, theirs.version

    def _say_held(self, lifting: Change) -> None:
        if isinstance(lifting, RevocationChange):
            _log.warning(
                "revocation holds against its lifting",
                kind=lifting.entry.kind,
                strategy=lifting.entry.strategy,
                value=lifting.entry.value[:_NAMED],
                detail="whoever has lifted it could not know of this one: lift it again if it is to count no more",
            )

    def _cannot_read(self, theirs: Record, error: ValueError) -> None:
        if not self.unreadable:
            _log.error(
                "shared record cannot be read",
                detail=f"{error}. Until it can be, what is not known here is not denied: see whether a later "
                "version of the sidecar has written it, or write it anew",
            )
        self.unreadable[theirs.key] = theirs.version
        mine = self.ahead.get(theirs.key)
        if mine is not None and mine.version <= theirs.version and theirs.key not in self.unshared:
            del self.ahead[theirs.key]  # it may be right, and newer: it is not written over

    async def _put(self, taken: _Taken) -> None:
        if not taken:
            return
        # What goes makes room for what comes.
        changes = sorted((change for change, _ in taken.values()), key=stays)
        for start in range(0, len(changes), _AT_ONCE):
            await self._apply(changes[start : start + _AT_ONCE])
            if start + _AT_ONCE < len(changes):
                await asyncio.sleep(0)
        for alone in (False, True):
            part = [both for key, both in taken.items() if (key in self.unshared) is alone]
            if part:
                self._behind.put(part, unshared=alone)

    async def _part(self, taken: _Taken) -> None:
        """Leaves one application at each place: the one with the higher version."""
        standing: dict[Place, str] = {}  # place -> key
        waiting = [key for key, (change, _) in taken.items() if _application(change) is not None]
        while waiting:
            if len(waiting) % _AT_ONCE == 0:
                await asyncio.sleep(0)
            key = waiting.pop()
            application = _application(taken[key][0])
            if application is None:  # it has lost its place meanwhile
                continue
            where = place(application)
            rival = standing.get(where)
            if rival is not None:
                if rival != key:
                    standing[where] = self._judge(taken, key, rival)
                continue
            standing[where] = key
            holder = self._index.stored_at(*where)
            if holder is None or holder.id == application.id:
                continue
            rival = ApplicationChange(holder.id, None).key
            if rival in taken:
                continue
            # It may have gone in the log: what was read is newer than the entry that named it.
            theirs = None if rival in self.ahead else (await self._shared.fetch([rival]))[0]
            if theirs is not None:
                self._weigh(theirs, taken)
            else:
                mine = self.ahead.get(rival)
                taken[rival] = ApplicationChange(holder.id, holder), mine.version if mine is not None else 0
            if rival in taken:
                waiting.append(rival)

    def _judge(self, taken: _Taken, one: str, other: str) -> str:
        """Removes one of two applications at one place, everywhere; returns the key of the one that stays."""
        stays, goes = sorted((one, other), key=lambda key: (taken[key][1], key), reverse=True)
        kept, gone = _application(taken[stays][0]), _application(taken[goes][0])
        assert kept is not None  # noqa: S101 - both stand at a place
        assert gone is not None  # noqa: S101
        _log.warning(
            "two applications with one client id: one is removed",
            kept=kept.id,
            removed=gone.id,
            strategy=kept.strategy,
            client_id=kept.client_id,
        )
        self.highest = version = self.version + 1
        removal = ApplicationChange(gone.id, None)
        self._keep(removal, version)
        taken[goes] = removal, version
        return stays


def _application(change: Change) -> Application | None:
    return change.application if isinstance(change, ApplicationChange) else None


def unfit(record: Record) -> str:
    """Why the log would not take it, or others could not read it; "" where they do."""
    if too_large(record):
        return "it is too large"
    try:
        read(record)
    except ValueError as error:
        return str(error)
    return ""


def stays(change: Change) -> bool:
    match change:
        case ApplicationChange(_, application):
            return application is not None
        case RevocationChange(_, lifted):
            return not lifted
        case ClientChange(_, _, record):
            return record is not None
    return True
