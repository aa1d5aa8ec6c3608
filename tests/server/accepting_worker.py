"""One of several processes that accept from the same socket: ``accepting_worker.py LISTENER BOARD SLOT``.

Law of this file: descriptors and the slot come from who starts it; a board of -1 is none. It writes a line once it
accepts, answers each request with its slot as ``X-Seen``, and serves until it is killed.
"""

import asyncio
import socket
import sys

import uvloop
from plane_support import Scripted

from validator.adapters.clock import SystemClock
from validator.caching import Reply, Tally
from validator.core.reply import Rendered
from validator.server.dataplane import Bounds, Plane
from validator.server.sharing import Board
from validator.server.tls import Listeners


class Slot(Scripted):
    """Tells which process it is in."""

    def __init__(self, slot):
        super().__init__()
        self._head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: %d\r\nCache-Control: " % slot

    def _allowed(self, _authorization, now):
        return Reply(Rendered(self._head, b"\r\n\r\nok"), Tally(), deadline=now + 30)


async def main(listener, board, slot):
    seat = Board(board).seat(slot) if board >= 0 else None
    plane = Plane(Slot(slot), "__Host-session", bounds=Bounds(), clock=SystemClock(), seat=seat)
    shared = socket.socket(fileno=listener)
    shared.setblocking(False)
    listeners = Listeners(plane, [shared])
    await listeners.serve(None, 10)
    sys.stdout.write("accepting\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*map(int, sys.argv[1:])))
