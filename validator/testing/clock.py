"""A clock that moves when it is told to.

Law of this file: no time passes by itself.
"""


class ManualClock:
    """``ports.Clock`` for tests.

    Args:
        now: seconds since the epoch.
        monotonic: seconds from an arbitrary moment.
    """

    def __init__(self, now: float = 1_800_000_000.0, monotonic: float = 1_000.0) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Both clocks move on together; raises ``ValueError`` below 0, neither runs backwards."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds} s")
        self._now += seconds
        self._monotonic += seconds

    def set_now(self, now: float) -> None:
        """The wall clock jumps, as when an administrator or NTP sets it; ``monotonic`` stays."""
        self._now = now
