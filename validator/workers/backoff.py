"""How long a worker that has ended stays away.

Law of this file: one that ends once is replaced at once; one that keeps ending takes no processor from the others.
"""

from collections.abc import Callable
from typing import Final

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 5.0
_LIVED_S: Final = 30.0  # whoever lived for so long has not ended for how it begins


class Backoff:
    """For one place among the workers.

    Args:
        monotonic: seconds that never run backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._started = 0.0
        self._next_s = 0.0

    def started(self) -> None:
        """One begins to live."""
        self._started = self._monotonic()

    def ended(self) -> float:
        """It has ended: seconds until the next one is to be started."""
        if self._monotonic() - self._started >= _LIVED_S:
            self._next_s = 0.0
        wait_s = self._next_s
        self._next_s = min(max(2 * wait_s, _FIRST_S), _LONGEST_S)
        return wait_s
