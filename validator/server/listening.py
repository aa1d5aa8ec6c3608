"""Sockets to listen on.

Law of this file: a Unix socket is never open wider than its owner and group, not even for a moment, and never
taken from a process that still answers on it.
"""

import contextlib
import os
import socket
import stat
from pathlib import Path

BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn
_ALL_BUT_OWNER_AND_GROUP = 0o117  # leaves 0660


def tcp(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address that ``host`` names; port 0 takes any free one.

    Raises:
        OSError: in use, not allowed, or no such address.
    """
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(sockets) > 1:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])  # noqa: PLW2901 - the same port
            listener.bind(address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
    except OSError:
        for listener in sockets:
            listener.close()
        raise
    return sockets


def unix(path: str) -> socket.socket:
    """A listening Unix socket of mode 0660; one that a dead process left behind is replaced.

    Raises:
        OSError: another process answers there, or the place is not writable.
    """
    if Path(path).exists():
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            raise OSError(f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(path)
            except OSError:
                Path(path).unlink(missing_ok=True)
            else:
                raise OSError(f"another process listens on {path}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(_ALL_BUT_OWNER_AND_GROUP)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def identity(path: str) -> tuple[int, int]:
    """Names the file that stands at ``path`` now."""
    found = Path(path).stat()
    return found.st_dev, found.st_ino


def remove_own(path: str, own: tuple[int, int]) -> None:
    """Removes the socket if it is still the one that was made: a successor may have replaced it already."""
    with contextlib.suppress(OSError):
        if identity(path) == own:
            Path(path).unlink()
