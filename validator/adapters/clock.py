"""The machine's clocks behind the ``Clock`` port.

Law of this file: the only place that asks the operating system what time it is.
"""

import time


class SystemClock:
    """``ports.Clock`` by the operating system."""

    __slots__ = ()

    # The functions themselves: asked on every request, and a method around one costs more than it does.
    now = staticmethod(time.time)
    """Seconds since the epoch; may jump when the machine's clock is set."""
    monotonic = staticmethod(time.monotonic)
    """Seconds from an arbitrary moment; never runs backwards."""
