"""What is told to all workers is told in portions, and only who does not listen is killed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs
from workers_imitation import WITHIN_S, Imitation, Scene, good, settings
from workers_support import until

from validator.core.changes import ApplicationChange
from validator.model import Application
from validator.registry.index import MemoryRegistry
from validator.settings import Settings
from validator.testing import ManualClock
from validator.workers import messages, pool
from validator.workers.messages import Apply, Reload
from validator.workers.pool import Pool
from validator.workers.process import WorkerProcess

OTHER = settings("http://127.0.0.1:10")


class _NoCaches:
    def touch_client(self, strategy: str, client_id: str) -> None: ...

    def touch_id(self, identifier: str) -> None: ...

    def touch_all(self) -> None: ...


def changes(count: int) -> list[ApplicationChange]:
    return [ApplicationChange(f"a-{n}", Application(f"a-{n}", "", "plain", f"c-{n}")) for n in range(count)]


@asynccontextmanager
async def pool_of_two(monkeypatch: pytest.MonkeyPatch, made: Scene) -> AsyncIterator[Pool]:
    """Its time passes quickly."""
    monkeypatch.setattr(pool, "_IN_FORCE_S", 0.1)
    monkeypatch.setattr(pool, "_TURN_S", 0.01)
    monkeypatch.setattr(WorkerProcess, "spawn", made.spawn)
    clock = ManualClock()
    registry = MemoryRegistry(clock=clock, epoch=_NoCaches(), strategies=("plain",))
    held: Settings = made.settings
    several = Pool(held, workers=2, registry=registry, session_key=b"k" * 32, monotonic=clock.monotonic, own=list)
    with capture_logs():
        try:
            await asyncio.wait_for(several.start([]), WITHIN_S)
            yield several
        finally:
            await asyncio.wait_for(several.stop(1.0), WITHIN_S)


def applied(worker: Imitation) -> list[int]:
    return [len(message.changes) for message in worker.heard if isinstance(message, Apply)]


async def test_a_large_change_is_told_in_portions_each_with_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is killed for how many changes there are: each worker here needs most of its time for each."""
    made = Scene()

    def slowly(worker: Imitation, number: int, message: messages.Down) -> None:
        if isinstance(message, Apply):
            asyncio.get_running_loop().call_later(0.06, good, worker, number, message)
        else:
            good(worker, number, message)

    made.behave = slowly
    async with pool_of_two(monkeypatch, made) as several:
        await several.apply(changes(4500))
        for worker in made.workers:
            assert applied(worker) == [1000, 1000, 1000, 1000, 500]
            assert not worker.code.done()
        assert len(made.workers) == 2


async def test_two_large_changes_are_told_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Scene()
    async with pool_of_two(monkeypatch, made) as several:
        await asyncio.gather(several.apply(changes(1500)), several.apply(changes(1)))
        assert applied(made.workers[0]) == [1000, 500, 1]


async def test_who_reads_another_configuration_has_more_time_and_who_does_not_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Scene()
    held: list[tuple[Imitation, int, messages.Down]] = []

    def holds(worker: Imitation, number: int, message: messages.Down) -> None:
        if isinstance(message, Reload) or any(held_by is worker for held_by, _, _ in held):
            held.append((worker, number, message))
        else:
            good(worker, number, message)

    async with pool_of_two(monkeypatch, made) as several:
        made.behave = holds
        for worker in made.workers:
            worker._behave = holds
        reloading = asyncio.create_task(several.reload(OTHER))
        await until(lambda: _reloads(held, 2))
        writing = asyncio.create_task(several.apply(changes(1)))
        await asyncio.sleep(0.3)  # three times what the others have
        assert not any(worker.code.done() for worker in made.workers)
        assert not writing.done()  # and the write is not acknowledged before
        for behind in held:
            good(*behind)
        held.clear()
        await asyncio.wait_for(asyncio.gather(reloading, writing), WITHIN_S)
        assert not any(worker.code.done() for worker in made.workers)


async def test_who_reads_for_too_long_is_killed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_RELOADING_S", 0.1)
    made = Scene()

    def hangs(worker: Imitation, number: int, message: messages.Down) -> None:
        if not isinstance(message, (Reload, Apply)):
            good(worker, number, message)

    async with pool_of_two(monkeypatch, made) as several:
        first = list(made.workers)
        for worker in first:
            worker._behave = hangs
        reloading = asyncio.create_task(several.reload(OTHER))
        await asyncio.wait_for(several.apply(changes(1)), WITHIN_S)
        assert [worker.code.result() for worker in first] == [-9, -9]
        await asyncio.wait_for(reloading, WITHIN_S)


async def test_time_in_which_the_supervisor_itself_was_held_up_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Scene()

    def holds_all_up(worker: Imitation, number: int, message: messages.Down) -> None:
        if isinstance(message, Apply):
            loop = asyncio.get_running_loop()
            loop.call_soon(time.sleep, 0.2)  # twice what workers have
            loop.call_later(0.05, good, worker, number, message)
        else:
            good(worker, number, message)

    made.behave = holds_all_up
    async with pool_of_two(monkeypatch, made) as several:
        await several.apply(changes(1))
        assert not any(worker.code.done() for worker in made.workers)


async def _reloads(held: list[tuple[Imitation, int, messages.Down]], count: int) -> bool:
    return sum(isinstance(message, Reload) for _, _, message in held) >= count
