"""A place among the workers is filled again, not too soon, and says why it cannot be filled."""

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
from validator.workers.messages import Complete, Drain, Hello, Reload, Report, Serve
from validator.workers.process import CannotStartError, WorkerProcess
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


async def test_one_that_ends_is_replaced_at_once_and_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as made:
        made.slot.fill()
        first = await made.number(1)
        with capture_logs() as logs:
            first.end(-9)
            second = await made.number(2)
        assert [type(message) for message in second.heard[:3]] == [Hello, Complete, Serve]
        (line,) = [entry for entry in logs if entry["event"] == "worker ended"]
        assert (line["worker"], line["pid"], line["signal"], line["again_in_s"]) == (1, 1000, "SIGKILL", 0)
        assert (made.slot.restarts, made.gone) == (1, 1)


async def test_the_first_one_that_says_why_it_cannot_serve_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(worker: Imitation, _number: int, message: messages.Down) -> None:
        if isinstance(message, Complete):
            worker.link.send(messages.up(messages.FAILED, why="no such certificate"))

    async with scene(monkeypatch) as made:
        made.behave = refuses
        made.slot.fill()
        with pytest.raises(CannotStartError, match="no such certificate"):
            await asyncio.wait_for(made.slot.filled, WITHIN_S)


async def test_one_that_keeps_ending_is_started_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(worker: Imitation, _number: int, _message: messages.Down) -> None:
        worker.end(1)

    async with scene(monkeypatch) as made:
        made.behave = ends
        with capture_logs() as logs:
            made.slot.fill()
            await made.started(4)
        waits = [entry["again_in_s"] for entry in logs if entry["event"] == "worker ended"]
        assert waits[:3] == [0, 0.1, 0.2]


async def test_one_that_cannot_reload_makes_room_for_one_that_begins_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses_reloads(worker: Imitation, number: int, message: messages.Down) -> None:
        if isinstance(message, Reload):
            worker.link.send(messages.up(messages.REFUSED, number, why="the file is gone"))
        else:
            good(worker, number, message)

    async with scene(monkeypatch) as made:
        made.behave = refuses_reloads
        made.slot.fill()
        first = await made.number(1)
        made.settings = settings("http://127.0.0.1:10")
        await made.slot.reload(made.settings)
        second = await made.number(2)
        assert isinstance(first.heard[-1], Drain)  # not killed: it answers what it has
        hello = second.heard[0]
        assert isinstance(hello, Hello)
        assert hello.settings is not None
        assert hello.settings.strategies["plain"].issuer.endswith(":10")


async def test_a_configuration_that_changes_during_a_start_is_never_served_in_its_old_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as made:
        before, after = made.settings, settings("http://127.0.0.1:10")

        def changes_meanwhile(worker: Imitation, number: int, message: messages.Down) -> None:
            if isinstance(message, Complete):
                made.settings = after
            good(worker, number, message)

        made.behave = changes_meanwhile
        made.slot.fill()
        await made.number(2)
        assert not any(isinstance(message, Serve) for message in made.workers[0].heard)
        first, second = (worker.heard[0] for worker in made.workers[:2])
        assert isinstance(first, Hello)
        assert isinstance(second, Hello)
        assert (first.settings, second.settings) == (before, after)


async def test_a_report_that_is_none_is_the_end_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def lies(worker: Imitation, number: int, message: messages.Down) -> None:
        if isinstance(message, Report):
            worker.link.send(messages.up(messages.DONE, number, families="none"))
        else:
            good(worker, number, message)

    async with scene(monkeypatch) as made:
        made.behave = lies
        made.slot.fill()
        await made.started(2)
        assert made.workers[0].code.result() == -9
