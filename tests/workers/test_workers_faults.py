"""Workers and supervisors that die or hang: what is acknowledged holds, and what others can answer is answered."""

import asyncio
import signal
import socket
import time
from pathlib import Path

import pytest
from workers_support import Connection, Crew, alive, basic, crew, keep_asking, kill, until, zombies

from validator.model import Endpoint
from validator.testing import Fault

pytestmark = pytest.mark.programs

LATER = {"id": "later", "strategy": "plain", "client_id": "later", "registrations": ["svc"]}


async def pid_with(sidecar: Crew, connections: dict[int, Connection]) -> tuple[int, Connection]:
    pid = sidecar.pids()[0]
    return pid, connections[pid]


async def test_kill_9_of_a_worker_under_load_loses_nothing_of_the_others_and_it_is_replaced(
    tmp_path: Path,
) -> None:
    enough = asyncio.Event()
    statuses: list[int] = []
    lost: list[int] = []
    async with crew(tmp_path) as sidecar:
        connections = await sidecar.on_each()
        load = [
            asyncio.create_task(keep_asking(sidecar, sidecar.token, statuses, enough, lost)) for _ in range(12)
        ]
        await until(lambda: _longer(statuses, 200))
        victim, its_own = await pid_with(sidecar, connections)
        kill(victim)
        await its_own.ended()
        await sidecar.full(but=victim)
        seen = len(statuses)
        await until(lambda: _longer(statuses, seen + 500))
        enough.set()
        await asyncio.gather(*load)
        for pid, connection in connections.items():
            assert pid == victim or await connection.ask(sidecar.token) == 200
        assert set(statuses) == {200}
        assert len(lost) <= 12  # connections that the dead one held, each once
        told = await sidecar.said("worker ended")
        assert told["signal"] == "SIGKILL"
        assert told["pid"] == victim
        assert await sidecar.metric("validator_worker_restarts_total") == 1
        assert zombies(sidecar.sidecar.pid) == []


async def test_the_one_in_its_place_knows_everything(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as sidecar:
        assert (await sidecar.control("POST", "/v1/applications", LATER))[0] == 201
        assert (await sidecar.control("POST", "/v1/revocations", {"client_id": "orders"}))[0] == 201
        later = {"Authorization": f"Bearer {sidecar.idp.token('later')}"}
        before = sidecar.pids()
        for pid in before:
            kill(pid)
        # And what is written while they start.
        place = "/v1/applications/later/registrations/other"
        assert (await sidecar.control("PUT", place, {"status": "approved"}))[0] == 200
        await until(lambda: _none_of(before, sidecar))
        await sidecar.full()
        for connection in (await sidecar.on_each()).values():
            assert await connection.ask(sidecar.token) == 401
            assert await connection.ask(later) == 200
            assert await connection.ask(later, "other") == 200


async def test_connections_that_wait_in_the_kernel_outlive_a_crash_of_all_workers(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as sidecar:
        before = sidecar.pids()
        for pid in before:
            kill(pid, signal.SIGSTOP)
        waiting = [await sidecar.connect() for _ in range(8)]
        for connection in waiting:
            await connection.send(sidecar.token)
        for pid in before:
            kill(pid)
        answers = await asyncio.gather(*(connection.answer() for connection in waiting), return_exceptions=True)
        # One that had been accepted already may be lost; stopped as they were, they accepted none.
        assert [answer for answer in answers if answer not in {200, 503}] == []


async def test_a_stopped_worker_delays_a_write_by_a_second_and_answers_nothing_stale(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        connections = await sidecar.on_each()
        for connection in connections.values():
            assert await connection.ask(sidecar.token) == 200
        victim, its_own = await pid_with(sidecar, connections)
        kill(victim, signal.SIGSTOP)
        began = time.monotonic()
        assert (await sidecar.control("POST", "/v1/revocations", {"client_id": "orders"}))[0] == 201
        assert time.monotonic() - began < 8
        await until(lambda: _dead(victim))
        await its_own.ended()
        for pid, connection in connections.items():
            assert pid == victim or await connection.ask(sidecar.token) == 401
        await sidecar.full(but=victim)
        for connection in (await sidecar.on_each()).values():
            assert await connection.ask(sidecar.token) == 401


async def test_counters_do_not_go_back_when_a_worker_dies(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        connections = await sidecar.on_each()
        for _ in range(5):
            for connection in connections.values():
                assert await connection.ask(sidecar.token) == 200
        counted = await sidecar.metric("validator_decisions_total", outcome="allowed")
        assert counted == 15
        victim = sidecar.pids()[0]
        kill(victim)
        await until(lambda: _dead(victim))
        assert await sidecar.metric("validator_decisions_total", outcome="allowed") == 15
        await sidecar.full(but=victim)
        assert await sidecar.ask(sidecar.token) == 200
        assert await sidecar.metric("validator_decisions_total", outcome="allowed") == 16


async def test_a_worker_that_an_operator_ends_answers_what_it_has_and_is_replaced(tmp_path: Path) -> None:
    enough = asyncio.Event()
    statuses: list[int] = []
    lost: list[int] = []
    async with crew(tmp_path) as sidecar:
        load = [
            asyncio.create_task(keep_asking(sidecar, sidecar.token, statuses, enough, lost)) for _ in range(12)
        ]
        await until(lambda: _longer(statuses, 200))
        victim = sidecar.pids()[0]
        kill(victim, signal.SIGTERM)
        await sidecar.full(but=victim)
        enough.set()
        await asyncio.gather(*load)
        assert set(statuses) == {200}
        assert lost == []
        assert (await sidecar.said("worker ended"))["exit_code"] == 0


async def test_kill_9_of_the_supervisor_ends_the_workers_and_frees_the_port(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        connections = await sidecar.on_each()
        pids = sidecar.pids()
        began = time.monotonic()
        kill(sidecar.sidecar.pid)
        await asyncio.gather(*(connection.ended() for connection in connections.values()))
        for pid in pids:
            await until(lambda pid=pid: _dead(pid))
        assert time.monotonic() - began < 8
        host, _, port = sidecar.sidecar.data.rpartition(":")
        with socket.create_server((host, int(port))):
            pass


async def test_without_a_supervisor_nothing_is_allowed_any_more(tmp_path: Path) -> None:
    """What was read is answered, but not by what nobody would have taken back."""
    gate = asyncio.Event()
    async with crew(tmp_path, workers=2) as sidecar:
        sidecar.idp.fail(Fault.slow(gate), Endpoint.TOKEN)
        connection = await sidecar.connect()
        await connection.send(basic())
        await sidecar.idp.wait_for_calls(Endpoint.TOKEN, 1)
        kill(sidecar.sidecar.pid)
        await sidecar.said("supervisor lost")
        gate.set()
        assert await connection.answer() == 503


async def test_a_stopped_supervisor_is_no_reason_to_stop_answering(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        kill(sidecar.sidecar.pid, signal.SIGSTOP)
        try:
            assert await sidecar.ask(sidecar.token) == 200
            assert await sidecar.ask(basic()) == 200
        finally:
            kill(sidecar.sidecar.pid, signal.SIGCONT)
        assert (await sidecar.control("GET", "/readyz"))[0] == 200


async def _longer(statuses: list[int], than: int) -> bool:
    return len(statuses) > than


async def _dead(pid: int) -> bool:
    return not alive(pid)


async def _none_of(pids: list[int], sidecar: Crew) -> bool:
    return not set(pids) & set(sidecar.pids())
