"""The test gateway on the measured core: nginx, running the Kong plugin's own Lua.

Law of this file: the one place of the benchmark that knows that the gateway lives among the tests.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.stage import Stage

# It is a program of the tests and no part of the package; it knows nothing of pytest.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from gateway.gateway import Gateway, GatewayError, Route

__all__ = ["Gateway", "GatewayError", "Route", "running"]


@contextlib.asynccontextmanager
async def running(
    stage: Stage, routes: Sequence[Route], *, upstream_url: str | None = None
) -> AsyncIterator[Gateway]:
    """The gateway, accepting requests; without an upstream its own echo stands behind it.

    Raises:
        GatewayError: nginx or its Lua module is missing, or it did not start.
    """
    gateway = Gateway(
        routes,
        upstream_url=upstream_url,
        log_level="warn",
        command=["taskset", "--cpu-list", str(stage.server_core)],
    )
    await asyncio.to_thread(gateway.start)
    try:
        yield gateway
    finally:
        await asyncio.to_thread(gateway.stop)
