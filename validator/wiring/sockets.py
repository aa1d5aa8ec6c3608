"""The sockets that a sidecar listens on, from settings.

Law of this file: what was opened here is closed and removed here, and nothing else is.
"""

import asyncio
import socket

from validator.server.listening import identity, remove_own, tcp, unix
from validator.settings import Address


class Sockets:
    """Listening sockets, and the files of those that have one."""

    def __init__(self) -> None:
        self._files: list[tuple[str, tuple[int, int]]] = []

    def listen(self, address: Address) -> list[socket.socket]:
        """Listens on an address.

        Raises:
            OSError: it cannot be listened on; the message is for an operator.
        """
        try:
            sockets = [unix(address.path)] if address.path else tcp(address.host, address.port)
        except OSError as error:
            raise OSError(f"cannot listen on {address}: {error.strerror or error}") from None
        if address.path:
            self._files.append((address.path, identity(address.path)))
        return sockets

    async def remove_files(self) -> None:
        """Removes the files of Unix sockets, but for those that a successor has replaced."""
        while self._files:
            await asyncio.to_thread(remove_own, *self._files.pop())


def shown(address: Address, sockets: list[socket.socket]) -> str:
    """Where these sockets listen, as a person would write it."""
    if address.path:
        return f"unix:{address.path}"
    host, port = sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
