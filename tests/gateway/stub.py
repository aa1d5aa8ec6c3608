"""A sidecar that plays exactly the bytes it is told, and remembers what it was asked.

Law of this file: it judges nothing; a test says what goes out, in which pieces, and what becomes of the
connection.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path


class After(Enum):
    """What becomes of a connection once the bytes are out."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()


@dataclass(frozen=True, slots=True)
class Play:
    """One answer: its pieces, the seconds between two of them, and what follows."""

    pieces: Sequence[bytes]
    after: After = After.KEEP
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived."""

    connection: int
    line: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """The only value of that name, or ``None``."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, self.headers
        return values[0] if values else None


def reply(status: str, *headers: str, body: bytes = b"", length: int | str | None = None) -> bytes:
    """A reply with its Content-Length, or with the one that is given."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


IDENTITY = (
    "X-Application-Id: app-1",
    "X-Application-Name: Orders mobile",
    "X-Credential-Identifier: orders-mobile",
    "X-Auth-Method: bearer",
)


def allowed(*headers: str) -> bytes:
    """A well-formed 200 with further headers."""
    return reply("200 OK", *IDENTITY, *headers)


def problem(status: str, reason: str, *headers: str) -> bytes:
    """A well-formed refusal with a problem body."""
    body = f'{{"type":"about:blank","status":{status[:3]},"reason":"{reason}"}}'.encode()
    return reply(status, "Content-Type: application/problem+json", *headers, body=body)


class StubSidecar:
    """Listens on loopback, or on a Unix socket when a path is given; with a context over TLS."""

    def __init__(self, path: Path | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._path = path
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._plays: deque[Play] = deque()
        self._choose: Callable[[Asked], Play | bytes] | None = None
        self.asked: list[Asked] = []
        self.url = ""

    async def start(self) -> None:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._connected, self._path)
            self.url = f"unix:{self._path}"
        else:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
            scheme = "https" if self._tls else "http"
            self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    def play(self, *plays: Play | bytes) -> None:
        """Forgets what was asked; answers in that order, and with the last one from then on."""
        self.asked = []
        self._choose = None
        self._plays = deque(play if isinstance(play, Play) else Play([play]) for play in plays)

    def answer_by(self, choose: Callable[[Asked], Play | bytes]) -> None:
        """Forgets what was asked; from then on each request gets what ``choose`` says."""
        self.asked = []
        self._choose = choose

    def _next(self, asked: Asked) -> Play:
        if self._choose is not None:
            chosen = self._choose(asked)
            return chosen if isinstance(chosen, Play) else Play([chosen])
        return self._plays.popleft() if len(self._plays) > 1 else self._plays[0]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        try:
            await self._serve(reader, writer, self._connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the gateway gave up on this connection, as some tests want it to
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            fields = [field.partition(":") for field in lines]
            self.asked.append(Asked(number, line, tuple((name, value.strip()) for name, _, value in fields)))
            play = self._next(self.asked[-1])
            if play.after is After.CLOSE and connection.family != socket.AF_UNIX:
                # The end of the connection then travels with the bytes, which is the hardest case to read.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            for index, piece in enumerate(play.pieces):
                if index and play.pause_s:
                    await asyncio.sleep(play.pause_s)
                writer.write(piece)
                await writer.drain()
            if play.after is After.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            if play.after in (After.CLOSE, After.RESET):
                return
            if play.after is After.STALL:
                await reader.read()
                return
