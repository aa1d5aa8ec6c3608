"""The bridge over HTTP with a stub behind it, served both ways.

Law of this file: what must hold for every answer of the bridge is asserted in ``Asking.ask``: no test can forget
it.
"""

import contextlib
import json

import aiohttp
from aiohttp import web
from control_support import TOKEN, Running, serving

from validator.dcr.plan import Credentials
from validator.server.bridge import bridge_application
from validator.server.runner import ControlRunner
from validator.testing import ManualClock

KEY, SECOND_KEY = "canary_api_key_1", "canary_api_key_2"
SECRET = "canary-client-secret"
WRONG_KEY = {"error": "Wrong API-Key", "error_description": "wrong x-api-key header"}
_IDS = {
    "portal_id": "b2a7dd0f-1c1f-4d8f-9a2b-0d6f8b7f6a01",
    "organization_id": "b2a7dd0f-1c1f-4d8f-9a2b-0d6f8b7f6a02",
    "developer_id": "b2a7dd0f-1c1f-4d8f-9a2b-0d6f8b7f6a03",
    "auth_strategy_id": "b2a7dd0f-1c1f-4d8f-9a2b-0d6f8b7f6a04",
    "dcr_provider_id": "b2a7dd0f-1c1f-4d8f-9a2b-0d6f8b7f6a05",
}
APPLICATION = {
    "client_name": "Orders",
    "redirect_uris": ["https://orders.test/callback"],
    "grant_types": ["authorization_code", "refresh_token", "implicit"],
    "scopes": ["openid", "orders:read"],
    "token_endpoint_auth_method": "client_secret_post",
    "application_description": "two\nlines",
    **_IDS,
}
EVENT = {
    "client_id": "c1",
    "application_id": "b2a7dd0f-1c1f-4d8f-9a2b-0d6f8b7f6a06",
    "application_name": "Orders",
    "application_description": "",
    **_IDS,
}
ADDED = {**EVENT, "event_type": "add_registration", "api_product_version_id": "orders"}


class StubBridge:
    """Does what the test says, and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.error = None
        self.made = Credentials("c1", SECRET, 1_700_825_336, 0)

    async def _do(self, *what):
        self.asked.append(what)
        if self.error is not None:
            raise self.error
        return self.made

    async def create(self, wanted):
        return await self._do("create", wanted)

    async def delete(self, client_id):
        await self._do("delete", client_id)

    async def new_secret(self, client_id):
        return await self._do("new_secret", client_id)

    async def event(self, event):
        await self._do("event", event)


class Asking:
    """The bridge, on a port of its own."""

    def __init__(self):
        self.stub = StubBridge()
        self.keys = [KEY, SECOND_KEY]
        self.clock = ManualClock()
        self.client = None
        self.url = ""
        self.headers = {}

    async def ask(self, method, path, body=None, *, key=KEY, headers=(), **more):
        """Status and parsed body; every error must be in the bridge's shape and every answer uncacheable."""
        if body is not None:
            more["json"] = body
        sent = [*dict(headers).items()] if isinstance(headers, dict) else [*headers]
        sent += [] if key is None else [("X-API-KEY", key)]
        async with self.client.request(method, self.url + path, headers=sent, **more) as reply:
            octets = await reply.read()
            assert reply.headers["Cache-Control"] == "no-store"
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert "aiohttp" not in reply.headers["Server"]
            self.headers = reply.headers
            if reply.status >= 400 and method != "HEAD":
                assert reply.content_type == "application/json"
                refused = json.loads(octets)
                assert set(refused) == {"error", "error_description"}
                assert all(value and isinstance(value, str) for value in refused.values())
            return reply.status, json.loads(octets) if octets else b""


@contextlib.asynccontextmanager
async def alone():
    """``bridge_application`` on a listener of its own."""
    asking = Asking()
    application = bridge_application(asking.stub, lambda: asking.keys, clock=asking.clock)
    served = ControlRunner(application, shutdown_timeout=1)
    await served.setup()
    await web.TCPSite(served, "127.0.0.1", 0).start()
    asking.url = f"http://127.0.0.1:{served.addresses[0][1]}"
    async with aiohttp.ClientSession() as asking.client:
        yield asking
    await served.cleanup()


@contextlib.asynccontextmanager
async def on_control(*, token=TOKEN):
    """The bridge on a control plane, which has a token of its own."""
    asking, running = Asking(), Running()
    running.token = token
    running.clock = asking.clock
    running.bridge = (asking.stub, lambda: asking.keys)
    async with serving(running):
        asking.client, asking.url, asking.control = running.client, running.url, running
        yield asking


SERVED = {"alone": alone, "on_control": on_control}
