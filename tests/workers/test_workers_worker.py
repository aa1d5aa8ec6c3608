"""A worker goes by what it is told at every moment of its life, and leaves others their turns meanwhile."""

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from workers_imitation import WITHIN_S, settings
from workers_support import until

from validator.core.changes import Change, RevocationChange
from validator.model import Knowledge, Revocation
from validator.server.sharing import Board
from validator.settings import Settings
from validator.testing import ManualClock
from validator.workers import messages, worker
from validator.workers.link import Link, LinkLostError
from validator.workers.messages import Apply, Complete, Drain, Hello, Reload, Serve
from validator.workers.worker import Worker

OTHER = settings("http://127.0.0.1:10")


class Told:
    """A worker in this process, and its supervisor's end of the link."""

    def __init__(self, made: Worker, link: Link, clock: ManualClock) -> None:
        self.worker, self._link, self.clock = made, link, clock
        self.working = asyncio.create_task(made.work())

    @property
    def knowledge(self) -> Knowledge:
        return self.worker._data.registry.knowledge

    @property
    def issuer(self) -> str:
        known: Settings = self.worker._settings
        return known.strategies["plain"].issuer

    def tell(self, message: messages.Down, number: int = 0) -> None:
        self._link.send(messages.down(message, number))

    async def says(self) -> tuple[str, int]:
        async with asyncio.timeout(WITHIN_S):
            said = messages.read_up(await self._link.receive())
        return said["kind"], said["number"]

    async def ready(self) -> None:
        self.tell(Complete())
        assert await self.says() == (messages.READY, 0)

    async def end(self) -> None:
        self.tell(Drain(0.1, rest=True))
        async with asyncio.timeout(WITHIN_S):
            await self.working
            try:
                while True:
                    await self._link.receive()
            except LinkLostError:
                self._link.close()


@asynccontextmanager
async def told(began: Settings | None = None) -> AsyncIterator[Told]:
    own, other = socket.socketpair()
    board = Board.create(1)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    descriptors = (listener.detach(),)
    began = began or settings("http://127.0.0.1:9")
    hello = Hello(0, 1, descriptors, os.dup(board.fd), began, b"k" * 32, Knowledge.CURRENT)
    clock = ManualClock()
    made = Worker(hello, await Link.over(other, max_bytes=1 << 24), clock)
    it = Told(made, await Link.over(own, max_bytes=1 << 24), clock)
    try:
        yield it
    finally:
        await it.end()
        gc.enable()
        gc.unfreeze()
        board.close()


def revoked(count: int) -> list[Change]:
    return [RevocationChange(Revocation("jti", f"t-{n}")) for n in range(count)]


async def test_another_configuration_before_it_serves_is_the_one_it_serves_by() -> None:
    async with told() as it:
        await it.ready()
        it.tell(Reload(messages.packed(OTHER)), 1)
        assert await it.says() == (messages.DONE, 1)
        it.tell(Serve(), 2)
        assert await it.says() == (messages.DONE, 2)
        assert it.issuer.endswith(":10")
        assert [state.issuer for state in it.worker._data.providers.states()] == ["http://127.0.0.1:10"]


async def test_changes_are_acknowledged_while_another_configuration_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, unpacked = threading.Event(), messages.unpacked

    def slowly(packed: bytes) -> Settings:
        go_on.wait(WITHIN_S)
        return unpacked(packed)

    monkeypatch.setattr(messages, "unpacked", slowly)
    async with told() as it:
        await it.ready()
        it.tell(Serve(), 1)
        assert await it.says() == (messages.DONE, 1)
        try:
            it.tell(Reload(messages.packed(OTHER)), 2)
            it.tell(Apply(revoked(1)), 3)
            assert await it.says() == (messages.DONE, 3)
        finally:
            go_on.set()
        assert await it.says() == (messages.DONE, 2)


async def test_a_large_change_leaves_requests_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    async with told() as it:
        await it.ready()
        apply = it.worker._data.apply

        async def noted(changes: Sequence[Change]) -> None:
            seen.append("part")
            asyncio.get_running_loop().call_soon(seen.append, "turn")
            await apply(changes)

        monkeypatch.setattr(it.worker._data, "apply", noted)
        it.tell(Apply(revoked(1000)), 1)
        assert await it.says() == (messages.DONE, 1)
        assert seen == ["part", "turn"] * 5
        assert len(it.worker._data.registry.revocations()) == 1000


async def test_a_supervisor_that_hangs_is_refused_by_when_that_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "_LISTENED_S", 0.001)
    plain = {"idp": "generic", "issuer": "http://127.0.0.1:9"}
    redis = {"url": "redis://127.0.0.1:1", "when_stale": "refuse", "max_stale_s": 3}
    async with told(Settings.model_validate({"strategies": {"plain": plain}, "redis": redis})) as it:
        it.clock.advance(4.9)
        await asyncio.sleep(0.05)
        assert it.knowledge is Knowledge.CURRENT
        it.clock.advance(0.2)
        await until(lambda: _is(it, Knowledge.REFUSED))
        it.tell(Apply(revoked(1)), 1)
        assert await it.says() == (messages.DONE, 1)
        await asyncio.sleep(0.05)
        assert it.knowledge is Knowledge.REFUSED
        it.clock.advance(1.1)
        await until(lambda: _is(it, Knowledge.CURRENT))


async def _is(it: Told, knowledge: Knowledge) -> bool:
    return it.knowledge is knowledge


async def _drained(it: Told, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    async def drain(_seconds: float, *, rest: bool, at_once: bool) -> None:
        found.append((rest, at_once))

    monkeypatch.setattr(it.worker._data, "drain", drain)
    await it.ready()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.01)
    return found


async def test_a_signal_that_the_supervisor_has_as_well_is_explained_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "_WORD_S", WITHIN_S)
    async with told() as it:
        found = await _drained(it, monkeypatch)
        assert found == []  # it still serves
        it.tell(Drain(0.1, rest=True))
        async with asyncio.timeout(WITHIN_S):
            assert await it.working == worker.DONE
        assert found == [(True, False)]


async def test_a_signal_to_it_alone_leaves_what_waits_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_WORD_S", 0.0)
    async with told() as it:
        found = await _drained(it, monkeypatch)
        async with asyncio.timeout(WITHIN_S):
            assert await it.working == worker.DONE
        assert found == [(False, False)]
