"""A sidecar before one identity provider, asked as a gateway asks it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from sidecar_support import Answer, basic, bearer
from structlog.testing import capture_logs

from identity_providers.rows import Row, Stage
from validator.adapters.clock import SystemClock
from validator.ports import Clock
from validator.settings import Settings
from validator.wiring import Sidecar

TIMEOUT_S = 20.0


@dataclass
class Gate:
    """A sidecar that runs, and the data plane's short way to ask it."""

    sidecar: Sidecar
    http: aiohttp.ClientSession
    client_ids: tuple[str, ...] = ()
    logs: list[MutableMapping[str, Any]] = field(default_factory=list)

    async def ask(self, headers: Mapping[str, str], service: str = "orders", strategy: str = "s") -> Answer:
        url = f"http://{self.sidecar.data_address}/v1/authorize/{strategy}/{service}"
        async with self.http.get(url, headers=headers) as reply:
            return Answer(reply.status, dict(reply.headers), await reply.read())

    async def refusal(self, headers: Mapping[str, str]) -> tuple[int, str, str]:
        """Status, reason, and what the operator reads about it."""
        answer = await self.ask(headers)
        detail = next((line["detail"] for line in reversed(self.logs) if line.get("reason") == answer.reason), "")
        return answer.status, answer.reason, detail

    async def reload(self, strategies: Mapping[str, Mapping[str, Any]]) -> None:
        """Puts these strategies in force in place of those there were."""
        await self.sidecar.reload(configuration(strategies, *self.client_ids))

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        async with self.http.get(f"http://{self.sidecar.control_address}/readyz") as reply:
            return reply.status, await reply.json()

    async def credential(self, stage: Stage, method: str) -> dict[str, str]:
        """What a developer's application sends."""
        if method == "bearer":
            return bearer(await stage.token())
        pair = basic(stage.client_id, stage.secret)
        if method == "client_credentials":
            return pair
        opened = await self.ask(pair)
        assert opened.verdict == (200, ""), opened
        return opened.cookie


def configuration(strategies: Mapping[str, Mapping[str, Any]], *client_ids: str) -> Settings:
    """Applications with these client ids are registered for ``orders`` under each strategy."""
    applications = [
        {
            "id": f"{client_id}.{name}",
            "name": "Orders",
            "strategy": name,
            "client_id": client_id,
            "registrations": ["orders"],
        }
        for name in strategies
        for client_id in client_ids
    ]
    return Settings.model_validate(
        {
            "listen": {"data": "127.0.0.1:0", "control": "127.0.0.1:0"},
            "strategies": {name: dict(strategy) for name, strategy in strategies.items()},
            "applications": applications,
        }
    )


@contextlib.asynccontextmanager
async def gate(
    strategies: Mapping[str, Mapping[str, Any]], *client_ids: str, clock: Clock | None = None
) -> AsyncIterator[Gate]:
    """A sidecar with this ``configuration``."""
    with capture_logs() as logs:
        sidecar = Sidecar(configuration(strategies, *client_ids), clock=clock or SystemClock())
        await sidecar.start()
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
                yield Gate(sidecar, http, client_ids, logs)
        finally:
            await asyncio.wait_for(sidecar.stop(), TIMEOUT_S)


@contextlib.asynccontextmanager
async def row_gate(row: Row) -> AsyncIterator[tuple[Gate, Stage]]:
    """A row's provider, and a sidecar with its strategy as ``s``; ``t`` is another that reads another claim."""
    clock = SystemClock()
    async with row.start(clock) as stage:
        strategies = {"s": stage.strategy, "t": {**stage.strategy, "credential_claim": ["elsewhere"]}}
        async with gate(strategies, stage.client_id, clock=clock) as running:
            yield running, stage
