"""A time limit on somebody else's silence.

Law of this file: only time in which an answer could have been read counts. A loop that was busy, or a process that
waited for a processor, runs its timers before it reads its sockets (uvloop always does), so a plain timeout would
blame the other side for our own delay. So the time is counted in pieces, of which a late one counts for no more
than it is; and when it is over, what has already arrived is read before anybody gives up.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

_PIECES: Final = 10
_SHORTEST_S: Final = 0.001  # below that a timer of whole milliseconds may take no time at all
_LONGEST: Final = 10  # times the limit; where nobody gets a processor for longer than that, so be it
# To read a socket, to parse, to wake the reader, and the same again for a reply in several pieces.
_TURNS: Final = 8


class Patience:
    """``async with Patience(seconds):`` ends what is inside with ``TimeoutError`` when the time is over."""

    __slots__ = ("_ends_at", "_pieces", "_scope", "_timeout_s", "_timer")

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pieces = max(1, min(_PIECES, int(timeout_s / _SHORTEST_S)))
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        loop = asyncio.get_running_loop()
        self._ends_at = loop.time() + _LONGEST * self._timeout_s
        self._wait(self._pieces)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._scope.__aexit__(kind, error, traceback)

    def _wait(self, pieces: int) -> None:
        loop = asyncio.get_running_loop()
        if pieces and loop.time() < self._ends_at:
            self._timer: asyncio.Handle = loop.call_later(self._timeout_s / self._pieces, self._wait, pieces - 1)
        else:
            self._over(_TURNS)

    def _over(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            self._timer = loop.call_soon(self._over, turns - 1)
        else:
            self._scope.reschedule(loop.time())
