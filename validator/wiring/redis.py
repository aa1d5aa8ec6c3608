"""The shared Redis's parts, from settings.

Law of this file: construction, and counting of calls; what is asked of Redis, and what is made of its answers, is
decided elsewhere.
"""

import asyncio
from collections import Counter

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

from validator.adapters.redis_link import RedisLink
from validator.adapters.redis_proofs import RedisProofs
from validator.ports import Clock
from validator.settings.redis import Redis


class RedisCalls:
    """Counts calls, of however many links."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def observe(self, call: str, outcome: str, _seconds: float) -> None:
        """The observer of a link."""
        self._counts[call, outcome] += 1

    def families(self) -> list[Metric]:
        """None where nothing was ever called."""
        if not self._counts:
            return []
        calls = CounterMetricFamily(
            "validator_redis_calls", "Calls to the shared Redis", labels=["call", "outcome"]
        )
        for labels, count in self._counts.items():
            calls.add_metric(labels, count)
        return [calls]


async def open_link(redis: Redis, calls: RedisCalls) -> RedisLink:
    """The way to Redis; nothing is connected yet.

    Raises:
        ValueError: the files for TLS cannot be used.
    """
    return await asyncio.to_thread(RedisLink, redis.endpoint(), timeout_s=redis.timeout_s, observe=calls.observe)


class FleetProofs:
    """What the fleet has found out about credentials, and the way to it."""

    def __init__(self, link: RedisLink, redis: Redis, clock: Clock) -> None:
        self._link = link
        self.proofs = RedisProofs(link, prefix=redis.prefix, clock=clock, timeout_s=redis.timeout_s)

    async def close(self) -> None:
        await self._link.close()
