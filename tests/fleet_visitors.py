"""Browsers with a session at a fleet: each asks one member after the other, and keeps the newest cookie.

Law of this file: a visitor goes by what the answers tell, as a browser does; whatever was not answered 200 is
remembered. No pytest.
"""

import asyncio
import http.client
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from fleet_load import open_session
from fleet_processes import AUTHORIZE, Fleet, Member

_PAUSE_S = 0.01


@dataclass(slots=True)
class Visitor:
    """``renewed``: how often its cookie was replaced."""

    cookie: Mapping[str, str]
    renewed: int = 0


class Visitors:
    """Use it as ``async with Visitors(fleet, pair, rng, count=6) as visitors:``; they ask while the block runs.

    Args:
        pair: with which each session is opened, at another member each.

    Attributes:
        answers: by status.
        lost: member and status of whatever was not allowed; 0: not answered.
    """

    def __init__(self, fleet: Fleet, pair: Mapping[str, str], rng: random.Random, *, count: int) -> None:
        self._fleet = fleet
        self._pair = pair
        self._rng = rng
        self._count = count
        self._stopped = False
        self.visitors: list[Visitor] = []
        self.answers: Counter[int] = Counter()
        self.lost: list[tuple[str, int]] = []

    async def __aenter__(self) -> Self:
        for number in range(self._count):
            await self.another(self._fleet.members[number % len(self._fleet.members)])
        self._tasks = [asyncio.create_task(self._visit(visitor)) for visitor in self.visitors]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def another(self, at: Member) -> Visitor:
        """A session more; nobody asks with it by itself but who came first."""
        cookie, _ = await asyncio.to_thread(open_session, at.data, self._pair)
        visitor = Visitor(cookie)
        self.visitors.append(visitor)
        return visitor

    async def renewed(self, since: Sequence[int]) -> None:
        """Until the cookie of each of the first ones was replaced since, or something is lost."""
        for visitor, before in zip(self.visitors, since, strict=False):
            while visitor.renewed <= before and not self.lost:  # noqa: ASYNC110 - counts, which nobody tells of
                await asyncio.sleep(_PAUSE_S)

    async def ask(self, visitor: Visitor, member: Member) -> int:
        """The status; a cookie that comes with it is kept."""
        try:
            status, cookie = await asyncio.to_thread(_ask, member.data, visitor.cookie)
        except (OSError, http.client.HTTPException):
            status, cookie = 0, ""
        if cookie:
            visitor.cookie = {"Cookie": cookie}
            visitor.renewed += 1
        self.answers[status] += 1
        if status != http.HTTPStatus.OK:
            self.lost.append((member.name, status))
        return status

    async def _visit(self, visitor: Visitor) -> None:
        while not self._stopped:
            await self.ask(visitor, self._rng.choice(self._fleet.members))
            await asyncio.sleep(_PAUSE_S)


def _ask(port: int, headers: Mapping[str, str]) -> tuple[int, str]:
    """Status, and the cookie that a browser would send from now on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", AUTHORIZE, headers=dict(headers))
        reply = connection.getresponse()
        reply.read()
        return reply.status, (reply.getheader("Set-Cookie") or "").partition(";")[0]
    finally:
        connection.close()
