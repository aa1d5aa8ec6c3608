"""What is in force here and not yet in the sidecar's own file.

Law of this file: the file never says that it has followed further than it has: a position is written with, or
after, everything that led to it. What takes several transactions has no position before the last of them, not even
an earlier one. What cannot be written is kept and tried again; of one key only the last is.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import structlog

from validator.core.changes import Change, content
from validator.errors import Unavailable
from validator.ports import LocalStore, Position, Record

_AT_ONCE: Final = 500  # changes of one transaction, which others wait for

_log = structlog.get_logger(__name__)

# By key: the change, its version, whether others have not been told.
_Waiting = dict[str, tuple[Change, int, bool]]


class WriteBehind:
    """A queue before a ``ports.LocalStore``, written as soon as what was before it is durable."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._waiting: _Waiting = {}
        self._writing: _Waiting = {}
        self._position: Position | None = None
        self._put = 0
        self._done = 0
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def put(
        self,
        changes: Iterable[tuple[Change, int]],
        *,
        unshared: bool = False,
        position: Position | None = None,
    ) -> None:
        """To be written soon: changes with the version of each, and what is followed up to with them."""
        for change, version in changes:
            self._waiting[change.key] = (change, version, unshared)
        self._position = position or self._position
        self._put += 1
        self.hurry()

    def hurry(self) -> None:
        """Begins to write, or tries again, without waiting for it."""
        if self._put > self._done and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._write_soon())

    def records(self) -> Iterator[Record]:
        """What the file may not say yet: all of it is newer than what the file says."""
        for key, (change, version, _) in {**self._writing, **self._waiting}.items():
            yield Record(key, version, content(change))

    async def settled(self) -> None:
        """Everything that was put before this call is durable when it returns; raises ``Unavailable``."""
        until = self._put
        while self._done < until:
            async with self._lock:
                if self._done < until:
                    await self._write()

    async def close(self) -> None:
        """Waits for what is under way, and tries what could not be written once more."""
        with contextlib.suppress(Unavailable):
            await self.settled()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _write_soon(self) -> None:
        with contextlib.suppress(Unavailable):
            await self.settled()

    async def _write(self) -> None:
        self._writing, position, put = self._waiting, self._position, self._put
        self._waiting, self._position = {}, None
        changes = len(self._writing)
        try:
            await self._commit(position)
        except BaseException as error:
            self._waiting = {**self._writing, **self._waiting}
            self._position = self._position or position
            if isinstance(error, Unavailable) and not self._failing:
                self._failing = True
                _log.error(
                    "registry store cannot be written",
                    detail=f"{error.detail}. What is shared is in force here, and read again after a restart",
                )
            raise
        finally:
            self._writing = {}
        self._done = put
        if self._failing:
            self._failing = False
            _log.info("registry store is written again", changes=changes)

    async def _commit(self, position: Position | None) -> None:
        """What has been written is no longer in ``_writing``."""
        for portion in self._portions(unshared=True):
            await self._commit_portion(portion, unshared=True, position=None)
        *before, last = self._portions(unshared=False) or [[]]
        for portion in before:
            # The log may go back to where the file is: what came after that would be restored by nobody.
            await self._commit_portion(portion, unshared=False, position=position and broken(position))
        if last or position is not None:
            await self._commit_portion(last, unshared=False, position=position)

    def _portions(self, *, unshared: bool) -> list[list[str]]:
        keys = [key for key, (_, _, alone) in self._writing.items() if alone is unshared]
        return [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]

    async def _commit_portion(self, keys: Sequence[str], *, unshared: bool, position: Position | None) -> None:
        found = [self._writing[key] for key in keys]
        await self._store.commit(
            [change for change, _, _ in found],
            version=[version for _, version, _ in found],
            unshared=unshared,
            position=position,
        )
        for key in keys:
            del self._writing[key]


def broken(position: Position) -> Position:
    """One that is the position of no log: who goes on from it reconciles."""
    return Position(position.entry, "", position.version)
