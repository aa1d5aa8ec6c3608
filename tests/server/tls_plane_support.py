"""A plane with TLS over real sockets, and clients of it."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plane_support import TIMEOUT_S, Peer, Scripted, bearing, until
from tls_support import Authority, Files

from validator.server.dataplane import Bounds, Plane
from validator.server.tls import Listeners, TlsFiles
from validator.testing import ManualClock

NAME = "validator.test"
OURS, GATEWAYS, OTHERS = Authority("ours"), Authority("gateways"), Authority("others")
Test = Callable[["Served"], Awaitable[None]]


class Short(socket.socket):
    """A listening socket that can be short of descriptors."""

    missing = 0
    accepted = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self.missing:
            self.missing -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        pair = super().accept()
        self.accepted += 1
        return pair


@dataclass
class Served:
    """A plane with TLS, and clients of it."""

    directory: Path
    plane: Any
    clock: ManualClock
    pipeline: Scripted
    listeners: Listeners
    listener: "Short"
    address: tuple[str, int]
    peers: list[Peer] = field(default_factory=list)

    async def stall(self, sent: bytes = b"") -> asyncio.StreamReader:
        """A client that begins a handshake and does not go on with it; returns once it is accepted."""
        known = self.taken
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(sent)
        self.peers.append(Peer(reader, writer))
        await until(lambda: self.taken > known)
        return reader

    @property
    def taken(self) -> int:
        """How many were accepted, turned away or not."""
        return self.listener.accepted

    def renew(self, pair: Files, client_ca: Path | None = None, handshake_s: float = TIMEOUT_S) -> None:
        files = TlsFiles(str(pair.certificate), str(pair.key), str(client_ca) if client_ca else None)
        self.listeners.renew(files.context(), handshake_s)

    def client(self, pair: Files | None = None, ca: Authority = OURS) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=ca.certificate.decode())
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    async def peer(self, context: ssl.SSLContext | None = None) -> Peer:
        context = context or self.client()
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*self.address, ssl=context, server_hostname=NAME)
        self.peers.append(Peer(reader, writer))
        return self.peers[-1]

    async def is_refused(self, context: ssl.SSLContext) -> bool:
        """With TLS 1.3 a client hears of it after its side of the handshake."""
        try:
            peer = await self.peer(context)
            peer.send(bearing(b"any"))
            return await peer.rest() == b""
        except (OSError, ssl.SSLError):
            return True


@contextlib.asynccontextmanager
async def serving(directory: Path, **bounds: Any) -> AsyncIterator[Served]:
    pipeline, clock = Scripted(), ManualClock()
    plane = Plane(pipeline, "__Host-session", bounds=Bounds(**bounds), clock=clock)  # type: ignore[arg-type]
    listener = Short(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    served = Served(
        directory, plane, clock, pipeline, Listeners(plane, [listener]), listener, listener.getsockname()
    )
    try:
        yield served
    finally:
        served.listeners.close()
        await served.listeners.finish(0)
        for peer in served.peers:
            peer.writer.transport.abort()
        for connection in list(plane.connections):
            connection.abort()
    await until(lambda: not plane.connections)


async def is_cut(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(TIMEOUT_S):
        with contextlib.suppress(ConnectionError):
            return await reader.read() == b""
    return True


def running(new_loop: Callable[[], asyncio.AbstractEventLoop], directory: Path) -> Callable[..., None]:
    """Runs a test against a plane with TLS and these bounds, on a loop of its own."""

    def run_in(test: Test, **bounds: Any) -> None:
        async def whole() -> None:
            async with serving(directory, **bounds) as served:
                data = OURS.issue(NAME).write(directory, "data")
                await served.listeners.serve(TlsFiles(str(data.certificate), str(data.key)).context(), TIMEOUT_S)
                await test(served)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(whole())

    return run_in
