"""Guessing of client secrets, bounded before it reaches the identity provider.

Law of this file: a try is counted when it starts and given back when it proves right or nobody could say, so
that parallel guesses are bounded like successive ones. Client ids that no application has share a bound of
their own, since inventing ids costs an attacker nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cachetools import TTLCache

from validator.core.registry import canonical_client_id
from validator.errors import Denied
from validator.model import Reason
from validator.ports import Clock

_MAX_COUNTERS = 100_000


class Try:
    """One call to the identity provider; ``failed`` makes it count."""

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = False


class _Counter:
    __slots__ = ("started", "until")

    def __init__(self, until: float) -> None:
        self.started = 0
        self.until = until


class Throttle:
    """Failed tries in a fixed window.

    Args:
        max_failures: for one client id under one strategy.
        max_unregistered_failures: for all ids of a strategy together that no application has.
        window_s: seconds from the first failure on.
    """

    def __init__(
        self, clock: Clock, *, max_failures: int, max_unregistered_failures: int, window_s: float
    ) -> None:
        self._clock = clock
        self._max_failures = max_failures
        self._max_unregistered = max_unregistered_failures
        self._window_s = window_s
        self._counters: TTLCache[tuple[str, str | None], _Counter] = TTLCache(
            _MAX_COUNTERS, window_s, timer=clock.monotonic
        )

    def check(self, strategy: str, client_id: str, *, registered: bool) -> None:
        """Raises:
        Denied: ``too_many_attempts``, with the seconds until the window ends.
        """
        for key, bound in self._bounds(strategy, client_id, registered=registered):
            counter = self._counters.get(key)
            if counter is not None and counter.started >= bound:
                whose = "this client id" if key[1] is not None else "client ids without an application"
                raise Denied(
                    Reason.TOO_MANY_ATTEMPTS,
                    f"{counter.started} failed tries for {whose} in {self._window_s:.0f} s",
                    retry_after_s=max(1.0, counter.until - self._clock.monotonic()),
                )

    @contextmanager
    def attempt(self, strategy: str, client_id: str, *, registered: bool) -> Iterator[Try]:
        """Around one call; counts unless the call was no failure.

        Raises:
            Denied: as ``check``.
        """
        self.check(strategy, client_id, registered=registered)
        counters = [self._counter(key) for key, _ in self._bounds(strategy, client_id, registered=registered)]
        for counter in counters:
            counter.started += 1
        attempt = Try()
        try:
            yield attempt
        finally:
            if not attempt.failed:
                for counter in counters:
                    counter.started -= 1

    def _bounds(
        self, strategy: str, client_id: str, *, registered: bool
    ) -> list[tuple[tuple[str, str | None], int]]:
        bounds: list[tuple[tuple[str, str | None], int]] = [
            ((strategy, canonical_client_id(client_id)), self._max_failures)
        ]
        if not registered:
            bounds.append(((strategy, None), self._max_unregistered))
        return bounds

    def _counter(self, key: tuple[str, str | None]) -> _Counter:
        counter = self._counters.get(key)
        if counter is None:
            counter = _Counter(self._clock.monotonic() + self._window_s)
            self._counters[key] = counter
        return counter
