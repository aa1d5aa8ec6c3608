"""Workers without processes, at the other end of a real link.

Law of this file: no tests; what they answer is in a test's hands.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs
from workers_support import until

from validator.model import Knowledge
from validator.settings import Settings
from validator.testing import ManualClock
from validator.workers import messages
from validator.workers.link import Link, LinkLostError
from validator.workers.messages import Complete, Drain, Hello, Report
from validator.workers.process import WorkerProcess
from validator.workers.slot import Slot

WITHIN_S = 10.0
Behave = Callable[["Imitation", int, messages.Down], None]


class Imitation:
    """A worker without a process: answers as ``behave`` says until it is killed."""

    def __init__(self, pid: int, link: Link, behave: Behave) -> None:
        self.pid = pid
        self.link = link
        self.heard: list[messages.Down] = []
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._behave = behave
        self.task = asyncio.create_task(self._answer())

    def send_signal(self, number: int) -> None:
        self.end(-number)

    def end(self, code: int) -> None:
        if not self.code.done():
            self.code.set_result(code)
            self.link.close()

    async def wait(self) -> int:
        return await asyncio.shield(self.code)

    async def _answer(self) -> None:
        try:
            while True:
                number, message = messages.read_down(await self.link.receive())
                self.heard.append(message)
                self._behave(self, number, message)
        except LinkLostError:
            self.end(-9)


def good(worker: Imitation, number: int, message: messages.Down) -> None:
    if isinstance(message, Complete):
        worker.link.send(messages.up(messages.READY))
    elif isinstance(message, Report):
        worker.link.send(messages.up(messages.DONE, number, families=[], missing=[]))
    elif isinstance(message, Drain):
        worker.end(0)
    elif number:
        worker.link.send(messages.up(messages.DONE, number))


class Scene:
    """A slot whose workers are imitations."""

    def __init__(self) -> None:
        self.workers: list[Imitation] = []
        self.behave: Behave = good
        self.settings = settings("http://127.0.0.1:9")
        self.gone = 0
        clock = ManualClock()
        self.slot = Slot(
            1,
            lambda: Hello(0, 1, (), 3, self.settings, b"k" * 32, Knowledge.CURRENT),
            list,
            descriptors=(),
            failed=lambda _worker, _message: None,
            gone=self._gone,
            monotonic=clock.monotonic,
        )

    def _gone(self) -> None:
        self.gone += 1

    async def spawn(self, _descriptors: object, failed: object) -> WorkerProcess:
        own, other = socket.socketpair()
        link = await Link.over(other, max_bytes=1 << 24)
        self.workers.append(Imitation(1000 + len(self.workers), link, self.behave))
        return WorkerProcess(self.workers[-1], await Link.over(own, max_bytes=1 << 20), failed)

    async def number(self, count: int) -> Imitation:
        """The worker of that number, once it serves."""

        async def there() -> bool:
            return len(self.workers) >= count and self.slot.serving

        await until(there)
        return self.workers[count - 1]

    async def started(self, count: int) -> None:
        """Once so many were."""

        async def there() -> bool:
            return len(self.workers) >= count

        await until(there)


def settings(issuer: str) -> Settings:
    return Settings.model_validate({"strategies": {"plain": {"idp": "generic", "issuer": issuer}}})


@asynccontextmanager
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    made = Scene()
    monkeypatch.setattr(WorkerProcess, "spawn", made.spawn)
    with capture_logs():
        try:
            yield made
        finally:
            await asyncio.wait_for(made.slot.empty(1.0), WITHIN_S)
            for worker in made.workers:
                worker.end(0)
                await asyncio.wait_for(worker.task, WITHIN_S)
