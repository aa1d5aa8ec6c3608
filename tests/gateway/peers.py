"""Peers that take a connection and do not go on with it.

Law of this file: what the kernel does for a socket that nobody serves; no program, no thread, no event loop.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator

_SMALLEST = 1  # the kernel makes the least it can do of it


def _url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """The port is taken, and nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield _url(held)


def _listening(backlog: int, *, reading: bool = True) -> socket.socket:
    listening = socket.socket()
    if not reading:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALLEST)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    listening.bind(("127.0.0.1", 0))
    listening.listen(backlog)
    return listening


@contextlib.contextmanager
def unaccepting() -> Iterator[str]:
    """No connection is ever made: the one that may wait to be accepted does so."""
    with _listening(0) as listening, socket.create_connection(listening.getsockname()):
        yield _url(listening)


@contextlib.contextmanager
def late() -> Iterator[tuple[str, Callable[[], None]]]:
    """As ``unaccepting`` until the function is called; from then on as ``silent`` to whoever tries again."""
    with (
        _listening(0, reading=False) as listening,
        socket.create_connection(listening.getsockname()),
        contextlib.ExitStack() as accepted,
    ):

        def accept() -> None:
            accepted.enter_context(listening.accept()[0])

        yield _url(listening), accept


@contextlib.contextmanager
def silent(*, reading: bool = True) -> Iterator[str]:
    """Connections are made and nothing comes back; unless ``reading``, no more than some 40 kB go out either."""
    with _listening(64, reading=reading) as listening:
        yield _url(listening)
