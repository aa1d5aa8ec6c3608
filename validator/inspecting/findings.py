"""What an inspection gathers: the issuers that were visited, and the lines about them as they grow.

Law of this file: it reaches and judges nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from validator.adapters.idp import IdpClient
from validator.core.trust import TrustedPlace
from validator.errors import Unavailable
from validator.issuers import Issuer
from validator.model import Method


@dataclass(slots=True)
class Visit:
    """One issuer and what reaching it brought. ``failure`` is "" where its name is known."""

    trusted: TrustedPlace
    issuer: Issuer
    http: IdpClient
    failure: str = ""

    async def reach(self) -> None:
        try:
            await self.issuer.known()
            await self.issuer.tend()
        except Unavailable as error:
            self.failure = error.detail or "no answer"


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found of a strategy, or of Redis: lines for a person, and whether all that is enabled can work."""

    name: str
    lines: Sequence[str]
    works: bool


@dataclass(slots=True)
class Findings:
    """The lines as they grow.

    Attributes:
        obstacles: by method why it cannot work.
        conditions: by method what it works on, where that cannot be seen from outside.
        bridge_works: whether the HTTP DCR bridge can register clients, where it serves the strategy.
    """

    lines: list[str]
    obstacles: dict[Method, list[str]] = field(default_factory=dict)
    conditions: dict[Method, str] = field(default_factory=dict)
    bridge_works: bool = True

    def say(self, text: str, depth: int = 1) -> None:
        self.lines.append("  " * depth + text)

    def stops(self, method: Method, why: str) -> None:
        self.obstacles.setdefault(method, []).append(why)
