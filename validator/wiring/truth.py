"""What is written down: in a file, and in the Redis that is shared where there is one.

Law of this file: what is read from either fills the index before anybody judges by it; and what is open is closed
in the order in which one thing rests on another.
"""

import asyncio
import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from validator.adapters.redis_log import RedisLog
from validator.adapters.sqlite import SqliteStore, StoreError
from validator.adapters.sqlite_rows import GONE_KEPT_S
from validator.errors import Unavailable
from validator.ports import Clock
from validator.registry.index import MemoryRegistry
from validator.registry.journal import LocalJournal
from validator.registry.replica import Replica
from validator.registry.writer import RegistryWriter
from validator.settings import Settings
from validator.settings.redis import Redis
from validator.wiring.follower import Follower
from validator.wiring.redis import RedisCalls, open_link

_PURGE_S: Final = 600.0

log = structlog.get_logger(__name__)


class Truth:
    """Made by ``open``; ``catch_up`` before anybody is served, ``close`` in the end.

    Attributes:
        writer: the registry, to be read and written.
    """

    def __init__(self, store: SqliteStore, registry: MemoryRegistry, follower: Follower, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._follower = follower
        self._calls = RedisCalls()
        self._redis: Redis | None = None
        self._shared: RedisLog | None = None
        self._replica: Replica | None = None
        self._background: list[asyncio.Task[None]] = []
        self.writer = RegistryWriter(registry, LocalJournal(store, follower.apply), clock=clock, store=store)

    @classmethod
    async def open(
        cls, settings: Settings, *, registry: MemoryRegistry, follower: Follower, clock: Clock, own: bool
    ) -> "Truth":
        """Opens the store and fills the index from it.

        Args:
            own: no other sidecar may have the store at the same time, and what is shared is followed;
                ``False``: for a look at the store.

        Raises:
            StoreError: the store cannot be used.
            ValueError: the files for Redis's TLS cannot be used.
        """
        path = settings.store.path
        store, loaded = await SqliteStore.open(Path(path) if path else None, clock=clock, own=own)
        registry.load_stored(loaded.applications, loaded.revocations, loaded.forgotten)
        truth = cls(store, registry, follower, clock)
        if own and settings.redis is not None:
            try:
                await truth._share(settings.redis)
            except BaseException as error:
                await truth.close()
                if isinstance(error, Unavailable):
                    raise StoreError(f"the store cannot be read: {error.detail}") from None
                raise
        return truth

    async def catch_up(self) -> None:
        """Knows what others have written when it returns, or has waited for ``redis.start_timeout_s``."""
        if self._replica is None or self._redis is None or self._shared is None:
            return
        self._background.append(asyncio.create_task(self._replica.run()))
        self._background.append(asyncio.create_task(_purge_forever(self._shared)))
        if not await self._replica.first_sync(self._redis.start_timeout_s):
            log.warning(
                "redis not followed yet",
                waited_s=self._redis.start_timeout_s,
                detail="what is known of before is served; what others write is followed as soon as Redis answers",
            )

    async def missing(self, excluded: Collection[str]) -> list[str]:
        """What an operator should know before this sidecar is relied on."""
        missing = [] if await self._store.healthy() else ["the store does not answer"]
        if self._replica is not None and self._redis is not None and "redis" not in excluded:
            stale_s = self._replica.stale_s()
            if not self._replica.ever:
                missing.append("redis: not reached since the start; nothing is known of what others have written")
            elif stale_s > self._redis.max_stale_s:
                missing.append(f"redis: for {stale_s:.0f} s nothing is known of what others write")
        return missing

    def families(self) -> list[Metric]:
        """What is counted of the sharing; nothing where nothing is shared."""
        replica = self._replica
        if replica is None:
            return []
        return [
            GaugeMetricFamily(
                "validator_redis_up", "Whether what others write is followed", float(replica.following)
            ),
            GaugeMetricFamily(
                "validator_redis_stale_seconds",
                "For how long others may have written what is not known here",
                replica.stale_s(),
            ),
            GaugeMetricFamily(
                "validator_redis_clock_skew_seconds",
                "By how much this machine's clock is ahead of Redis's",
                replica.clock_skew_s,
            ),
            GaugeMetricFamily(
                "validator_redis_records_waiting", "Records that Redis does not have yet", replica.waiting
            ),
            CounterMetricFamily(
                "validator_redis_losses", "Times that following was interrupted", replica.times_lost
            ),
            CounterMetricFamily(
                "validator_redis_reconciliations",
                "Times that everything here was compared with everything in Redis",
                replica.reconciliations,
            ),
            CounterMetricFamily(
                "validator_redis_entries", "Writes of others that were taken over", replica.entries_followed
            ),
            CounterMetricFamily(
                "validator_redis_records_restored",
                "Records that Redis had lost and has from here",
                replica.records_restored,
            ),
            *self._calls.families(),
        ]

    async def close(self) -> None:
        """Waits for the writes under way."""
        await self.writer.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._replica is not None:
            await self._replica.close()
        if self._shared is not None:
            await self._shared.close()
        await self._store.close()

    async def _share(self, redis: Redis) -> None:
        self._redis = redis
        self._shared = RedisLog(await open_link(redis, self._calls), redis.prefix, self._clock)
        self._replica = Replica(
            index=self._registry,
            store=self._store,
            log=self._shared,
            apply=self._follower.apply,
            set_knowledge=self._follower.know,
            clock=self._clock,
            max_stale_s=redis.max_stale_s,
            refuse_when_stale=redis.when_stale == "refuse",
        )
        await self._replica.load()
        self.writer = RegistryWriter(self._registry, self._replica, clock=self._clock, store=self._replica)


async def _purge_forever(shared: RedisLog) -> None:
    """Of several sidecars each does it; what one has removed is nothing to another."""
    while True:
        await asyncio.sleep(_PURGE_S)
        with contextlib.suppress(Unavailable):  # following meets it as well, and says so
            await shared.purge(GONE_KEPT_S)
