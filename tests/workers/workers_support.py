"""A sidecar of several worker processes, and short ways to reach each of them.

Law of this file: real processes and real connections; which worker holds a connection is read from the kernel. No
pytest, no sleeping but to poll.
"""

import asyncio
import base64
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from sidecar_process import SidecarProcess, configuration, running

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

SECRET = "s:e%c+ret"
WITHIN_S = 15.0
_ESTABLISHED = "01"


def basic(client: str = "orders", secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}


class Connection:
    """A gateway's connection that is kept: a request, its whole answer, the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.closed = False
        self.headers: dict[str, str] = {}

    @property
    def port(self) -> int:
        """Our end's."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    async def send(self, headers: Mapping[str, str], service: str = "svc") -> None:
        lines = [f"GET /v1/authorize/plain/{service} HTTP/1.1", "Host: validator"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        await self._writer.drain()

    async def answer(self) -> int:
        """The status of a complete answer; raises ``OSError`` or ``IncompleteReadError`` where there is none."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        self.headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await self._reader.readexactly(int(self.headers["Content-Length"]))
        self.closed = self.headers.get("Connection", "").lower() == "close"
        return int(head.split()[1])

    async def ask(self, headers: Mapping[str, str], service: str = "svc") -> int:
        await self.send(headers, service)
        async with asyncio.timeout(WITHIN_S):
            return await self.answer()

    async def ended(self) -> None:
        """Once the other side has closed it."""
        async with asyncio.timeout(WITHIN_S):
            with contextlib.suppress(ConnectionError):
                while await self._reader.read(4096):
                    pass

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Crew:
    """A running sidecar with several workers, and its identity provider."""

    def __init__(self, sidecar: SidecarProcess, idp: FakeIdp, workers: int) -> None:
        self.sidecar, self.idp, self._workers = sidecar, idp, workers
        self._opened: list[Connection] = []
        self.token = {"Authorization": f"Bearer {idp.token('orders')}"}

    def pids(self) -> list[int]:
        """Of the live workers, in no order."""
        return children(self.sidecar.pid)

    async def connect(self) -> Connection:
        """Closed with the test at the latest."""
        host, _, port = self.sidecar.data.rpartition(":")
        connection = Connection(*await asyncio.open_connection(host, int(port)))
        self._opened.append(connection)
        return connection

    async def close(self) -> None:
        for connection in self._opened:
            await connection.close()

    async def full(self, but: int | None = None) -> None:
        """Once there are as many workers that serve as there should be, without the one of that process id."""

        async def complete() -> bool:
            return but not in self.pids() and await self.metric("validator_workers") == self._workers

        await until(complete)

    async def on_each(self) -> dict[int, Connection]:
        """A kept connection to each worker, by its process id."""
        found: dict[int, Connection] = {}

        async def everywhere() -> bool:
            opened = [await self.connect() for _ in range(4 * self._workers)]
            for connection in opened:
                await connection.ask({})
            for pid in self.pids():
                ports = held_ports(pid)
                for connection in opened:
                    if connection.port in ports:
                        found.setdefault(pid, connection)
            for connection in opened:
                if connection not in found.values():
                    await connection.close()
            return found.keys() >= set(self.pids()) and len(found) == self._workers

        await until(everywhere)
        return found

    async def ask(self, headers: Mapping[str, str], service: str = "svc") -> int:
        """Over a connection of its own."""
        connection = await self.connect()
        try:
            return await connection.ask(headers, service)
        finally:
            await connection.close()

    async def control(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        timeout = aiohttp.ClientTimeout(total=WITHIN_S)
        url = f"http://{self.sidecar.control}{path}"
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, json=body) as reply,
        ):
            return reply.status, (
                await reply.json(content_type=None) if "json" in reply.content_type else await reply.text()
            )

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples that have these labels."""
        _, text = await self.control("GET", "/metrics")
        total = 0.0
        for sample, found, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', found))
            if sample == name and labels.items() <= pairs.items():
                total += float(value)
        return total

    async def reload(self, config: Mapping[str, Any]) -> None:
        before = await asyncio.to_thread(self.sidecar.reconfigure, config)
        await asyncio.to_thread(self.sidecar.wait_for, lambda line: line["event"] == "reloaded", after=before)

    async def said(self, event: str) -> dict[str, Any]:
        return await asyncio.to_thread(self.sidecar.wait_for, lambda line: line.get("event") == event)


def crew_config(issuer: str, **sections: Any) -> dict[str, Any]:
    return configuration(issuer, **sections)


@asynccontextmanager
async def crew(directory: Path, *, workers: int = 3, **sections: Any) -> AsyncIterator[Crew]:
    """Started; every worker has the issuer's keys."""
    async with FakeIdp({"orders": SECRET}, clock=SystemClock()) as idp:
        config = crew_config(idp.issuer, **sections)
        async with running(config, directory, arguments=["--workers", str(workers)]) as sidecar:
            made = Crew(sidecar, idp, workers)

            async def ready() -> bool:
                return (await made.control("GET", "/readyz?exclude=redis"))[0] == 200

            try:
                await until(ready)
                yield made
            finally:
                await made.close()


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S) -> None:
    """Once it holds; fails when it does not come about."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)


def children(pid: int) -> list[int]:
    return [child for child in _all_children(pid) if alive(child)]


def zombies(pid: int) -> list[int]:
    """Children that have ended, and that nobody has taken note of."""
    return [child for child in _all_children(pid) if not alive(child)]


def _all_children(pid: int) -> list[int]:
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in listed.read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def held_ports(pid: int) -> set[int]:
    """The peers' ports of the established connections that a process holds."""
    inodes = set()
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(str(descriptor.readlink()).removeprefix("socket:[").rstrip("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[3] == _ESTABLISHED and row[9] in inodes}


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


async def keep_asking(
    crew_: Crew, headers: Mapping[str, str], statuses: list[int], enough: asyncio.Event, lost: list[int]
) -> None:
    """Asks on one connection until it is told to stop, and on another where the sidecar has said that the first
    one closes; a request without an answer is noted by the port of our end."""
    while not enough.is_set():
        try:
            connection = await crew_.connect()
        except OSError:
            return
        try:
            while not (enough.is_set() or connection.closed):
                statuses.append(await connection.ask(headers))
        except (OSError, asyncio.IncompleteReadError):
            lost.append(connection.port)
        finally:
            await connection.close()
