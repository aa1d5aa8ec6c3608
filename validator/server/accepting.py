"""How connections are taken off listening sockets, which other processes may take them off too.

Law of this file: a connection that waits in the kernel is taken within a bounded time by whoever can, whatever the
others do. Within that, who has more connections than the others lets them go first.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog

from validator.server.listening import BACKLOG
from validator.server.sharing import Seat

_AT_A_TURN: Final = 32  # a handshake costs a millisecond, and other connections wait for their turn
_SHARED_AT_A_TURN: Final = 2  # so that a burst spreads over those who accept
_WAY_S: Final = 0.002  # for others to go first: several turns of a busy loop, and nothing to a caller
_BEHIND_OTHERS: Final = 2  # of those whom nobody else took; the more, the less even a burst is on a busy machine
_PAUSE_S: Final = 1.0  # asyncio's own

log = structlog.get_logger(__name__)

Later = Callable[..., asyncio.TimerHandle]


class Acceptor:
    """Takes connections off listening sockets from ``begin`` to ``close``, and closes the sockets then.

    Args:
        take: is given each connection.
        seat: this process's place among those that accept from the same sockets; ``None``: there are no others.
        later: ``loop.call_later`` by default.

    Attributes:
        paused: sockets that are not read for a moment, since the system has no more descriptors.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        take: Callable[[socket.socket], None],
        *,
        seat: Seat | None = None,
        later: Later | None = None,
    ) -> None:
        self._sockets = tuple(sockets)
        self._take = take
        self._seat = seat
        self._later = later
        self._waits: dict[socket.socket, asyncio.TimerHandle] = {}
        self.paused: set[socket.socket] = set()

    def begin(self) -> None:
        """Accepts from now on."""
        for listener in self._sockets:
            self._read(listener)
        if self._seat is not None:
            self._seat.accept(True)

    def close(self, *, rest: bool) -> None:
        """Listens no more.

        Args:
            rest: takes what waits in the kernel, which would be reset if nobody else listened on the sockets.
        """
        if self._seat is not None:
            self._seat.accept(False)
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            if listener.fileno() >= 0:
                self._stop_waiting(listener)
                loop.remove_reader(listener.fileno())
                if rest:
                    self._accept(listener, BACKLOG)
                    self._stop_waiting(listener)
            listener.close()

    def _read(self, listener: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listener.fileno(), self._readable, listener)

    def _readable(self, listener: socket.socket) -> None:
        if self._seat is None:
            self._accept(listener, _AT_A_TURN)
        elif self._seat.has_more_than_its_share():
            self._wait(listener, _WAY_S, partial(self._take_rest, listener))
        else:
            self._accept(listener, _SHARED_AT_A_TURN)

    def _take_rest(self, listener: socket.socket) -> None:
        """The others had their chance: what still waits, waits for nobody who is slow, stopped or hung."""
        self._resume(listener)
        self._accept(listener, _BEHIND_OTHERS)

    def _accept(self, listener: socket.socket, most: int) -> None:
        for _ in range(most):
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause(listener, error)
                return
            accepted.setblocking(False)
            self._take(accepted)

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """The socket stays ready while there are no descriptors, so the loop would do nothing else."""
        log.error("accepting pauses", seconds=_PAUSE_S, error=error.strerror)
        self._wait(listener, _PAUSE_S, partial(self._resume, listener))
        self.paused.add(listener)

    def _wait(self, listener: socket.socket, seconds: float, then: Callable[[], Any]) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.fileno())
        self._waits[listener] = (self._later or loop.call_later)(seconds, then)

    def _resume(self, listener: socket.socket) -> None:
        self._stop_waiting(listener)
        self._read(listener)

    def _stop_waiting(self, listener: socket.socket) -> None:
        self.paused.discard(listener)
        if (wait := self._waits.pop(listener, None)) is not None:
            wait.cancel()
