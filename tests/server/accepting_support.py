"""Several processes that accept from one socket, and clients that ask which of them has their connection.

Law of this file: it starts, stops and kills those processes, and no others. Everything here blocks.
"""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Self

from validator.server.listening import BACKLOG
from validator.server.sharing import Board

WITHIN_S = 30.0  # a cold start of Python on a busy machine takes seconds
_HERE = Path(__file__).resolve().parent
_ASK = b"GET /v1/authorize/plain/orders HTTP/1.1\r\nHost: v\r\n\r\n"


class Workers:
    """``count`` processes; ``fair=False``: without a board, as one process accepts when it is alone."""

    def __init__(self, count: int, *, fair: bool = True) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.setblocking(False)
        self.board = Board.create(count) if fair else None
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._clients: list[socket.socket] = []
        for slot in range(count):
            self._start(slot)
        for process in self._running.values():
            self._begun(process)

    def _start(self, slot: int) -> subprocess.Popen[bytes]:
        board = self.board.fd if self.board else -1
        inherited = [self._listener.fileno(), *([board] if self.board else [])]
        program = [sys.executable, str(_HERE / "accepting_worker.py"), *map(str, (inherited[0], board, slot))]
        paths = os.pathsep.join(map(str, (_HERE, _HERE.parent, _HERE.parents[1])))
        self._running[slot] = subprocess.Popen(
            program, pass_fds=inherited, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
        )
        return self._running[slot]

    def _begun(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stdout.readline() == b"accepting\n"

    def replace(self, slot: int) -> None:
        """Another process in the place of one that was killed."""
        self._begun(self._start(slot))

    def freeze(self, slot: int) -> None:
        """It does nothing any more, and is not dead; returns once it has stopped."""
        process = self._running[slot]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self, slot: int) -> None:
        """It goes on where it stopped."""
        self._running[slot].send_signal(signal.SIGCONT)

    def kill(self, slot: int) -> None:
        """Returns once it is dead, and its slot is clear."""
        process = self._running.pop(slot)
        process.kill()
        process.wait(WITHIN_S)
        assert process.stdout is not None
        process.stdout.close()
        if self.board is not None:
            self.board.clear(slot)

    def cpu_s(self) -> float:
        """Seconds of CPU that they have used."""
        ticks = 0
        for process in self._running.values():
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def connect(self) -> socket.socket:
        """A connection that waits in the kernel for somebody to take it."""
        client = socket.create_connection(self._listener.getsockname(), timeout=WITHIN_S)
        self._clients.append(client)
        return client

    def ask(self, client: socket.socket) -> int:
        """The slot of the process that has the connection."""
        client.sendall(_ASK)
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            got = client.recv(4096)
            assert got, "closed without an answer"
            answer += got
        return int(answer.partition(b"X-Seen: ")[2].partition(b"\r\n")[0])

    def spread(self, count: int, *, at_once: bool) -> Counter[int]:
        """How many of so many new connections each process gets; at once, or one after the other's answer."""
        if at_once:
            clients = [self.connect() for _ in range(count)]
            return Counter(self.ask(client) for client in clients)
        return Counter(self.ask(self.connect()) for _ in range(count))

    def let_go(self) -> None:
        """The clients close all connections."""
        while self._clients:
            self._clients.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        for slot in list(self._running):
            with suppress(ProcessLookupError):
                self.kill(slot)
        if self.board is not None:
            self.board.close()
        self._listener.close()
