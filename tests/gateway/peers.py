"""Peers that take a connection and do not go on with it.

Law of this file: what the kernel does for a socket that nobody serves; no program, no thread, no event loop.
"""

import contextlib
import socket
from collections.abc import Iterator

_SMALLEST = 1  # the kernel makes the least it can do of it


def _url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """The port is taken, and nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield _url(held)


@contextlib.contextmanager
def unaccepting() -> Iterator[str]:
    """No connection is ever made: as many as may wait to be accepted do so."""
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        while True:
            client = waiting.enter_context(socket.socket())
            client.settimeout(0.1)
            try:
                client.connect(listening.getsockname())
            except TimeoutError:
                break
        yield _url(listening)


@contextlib.contextmanager
def silent(*, reading: bool = True) -> Iterator[str]:
    """Connections are made and nothing comes back; unless ``reading``, no more than some 40 kB go out either."""
    with socket.socket() as listening:
        if not reading:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALLEST)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield _url(listening)
