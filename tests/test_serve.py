"""``validator serve`` as a process: it stops without losing a request, re-reads its file without dropping one,
says clearly why it cannot start, and forgets nothing that it acknowledged."""

import asyncio
import base64
import contextlib
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from sidecar_process import SidecarProcess, command, configuration, running, write_config

from validator.adapters.clock import SystemClock
from validator.model import Endpoint
from validator.testing import FakeIdp, Fault

pytestmark = pytest.mark.programs

SECRET = "s:e%c+ret"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"orders:{SECRET}".encode()).decode()}
CONNECTIONS = 8


@pytest.fixture
async def idp() -> AsyncIterator[FakeIdp]:
    async with FakeIdp({"orders": SECRET}, clock=SystemClock()) as running_idp:
        yield running_idp


class Connection:
    """One gateway's connection: a request, its whole answer, the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.closed = False

    async def send(self, headers: Mapping[str, str], service: str = "svc", strategy: str = "plain") -> None:
        lines = [f"GET /v1/authorize/{strategy}/{service} HTTP/1.1", "Host: validator"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        await self._writer.drain()

    async def answer(self) -> int:
        """The status of a complete answer; raises ``IncompleteReadError`` where there is none."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await self._reader.readexactly(int(fields["content-length"]))
        self.closed = fields.get("connection") == "close"
        return int(head.split()[1])

    async def ask(self, headers: Mapping[str, str], service: str = "svc", strategy: str = "plain") -> int:
        await self.send(headers, service, strategy)
        return await self.answer()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def keep_asking(
    address: str, headers: Mapping[str, str], statuses: list[int], enough: asyncio.Event
) -> None:
    """Asks on one connection until it is told to stop or the sidecar says that it closes."""
    async with connected(address) as connection:
        while not (enough.is_set() or connection.closed):
            statuses.append(await connection.ask(headers))


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Returns once ``condition()`` holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        assert loop.time() < deadline, "it did not come about in time"
        await asyncio.sleep(0.001)


async def test_sigterm_under_load_answers_every_accepted_request_and_exits_0(idp: FakeIdp, tmp_path: Path) -> None:
    """Those that are replayed at full speed, and those that wait for the identity provider meanwhile."""
    bearer = {"Authorization": f"Bearer {idp.token('orders')}"}
    gate = asyncio.Event()
    statuses: list[int] = []
    async with running(configuration(idp.issuer), tmp_path) as sidecar, AsyncExitStack() as opened:
        load = [
            asyncio.create_task(keep_asking(sidecar.data, bearer, statuses, asyncio.Event()))
            for _ in range(CONNECTIONS)
        ]
        await until(lambda: len(statuses) > 10 * CONNECTIONS)
        idp.fail(Fault.slow(gate), Endpoint.TOKEN)
        waiting = [await opened.enter_async_context(connected(sidecar.data)) for _ in range(CONNECTIONS)]
        for connection in waiting:
            await connection.send(BASIC)
        await idp.wait_for_calls(Endpoint.TOKEN, 1)
        ended = asyncio.create_task(asyncio.to_thread(sidecar.terminate))
        await asyncio.to_thread(sidecar.wait_for, lambda event: event["event"] == "stopping")
        await asyncio.gather(*load)  # each was told that its connection closes, and none lost an answer
        assert not ended.done()
        gate.set()
        assert [await connection.answer() for connection in waiting] == [200] * CONNECTIONS
        assert await ended == 0
    assert set(statuses) == {200}
    assert sidecar.events()[-1]["event"] == "stopped"


async def test_sigterm_does_not_wait_longer_than_the_drain_time(idp: FakeIdp, tmp_path: Path) -> None:
    """An identity provider that never answers cannot hold a stop up."""
    config = configuration(idp.issuer, limits={"drain_s": 0.3}, outbound={"timeout_s": 60})
    async with running(config, tmp_path) as sidecar, AsyncExitStack() as opened:
        connection = await opened.enter_async_context(connected(sidecar.data))
        idp.fail(Fault.stall(), Endpoint.TOKEN)
        await connection.send(BASIC)
        await idp.wait_for_calls(Endpoint.TOKEN, 1)
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(sidecar.terminate) == 0
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await connection.answer()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("strategies: [", "validator.yaml:"),
        ("strategies:\n  plain:\n    idp: nobody\n", "idp"),
        ("cache:\n  decision_ttl: 3\n", "decision_ttl"),
    ],
    ids=["no YAML", "a wrong value", "an unknown key"],
)
async def test_sighup_with_a_broken_file_keeps_the_old_one_and_logs_each_mistake(
    idp: FakeIdp, tmp_path: Path, broken: str, told: str
) -> None:
    bearer = {"Authorization": f"Bearer {idp.token('orders')}"}
    async with running(configuration(idp.issuer), tmp_path) as sidecar, AsyncExitStack() as opened:
        connection = await opened.enter_async_context(connected(sidecar.data))
        assert await connection.ask(bearer) == 200
        before = await asyncio.to_thread(sidecar.reconfigure, broken)
        refused = await asyncio.to_thread(
            sidecar.wait_for, lambda event: event["event"] == "configuration refused", after=before
        )
        assert refused["level"] == "error"
        assert any(told in mistake for mistake in refused["mistakes"])
        assert await connection.ask(bearer) == 200
        assert await connection.ask(bearer, "unheard-of") == 403
        await opened.aclose()
        assert await asyncio.to_thread(sidecar.terminate) == 0


async def test_sighup_with_a_good_file_takes_effect_under_load_without_a_lost_request(
    idp: FakeIdp, tmp_path: Path
) -> None:
    bearer = {"Authorization": f"Bearer {idp.token('orders')}"}
    config = configuration(idp.issuer)
    (application,) = config["applications"]
    wider = {
        **config,
        "strategies": {**config["strategies"], "later": config["strategies"]["plain"]},
        "applications": [
            {**application, "registrations": ["svc", "billing"]},
            {**application, "id": "app-2", "strategy": "later"},
        ],
    }
    enough = asyncio.Event()
    statuses: list[int] = []
    async with running(config, tmp_path) as sidecar, AsyncExitStack() as opened:
        load = [
            asyncio.create_task(keep_asking(sidecar.data, bearer, statuses, enough)) for _ in range(CONNECTIONS)
        ]
        await until(lambda: len(statuses) > 10 * CONNECTIONS)
        connection = await opened.enter_async_context(connected(sidecar.data))
        for wanted, registered, known in ((wider, 200, 200), (config, 403, 404), (wider, 200, 200)):
            before = await asyncio.to_thread(sidecar.reconfigure, wanted)
            await asyncio.to_thread(sidecar.wait_for, lambda event: event["event"] == "reloaded", after=before)
            assert await connection.ask(bearer, "billing") == registered  # though the other answer was cached
            assert await connection.ask(bearer, strategy="later") == known
        seen = len(statuses)
        await until(lambda: len(statuses) > seen + 10 * CONNECTIONS)
        enough.set()
        await asyncio.gather(*load)
    assert set(statuses) == {200}


@pytest.mark.parametrize("plane", ["data", "control"])
def test_an_address_in_use_is_named_and_ends_with_1(tmp_path: Path, plane: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        listen = {"data": "127.0.0.1:0", "control": "127.0.0.1:0", plane: address}
        sidecar = SidecarProcess(configuration("http://127.0.0.1:9", listen=listen), tmp_path)
        sidecar.launch()
        assert sidecar.wait() == 1
    (told,) = [event for event in sidecar.events() if event["event"] == "cannot start"]
    assert f"cannot listen on {address}" in told["detail"]
    assert "Traceback" not in sidecar.said()


@pytest.mark.parametrize("make", ["missing directory", "directory", "garbage"])
def test_a_store_that_cannot_be_used_is_named_and_ends_with_1(tmp_path: Path, make: str) -> None:
    path = tmp_path / "state.db"
    if make == "missing directory":
        path = tmp_path / "file" / "state.db"
        path.parent.write_text("a file where a directory should be")
    elif make == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"this is no database, and long enough to be read as one" * 100)
    sidecar = SidecarProcess(configuration("http://127.0.0.1:9", store={"path": str(path)}), tmp_path)
    sidecar.launch()
    assert sidecar.wait() == 1
    (told,) = [event for event in sidecar.events() if event["event"] == "cannot start"]
    assert str(path.parent if make == "missing directory" else path) in told["detail"]
    assert "Traceback" not in sidecar.said()
    if make == "garbage":
        assert path.read_bytes().startswith(b"this is no database")  # nothing of it was overwritten


async def test_a_unix_socket_has_mode_0660_serves_and_is_removed_at_the_end(idp: FakeIdp, tmp_path: Path) -> None:
    path = tmp_path / "data.sock"
    config = configuration(idp.issuer, listen={"data": f"unix:{path}", "control": "127.0.0.1:0"})
    async with running(config, tmp_path) as sidecar, AsyncExitStack() as opened:
        assert sidecar.data == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        connection = await opened.enter_async_context(connected(sidecar.data))
        assert await connection.ask({"Authorization": f"Bearer {idp.token('orders')}"}) == 200
        await opened.aclose()
        assert await asyncio.to_thread(sidecar.terminate) == 0
        assert not path.exists()


def test_a_unix_socket_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    """A second sidecar that cannot start takes nothing from the first."""
    path = tmp_path / "data.sock"
    listen = {"data": f"unix:{path}", "control": "127.0.0.1:0"}
    (tmp_path / "second").mkdir()
    config = configuration("http://127.0.0.1:9", listen=listen)
    with SidecarProcess(config, tmp_path):
        second = SidecarProcess(config, tmp_path / "second")
        second.launch()
        assert second.wait() == 1
        assert "another process listens" in second.said()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))


def test_a_unix_socket_that_a_killed_sidecar_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "data.sock"
    config = configuration("http://127.0.0.1:9", listen={"data": f"unix:{path}", "control": "127.0.0.1:0"})
    first = SidecarProcess(config, tmp_path).start()
    first.kill()
    assert path.exists()
    with SidecarProcess(config, tmp_path), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
    assert not path.exists()


def test_a_broken_file_is_told_in_full_and_ends_with_1(tmp_path: Path) -> None:
    file = write_config(tmp_path / "validator.yaml", "listen:\n  dta: x\nstrategies:\n  plain:\n    idp: nobody\n")
    ran = command("serve", "--config", str(file))
    assert ran.code == 1
    assert f"{file}:2: listen.dta" in ran.err
    assert f"{file}:5: strategies.plain.idp" in ran.err
    assert "Traceback" not in ran.err


async def test_kill_9_keeps_every_acknowledged_write(idp: FakeIdp, tmp_path: Path) -> None:
    """At a moment that falls into the middle of concurrent writes."""
    config = configuration(idp.issuer, store={"path": str(tmp_path / "state.db")})
    acknowledged: set[str] = set()

    async def write(session: aiohttp.ClientSession, url: str, writer: int) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            for number in range(10_000):
                name = f"client-{writer}-{number}"
                body = {"id": name, "strategy": "plain", "client_id": name, "registrations": ["svc"]}
                async with session.post(f"{url}/v1/applications", json=body) as answer:
                    assert answer.status == 201
                    acknowledged.add(name)

    sidecar = SidecarProcess(config, tmp_path)
    await asyncio.to_thread(sidecar.start)
    async with aiohttp.ClientSession() as session:
        writers = [asyncio.create_task(write(session, f"http://{sidecar.control}", n)) for n in range(4)]
        await until(lambda: len(acknowledged) >= 40)
        await asyncio.to_thread(sidecar.kill)
        await asyncio.gather(*writers)
    async with running(config, tmp_path) as again, aiohttp.ClientSession() as session, AsyncExitStack() as opened:
        connection = await opened.enter_async_context(connected(again.data))
        for name in sorted(acknowledged):
            async with session.get(f"http://{again.control}/v1/applications/{name}") as answer:
                assert answer.status == 200, name
        last = {"Authorization": f"Bearer {idp.token(max(acknowledged))}"}
        assert await connection.ask(last) == 200
