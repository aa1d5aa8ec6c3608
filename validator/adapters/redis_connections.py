"""Connections to one Redis server: opened, lent to one piece of work at a time, taken back or thrown away.

Law of this file: a connection is lent again only when every question on it has had its answer and nothing else has
arrived: a late answer never answers the next question. Opening goes on when nobody waits for it any more, so the
next caller finds it done. The only place that looks inside a connection of redis-py.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ResponseError

Reply = Any
"""What a server may answer: bytes, int, None, or a list of these. A caller looks before it believes."""

Word = str | bytes | int
T = TypeVar("T")
Open = Callable[[], Coroutine[Any, Any, AbstractConnection]]


class Script:
    """Lua that runs on the server, named there by its digest.

    Args:
        text: what it does; every key it touches is among its KEYS.
    """

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.digest: Final = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Session:
    """One connection, for as long as one piece of work has it. Errors are redis-py's own: whoever lends it out
    translates them."""

    __slots__ = ("_connection", "_owed", "answered")

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._owed = 0  # answers to what was asked
        self.answered = False  # whether anything was done, as opposed to refused

    @property
    def settled(self) -> bool:
        """Whether every question has had its answer."""
        return self._owed == 0

    async def command(self, *words: Word) -> Reply:
        return (await self.pipeline(words))[0]

    async def pipeline(self, *commands: Sequence[Word]) -> list[Reply]:
        """Asks all before it reads any answer. An error among the answers is raised once all are read."""
        if (
            not self._connection.is_connected
        ):  # redis-py would connect again, and the rest of the work go elsewhere
            raise ConnectionError("lost")
        self._owed += len(commands)
        packed = self._connection.pack_commands(commands)
        try:
            await self._connection.send_packed_command(packed, check_health=False)
        except RuntimeError:  # uvloop's word for a connection that was reset a moment ago
            raise ConnectionError("lost") from None
        replies: list[Reply] = []
        refusal: ResponseError | None = None
        for _ in commands:
            try:
                replies.append(await self._connection.read_response(disable_decoding=True))
                self.answered = True
            except ResponseError as error:
                refusal = refusal or error
            self._owed -= 1
        if refusal is not None:
            raise refusal
        return replies

    async def script(self, script: Script, keys: Sequence[str], arguments: Sequence[Word] = ()) -> Reply:
        """By its digest; a server that does not know it yet gets it whole."""
        try:
            return await self.command("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except NoScriptError:  # nothing of it has run
            return await self.command("EVAL", script.text, len(keys), *keys, *arguments)


class Connections:
    """``limit`` connections to one server at most; more callers than that wait in line.

    Args:
        open_: makes one that is ready for use, within a bounded time.

    Attributes:
        era: moves when what was open, or being opened, is no longer trusted.
    """

    def __init__(self, open_: Open, *, limit: int) -> None:
        self._open = open_
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[AbstractConnection] = []
        self._abandoned: deque[asyncio.Task[AbstractConnection]] = deque()  # being opened; the caller has gone
        self._lent: set[AbstractConnection] = set()
        self.era = 0

    @property
    def crowded(self) -> bool:
        """Whether a caller would have to wait in line."""
        return self._slots.locked()

    async def run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Lends a connection to ``work``."""
        async with self._slots:
            era = self.era
            connection = await self._ready()
            session = Session(connection)
            self._lent.add(connection)
            try:
                return await work(session)
            finally:
                self._lent.remove(connection)
                if era == self.era and session.settled and _usable(connection):
                    self._idle.append(connection)
                else:
                    discard(connection)

    def clear(self) -> None:
        """None of the connections that are there now is lent again."""
        self.era += 1
        for connection in self._idle:
            discard(connection)
        self._idle.clear()
        for task in self._abandoned:
            _forsake(task)
        self._abandoned.clear()

    def close(self) -> list[asyncio.Task[AbstractConnection]]:
        """Cuts those that are lent, too. Returns what has yet to end."""
        ending = list(self._abandoned)
        self.clear()
        for connection in self._lent:
            discard(connection)
        return ending

    async def _ready(self) -> AbstractConnection:
        while self._idle:
            connection = self._idle.pop()
            if _usable(connection):
                return connection
            discard(connection)
        while self._abandoned:
            task = self._abandoned.popleft()
            if not task.done():
                return await self._opened(task)
            if not task.cancelled() and task.exception() is None:
                if _usable(task.result()):
                    return task.result()
                discard(task.result())
        return await self._opened(asyncio.create_task(self._open()))

    async def _opened(self, task: asyncio.Task[AbstractConnection]) -> AbstractConnection:
        era = self.era
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            if era == self.era:
                self._abandoned.append(task)
            else:
                _forsake(task)
            raise
        return task.result()


def discard(connection: AbstractConnection) -> None:
    """Cuts it at once: a server that says nothing would not say goodbye either, and TLS waits for that."""
    if connection._writer is not None:  # noqa: SLF001  redis-py closes politely only
        connection._writer.transport.abort()  # noqa: SLF001  same
    connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001  same


def _usable(connection: AbstractConnection) -> bool:
    """Whether the other side has neither hung up nor said what nobody asked for; redis-py sees only the first."""
    reader: Any = connection._reader  # noqa: SLF001  there is no other way to look without reading
    writer = connection._writer  # noqa: SLF001  same
    if reader is None or writer is None or writer.transport.is_closing():  # after a reset there is no end to read
        return False
    return reader.exception() is None and not reader.at_eof() and not reader._buffer  # noqa: SLF001  same


def _forsake(task: asyncio.Task[AbstractConnection]) -> None:
    task.cancel()
    task.add_done_callback(_discard_opened)


def _discard_opened(task: asyncio.Task[AbstractConnection]) -> None:
    if not task.cancelled() and task.exception() is None:
        discard(task.result())
