"""The cached decision as a route of an aiohttp application on uvloop: what one would write first.

Law of this file: it looks up and answers what the sidecar does for a token that it has seen (digest, table,
deadline, the same headers), in the ways that aiohttp documents, and nothing else. Run with a port and a file of
headers that it is to know.
"""

import asyncio
import contextlib
import hashlib
import secrets
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvloop
from aiohttp import web

from bench import subjects
from bench.stage import Program, Stage, free_ports

TTL_S = 3600
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Known:
    deadline: float
    headers: dict[str, str]


class Decisions:
    def __init__(self, lines: list[str]) -> None:
        self._seed = hashlib.sha256(secrets.token_bytes(32))
        facts = subjects.application(subjects.CLIENT)
        headers = {
            "X-Application-Id": facts["id"],
            "X-Application-Name": facts["name"],
            "X-Credential-Identifier": facts["client_id"],
            "X-Auth-Method": "bearer",
        }
        deadline = time.time() + TTL_S
        self._known = {self._digest(line.partition(": ")[2]): Known(deadline, headers) for line in lines}

    def _digest(self, authorization: str) -> bytes:
        digest = self._seed.copy()
        digest.update(authorization.encode())
        return digest.digest()

    async def authorize(self, request: web.Request) -> web.Response:
        known = self._known.get(self._digest(request.headers.get("Authorization", "")))
        now = time.time()
        if known is None or now >= known.deadline:
            return web.Response(status=UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
        left = int(known.deadline - now)
        return web.Response(headers={**known.headers, "Cache-Control": f"private, max-age={left}"})


@contextlib.asynccontextmanager
async def started(stage: Stage, headers: Path) -> AsyncIterator[tuple[Program, int]]:
    """The application on the measured core, and its port."""
    (port,) = free_ports(1)
    command = (sys.executable, "-m", __spec__.name, str(port), str(headers))
    async with stage.program(*command) as program:
        await program.ready(port)
        yield program, port


async def serve(port: int, lines: list[str]) -> None:
    async def ready(_request: web.Request) -> web.Response:
        return web.Response()

    application = web.Application()
    decisions = Decisions(lines)
    application.router.add_get("/v1/authorize/{strategy}/{service}", decisions.authorize)
    application.router.add_get("/readyz", ready)
    runner = web.AppRunner(application, access_log=None, handle_signals=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(web.GracefulExit):
        uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines()))
