"""What is in force here and not yet in the sidecar's own file.

Law of this file: the file never says that it has followed further than it has: a position is written with, or
after, everything that led to it. What cannot be written is kept and tried again; of one key only the last is.
"""

import asyncio
import contextlib
from collections.abc import Iterable

import structlog

from validator.core.changes import Change
from validator.errors import Unavailable
from validator.ports import LocalStore, Position

_log = structlog.get_logger(__name__)

_Waiting = dict[
    str, tuple[Change, int, bool]
]  # by key: the change, its version, whether others have not been told


class WriteBehind:
    """A queue before a ``ports.LocalStore``, written as one piece as soon as the one before is durable."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._waiting: _Waiting = {}
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
        waiting, position, put = self._waiting, self._position, self._put
        self._waiting, self._position = {}, None
        try:
            await self._commit(waiting, position)
        except BaseException as error:
            self._waiting = {**waiting, **self._waiting}
            self._position = self._position or position
            if isinstance(error, Unavailable) and not self._failing:
                self._failing = True
                _log.error(
                    "registry store cannot be written",
                    detail=f"{error.detail}. What is shared is in force here, and read again after a restart",
                )
            raise
        self._done = put
        if self._failing:
            self._failing = False
            _log.info("registry store is written again", changes=len(waiting))

    async def _commit(self, waiting: _Waiting, position: Position | None) -> None:
        unshared = [(change, version) for change, version, alone in waiting.values() if alone]
        shared = [(change, version) for change, version, alone in waiting.values() if not alone]
        if unshared:
            await self._store.commit(
                [change for change, _ in unshared], version=[version for _, version in unshared], unshared=True
            )
        if shared or position is not None:
            await self._store.commit(
                [change for change, _ in shared], version=[version for _, version in shared], position=position
            )
