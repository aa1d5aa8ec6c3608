"""A circuit breaker: stops asking a server that has stopped answering.

Law of this file: three states and the moves between them, by an injected clock; it makes no call, waits for
nothing and knows no protocol. Not thread-safe: one event loop owns it.
"""

from enum import StrEnum

from validator.ports import Clock

_PROBE_RETRY_S = 1.0  # a caller refused while the probe runs: its answer is seconds away, not a whole period


class BreakerState(StrEnum):
    """A metric's value."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Permit:
    """Leave to make one call. Its holder reports exactly one outcome; further reports are ignored.

    An outcome counts only in the period in which the permit was given: a call that was already under way when
    the breaker opened says nothing about the server's health at the time of the probe.
    """

    __slots__ = ("_breaker", "_period")

    def __init__(self, breaker: "CircuitBreaker", period: int) -> None:
        self._breaker = breaker
        self._period = period

    def succeeded(self) -> None:
        """The server answered."""
        if self._spend():
            self._breaker._on_success()  # noqa: SLF001  two halves of one thing

    def failed(self) -> None:
        """The server did not answer, or answered that it cannot."""
        if self._spend():
            self._breaker._on_failure()  # noqa: SLF001  same

    def abandoned(self) -> None:
        """The caller gave up: nothing was learned, and a probe's place is free again."""
        if self._spend():
            self._breaker._on_abandoned()  # noqa: SLF001  same

    def _spend(self) -> bool:
        period, self._period = self._period, -1
        return period == self._breaker._period  # noqa: SLF001  same


class CircuitBreaker:
    """Closed until ``threshold`` consecutive failures, then open for ``reset_s`` seconds, then half-open: one
    probe goes through, and its outcome closes the breaker or opens it again.

    Args:
        clock: only ``monotonic`` is used.
        threshold: consecutive failures that open it, at least 1.
        reset_s: seconds it stays open before a probe, above 0.

    Raises:
        ValueError: a bound out of range.
    """

    def __init__(self, clock: Clock, *, threshold: int = 5, reset_s: float = 10.0) -> None:
        if threshold < 1:
            raise ValueError(f"threshold must be at least 1, got {threshold}")
        if not reset_s > 0:
            raise ValueError(f"reset_s must be above 0 seconds, got {reset_s}")
        self._clock = clock
        self._threshold = threshold
        self._reset_s = reset_s
        self._failures = 0
        self._probe_at: float | None = None  # None: closed
        self._probing = False
        self._period = 0  # moves with every opening and closing

    @property
    def state(self) -> BreakerState:
        """What a caller would meet now."""
        if self._probe_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._clock.monotonic() >= self._probe_at else BreakerState.OPEN

    @property
    def retry_after_s(self) -> float:
        """Seconds until a refused call is worth another try; 0 when it would be admitted now."""
        if self._probe_at is None:
            return 0.0
        remaining = self._probe_at - self._clock.monotonic()
        if remaining > 0:
            return remaining
        return _PROBE_RETRY_S if self._probing else 0.0

    def admit(self) -> Permit | None:
        """Leave for one call, or ``None`` while the breaker is open or its probe under way."""
        if self.retry_after_s > 0:
            return None
        if self._probe_at is not None:
            self._probing = True
        return Permit(self, self._period)

    def _on_success(self) -> None:
        self._failures = 0
        if self._probe_at is not None:
            self._probe_at = None
            self._move()

    def _on_failure(self) -> None:
        self._failures += 1
        if self._probe_at is not None or self._failures >= self._threshold:
            self._probe_at = self._clock.monotonic() + self._reset_s
            self._move()

    def _on_abandoned(self) -> None:
        self._probing = False

    def _move(self) -> None:
        self._failures = 0
        self._probing = False
        self._period += 1
