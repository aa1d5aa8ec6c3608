"""The assembled sidecar in this process, with an identity provider on loopback, and short ways to ask it.

Law of this file: everything goes over real sockets; what the test sees is what a gateway would.
"""

import asyncio
import base64
import contextlib
import json
import re
from dataclasses import dataclass

import aiohttp
from blockbuster import blockbuster_ctx
from structlog.testing import capture_logs

from validator.settings import Settings
from validator.testing import FakeIdp, ManualClock
from validator.wiring import Sidecar

SECRET = "s:e%c+rét"
CLIENTS = {"orders": SECRET, "billing": "b1", "stranger": "s1", "pending": "p1", "rejected": "r1", "asleep": "a1"}
TIMEOUT_S = 20.0


def applications():
    """One for each client id but ``stranger``."""
    states = {"orders": "approved", "billing": "approved", "pending": "pending", "rejected": "rejected"}
    return [
        {
            "id": f"app-{client_id}",
            "name": f"{client_id} app",
            "strategy": "plain",
            "client_id": client_id,
            "registrations": [{"service": "orders", "status": status}],
        }
        for client_id, status in states.items()
    ]


def settings_for(issuer, **more):
    """A configuration with the one strategy ``plain``; ``more`` replaces sections."""
    strategy = {"idp": "generic", "issuer": issuer, "audience": ["api://default"]}
    return Settings.model_validate(
        {
            "listen": {"data": "127.0.0.1:0", "control": "127.0.0.1:0"},
            "strategies": {"plain": strategy},
            "applications": applications(),
            "keys": {"unknown_key_cooldown_s": 30},
            **more,
        }
    )


def basic(client_id, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def reason(self):
        return json.loads(self.body)["reason"] if self.status >= 400 else ""

    @property
    def cookie(self):
        """The session cookie as a browser would send it back."""
        return {"Cookie": self.headers["Set-Cookie"].split(";")[0]}

    @property
    def verdict(self):
        return (self.status, self.reason)


class Assembled:
    """The sidecar, its identity provider, and the clock of both."""

    def __init__(self, sidecar, idp, clock, session, logs):
        self.logs = logs
        self.sidecar = sidecar
        self.idp = idp
        self.clock = clock
        self._session = session

    async def ask(self, headers=None, *, service="orders", strategy="plain"):
        url = f"http://{self.sidecar.data_address}/v1/authorize/{strategy}/{service}"
        async with self._session.get(url, headers=headers) as reply:
            return Answer(reply.status, dict(reply.headers), await reply.read())

    async def control(self, method, path, body=None):
        url = f"http://{self.sidecar.control_address}{path}"
        async with self._session.request(method, url, json=body) as reply:
            octets = await reply.read()
            return reply.status, json.loads(octets) if "json" in reply.content_type and octets else octets

    async def metric(self, name, **labels):
        """Sum of a metric's samples that have these labels, as Prometheus would read them."""
        _, text = await self.control("GET", "/metrics")
        total = 0.0
        for sample, found, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text.decode(), re.MULTILINE):
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', found))
            if sample == name and labels.items() <= pairs.items():
                total += float(value)
        return total

    async def burst(self, lines, *, connections=4, service="orders"):
        """One request for each ``Authorization`` value, pipelined over some connections; their statuses."""
        host, port = self.sidecar.data_address.rsplit(":", 1)
        lanes = [lines[lane::connections] for lane in range(connections)]
        answers = await asyncio.gather(*(self._lane(host, int(port), lane, service) for lane in lanes))
        return [status for lane in answers for status in lane]

    @staticmethod
    async def _lane(host, port, lines, service):
        reader, writer = await asyncio.open_connection(host, port)
        head = f"GET /v1/authorize/plain/{service} HTTP/1.1\r\nHost: v\r\nAuthorization: "
        statuses = []

        async def write():
            for line in lines:
                writer.write(f"{head}{line}\r\n\r\n".encode())
                await writer.drain()

        try:
            async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
                group.create_task(write())
                for _ in lines:
                    answer = await reader.readuntil(b"\r\n\r\n")
                    statuses.append(int(answer[9:12]))
                    await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", answer)[1]))
        finally:
            writer.close()
            await writer.wait_closed()
        return statuses

    async def until_ready(self):
        await until(lambda: self._is(200))

    async def _is(self, status):
        return (await self.control("GET", "/readyz"))[0] == status


@contextlib.asynccontextmanager
async def assembled(*, clock=None, up=True, **more):
    """A sidecar that serves; at its end every part of it has closed."""
    clock = clock or ManualClock()
    async with FakeIdp(CLIENTS, clock=clock) as idp:
        if not up:
            await idp.take_down()
        sidecar = Sidecar(settings_for(idp.issuer, **more), clock=clock)
        with capture_logs() as logs, blockbuster_ctx("validator") as blocking:
            # A scrape reads the process's own figures from /proc, which is memory.
            for function in blocking.functions.values():
                function.can_block_in("prometheus_client/process_collector.py", "collect")
            await sidecar.start()
            connector = aiohttp.TCPConnector(limit=0)
            jar = aiohttp.DummyCookieJar()
            async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
                running = Assembled(sidecar, idp, clock, session, logs)
                if up:
                    await running.until_ready()
                yield running
            await asyncio.wait_for(sidecar.stop(), TIMEOUT_S)


async def until(condition):
    """Once the awaited condition holds; fails after ``TIMEOUT_S``."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():  # noqa: ASYNC110 - any condition, not one that sets an event
            await asyncio.sleep(0.005)
