"""TLS of the data plane.

Law of this file: what a connection is served with was read whole and found good before it began, and a connection
keeps what it began with.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_ALPN: Final = ["http/1.1"]
_SHUTDOWN_S: Final = 2.0  # for a peer that never says goodbye


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
    """Sockets that are listened on, with TLS or without, and by what ``serve`` was last given.

    Args:
        protocol: makes one for each connection.

    Attributes:
        secured: whether connections are served with TLS now.
    """

    def __init__(self, protocol: Callable[[], asyncio.Protocol], sockets: Sequence[socket.socket]) -> None:
        self._protocol = protocol
        self._sockets = tuple(sockets)
        self._servers: list[asyncio.Server] = []
        self.secured = False

    async def serve(self, context: ssl.SSLContext | None, handshake_timeout_s: float) -> None:
        """Serves new connections so; those there are go on as they began, and none is refused between.

        Args:
            handshake_timeout_s: a handshake must be done within.

        Raises:
            OSError: the system has no more descriptors; it stays as it was.
        """
        loop = asyncio.get_running_loop()
        secured = context is not None
        made: list[asyncio.Server] = []
        try:
            for listener in self._sockets:
                server = await loop.create_server(
                    self._protocol,
                    # It closes the socket that it is given; this is another one with the same queue behind it.
                    sock=listener.dup(),
                    ssl=context,
                    ssl_handshake_timeout=handshake_timeout_s if secured else None,
                    ssl_shutdown_timeout=_SHUTDOWN_S if secured else None,
                )
                made.append(server)
        except OSError:
            _close(made)
            raise
        _close(self._servers)
        self._servers, self.secured = made, secured

    def close(self) -> None:
        """Listens no more; connections go on."""
        _close(self._servers)
        for listener in self._sockets:
            listener.close()


def _close(servers: Sequence[asyncio.Server]) -> None:
    for server in servers:
        server.close()


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        known = {"KEY_VALUES_MISMATCH": "the key is not the certificate's"}
        return known.get(error.reason or "", error.reason or "not PEM, or not readable")
    return getattr(error, "strerror", None) or str(error)
