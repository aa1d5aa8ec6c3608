"""Signals to a supervisor mean what they mean to a single process: nothing is lost."""

import asyncio
import contextlib
import signal
import socket
from pathlib import Path

import pytest
from sidecar_process import SidecarProcess, configuration
from workers_support import SECRET, alive, basic, children, crew, crew_config, keep_asking, kill, until

from validator.model import Endpoint
from validator.testing import Fault

pytestmark = pytest.mark.programs


async def test_sigterm_under_load_answers_every_accepted_request_and_exits_0(tmp_path: Path) -> None:
    gate = asyncio.Event()
    statuses: list[int] = []
    lost: list[int] = []
    async with crew(tmp_path) as sidecar:
        enough = asyncio.Event()
        pids = sidecar.pids()
        load = [
            asyncio.create_task(keep_asking(sidecar, sidecar.token, statuses, enough, lost)) for _ in range(12)
        ]
        await until(lambda: _longer(statuses, 200))
        sidecar.idp.fail(Fault.slow(gate), Endpoint.TOKEN)
        waiting = [await sidecar.connect() for _ in range(6)]
        for connection in waiting:
            await connection.send(basic())
        await sidecar.idp.wait_for_calls(Endpoint.TOKEN, 1)
        ended = asyncio.create_task(asyncio.to_thread(sidecar.sidecar.terminate))
        await sidecar.said("stopping")
        await asyncio.gather(*load)
        assert not ended.done()
        gate.set()
        assert [await connection.answer() for connection in waiting] == [200] * 6
        assert await ended == 0
        assert [pid for pid in pids if alive(pid)] == []
    assert set(statuses) == {200}
    assert lost == []
    assert sidecar.sidecar.events()[-1]["event"] == "stopped"


async def test_sigterm_does_not_wait_longer_than_the_drain_time(tmp_path: Path) -> None:
    async with crew(tmp_path, limits={"drain_s": 0.3}, outbound={"timeout_s": 60}) as sidecar:
        sidecar.idp.fail(Fault.stall(), Endpoint.TOKEN)
        connection = await sidecar.connect()
        await connection.send(basic())
        await sidecar.idp.wait_for_calls(Endpoint.TOKEN, 1)
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(sidecar.sidecar.terminate) == 0
        await connection.ended()


async def test_sigterm_to_all_processes_at_once_as_an_init_system_sends_it(tmp_path: Path) -> None:
    """Whichever it reaches first: what waits in the kernel is answered by those who are the last to listen."""
    async with crew(tmp_path, workers=2) as sidecar:
        pids = sidecar.pids()
        for pid in pids:
            kill(pid, signal.SIGSTOP)
        waiting = [await sidecar.connect() for _ in range(40)]
        for connection in waiting:
            await connection.send(sidecar.token)
        for pid in pids:
            kill(pid, signal.SIGTERM)
        ended = asyncio.create_task(asyncio.to_thread(sidecar.sidecar.terminate))
        await sidecar.said("stopping")
        for pid in pids:
            kill(pid, signal.SIGCONT)
        assert [await connection.answer() for connection in waiting] == [200] * 40
        assert await ended == 0
        assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_during_a_start_that_waits_is_obeyed_at_once(tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        redis = {"url": f"redis://127.0.0.1:{silent.getsockname()[1]}", "start_timeout_s": 60}
        config = configuration("http://127.0.0.1:9", redis=redis, store={"path": str(tmp_path / "state.db")})
        sidecar = SidecarProcess(config, tmp_path, arguments=["--workers", str(workers)])
        sidecar.launch()
        sidecar.wait_for(lambda event: event["event"] == "shared store lost")
        assert sidecar.terminate() == 0
    assert [event["event"] for event in sidecar.events()][-2:] == ["stopping", "stopped"]
    assert not {"listening", "cannot start"} & {event["event"] for event in sidecar.events()}


@pytest.mark.parametrize("whom", ["the supervisor", "a worker, then the supervisor"])
async def test_sigterm_while_workers_start_ends_all_of_them_cleanly(tmp_path: Path, whom: str) -> None:
    config = configuration("http://127.0.0.1:9")
    sidecar = SidecarProcess(config, tmp_path, arguments=["--workers", "2"])
    await asyncio.to_thread(sidecar.launch)
    await until(lambda: _as_many(children(sidecar.pid), 2))
    pids = children(sidecar.pid)
    if whom != "the supervisor":
        kill(pids[0], signal.SIGTERM)
    assert await asyncio.to_thread(sidecar.terminate) == 0
    assert [pid for pid in pids if alive(pid)] == []
    events = [event["event"] for event in sidecar.events()]
    assert events[-2:] == ["stopping", "stopped"]
    assert "cannot start" not in events


async def test_sighup_takes_effect_in_every_worker_under_load_without_a_lost_request(tmp_path: Path) -> None:
    enough = asyncio.Event()
    statuses: list[int] = []
    lost: list[int] = []
    async with crew(tmp_path) as sidecar:
        config = crew_config(sidecar.idp.issuer)
        (application,) = config["applications"]
        wider = {**config, "applications": [{**application, "registrations": ["svc", "billing"]}]}
        connections = await sidecar.on_each()
        pids = sorted(sidecar.pids())
        load = [
            asyncio.create_task(keep_asking(sidecar, sidecar.token, statuses, enough, lost)) for _ in range(12)
        ]
        for wanted, status in ((wider, 200), (config, 403), (wider, 200)):
            await sidecar.reload(wanted)
            answers = {await connection.ask(sidecar.token, "billing") for connection in connections.values()}
            assert answers == {status}
        seen = len(statuses)
        await until(lambda: _longer(statuses, seen + 100))
        enough.set()
        await asyncio.gather(*load)
        assert sorted(sidecar.pids()) == pids  # the same processes
        kill(pids[0])
        await sidecar.full(but=pids[0])
        answers = {await c.ask(sidecar.token, "billing") for c in (await sidecar.on_each()).values()}
        assert answers == {200}  # the one that came later, too
    assert set(statuses) == {200}
    assert lost == []


@pytest.mark.parametrize("broken", ["strategies: [", {"tls": "missing"}], ids=["no YAML", "a CA that is missing"])
async def test_sighup_with_a_configuration_that_cannot_be_keeps_the_old_one_everywhere(
    tmp_path: Path, broken: object
) -> None:
    async with crew(tmp_path) as sidecar:
        if isinstance(broken, dict):
            broken = crew_config(sidecar.idp.issuer)
            broken["strategies"]["plain"]["ca_file"] = str(tmp_path / "missing.pem")
        before = await asyncio.to_thread(sidecar.sidecar.reconfigure, broken)
        refused = {"configuration refused", "reload failed"}
        await asyncio.to_thread(sidecar.sidecar.wait_for, lambda line: line["event"] in refused, after=before)
        for connection in (await sidecar.on_each()).values():
            assert await connection.ask(sidecar.token) == 200


async def test_interrupting_a_terminals_group_stops_it_like_sigterm(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        for pid in sidecar.pids():
            kill(pid, signal.SIGINT)
            kill(pid, signal.SIGHUP)
        assert await sidecar.ask(sidecar.token) == 200
        sidecar.sidecar.signal(signal.SIGINT)
        assert await asyncio.to_thread(sidecar.sidecar.wait) == 0


@pytest.mark.parametrize("plane", ["data", "control"])
def test_an_address_in_use_is_named_and_ends_with_1(tmp_path: Path, plane: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        listen = {"data": "127.0.0.1:0", "control": "127.0.0.1:0", plane: address}
        sidecar = SidecarProcess(
            configuration("http://127.0.0.1:9", listen=listen), tmp_path, arguments=["--workers", "2"]
        )
        sidecar.launch()
        assert sidecar.wait() == 1
    (told,) = [event for event in sidecar.events() if event["event"] == "cannot start"]
    assert f"cannot listen on {address}" in told["detail"]
    assert "Traceback" not in sidecar.said()


async def test_a_unix_socket_is_served_by_all_and_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "data.sock"
    config = configuration("http://127.0.0.1:9", listen={"data": f"unix:{path}", "control": "127.0.0.1:0"})
    with SidecarProcess(config, tmp_path, arguments=["--workers", "2"]) as sidecar:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /v1/authorize/plain/svc HTTP/1.1\r\nHost: v\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        assert await asyncio.to_thread(sidecar.terminate) == 0
    assert not path.exists()


def test_no_secret_is_among_the_arguments_of_a_worker(tmp_path: Path) -> None:
    config = configuration("http://127.0.0.1:9", control={"token": "control-token-0123456789"})
    with SidecarProcess(config, tmp_path, arguments=["--workers", "2"]) as sidecar:
        for listed in Path(f"/proc/{sidecar.pid}/task").glob("*/children"):
            for pid in listed.read_text().split():
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                assert b"worker" in line
                assert b"control-token" not in line
    assert SECRET not in sidecar.said()


async def _longer(statuses: list[int], than: int) -> bool:
    return len(statuses) > than


async def _as_many(found: list[int], count: int) -> bool:
    return len(found) >= count
