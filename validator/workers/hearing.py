"""How long a worker has heard nothing from its supervisor, and what it may therefore rely on.

Law of this file: a supervisor that says nothing follows nobody who shares the truth. What it said last holds for
a while, and never for longer than the configuration allows.
"""

from collections.abc import Callable
from typing import Final

from validator.model import Knowledge
from validator.settings.redis import Redis

_SILENT_S: Final = 10.0  # a supervisor asks for a report every two seconds
_REFUSED_S: Final = 5.0  # at least: whoever is held up for a moment is heard again
_AGAIN_S: Final = 1.0  # one that speaks again has yet to read what it has missed


class Hearing:
    """Of one worker.

    Args:
        redis: of the configuration it began with; ``None``: nobody shares the truth, and silence hides nothing.
        told: how far the supervisor says that it knows the whole truth.
        monotonic: seconds that never run backwards.
    """

    def __init__(self, redis: Redis | None, told: Knowledge, monotonic: Callable[[], float]) -> None:
        self._shared = redis is not None
        self._refused_s = (
            max(redis.max_stale_s, _REFUSED_S) if redis is not None and redis.when_stale == "refuse" else None
        )
        self._silent_s = min(_SILENT_S, self._refused_s or _SILENT_S)
        self._monotonic = monotonic
        self._heard_at = monotonic()
        self._silence: tuple[float, float] | None = None  # the last one: since when, and until when
        self._told = told
        self._behind_since = None if told is Knowledge.CURRENT else self._heard_at

    def heard(self) -> None:
        """Something, just now."""
        now = self._monotonic()
        if now - self._heard_at > self._silent_s:
            self._silence = self._heard_at, now
        self._heard_at = now

    def told(self, knowledge: Knowledge) -> None:
        """It knows so far now."""
        self._told = knowledge
        if knowledge is Knowledge.CURRENT:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._monotonic()

    @property
    def silent_since(self) -> float | None:
        """Since when it says nothing; ``None``: it speaks, or nothing is shared."""
        now = self._monotonic()
        if not self._shared:
            return None
        if now - self._heard_at > self._silent_s:
            return self._heard_at
        if self._silence is not None and now - self._silence[1] < _AGAIN_S:
            return self._silence[0]
        return None

    @property
    def knowledge(self) -> Knowledge:
        """What may be relied on now."""
        since = self.silent_since
        if since is None or self._told is Knowledge.REFUSED:
            return self._told
        stale_since = since if self._behind_since is None else min(since, self._behind_since)
        if self._refused_s is not None and self._monotonic() - stale_since > self._refused_s:
            return Knowledge.REFUSED
        return Knowledge.BEHIND
