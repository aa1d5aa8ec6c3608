"""A way to Redis, or to anything on TCP, that fails on demand.

Law of this file: what passes is passed on unchanged until the fault that is set says otherwise; a fault is set and
lifted at run time, for connections that are open and for those to come. It runs in a thread of its own, so a busy
loop of a test's makes nothing slower here.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from enum import Enum
from typing import Self

_CHUNK = 64 * 1024
_WITHIN_S = 10.0
_DELAY_S = 0.1


class Fault(Enum):
    PASS = "everything passes"
    REFUSE = "nobody listens, and what was open is cut"
    RESET = "whoever connects is cut with a reset"
    STALL = "questions arrive, no answer comes before the fault is lifted"
    SLOW = "each answer comes late"
    GARBAGE = "answers are replaced"
    CUT = "half an answer, then the end"


class FaultProxy:
    """Use it as ``with FaultProxy(("127.0.0.1", port)) as proxy:``.

    Attributes:
        port: where it listens.
        accepted: connections so far.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.port = 0
        self.accepted = 0
        self._target = target
        self._fault = Fault.PASS
        self._delay_s = _DELAY_S
        self._garbage = b""
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.host}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        self._there(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._there(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WITHIN_S)
        self._loop.close()

    def set(self, fault: Fault, *, delay_s: float = _DELAY_S, garbage: bytes | None = None) -> None:
        """In force when this returns.

        Args:
            delay_s: for ``SLOW``.
            garbage: for ``GARBAGE``, in place of each answer; random bytes where none is given.
        """

        async def change() -> None:
            before, self._fault = self._fault, fault
            self._delay_s = delay_s
            self._garbage = random.randbytes(200) + b"\r\n" if garbage is None else garbage
            self._changed.set()
            self._changed = asyncio.Event()
            if fault in (Fault.REFUSE, Fault.RESET):
                self._cut_all()
            if fault is Fault.REFUSE and self._server is not None:
                self._server.close()
                self._server = None
            elif fault is not Fault.REFUSE and before is Fault.REFUSE:
                await self._listen()

        self._there(change)

    def _there(self, work: Callable[[], object]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(_WITHIN_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._cut_all()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cut_all(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            if self._fault is not Fault.RESET:
                await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            _reset(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._open.add(back)
        try:
            questions = asyncio.create_task(self._questions(reader, back))
            answers = asyncio.create_task(self._answers(there, writer))
            pair = {questions, answers}
            try:
                await asyncio.wait(pair, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in pair:
                    task.cancel()
                await asyncio.gather(*pair, return_exceptions=True)
        finally:
            self._open.discard(back)
            _reset(back)

    async def _questions(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            back.write(chunk)
            await back.drain()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await there.read(_CHUNK):
            while self._fault is Fault.STALL:
                await self._changed.wait()
            if self._fault is Fault.SLOW:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._delay_s)
            if self._fault is Fault.CUT:
                writer.write(chunk[: len(chunk) // 2])
                await writer.drain()
                writer.close()
                return
            writer.write(self._garbage if self._fault is Fault.GARBAGE else chunk)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1 and not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
