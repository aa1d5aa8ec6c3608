"""TLS of the data plane.

Law of this file: what a connection is served with was read whole and found good before it began, and a connection
keeps what it began with. One whose handshake is under way is bounded and counted like any other.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from validator.server.accepting import Acceptor
from validator.server.connection import Connection, turned_away
from validator.server.dataplane import Plane
from validator.server.listening import BACKLOG

# Why a handshake fails: refused by either side, too slow, given up by the client, cut for a newer connection.
CAUSES: Final = ("tls", "timeout", "closed", "displaced")
_ALPN: Final = ["http/1.1"]
_SHUTDOWN_S: Final = 2.0  # for a peer that never says goodbye
_DISPLACED_AFTER_S: Final = 1.0  # one between machines of a site takes a hundredth of it
_TOLD_EVERY_S: Final = 10.0
_LAST_HANDSHAKES_S: Final = 0.5  # of a stop: behind each there may be a request

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files; with ``client_ca`` a client must have a certificate that it signed."""

    certificate: str
    key: str
    client_ca: str | None = None

    def context(self) -> ssl.SSLContext:
        """What connections are served with, read from the files as they are now.

        Raises:
            ValueError: they cannot be served with; the message is for an operator.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client that keeps asking for another handshake costs more than it is worth.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(_ALPN)
        try:
            # Without a password here, an encrypted key would have it asked for on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=str)
        except (OSError, ValueError) as error:
            why = _why(error)
            raise ValueError(
                f"listen.data_tls: certificate_file and key_file cannot be used together: {why}"
            ) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ValueError) as error:
                raise ValueError(f"listen.data_tls: client_ca_file cannot be used: {_why(error)}") from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Listeners:
    """Sockets that are listened on, with TLS or without.

    With TLS a connection counts under ``limits.max_connections`` from the moment it is accepted: asyncio's own
    servers tell of one only when its handshake is done, and handshakes that stall would be bounded by nothing. So
    it does where the plane has a seat among several processes: asyncio's servers let nobody go first.

    Args:
        plane: whose connections these are.

    Attributes:
        secured: whether connections are served with TLS.
        failures: handshakes that failed, by cause.
    """

    def __init__(self, plane: Plane, sockets: Sequence[socket.socket]) -> None:
        self._plane = plane
        self._sockets = tuple(sockets)
        self._servers: list[asyncio.Server] = []
        self._context: ssl.SSLContext | None = None
        self._handshake_timeout_s = 0.0
        self._handshakes: dict[Connection, tuple[asyncio.Task[None], float]] = {}  # the oldest first
        self._acceptor: Acceptor | None = None
        self._told: dict[str, tuple[float, int]] = {}
        self.failures = dict.fromkeys(CAUSES, 0)

    @property
    def secured(self) -> bool:
        return self._context is not None

    async def serve(self, context: ssl.SSLContext | None, handshake_timeout_s: float) -> None:
        """Begins to listen.

        Args:
            context: what connections are served with; ``None`` is clear text.
            handshake_timeout_s: a handshake must be done within.

        Raises:
            OSError: the system has no more descriptors.
        """
        loop = asyncio.get_running_loop()
        if context is not None:
            self.renew(context, handshake_timeout_s)
        if context is not None or self._plane.seat is not None:
            self._acceptor = Acceptor(self._sockets, self._take, seat=self._plane.seat)
            self._acceptor.begin()
            return
        for listener in self._sockets:
            # The server closes the socket that it is given; this is another one with the same queue behind it.
            self._servers.append(await loop.create_server(self._plane.connection, sock=listener.dup()))
            # It has set the queue's length to its own default. Given ours, asyncio would also accept that many
            # at one turn of the loop.
            listener.listen(BACKLOG)

    def renew(self, context: ssl.SSLContext, handshake_timeout_s: float) -> None:
        """Serves new connections so; those there are go on as they began, and none is refused between."""
        self._context, self._handshake_timeout_s = context, handshake_timeout_s

    def close(self, *, rest: bool = True) -> None:
        """Listens no more; connections and handshakes go on.

        Args:
            rest: takes what waits in the kernel; not to be where another process listens on and would serve it.
        """
        for server in self._servers:
            server.close()
        # What asyncio's servers leave in the kernel's queue is taken here.
        acceptor = self._acceptor or Acceptor(self._sockets, self._take)
        acceptor.close(rest=rest)

    async def finish(self, timeout_s: float) -> None:
        """Gives the handshakes under way a moment, ``timeout_s`` seconds at most, and cuts those that are left.
        To be called after ``close``."""
        if self._handshakes:
            moment_s = min(_LAST_HANDSHAKES_S, timeout_s)
            await asyncio.wait([task for task, _ in self._handshakes.values()], timeout=moment_s)
        under_way = [task for task, _ in self._handshakes.values()]
        for handshake in under_way:
            handshake.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _take(self, accepted: socket.socket) -> None:
        now = self._plane.clock.monotonic()
        connection = self._plane.admit()
        if connection is None and self.secured and self._displace(now):
            connection = self._plane.admit()
        if connection is None:
            if not self.secured:  # with TLS, what could be said would take the handshake that is refused
                with contextlib.suppress(OSError):
                    accepted.send(turned_away())
            accepted.close()
            return
        begun = self._handshake(connection, accepted) if self.secured else self._serve(connection, accepted)
        handshake = asyncio.get_running_loop().create_task(begun)
        self._handshakes[connection] = handshake, now
        handshake.add_done_callback(partial(self._ended, connection))

    def _displace(self, now: float) -> bool:
        """Cuts the oldest handshake if it has had its time: else peers that stall, which need no certificate for
        it, would keep out every gateway. Whether it made room."""
        for connection, (handshake, since) in self._handshakes.items():
            if now - since < _DISPLACED_AFTER_S:
                break
            if connection in self._plane.arriving:
                self._plane.abandon(connection)
                handshake.cancel()
                self._failed("displaced", "max_connections is reached, and it was the oldest")
                return True
        return False

    async def _serve(self, connection: Connection, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it is gone already
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)

    async def _handshake(self, connection: Connection, accepted: socket.socket) -> None:
        timeout_s = self._handshake_timeout_s
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=timeout_s,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except ssl.SSLError as error:
            self._failed("tls", _why_refused(error))
        except ConnectionAbortedError:  # asyncio's word for it
            self._failed("timeout", f"not done within {timeout_s:g} s")
        except OSError as error:
            self._failed("closed", error.strerror or "the client closed the connection")

    def _ended(self, connection: Connection, _: asyncio.Task[None]) -> None:
        self._plane.abandon(connection)
        del self._handshakes[connection]

    def _failed(self, cause: str, why: str) -> None:
        """Counts each, and tells of one at a time, so that a flood of them is no flood of lines."""
        self.failures[cause] += 1
        now = self._plane.clock.monotonic()
        since, before = self._told.get(cause, (now - _TOLD_EVERY_S, 0))
        if now - since >= _TOLD_EVERY_S:
            # Health checks that do no more than connect give up like that, all day.
            tell = log.info if cause == "closed" else log.warning
            tell("tls handshake failed", cause=cause, why=why, count=self.failures[cause] - before)
            self._told[cause] = now, self.failures[cause]


def _why_refused(error: ssl.SSLError) -> str:
    """OpenSSL's reason; nothing of what the client sent is in it."""
    reason = error.reason or "no reason given"
    verified = getattr(error, "verify_message", None)
    return f"{reason}: {verified}" if verified else reason


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        known = {"KEY_VALUES_MISMATCH": "the key is not the certificate's"}
        return known.get(error.reason or "", error.reason or "not PEM, or not readable")
    return getattr(error, "strerror", None) or str(error)
