"""Several sidecars that share one Redis, as processes of their own.

Law of this file: it starts, kills and restarts members of a fleet on addresses that they keep. No pytest.
"""

import asyncio
import base64
import contextlib
import hashlib
import http.client
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis_process import free_port
from sidecar_process import SidecarProcess

STRATEGY, SERVICE = "plain", "svc"
AUTHORIZE = f"/v1/authorize/{STRATEGY}/{SERVICE}"
WITHIN_S = 60.0
START_WITHIN_S = 90.0  # nine processes of a fleet, and perhaps those of another, start on two cores


class FleetError(Exception):
    """Something did not come about in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the control plane said."""

    status: int
    body: Any


class Member:
    """One sidecar of the fleet.

    Attributes:
        data: its data plane's port; it keeps it through restarts.
        control: the control plane's.
    """

    def __init__(self, name: str, config: Mapping[str, Any], directory: Path, workers: int) -> None:
        self.name = name
        self.data, self.control = free_ports(2)
        directory.mkdir(parents=True, exist_ok=True)
        listen = {"data": f"127.0.0.1:{self.data}", "control": f"127.0.0.1:{self.control}"}
        self.config = {"listen": listen, "store": {"path": str(directory / "state.db")}, **config}
        arguments = ["--workers", str(workers)] if workers > 1 else []
        self.process = SidecarProcess(self.config, directory, arguments=arguments)

    async def start(self) -> None:
        await asyncio.to_thread(lambda: self.process.start(within_s=START_WITHIN_S))

    async def kill(self) -> None:
        """kill -9 of the process that was started; its workers see to themselves."""
        await asyncio.to_thread(self.process.kill)

    async def stop(self) -> None:
        await asyncio.to_thread(self.process.stop)

    @property
    def pid(self) -> int:
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """Of its live workers; empty where it is one process."""
        found = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in children.read_text().split()]
        return found

    async def kill_worker(self, number: int = 0) -> int | None:
        """kill -9 of one of its workers; its process id, or ``None`` where there is none."""
        pids = self.worker_pids()
        if not pids:
            return None
        pid = pids[number % len(pids)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid

    async def call(self, method: str, path: str, body: object = None, *, timeout_s: float = 10.0) -> Answer:
        """One request to the control plane over a connection of its own.

        Raises:
            OSError, http.client.HTTPException: no answer came.
        """
        return await asyncio.to_thread(_call, self.control, method, path, body, timeout_s)

    async def ask(self, headers: Mapping[str, str], path: str = AUTHORIZE) -> int:
        """The status of one request to the data plane, over a connection of its own."""
        return await asyncio.to_thread(_ask, self.data, path, headers)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name with these labels; 0 where there is none."""
        total = 0.0
        for line in (await self.call("GET", "/metrics")).body.splitlines():
            sample, _, value = line.rpartition(" ")
            found, _, rest = sample.partition("{")
            if found == name and all(f'{label}="{text}"' in rest for label, text in labels.items()):
                total += float(value)
        return total

    async def is_ready(self, within_s: float = WITHIN_S, path: str = "/readyz") -> None:
        """Raises ``FleetError``."""
        deadline = time.monotonic() + within_s
        answer: Answer | None = None
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = await self.call("GET", path)
                if answer.status == http.HTTPStatus.OK:
                    return
            await asyncio.sleep(0.02)
        raise FleetError(f"{self.name} is not ready: {answer}\n{self.process.said()[-3000:]}")


class Fleet:
    """Its members; made by ``fleet``."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)

    async def ready(self) -> None:
        await asyncio.gather(*(member.is_ready() for member in self.members))


def configuration(
    issuer: str, redis: Mapping[str, Any], clients: Sequence[str] = (), **sections: Any
) -> dict[str, Any]:
    """What all members have in common; each client is an application of the file."""
    return {
        "strategies": {
            STRATEGY: {
                "idp": "generic",
                "issuer": issuer,
                "audience": ["api://default"],
                "auth_methods": ["client_credentials", "bearer", "session"],
            }
        },
        "applications": [application(client) for client in clients],
        "session": {"keys": [session_key(0)]},
        "redis": dict(redis),
        **sections,
    }


def application(client: str) -> dict[str, Any]:
    return {
        "id": f"app-{client}",
        "name": client,
        "strategy": STRATEGY,
        "client_id": client,
        "registrations": [{"service": SERVICE, "status": "approved"}],
    }


def session_key(number: int) -> str:
    return base64.b64encode(hashlib.sha256(f"session key {number}".encode()).digest()).decode()


@contextlib.asynccontextmanager
async def fleet(
    config: Mapping[str, Any], directory: Path, *, size: int = 3, workers: int = 2
) -> AsyncIterator[Fleet]:
    """Started and ready; stopped in the end."""
    members = [Member(f"sidecar-{n}", config, directory / f"sidecar-{n}", workers) for n in range(size)]
    try:
        await asyncio.gather(*(member.start() for member in members))
        running = Fleet(members)
        await running.ready()
        yield running
    finally:
        await asyncio.gather(*(member.stop() for member in members))


def free_ports(count: int) -> list[int]:
    """Different ones, which stay free while nobody listens: no outgoing connection takes them."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


def basic(client: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _call(port: int, method: str, path: str, body: object, timeout_s: float) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        raw = reply.read()
        typed = reply.getheader("Content-Type", "")
        return Answer(reply.status, json.loads(raw) if raw and "json" in typed else raw.decode())
    finally:
        connection.close()


def _ask(port: int, path: str, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers))
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()
