"""What keeps the truth, and what judges by it: how the one speaks to the other.

Law of this file: signatures and promises. Who implements them may be in the same process, or be many others.
"""

from collections.abc import Sequence
from typing import Protocol

from prometheus_client.metrics_core import Metric

from validator.core.changes import Change
from validator.model import ClientCredentials, Knowledge


class Follower(Protocol):
    """What judges requests, as what keeps the truth sees it. Nothing here raises, and all of it ends in bounded
    time."""

    async def apply(self, changes: Sequence[Change]) -> None:
        """Puts changes in force: when it returns, nobody judges by what was before."""

    def know(self, knowledge: Knowledge) -> None:
        """How far what was applied is the whole truth, from now on."""

    def vouch(self, strategy: str, pair: ClientCredentials) -> None:
        """Whoever presents this pair is not guessing: it was just made."""

    async def missing(self) -> list[str]:
        """What is missing before requests can be judged."""

    async def report(self) -> list[Metric]:
        """What has been counted since the start; no counter ever goes back."""
