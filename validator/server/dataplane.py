"""The data plane that gateways call on every request: what its connections share.

Law of this file: who is connected, which pipeline is in force, and how connections end. What goes over one is
``connection``'s business.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from validator.pipeline import Pipeline
from validator.ports import Clock
from validator.server.connection import Connection
from validator.server.frames import Frames
from validator.server.routes import Routes
from validator.server.sharing import Seat

_LAST_REQUEST_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one connection may cost; the meaning of each stands in the configuration's ``limits`` section."""

    max_header_bytes: int = 32768
    max_body_bytes: int = 1024 * 1024
    max_connections: int = 10_000
    max_pipelined: int = 64
    idle_timeout_s: float = 75.0
    header_timeout_s: float = 10.0


class Plane:
    """What all connections share: the pipeline in force, the bounds, and who is connected.

    ``pipeline`` may be replaced at any moment (a reload); requests under way end with the one they began with.

    Args:
        seat: this process's place among several that serve the same addresses; ``max_connections`` bounds the
            connections of all of them together then.

    Attributes:
        connections: those that requests may come from.
        arriving: those whose handshake is under way; they count under ``max_connections`` like the others.
    """

    def __init__(
        self, pipeline: Pipeline, cookie_name: str, *, bounds: Bounds, clock: Clock, seat: Seat | None = None
    ) -> None:
        self.bounds = bounds
        self.clock = clock
        self.now = clock.now
        self.connections: set[Connection] = set()
        self.arriving: set[Connection] = set()
        self.refused_connections = 0
        self.bad_requests = 0
        self.draining = False
        self.seat = seat
        self._emptied: asyncio.Event | None = None
        self.replace(pipeline, cookie_name)

    def replace(self, pipeline: Pipeline, cookie_name: str) -> None:
        """Puts another pipeline in force for requests from now on."""
        self.pipeline = pipeline
        self.cookie_name = cookie_name.encode()
        self.routes = Routes(pipeline)
        self.frames = Frames(pipeline, self.cookie_name, max_bytes=self.bounds.max_header_bytes, now=self.now)

    def connection(self) -> Connection:
        """A protocol for ``loop.create_server``."""
        return Connection(self)

    @property
    def count(self) -> int:
        """How many connections there are, those included whose handshake is under way."""
        return len(self.connections) + len(self.arriving)

    def admit(self) -> Connection | None:
        """A protocol for a connection that is not ready yet, counted from now on; ``None`` when there are as many
        as there may be. Who asked gives it back with ``abandon`` when nothing comes of it."""
        connection = Connection(self)
        self.arriving.add(connection)
        if self._counted_within_bounds():
            return connection
        self.abandon(connection)
        self.refused_connections += 1
        return None

    def abandon(self, connection: Connection) -> None:
        """It was admitted, and does not arrive."""
        if connection in self.arriving:
            self.arriving.remove(connection)
            self._count()

    def enter(self, connection: Connection) -> bool:
        """Called by a connection that is ready: whether requests may come from it, or there are as many as there
        may be."""
        admitted = connection in self.arriving
        self.arriving.discard(connection)
        self.connections.add(connection)
        if admitted or self._counted_within_bounds():
            return True
        self.connections.remove(connection)
        self._count()
        self.refused_connections += 1
        return False

    def _count(self) -> None:
        if self.seat is not None:
            self.seat.hold(self.count)

    def _counted_within_bounds(self) -> bool:
        """Counts first: of two processes that look at the same moment, each sees the other's."""
        self._count()
        taken = self.count if self.seat is None else self.seat.total()
        return taken <= self.bounds.max_connections

    def sweep(self) -> None:
        """Closes connections that were idle, or busy with one half request, for too long. To be called every
        second or so; a connection's age is only looked at here, never on the request's way."""
        now = self.clock.monotonic()
        for connection in list(self.connections):
            connection.check_age(now)

    def begin_to_drain(self) -> None:
        """From now on each answer tells its gateway that the connection closes."""
        self.draining = True
        self.frames.forget()

    async def drain(self, timeout_s: float, *, at_once: bool = False) -> None:
        """Answers what was accepted, then closes every connection; after ``timeout_s`` seconds those left are
        cut. A connection between two requests may have the next one on its way, so for the first moment each
        is left to end with the answer that tells the gateway so, unless it is to be ``at_once``."""
        self.begin_to_drain()
        if not at_once:
            await self._emptied_within(min(_LAST_REQUEST_S, timeout_s))
        for connection in list(self.connections):
            connection.close_when_idle()
        await self._emptied_within(timeout_s)
        for connection in list(self.connections):
            connection.abort()

    async def _emptied_within(self, seconds: float) -> None:
        if self.connections:
            self._emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), seconds)

    def lost(self, connection: Connection) -> None:
        """Called by a connection that has ended."""
        self.connections.discard(connection)
        self._count()
        if self._emptied is not None and not self.connections:
            self._emptied.set()
