"""What several sidecars tell each other of the credentials that they have asked about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Slot:
    """Where all that several share of one credential stands. Every name is a keyed digest: it tells nobody what it
    was made of.

    Attributes:
        tag: of everything that one server keeps together.
        name: of the credential.
        counters: where a try counts: the name of each, and how many failed tries it takes.
        window_s: for how long a counter counts, from its first try on.
    """

    tag: str
    name: str
    counters: Sequence[tuple[str, int]] = ()
    window_s: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Answered:
    """Somebody has asked, and this is sealed for the slot."""

    text: str


@dataclass(frozen=True, slots=True)
class OutOfReach:
    """Whoever was waited for got no answer."""

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Somebody is asking. ``since`` is this moment by the server, for whoever waits."""

    since: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Too many tries have failed; seconds until they are forgotten."""

    rest_s: float


@dataclass(frozen=True, slots=True)
class Leave:
    """It is the caller's to ask, and his try is counted.

    Attributes:
        proven: the credential proved right of late, so that this is no guess.
        windows: in which the try was counted, one for each counter.
    """

    proven: bool
    windows: Sequence[str]


Standing = Answered | OutOfReach | Taken | Exhausted | Leave


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of asking.

    Attributes:
        failed: whether the try counts.
        right: whether the credential itself proved right; ``None``: nobody could say.
        text: the answer, sealed for the slot; "": there is none to share.
        text_s: for how long it is shared.
        retry_after_s: of an outage, for those who wait; ``None``: it was none.
    """

    failed: bool = False
    right: bool | None = None
    text: str = ""
    text_s: float = 0.0
    retry_after_s: float | None = None


class SharedProofs(Protocol):
    """What several sidecars have found out, where that was expensive, and whose turn it is to ask. Each call
    returns within a bounded time, a few milliseconds, and raises ``Unavailable`` (``store_unavailable``) where
    nothing can be known or written."""

    async def begin(self, slot: Slot, owner: str, *, lease_s: float, guess: bool, since: int | None) -> Standing:
        """How it stands, in one step; where nobody has asked yet and nobody is asking, the caller gets leave to.

        Args:
            owner: names the caller's asking, and nobody else's.
            lease_s: after that others may ask, whatever has become of the caller.
            guess: whether failed tries stand in its way.
            since: when the caller began to wait, as ``Taken`` said; ``None``: it does not.
        """

    async def settle(self, slot: Slot, owner: str, windows: Sequence[str], outcome: Settled) -> None:
        """Writes down what came of it, and lets others ask.

        Args:
            windows: as ``Leave`` said; none where there was no leave.
        """

    async def vouch(self, slot: Slot) -> None:
        """As if it had proved right."""
