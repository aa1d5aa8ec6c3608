"""One call for all who ask at once, and one that survives its leader.

Law of this file: a call runs as its own task, which stands in the table before anyone awaits; everyone waits
behind a shield, so that who gives up takes nobody along. Results and exceptions are never kept. A call that is
given up when its owner closes is an outage to those who wait, not a cancellation of theirs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from validator.errors import Unavailable
from validator.model import Reason

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Coalesces concurrent calls by key."""

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        """What ``call`` returns or raises, shared with all who ask for ``key`` while it runs.

        Raises:
            Unavailable: ``close`` gave the call up.
        """
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(_as_coroutine(call))
            self._flights[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if task.cancelled() and waiter is not None and not waiter.cancelling():
                raise Unavailable(Reason.IDP_UNAVAILABLE, "the call was given up, its owner closed") from None
            raise

    async def close(self) -> None:
        """Cancels what is still under way."""
        flights = list(self._flights.values())
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _landed(self, key: K, task: asyncio.Task[V]) -> None:
        del self._flights[key]
        if not task.cancelled():
            task.exception()  # seen, also when all who asked have gone


async def _as_coroutine(call: Callable[[], Awaitable[V]]) -> V:
    return await call()
