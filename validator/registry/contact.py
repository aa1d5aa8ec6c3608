"""Whether the shared log is being followed, since when not, and who is told.

Law of this file: nothing counts as current that was not shown to be; and a line is logged when that changes, not
each time it is found to be so.
"""

import secrets
from collections.abc import Callable
from typing import Final

import structlog

from validator.model import Knowledge
from validator.ports import Clock

_FIRST_S: Final = 0.05
_LAST_S: Final = 1.0
_DOUBLINGS: Final = 5  # until there

_log = structlog.get_logger(__name__)


class Contact:
    """What is known of the contact with the log.

    Args:
        set_knowledge: told how far what is known may be relied on, whenever that changes.

    Attributes:
        following: whether the log is read, and writes are judged by all that it says.
        ever: whether everything was known once since the start; what was written before it may never have been
            heard of here.
        restored: records pushed since the contact was lost, for the line that says that it is back.
        taken: records taken over by reconciling since then.
    """

    def __init__(
        self,
        clock: Clock,
        set_knowledge: Callable[[Knowledge], None],
        *,
        max_stale_s: float,
        refuse_when_stale: bool,
    ) -> None:
        self._clock = clock
        self._set_knowledge = set_knowledge
        self._max_stale_s = max_stale_s
        self._refuse = refuse_when_stale
        self._current_at = clock.monotonic()
        self._told: Knowledge | None = None
        self._said_lost = False
        self._failures = 0
        self._doubtful = False
        self.following = False
        self.ever = False
        self.times_lost = 0
        self.restored = 0
        self.taken = 0

    def stale_s(self) -> float:
        """Seconds since everything was last known here, or since the start; 0 while it is."""
        return 0.0 if self._current else self._clock.monotonic() - self._current_at

    @property
    def _current(self) -> bool:
        return self.following and not self._doubtful

    def found(self, *, doubtful: bool) -> None:
        """Everything is known here, as of now; or the log is followed, but not all of it can be read."""
        if not self.following:
            _log.info(
                "shared store followed",
                after_s=round(self._clock.monotonic() - self._current_at, 3),
                records_taken=self.taken,
                records_restored=self.restored,
            )
        self.restored = self.taken = 0
        if not doubtful:
            self._current_at = self._clock.monotonic()
            self.ever = True
        self._doubtful = doubtful
        self.following = True
        self._said_lost = False
        self._failures = 0
        self.tell()

    def lost(self, why: str) -> float:
        """The log cannot be followed; returns the seconds after which to try again."""
        if self._current:
            self._current_at = self._clock.monotonic()
        if self.following:
            self.times_lost += 1
        self.following = False
        if not self._said_lost:
            self._said_lost = True
            _log.warning(
                "shared store lost",
                detail=f"{why}. What is known goes on; what is not known is not denied; nothing can be written",
            )
        self.tell()
        delay_s: float = min(_LAST_S, _FIRST_S * 2.0 ** min(self._failures, _DOUBLINGS))
        self._failures += 1
        return delay_s * (0.5 + secrets.randbelow(500) / 1000)

    def tell(self) -> None:
        """Says how far what is known may be relied on, where that has changed."""
        knowledge = Knowledge.BEHIND
        if self._current:
            knowledge = Knowledge.CURRENT
        elif self._refuse and (not self.ever or self.stale_s() > self._max_stale_s):
            knowledge = Knowledge.REFUSED
        if knowledge is not self._told:
            self._told = knowledge
            self._set_knowledge(knowledge)
