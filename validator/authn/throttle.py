"""Guessing of client secrets, bounded before it reaches the identity provider.

Law of this file: a try is counted when it starts and given back when it proves right or nobody could say, so
that parallel guesses are bounded like successive ones; who only joins a try under way is measured by those that
have failed. Client ids that no application has share a bound of
their own, since inventing ids costs an attacker nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachetools import TTLCache

from validator.core.registry import canonical_client_id
from validator.errors import Denied
from validator.model import Reason
from validator.ports import Clock

_MAX_COUNTERS = 100_000


class Try:
    """One call to the identity provider; ``failed`` makes it count.

    Attributes:
        right: whether the credential itself proved right; ``None``: nobody could say.
    """

    __slots__ = ("failed", "right")

    def __init__(self) -> None:
        self.failed = False
        self.right: bool | None = None


class _Counter:
    __slots__ = ("failed", "running", "until")

    def __init__(self, until: float) -> None:
        self.failed = 0
        self.running = 0
        self.until = until


Failed = Callable[[str, str, bool], None]
"""Told of a failed try: the strategy, the client id, and whether an application has it."""


def nobody_else(_strategy: str, _client_id: str, _registered: bool) -> None:
    """No other process counts."""


class Throttle:
    """Failed tries in a fixed window.

    Args:
        max_failures: for one client id under one strategy.
        max_unregistered_failures: for all ids of a strategy together that no application has.
        window_s: seconds from the first try on that was not given back.
        workers: how many processes guessers may spread their tries over. What is under way in the others is not
            known, so it is taken for as much as is under way here.
        failed: told of each failed try, so that the others can count it by ``failed_elsewhere``.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_failures: int,
        max_unregistered_failures: int,
        window_s: float,
        workers: int = 1,
        failed: Failed = nobody_else,
    ) -> None:
        self._clock = clock
        self.max_failures = max_failures
        self.max_unregistered = max_unregistered_failures
        self.window_s = window_s
        self._workers = workers
        self._failed = failed
        self._counters: TTLCache[tuple[str, str | None], _Counter] = TTLCache(
            _MAX_COUNTERS, window_s, timer=clock.monotonic
        )

    def check(self, strategy: str, client_id: str, *, registered: bool) -> None:
        """Whether the tries that have failed leave room for one more.

        Raises:
            Denied: ``too_many_attempts``, with the seconds until the window ends.
        """
        self._check(strategy, client_id, registered=registered, running=False)

    def _check(self, strategy: str, client_id: str, *, registered: bool, running: bool) -> None:
        for key, bound in self._bounds(strategy, client_id, registered=registered):
            counter = self._counters.get(key)
            under_way = counter.running * self._workers if counter is not None and running else 0
            if counter is not None and counter.failed + under_way >= bound:
                whose = "this client id" if key[1] is not None else "client ids without an application"
                raise Denied(
                    Reason.TOO_MANY_ATTEMPTS,
                    f"{counter.failed} failed tries and {counter.running} under way for {whose} "
                    f"in {self.window_s:.0f} s",
                    retry_after_s=max(1.0, counter.until - self._clock.monotonic()),
                )

    @contextmanager
    def attempt(
        self, strategy: str, client_id: str, *, registered: bool, guess: bool = True, attempt: Try | None = None
    ) -> Iterator[Try]:
        """Around one call; counts unless the call was no failure. What is no ``guess`` is let through.

        Args:
            attempt: the one to yield, where somebody else is to know of it, too.

        Raises:
            Denied: as ``check``, where those under way count as failures.
        """
        if guess:
            self._check(strategy, client_id, registered=registered, running=True)
        keys = [key for key, _ in self._bounds(strategy, client_id, registered=registered)]
        counters = [(key, self._counter(key)) for key in keys]
        for _, counter in counters:
            counter.running += 1
        attempt = attempt or Try()
        try:
            yield attempt
        finally:
            for key, counter in counters:
                counter.running -= 1
                counter.failed += attempt.failed
                if not counter.failed and not counter.running and self._counters.get(key) is counter:
                    del self._counters[key]  # the next failure begins a window of its own
            if attempt.failed:
                self._failed(strategy, client_id, registered)

    def failed_elsewhere(self, strategy: str, client_id: str, registered: bool) -> None:
        """Counts a try that failed in another process."""
        for key, _ in self._bounds(strategy, client_id, registered=registered):
            self._counter(key).failed += 1

    def _bounds(
        self, strategy: str, client_id: str, *, registered: bool
    ) -> list[tuple[tuple[str, str | None], int]]:
        bounds: list[tuple[tuple[str, str | None], int]] = [
            ((strategy, canonical_client_id(client_id)), self.max_failures)
        ]
        if not registered:
            bounds.append(((strategy, None), self.max_unregistered))
        return bounds

    def _counter(self, key: tuple[str, str | None]) -> _Counter:
        counter = self._counters.get(key)
        if counter is None:
            counter = _Counter(self._clock.monotonic() + self.window_s)
            self._counters[key] = counter
        return counter
