"""Under which mark something was found out, and whether that is still the present one.

Law of this file: once a client, or everybody, was forgotten, no mark of before is ever the present one again, for
as long as anything that was found out under it may be believed.
"""

from collections.abc import Iterable
from typing import Final

from validator.core.changes import Forgotten
from validator.ports import Clock

KEPT_S = 86400.0  # nothing that was found out is believed for longer
_MAX_MARKS = 10_000  # of clients; some 3 MB
_MANY: Final = "*"  # in the place of a client, under no strategy: those whose marks were too many
_SEPARATOR: Final = "\0"


class Marks:
    """The marks of everybody and of single clients.

    Those of clients are dropped after ``KEPT_S``. Where there are too many before that, all of them are, and a
    further part of everybody's mark changes in their place: what was found out about others is asked for again.
    """

    __slots__ = ("_clients", "_clock", "_everybody", "_many")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._everybody = ""
        self._many = ""  # apart from everybody's, which may be told once more and would undo it
        self._clients: dict[tuple[str, str], tuple[Forgotten, float]] = {}  # the oldest first

    def add(self, change: Forgotten) -> None:
        """Its mark is the present one; that it is so already changes nothing."""
        if change.client_key is None:
            self._everybody = change.mark
        elif change.strategy is None:
            self._many = change.mark
        else:
            self._add(change, (change.strategy, change.client_key))

    def _add(self, change: Forgotten, place: tuple[str, str]) -> None:
        known = self._clients.get(place)
        if known is not None and known[0].mark == change.mark:
            return
        now = self._clock.now()
        self._clients.pop(place, None)
        self._drop(now)
        if len(self._clients) < _MAX_MARKS:
            self._clients[place] = (change, now)
        else:
            self._clients.clear()
            self._many = change.mark

    def of(self, strategy: str, client_key: str) -> str:
        """Everybody's mark and the client's own; "": neither was ever forgotten."""
        known = self._clients.get((strategy, client_key))
        parts = (self._everybody, self._many, known[0].mark if known is not None else "")
        return _SEPARATOR.join(parts) if any(parts) else ""

    def known(self) -> Iterable[Forgotten]:
        """What makes the same marks elsewhere."""
        if self._everybody:
            yield Forgotten(None, None, self._everybody)
        if self._many:
            yield Forgotten(None, _MANY, self._many)
        for change, _ in self._clients.values():
            yield change

    def _drop(self, now: float) -> None:
        while self._clients:
            place, (_, since) = next(iter(self._clients.items()))
            if now - since < KEPT_S:  # where the clock was set back, too
                return
            del self._clients[place]
