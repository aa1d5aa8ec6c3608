"""One worker as its supervisor sees it: a process, and what is said to it.

Law of this file: what is told before a worker has everything that was known waits behind that; from ``READY`` on
it is live, which is before it accepts anything: whoever changes something waits for every live one.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self

import structlog

from validator import __version__
from validator.core.changes import Change
from validator.workers import messages
from validator.workers.link import MAX_UP, Link, LinkLostError
from validator.workers.messages import Complete, Down, FailedElsewhere, Hello, Reload, Serve, Snapshot, Up

_PORTION: Final = 2000  # changes of a snapshot in one frame; the loop serves others between two
_LAST_WORDS_S: Final = 1.0
_RELOAD_S: Final = 60.0
_START_S: Final = 120.0  # with a million applications on a slow machine

log = structlog.get_logger(__name__)


class WorkerGoneError(Exception):
    """The worker has ended, or does not answer in time."""


class CannotStartError(Exception):
    """The worker says why it cannot serve; the message is for an operator."""


class WorkerProcess:
    """Made by ``spawn``; then ``begin``.

    Attributes:
        live: it goes by what it is told, and may be serving.
        serving: it accepts requests.
        reloading: how many configurations it has been told of and has not said yet that it goes by.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        link: Link,
        failed: "Callable[[WorkerProcess, FailedElsewhere], None]",
    ) -> None:
        self._process = process
        self._link = link
        self._failed = failed
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._held: list[bytes] | None = []
        self._listening = asyncio.create_task(self._listen())
        self.live = False
        self.serving = False
        self.reloading = 0

    @classmethod
    async def spawn(
        cls, descriptors: Sequence[int], failed: "Callable[[WorkerProcess, FailedElsewhere], None]"
    ) -> Self:
        """
        Args:
            descriptors: what the worker inherits.
            failed: told of each try that failed in it.

        Raises:
            OSError: the system has no room for it.
        """
        own, other = socket.socketpair()
        process = None
        try:
            with other:
                process = await asyncio.create_subprocess_exec(
                    # What this process was imported from, and not what lies in the present directory.
                    *(sys.executable, "-P", "-m", "validator", "worker", str(other.fileno()), __version__),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(other.fileno(), *descriptors),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                )
            return cls(process, await Link.over(own, max_bytes=MAX_UP), failed)
        except BaseException:
            own.close()
            if process is not None:
                process.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    async def begin(self, hello: Hello, known: Iterable[Change]) -> None:
        """Tells it everything; it is live when this returns.

        Args:
            known: as it stands now; what is told from now on comes after it.

        Raises:
            CannotStartError: it says so.
            WorkerGoneError: it has ended, or is not ready within two minutes.
        """
        left = iter(known)
        self._link.send(messages.down(hello))
        try:
            async with asyncio.timeout(_START_S):
                while portion := list(itertools.islice(left, _PORTION)):
                    self._link.send(messages.down(Snapshot(portion)))
                    await self._link.drained()
                    await asyncio.sleep(0)
                self._link.send(messages.down(Complete()))
                held, self._held = self._held or [], None
                for frame in held:
                    self._link.send(frame)
                await asyncio.shield(self._ready)
        except (LinkLostError, TimeoutError) as error:
            raise WorkerGoneError("it does not become ready") from error

    async def serve(self) -> None:
        """Has it accept requests. Raises as ``begin`` does."""
        await self.ask(Serve(), within_s=_START_S)
        self.serving = True

    async def reload(self, packed: bytes) -> None:
        """Has it go by ``messages.packed`` settings. Raises as ``ask`` does."""
        self.reloading += 1
        try:
            await self.ask(Reload(packed), within_s=_RELOAD_S)
        finally:
            self.reloading -= 1

    def tell(self, message: Down) -> None:
        """Does not wait."""
        self._send(messages.down(message))

    def asked(self, message: Down) -> "asyncio.Future[Up]":
        """Tells at once; the answer to come. It raises ``WorkerGoneError``, or ``CannotStartError`` where the
        worker says that it cannot."""
        number = next(self._numbers)
        answer: asyncio.Future[Up] = asyncio.get_running_loop().create_future()
        if self._listening.done():
            answer.set_exception(WorkerGoneError("it has ended"))
            answer.exception()  # seen, also where nobody waits for it
            return answer
        self._asked[number] = answer
        answer.add_done_callback(lambda _: self._asked.pop(number, None))
        self._send(messages.down(message, number))
        return answer

    async def ask(self, message: Down, *, within_s: float) -> Up:
        """The answer. Raises as ``asked`` says, also when there is none in time."""
        try:
            async with asyncio.timeout(within_s):
                return await self.asked(message)
        except TimeoutError:
            raise WorkerGoneError(f"no answer within {within_s:g} s") from None

    async def ends_within(self, seconds: float) -> None:
        """Waits.

        Raises:
            WorkerGoneError: it has ended, or is about to.
        """
        await asyncio.wait([self._listening], timeout=seconds)
        if self._listening.done():
            raise WorkerGoneError("it has ended")

    def kill(self) -> None:
        """It does nothing any more from now on."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    async def end(self, within_s: float) -> None:
        """Gives one that has said its last word a moment to end, and any other one none."""
        if self._listening.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), within_s)
        self.kill()

    async def ended(self) -> int:
        """Its exit code, or minus the signal that ended it; once it has ended."""
        code = await self._process.wait()
        await asyncio.wait([self._listening], timeout=_LAST_WORDS_S)
        self._listening.cancel()
        self._link.close()
        return code

    def _send(self, frame: bytes) -> None:
        if self._held is None:
            self._link.send(frame)
        else:
            self._held.append(frame)

    async def _listen(self) -> None:
        why = "it has ended"
        try:
            while True:
                self._hear(messages.read_up(await self._link.receive()))
        except LinkLostError:
            pass
        except ValueError as error:
            why = f"it does not speak as it should: {error}"
            log.error("worker misspoke", pid=self.pid, detail=str(error))  # noqa: TRY400 - a traceback says less
            self.kill()
        finally:
            self.live = self.serving = False
            gone = WorkerGoneError(why)
            for waiting in [self._ready, *self._asked.values()]:  # a copy: each of them leaves as it is done
                if not waiting.done():
                    waiting.set_exception(gone)
                    waiting.exception()  # seen, also where nobody waits for it

    def _hear(self, message: Up) -> None:
        kind, number = message["kind"], message["number"]
        if kind == messages.READY and not self._ready.done():
            self.live = True
            self._ready.set_result(None)
        elif kind == messages.FAILED and not self._ready.done():
            _refuse(self._ready, message)
        elif kind in {messages.DONE, messages.REFUSED}:
            answer = self._asked.get(number)
            if answer is None or answer.done():
                return  # nobody waits any more
            if kind == messages.DONE:
                answer.set_result(message)
            else:
                _refuse(answer, message)
        elif kind == messages.FAILED_TRY:
            self._failed(self, messages.failed_try(message))
        else:
            raise ValueError(f"a message of kind {kind!r}")


def _refuse(waiting: "asyncio.Future[Any]", message: Up) -> None:
    waiting.set_exception(CannotStartError(str(message.get("why"))))
    waiting.exception()  # seen, also where nobody waits for it
