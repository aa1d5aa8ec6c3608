"""The machine's clocks behind the ``Clock`` port.

Law of this file: the only place that asks the operating system what time it is.
"""

import time


class SystemClock:
    """``ports.Clock`` by the operating system."""

    __slots__ = ()

    def now(self) -> float:
        """Seconds since the epoch; may jump when the machine's clock is set."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary moment; never runs backwards."""
        return time.monotonic()
