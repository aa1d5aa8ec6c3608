"""A place among the workers is filled again, not too soon, and says why it cannot be filled."""

import asyncio

import pytest
from structlog.testing import capture_logs
from workers_imitation import WITHIN_S, Imitation, good, scene, settings
from workers_support import until

from validator.workers import messages, slot
from validator.workers.messages import Complete, Drain, Hello, Reload, Report, Serve
from validator.workers.process import CannotStartError, WorkerGoneError, WorkerProcess


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
    """And it is no failure, however often it happens."""
    async with scene(monkeypatch) as made:
        changes = [settings(f"http://127.0.0.1:{port}") for port in (10, 11, 12)]

        def changes_meanwhile(worker: Imitation, number: int, message: messages.Down) -> None:
            if isinstance(message, (Complete, Reload)) and changes:
                made.settings = changes.pop(0)
            good(worker, number, message)

        made.behave = changes_meanwhile
        with capture_logs() as logs:
            made.slot.fill()
            first = await made.number(1)
        kinds = [type(message) for message in first.heard if not isinstance(message, Report)]
        assert kinds == [Hello, Complete, Reload, Reload, Reload, Serve]
        last = [message for message in first.heard if isinstance(message, Reload)][-1]
        assert messages.unpacked(last.packed).strategies["plain"].issuer.endswith(":12")
        assert logs == []
        assert made.slot.restarts == 0


async def test_one_that_reads_a_large_configuration_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "_SILENT_S", 0.02)
    monkeypatch.setattr(slot, "_POLL_S", 0.01)
    held: list[tuple[Imitation, int, messages.Down]] = []

    def holds(worker: Imitation, number: int, message: messages.Down) -> None:
        if held or isinstance(message, Reload):
            held.append((worker, number, message))
        else:
            good(worker, number, message)

    async with scene(monkeypatch) as made:
        made.behave = holds
        made.slot.fill()
        first = await made.number(1)
        made.settings = settings("http://127.0.0.1:10")
        reloading = asyncio.create_task(made.slot.reload(made.settings))
        await until(lambda: _several(held))  # it was asked again and again
        assert not first.code.done()
        asked, held[:] = list(held), []
        first._behave = good
        for one in asked:
            good(*one)
        await asyncio.wait_for(reloading, WITHIN_S)
        assert made.slot.worker is not None
        assert not made.slot.worker.reloading
        assert not first.code.done()


async def _several(held: list[tuple[Imitation, int, messages.Down]]) -> bool:
    return len(held) >= 4


@pytest.mark.parametrize("error", [ValueError("embedded null byte"), RuntimeError(), OSError(11, "no more")])
async def test_no_error_of_starting_one_leaves_a_place_empty(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async with scene(monkeypatch) as made:
        failing = [error]

        async def spawn(descriptors: object, failed: object) -> WorkerProcess:
            if failing:
                raise failing.pop()
            return await made.spawn(descriptors, failed)

        monkeypatch.setattr(WorkerProcess, "spawn", spawn)
        made.slot.fill()
        with pytest.raises((OSError, WorkerGoneError)):
            await asyncio.wait_for(made.slot.filled, WITHIN_S)
        await made.number(1)


async def test_a_signal_without_a_name_leaves_no_place_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as made:
        made.slot.fill()
        (await made.number(1)).end(-35)
        await made.number(2)


@pytest.mark.parametrize("cut_off", [False, True], ids=["it waits", "it waits no more"])
async def test_what_ends_a_start_for_all_is_no_failure_of_one(
    monkeypatch: pytest.MonkeyPatch, cut_off: bool
) -> None:
    """A signal to a whole process group may reach a worker first."""

    def ends(worker: Imitation, _number: int, message: messages.Down) -> None:
        if isinstance(message, Complete):
            worker.end(-15)
            if cut_off:
                made.slot.filled.cancel()
            asyncio.get_running_loop().call_later(
                0.02, lambda: emptied.append(asyncio.create_task(made.slot.empty(1.0)))
            )

    emptied: list[asyncio.Task[None]] = []
    async with scene(monkeypatch) as made:
        made.behave = ends
        with capture_logs() as logs:
            made.slot.fill()
            await until(lambda: _any(emptied))
            await asyncio.wait_for(emptied[0], WITHIN_S)
        assert [entry["event"] for entry in logs] == []


async def test_one_that_is_being_started_in_the_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as made:
        go_on = asyncio.Event()
        spawning = asyncio.Event()

        async def spawn(descriptors: object, failed: object) -> WorkerProcess:
            spawning.set()
            await go_on.wait()
            return await made.spawn(descriptors, failed)

        monkeypatch.setattr(WorkerProcess, "spawn", spawn)
        made.behave = lambda *_: None  # it would never be ready
        with capture_logs() as logs:
            made.slot.fill()
            await asyncio.wait_for(spawning.wait(), WITHIN_S)
            emptying = asyncio.create_task(made.slot.empty(1.0))
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.wait_for(emptying, WITHIN_S)
        assert logs == []


async def _any(found: list[asyncio.Task[None]]) -> bool:
    return bool(found)


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
