"""Clients that know what they must be answered: a steady stream of requests of several kinds, each judged.

Law of this file: a request is right, lost (nobody was judged: 503, or a broken connection) or wrong (let in who
must not be, or refused who must be let in). What was due while the expectation changed is judged by neither.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import aiohttp

from bench.stage import Stage

TIMEOUT_S = 10.0
ALLOWED, UNAVAILABLE = 200, 503
REFUSALS = frozenset({401, 403, 429})


class Outcome(StrEnum):
    RIGHT = "right"
    UNAVAILABLE = "503"
    BROKEN = "broken"
    WRONG = "wrong"


@dataclass(frozen=True)
class Request:
    """One request and what it must come to.

    Attributes:
        refused: it must not pass, whatever happens.
        still: whether the expectation holds that it was sent with; asked when the answer is there.
    """

    path: str
    headers: Mapping[str, str]
    refused: bool = False
    still: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Kind:
    """A stream of requests; ``make`` is called for each, and returns ``None`` to leave one out."""

    name: str
    per_second: float
    make: Callable[[], Request | None]


@dataclass(frozen=True)
class Seen:
    """One answer: when its request was sent and answered, in monotonic seconds."""

    kind: str
    sent_at: float
    ended_at: float
    outcome: Outcome


@dataclass
class Traffic:
    """Use it as ``async with Traffic(stage, port, kinds) as traffic:``; it sends while the block runs."""

    stage: Stage
    port: int
    kinds: list[Kind]
    seen: list[Seen] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    _tasks: dict[asyncio.Task[None], float] = field(default_factory=dict)  # under way, and since when

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{self.port}",
            connector=aiohttp.TCPConnector(limit=256),
            timeout=aiohttp.ClientTimeout(TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._streams = [asyncio.create_task(self._stream(kind)) for kind in self.kinds]
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.cancel()
        ended = await asyncio.gather(*self._streams, return_exceptions=True)
        await asyncio.gather(*self._tasks)
        await self._session.close()
        for each in ended:
            if isinstance(each, Exception):
                raise each

    async def _stream(self, kind: Kind) -> None:
        """In an open loop: a slow answer delays no other request."""
        due = time.monotonic()
        while True:
            due = max(due + 1 / kind.per_second, time.monotonic() - 1)  # a stall of our own is not made up for
            await asyncio.sleep(due - time.monotonic())
            request = kind.make()
            if request is not None:
                task = asyncio.create_task(self._send(kind.name, request))
                self._tasks[task] = time.monotonic()
                task.add_done_callback(self._tasks.pop)

    async def _send(self, kind: str, request: Request) -> None:
        sent_at = time.monotonic()
        reason = ""
        try:
            async with self._session.get(request.path, headers=request.headers) as answer:
                status = answer.status
                body = await answer.read()
                reason = body.decode(errors="replace")[-60:] if status >= 400 else ""
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = 0
        outcome = self._judged(request, status)
        if outcome is None:
            return
        if outcome is Outcome.WRONG:
            self.wrong[f"{kind}: {status} {reason}".strip()] += 1
        self.seen.append(Seen(kind, sent_at, time.monotonic(), outcome))

    @staticmethod
    def _judged(request: Request, status: int) -> Outcome | None:
        if status == 0:
            return Outcome.BROKEN
        if status == UNAVAILABLE:
            return Outcome.UNAVAILABLE
        if not request.still():
            return None
        right = status in REFUSALS if request.refused else status == ALLOWED
        return Outcome.RIGHT if right else Outcome.WRONG

    # -- what came of it -------------------------------------------------------------------------------------

    def between(self, begin: float, end: float) -> list[Seen]:
        """What was sent then."""
        return [each for each in self.seen if begin <= each.sent_at < end]

    def last_not_right(self, since: float) -> float | None:
        """When the last request since then was sent that was not answered right."""
        return max(
            (each.sent_at for each in self.seen if each.sent_at >= since and each.outcome is not Outcome.RIGHT),
            default=None,
        )

    def waiting_s(self) -> float:
        """How long the request under way that was sent first has been waiting."""
        return time.monotonic() - min(self._tasks.values(), default=time.monotonic())

    def per_second(self, begin: float, end: float, wanted: Callable[[Seen], bool]) -> list[tuple[float, float]]:
        """Requests by the second in which they were sent, counted from ``begin``."""
        seconds = Counter(int(each.sent_at - begin) for each in self.between(begin, end) if wanted(each))
        return [(second, seconds[second]) for second in range(int(end - begin))]
