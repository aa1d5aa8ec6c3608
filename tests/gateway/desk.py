"""A gateway for one test alone: what it has learnt of its sidecars, and its connections, are of that test.

Law of this file: it starts and ends them, and judges nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from gateway.builds import Build
from gateway.gateway import Gateway, Route
from gateway.stage import Client

HEADER_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Desk:
    """What a test talks to."""

    client: Client
    gateway: Gateway

    async def ask(self, path: str = "/") -> tuple[int, str | None]:
        """The status, and the id of the application that it was allowed to."""
        answer = await self.client.get(path)
        return answer.status, answer.upstream_headers["x-application-id"] if answer.status == 200 else None


@asynccontextmanager
async def open_desk(
    build: Build, routes: Sequence[Route], trusted_certificates: Path | None = None
) -> AsyncIterator[Desk]:
    """A gateway with these routes, and a client."""
    gateway = Gateway(
        routes,
        plugin_root=build.plugin_root,
        sandboxed=build.sandboxed,
        trusted_certificates=trusted_certificates,
        header_bytes=HEADER_BYTES,
    )
    try:
        await asyncio.to_thread(gateway.start)
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield Desk(Client(session, gateway.url), gateway)
    finally:
        await asyncio.to_thread(gateway.stop)
