"""One of several sidecars that share a registry: its memory, its own file and the shared log kept the same.

Law of this file: a write is judged by everything that was written before it, wherever that was, and acknowledged
when it is durable here and there. What an urgent write closes is closed here before anybody else is asked.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NoReturn

from validator.core.changes import Change
from validator.errors import Unavailable
from validator.model import ClientRecord, Knowledge, Reason
from validator.ports import Apply, Clock, LocalStore, Plan, SharedLog, T
from validator.registry.contact import Contact
from validator.registry.following import Follower
from validator.registry.index import MemoryRegistry
from validator.registry.mirror import Mirror
from validator.registry.write_behind import WriteBehind

_TRIES: Final = 20  # of one write, while others write
_JITTER_S: Final = 0.01


class Replica:
    """``ports.Journal`` over a ``LocalStore`` and a ``SharedLog``: ``load``, then ``run`` as a task, at last
    ``close``.

    Args:
        index: what is in force; read here, and filled from ``store`` before ``load``.
        apply: puts changes in force, in ``index`` first.
        set_knowledge: told how far the index may be relied on, whenever that changes.
        refuse_when_stale: nothing is to be decided after ``max_stale_s`` without contact, nor before the first.
        sleep: as ``asyncio.sleep``.
    """

    def __init__(
        self,
        *,
        index: MemoryRegistry,
        store: LocalStore,
        log: SharedLog,
        apply: Apply,
        set_knowledge: Callable[[Knowledge], None],
        clock: Clock,
        max_stale_s: float = 30.0,
        refuse_when_stale: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._apply = apply
        self._sleep = sleep
        self._behind = WriteBehind(store)
        self._mirror = Mirror(index=index, apply=apply, log=log, behind=self._behind, clock=clock)
        self._contact = Contact(clock, set_knowledge, max_stale_s=max_stale_s, refuse_when_stale=refuse_when_stale)
        self._follower = Follower(
            mirror=self._mirror,
            behind=self._behind,
            contact=self._contact,
            store=store,
            log=log,
            clock=clock,
        )
        self._commits: set[asyncio.Task[Any]] = set()

    @property
    def following(self) -> bool:
        """Whether all that others write is known here, a moment later."""
        return self._contact.following

    @property
    def ever(self) -> bool:
        """Whether it was following once, since the start."""
        return self._contact.ever

    @property
    def times_lost(self) -> int:
        """How often it was following, and then could not."""
        return self._contact.times_lost

    @property
    def reconciliations(self) -> int:
        """How often everything here was compared with everything in the log."""
        return self._follower.reconciliations

    @property
    def entries_followed(self) -> int:
        """Writes of others that were taken over one by one."""
        return self._follower.followed

    @property
    def records_restored(self) -> int:
        """Records that the log did not have, and has from here."""
        return self._follower.restored

    @property
    def waiting(self) -> int:
        """Records of which the log is to be told, or cannot be."""
        return self._follower.waiting

    @property
    def clock_skew_s(self) -> float:
        """By how many seconds the clock here is ahead of the shared log's, when it was followed last."""
        return self._follower.skew_s

    def stale_s(self) -> float:
        """For how long others may have written what is not known here; 0 while following."""
        return self._contact.stale_s()

    async def load(self) -> None:
        """Goes on from what the file says; raises ``Unavailable``."""
        await self._follower.load()

    async def run(self) -> None:
        """Follows for ever."""
        while True:
            delay_s = await self.step()
            if delay_s:
                await self._sleep(delay_s)

    async def step(self) -> float:
        """One round of ``run``: returns the seconds after which to go on; raises nothing."""
        return await self._follower.step()

    async def first_sync(self, timeout_s: float) -> bool:
        """Waits until it is following for the first time; whether it is."""
        synced = self._follower.synced
        waiting = [asyncio.ensure_future(synced.wait()), asyncio.ensure_future(self._sleep(timeout_s))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return synced.is_set()

    async def settled(self) -> None:
        """What is in force here is in the file when it returns; raises ``Unavailable``."""
        await self._behind.settled()

    async def clients(self, client_key: str) -> Sequence[ClientRecord]:
        """As ``LocalStore.clients``, with all that is in force."""
        await self._behind.settled()
        return await self._store.clients(client_key)

    async def close(self) -> None:
        """Waits for the writes under way, here and to the file."""
        if self._commits:
            await asyncio.wait(set(self._commits))
        await self._behind.close()

    async def commit(self, plan: Plan[T], *, urgent: bool = False) -> T:
        """See ``ports.Journal``. Whoever goes away meanwhile cancels only his waiting."""
        work: Coroutine[Any, Any, T] = self._commit_urgent(plan) if urgent else self._commit(plan)
        task = asyncio.ensure_future(work)
        self._commits.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._commits.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: its caller may be gone

    async def _commit(self, plan: Plan[T]) -> T:
        async with self._follower.lock:
            for _ in range(_TRIES):
                if not self.following:
                    raise _unavailable("the shared store is not followed, and nothing was changed: try again")
                changes, result = plan()
                if not changes:
                    return result
                try:
                    appended = await self._follower.append(changes)
                except Unavailable as error:
                    raise _unavailable(
                        f"whether this was written is not known; look before it is written again: {error.detail}"
                    ) from error
                if appended:
                    await asyncio.gather(self._apply(changes), self._durable())
                    return result
                await self._others_first()
        raise _unavailable("others keep writing, and nothing was changed: try again")

    async def _commit_urgent(self, plan: Plan[T]) -> T:  # noqa: RET503 - _keep does not return
        # What was planned first is shared also where a later plan no longer says so: it is in force here already.
        planned: dict[str, Change] = {}
        if self._follower.lock.locked():  # by one who waits for a server, perhaps
            changes, _ = plan()
            planned = _by_key(changes)
            await self._apply(changes)
        async with self._follower.lock:
            for _ in range(_TRIES):
                changes, result = plan()
                planned |= _by_key(changes)
                if not planned:
                    return result
                changes = list(planned.values())
                await self._apply(changes)
                if not self.following:
                    await self._keep(planned, "it is not followed")
                try:
                    appended = await self._follower.append(changes)
                    if not appended:
                        await self._others_first()
                except Unavailable as error:
                    await self._keep(planned, error.detail)
                if appended:
                    await self._durable()
                    return result
            await self._keep(planned, "others keep writing")

    async def _others_first(self) -> None:
        await self._follower.others_first()
        await self._sleep(secrets.randbelow(1000) / 1000 * _JITTER_S)

    async def _durable(self) -> None:
        try:
            await self._behind.settled()
        except Unavailable as error:
            raise _unavailable(
                f"it is in force everywhere, but is not in this sidecar's own file yet: {error.detail}"
            ) from error

    async def _keep(self, planned: Mapping[str, Change], why: str) -> NoReturn:
        self._mirror.keep(planned)
        try:
            await self._behind.settled()
        except Unavailable as error:
            raise _unavailable(
                "it is in force at this sidecar until its next start, and will reach the others if the shared "
                f"store answers before that, for it could not be stored: {error.detail}"
            ) from error
        raise _unavailable(
            "it is in force at this sidecar and kept, and will reach the others when the shared store answers "
            f"again: {why}"
        )


def _by_key(changes: Sequence[Change]) -> dict[str, Change]:
    return {change.key: change for change in changes}


def _unavailable(detail: str) -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, detail)
