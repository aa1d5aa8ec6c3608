"""A control plane on a port of its own, and short ways to ask it.

Law of this file: what must hold for every answer is asserted in ``Running.ask``: no test can forget it.
"""

import asyncio
import contextlib
import json

import aiohttp
from aiohttp import web
from support_registry import StoredRegistry

from validator.registry.index import MemoryRegistry
from validator.server.control import control_application
from validator.server.runner import ControlRunner
from validator.testing import ManualClock

A_GUID = "3F0C1C9E-AAAA-4000-8000-00000000000B"
TOKEN = "canary-control-token-9f27"
A_NEW = {"id": "app-1", "name": "Orders", "strategy": "plain", "client_id": "c1", "registrations": ["orders"]}


class SilentEpoch:
    def touch_client(self, strategy, client_id): ...
    def touch_id(self, identifier): ...
    def touch_all(self): ...


class Running:
    """A control plane on a port of its own, with every callable in the test's hands."""

    def __init__(self):
        self.clock = ManualClock()
        self.token = None
        self.bridge = None
        self.missing = []
        self.excluded = set()
        self.cleared = 0
        self.strategies = ["plain", "azure"]
        self.session_ttl_s = 3600.0
        self.memory = MemoryRegistry(clock=self.clock, epoch=SilentEpoch(), strategies=self.strategies)
        self.registry = None
        self.url = ""
        self.client = None

    async def ready(self, excluded):
        self.excluded = excluded
        return self.missing

    async def metrics(self):
        return b"up 1\n", "text/plain; version=1.0.0; charset=utf-8"

    async def clear(self):
        self.cleared += 1

    def application(self):
        return control_application(
            registry=self.registry,
            clock=self.clock,
            strategies=lambda: self.strategies,
            ready=self.ready,
            metrics=self.metrics,
            clear_cache=self.clear,
            token=lambda: self.token,
            session_ttl_s=lambda: self.session_ttl_s,
            bridge=self.bridge,
        )

    async def ask(self, method, path, body=None, **more):
        """Status and parsed body; every error must be a problem document and every answer uncacheable."""
        if body is not None:
            more["json"] = body
        async with self.client.request(method, self.url + path, **more) as reply:
            octets = await reply.read()
            assert reply.headers["Cache-Control"] == "no-store"
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert "aiohttp" not in reply.headers["Server"]
            self.headers = reply.headers
            if reply.status >= 400 and not (path == "/readyz" and reply.status == 503):
                assert reply.content_type == "application/problem+json"
                problem = json.loads(octets)
                assert problem["status"] == reply.status
                assert problem["detail"]
            return reply.status, json.loads(octets) if "json" in reply.content_type and octets else octets

    async def mistakes(self, method, path, body=None, **more):
        """Pointers or parameters of a 400, with their details."""
        status, problem = await self.ask(method, path, body, **more)
        assert status == 400, problem
        return {e.get("pointer", e.get("parameter")): e["detail"] for e in problem["errors"]}


@contextlib.asynccontextmanager
async def serving(running, *, unix=None, **bounds):
    running.registry = running.registry or await StoredRegistry.open(
        None, memory=running.memory, clock=running.clock
    )
    served = ControlRunner(running.application(), shutdown_timeout=1, **bounds)
    await served.setup()
    if unix is None:
        await web.TCPSite(served, "127.0.0.1", 0).start()
        running.url = f"http://127.0.0.1:{served.addresses[0][1]}"
        connector = aiohttp.TCPConnector()
    else:
        await web.UnixSite(served, str(unix)).start()
        running.url = "http://validator"
        connector = aiohttp.UnixConnector(str(unix))
    async with aiohttp.ClientSession(connector=connector) as running.client:
        yield running
    await served.cleanup()
    if isinstance(running.registry, StoredRegistry):
        await running.registry.close()


def with_registry(registry):
    running = Running()
    running.registry = registry
    return running


async def raw(control, request):
    """What comes back for these octets until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(control.url.rpartition(":")[2]))
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
