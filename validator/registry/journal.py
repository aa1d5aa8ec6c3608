"""Writes of one sidecar that shares with nobody: on the disk, then in force.

Law of this file: planned, made durable, applied, in this order and one write after the other; so an acknowledged
write is durable and in force, and whoever plans sees every write before his.
"""

import asyncio

from validator.errors import Unavailable
from validator.ports import Apply, LocalStore, Plan, T


class LocalJournal:
    """``ports.Journal`` over a ``LocalStore`` alone.

    Args:
        apply: puts in force what has become durable.
    """

    def __init__(self, store: LocalStore, apply: Apply) -> None:
        self._store = store
        self._apply = apply
        self._lock = asyncio.Lock()
        self._shared_once: bool | None = None

    async def commit(self, plan: Plan[T], *, urgent: bool = False) -> T:
        """See ``ports.Journal``. What the disk does not take changes nothing, but that what is ``urgent`` is in
        force until the next start."""
        async with self._lock:
            changes, result = plan()
            if not changes:
                return result
            try:
                await self._store.commit(changes, unshared=await self._was_shared())
            except Unavailable as error:
                if not urgent:
                    raise
                await self._apply(changes)
                raise Unavailable(
                    error.reason, f"in force until the next start only, for it could not be stored: {error.detail}"
                ) from error
            await self._apply(changes)
            return result

    async def _was_shared(self) -> bool:
        """Whether others may be told later: where sharing was on before, it may be again."""
        if self._shared_once is None:
            self._shared_once = await self._store.position() is not None
        return self._shared_once
