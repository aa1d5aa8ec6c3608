"""Following the shared log, and finding the way back to it.

Law of this file: every entry names the one before it, so that nothing is missed unnoticed. What cannot be followed
from here is reconciled as a whole; and nothing is current before that is done, and the server has stood for long
enough that all others have done so too.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from validator.core.changes import Change, content
from validator.errors import Unavailable
from validator.model import Reason
from validator.ports import Clock, LocalStore, LogEntry, LogState, Position, Record, SharedLog
from validator.registry.batches import BATCH, batches
from validator.registry.contact import Contact
from validator.registry.mirror import Mirror, unfit
from validator.registry.write_behind import WriteBehind, broken

SETTLE_S: Final = 1.0  # others may still be restoring what a server has lost that has been as it is for less
STALE_S: Final = 29 * 86400.0  # what is deleted is remembered in the log for 30 days

_WAIT_S: Final = 0.5
_MIN_WAIT_S: Final = 0.02
_TRIES: Final = 20  # of one batch, while others write
_FETCHED: Final = 1000  # records at once
_AGAIN_S: Final = 5.0  # records that could not be read; pushes that were refused
_MARK_EVERY_S: Final = 3600.0  # so that the file knows when there was contact last

_log = structlog.get_logger(__name__)


class Lost(Exception):
    """What is here does not lead to what is in the log: something was lost, here or there."""


class Follower:
    """What is here, led to where the log is.

    Attributes:
        lock: one writes, follows or reconciles at a time.
        synced: set once it follows for the first time.
        skew_s: by how much the clock here is ahead of the server's.
        reconciliations, followed, restored: counted for the metrics; entries and records.
    """

    def __init__(
        self,
        *,
        mirror: Mirror,
        behind: WriteBehind,
        contact: Contact,
        store: LocalStore,
        log: SharedLog,
        clock: Clock,
    ) -> None:
        self._mirror = mirror
        self._behind = behind
        self._contact = contact
        self._store = store
        self._shared = log
        self._clock = clock
        self.lock = asyncio.Lock()
        self.synced = asyncio.Event()
        self._position: Position | None = None
        self._chained = False  # what is here led to the position, and what comes behind it can be followed
        self._attached = False
        self._last_contact: float | None = None  # seconds since the epoch
        self._settled_in = 0.0
        self._marked_at = self._read_again_at = self._push_at = clock.monotonic()
        self._push_refused = False
        self._said_broken = False
        self._restoring: Record | None = None  # the last that was pushed while there was more to push
        self.skew_s = 0.0
        self.reconciliations = 0
        self.followed = 0
        self.restored = 0

    @property
    def waiting(self) -> int:
        """Records of which the log is to be told; while it is lost, those of which it never was."""
        return len(self._mirror.ahead if self._attached else self._mirror.unshared)

    async def load(self) -> None:
        """Goes on from what the file says; raises ``Unavailable``."""
        await self._mirror.load(self._store)
        found = await self._store.position()
        if found is not None:
            self._position, self._last_contact = found
            self._chained = self._position.mark != ""
            self._mirror.highest = max(self._mirror.highest, self._position.version)
        self._contact.tell()

    async def append(self, changes: Sequence[Change]) -> bool:
        """``False``: others have written in between. The caller holds the lock."""
        records = [(change.key, content(change)) for change in changes]
        position = await self._shared.append(self._position, records, version=self._mirror.version)
        if position is None:
            return False
        self._position = position
        self._mirror.shared(changes, position)
        return True

    async def others_first(self) -> None:
        """Others have written in between: that comes first. The caller holds the lock."""
        try:
            await self._catch_up()
        except Lost:
            self._lose_chain()
            raise _unavailable("the shared store has lost what was written") from None

    async def step(self) -> float:
        """Waits for what others write, and follows it; or looks for the log where it is lost. Returns the seconds
        after which to go on; raises nothing."""
        try:
            if self._attached:
                await self._follow()
            else:
                await self._attach()
            await self._push_when_due()
        except Lost:
            return self._lose_chain()
        except Unavailable as error:
            return self._lose(error.detail)
        except Exception as error:  # noqa: BLE001 - what follows must not end
            if not self._said_broken:
                self._said_broken = True
                _log.exception("following the shared store failed")
            self._chained = False  # begins anew from what is known for certain
            return self._lose(f"an error of our own: {type(error).__name__}")
        finally:
            self._behind.hurry()
        return 0.0

    async def _attach(self) -> None:
        state = await self._shared.state()
        try:
            if not self._chained:
                raise Lost  # noqa: TRY301 - the same way from here
            async with self.lock:
                state = await self._catch_up()
        except Lost:
            state = await self._reconcile(state)
        self._attached = True
        self._prove(state)

    async def _follow(self) -> None:
        before = self._position
        wait_s = _WAIT_S if self._contact.following else min(max(self._settled_in, _MIN_WAIT_S), _WAIT_S)
        entries = await self._shared.since(before, wait_s=wait_s)
        async with self.lock:
            if not self._attached:  # a write has found out that it is lost
                return
            if self._position != before:  # this sidecar has written meanwhile
                ids = [entry.id for entry in entries]
                if self._position is None or self._position.entry not in ids:
                    return
                entries = entries[ids.index(self._position.entry) + 1 :]
            await self._absorb(entries)
            await self._read_again()
            if entries and self._contact.following:
                self._proven()
            else:
                self._prove(await self._catch_up())

    async def _catch_up(self) -> LogState:
        """Follows until there is no more; the caller holds the lock."""
        missing = False
        while True:
            entries = await self._shared.since(self._position, wait_s=0.0)
            if entries:
                await self._absorb(entries)
                missing = False
                continue
            state = await self._shared.state()
            if _mark(state.position) == _mark(self._position):
                return state
            if missing:
                raise Lost
            missing = True  # or written in this very moment

    async def _absorb(self, entries: Sequence[LogEntry]) -> None:
        if not entries:
            return
        mark = _mark(self._position)
        keys: dict[str, None] = {}
        for entry in entries:
            if entry.previous != mark:
                raise Lost
            mark = entry.mark
            keys |= dict.fromkeys(entry.keys)
        last = entries[-1]
        await self._mirror.take(await self._written(last, list(keys)))
        self._position = Position(last.id, last.mark, last.version)
        self._mirror.highest = max(self._mirror.highest, last.version)
        self._store_position()
        self.followed += len(entries)
        if self._contact.following and self._mirror.unreadable:
            self._contact.found(doubtful=True)

    async def _written(self, last: LogEntry, keys: Sequence[str]) -> list[Record]:
        found: list[Record] = []
        for start in range(0, len(keys), _FETCHED):
            records = await self._shared.written(last, keys[start : start + _FETCHED])
            for record in records or [None]:
                if record is None:
                    raise Lost
                found.append(record)
        return found

    async def _read_again(self) -> None:
        unreadable = self._mirror.unreadable
        if not unreadable or self._clock.monotonic() < self._read_again_at:
            return
        self._read_again_at = self._clock.monotonic() + _AGAIN_S
        keys = list(unreadable)[:_FETCHED]
        found = await self._shared.fetch(keys)
        for key in keys:  # the next time it is the turn of others
            version = unreadable.pop(key)
            unreadable[key] = version
        for key, record in zip(keys, found, strict=True):
            if record is None:
                unreadable.pop(key, None)
        await self._mirror.take([record for record in found if record is not None])
        if not unreadable:
            self._store_position()

    async def _reconcile(self, state: LogState) -> LogState:
        """Of all that is held here or there, what holds is held here; what is newer here is pushed later."""
        self._chained = False
        away = self._last_contact is not None and self._clock.now() - self._last_contact > STALE_S
        if away and state.age_s < SETTLE_S:
            raise _unavailable("the shared store has just begun, and others may still be restoring it")
        self.reconciliations += 1
        if self._position is not None and not away:  # while away is remembered by when a position was written last
            self._behind.put([], position=broken(self._position))
        with suppress(Unavailable):  # what cannot be written is compared as well
            await self._behind.settled()
        announced = away or state.position is not None
        async for _ in self._mirror.compare_all(self._store):
            if not announced and len(self._mirror.ahead) > BATCH:
                announced = True
                await self._announce()
        async for portion in self._shared.scan():
            async with self.lock:
                self._contact.taken += await self._mirror.take(portion)
        async with self.lock:
            # Another server's scan goes another way: what was passed over here would be taken for lost there.
            if (await self._shared.state()).incarnation != state.incarnation:
                raise Lost
            if away and state.position is not None:
                await self._mirror.drop_unknown()
            self._position = state.position
            if state.position is not None:
                self._mirror.highest = max(self._mirror.highest, state.position.version)
            state = await self._catch_up()  # what was written meanwhile
            self._chained = True
            self._store_position()
        return state

    async def _push_when_due(self) -> None:
        """That the log refuses it is no reason not to follow it."""
        if self._push_refused and self._clock.monotonic() < self._push_at:
            return
        if not self._mirror.to_push and self._restoring is None:
            return
        try:
            await self._push()
        except Unavailable as error:
            self._push_at = self._clock.monotonic() + _AGAIN_S
            if not self._push_refused:
                self._push_refused = True
                _log.warning(
                    "shared store takes no writes", records=len(self._mirror.to_push), detail=error.detail
                )
        else:
            self._push_refused = False

    async def _announce(self) -> None:
        """Nothing is there, and what is to be restored takes a while to find out: others are to wait for it."""
        mirror = self._mirror
        record = next((record for record in mirror.ahead.values() if record.version and not unfit(record)), None)
        if record is None:
            return
        with suppress(Unavailable):  # it is found out when the rest is pushed
            async with self.lock:
                written = await self._shared.append(
                    None, [], version=mirror.version, restored=[record], restoring=True
                )
            if written is not None:
                self._restoring = record

    async def _push(self) -> None:
        found = batches(self._mirror.to_push)
        keys = next(found, None)
        while keys is not None:
            after = next(found, None)
            async with self.lock:
                await self._push_batch(keys, more=after is not None)
            keys = after
        if self._restoring is not None:
            async with self.lock:
                await self._end_restoring(self._restoring)

    async def _push_batch(self, keys: Sequence[str], *, more: bool) -> None:
        mirror = self._mirror
        for _ in range(_TRIES):
            batch = mirror.fitting(keys)
            if not batch or not self._attached:
                return
            position = await self._shared.append(
                self._position,
                [(record.key, record.content) for record in batch if not record.version],
                version=mirror.version,
                restored=[record for record in batch if record.version],
                restoring=more,
            )
            if position is not None:
                told = replace(batch[0], version=batch[0].version or position.version)
                self._restoring = told if more else None
                # What others were never told is no loss of the log's.
                restored = sum(1 for record in batch if record.version and record.key not in mirror.unshared)
                self._position = position
                mirror.pushed(batch, position)
                self.restored += restored
                self._contact.restored += restored
                return
            await self._catch_up()  # and what is newer here now is looked at again
        raise _unavailable("others keep writing")

    async def _end_restoring(self, record: Record) -> None:
        """Others have restored the rest: nobody needs to wait for it any more."""
        self._restoring = None
        if not self._attached or (await self._shared.fetch([record.key]))[0] != record:
            return
        position = await self._shared.append(
            self._position, [], version=self._mirror.version, restored=[record], restoring=False
        )
        if position is not None:
            self._position = position
            self._mirror.highest = max(self._mirror.highest, position.version)
            self._store_position()

    def _prove(self, state: LogState) -> None:
        """Everything up to this state is known here."""
        if state.time_s:
            self.skew_s = self._clock.now() - state.time_s
        self._settled_in = SETTLE_S - state.age_s
        if self._settled_in <= 0.0:
            self._proven()

    def _proven(self) -> None:
        now = self._clock.monotonic()
        self._last_contact = self._clock.now()
        if now >= self._marked_at:
            self._marked_at = now + _MARK_EVERY_S
            self._store_position()
        self._said_broken = False
        self._contact.found(doubtful=bool(self._mirror.unreadable))
        self.synced.set()

    def _store_position(self) -> None:
        """A restart goes on from here, or reconciles where it would not find out otherwise what is to be done."""
        if self._position is not None:
            self._behind.put([], position=self._mirror.storable(self._position))

    def _lose_chain(self) -> float:
        self._chained = False
        return self._lose("it does not go on from where it was left: it was emptied, restored, or failed over")

    def _lose(self, why: str) -> float:
        self._attached = False
        self._restoring = None
        return self._contact.lost(why)


def _unavailable(detail: str) -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, detail)


def _mark(position: Position | None) -> str:
    return position.mark if position is not None else ""
