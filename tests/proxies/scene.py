"""One proxy between a client, a service that tells what it was sent, and a sidecar.

Law of this file: it starts and stops things and shortens what a test has to write; it judges nothing.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from gateway.stage import Answer, spellings
from gateway.stub import StubSidecar, problem
from multidict import CIMultiDict
from proxies.proxy import Address, Proxy, running_proxy
from sidecar_process import running
from yarl import URL

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp
from validator.testing.echo import Echo

SECRET = "s:e%c+ret"
MAX_FAILURES = 3
IDENTITY_HEADERS = (
    "X-Application-Id",
    "X-Application-Name",
    "X-Credential-Identifier",
    "X-Auth-Method",
    "X-Application-Groups",
    "X-Session-Id",
)
# A dot is a hyphen to some services as well.
SPOOFED = {spelled: "evil" for name in IDENTITY_HEADERS for spelled in (*spellings(name), name.replace("-", "."))}
ANSWER_WITHIN_S = 10.0  # beyond what the proxy itself waits


@dataclass(frozen=True, slots=True)
class Front:
    """What a client sees: the proxy. ``service`` counts what came through."""

    proxy: Proxy
    address: Address
    service: Echo
    http: aiohttp.ClientSession

    async def ask(
        self,
        headers: Mapping[str, str] | CIMultiDict[str] | None = None,
        *,
        path: str = "/",
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """One request, with its path as it is written."""
        url = URL(f"http://front{path}", encoded=True)
        async with asyncio.timeout(self.proxy.gives_up_after_s + ANSWER_WITHIN_S):
            async with self.http.request(method, url, headers=headers, data=body, allow_redirects=False) as got:
                return Answer(got.status, got.headers, await got.read())

    async def raw(self, octets: bytes) -> bytes:
        """The answer to exactly these bytes, until the proxy closes."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            reader, writer = await self.address.connect()
            writer.write(octets)
            answer = await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            return answer


@asynccontextmanager
async def open_front(proxy: Proxy, sidecar: str) -> AsyncIterator[Front]:
    """A started proxy before a service of its own."""
    with tempfile.TemporaryDirectory(prefix="px-") as folder:
        async with Echo() as service, running_proxy(proxy, Path(folder), sidecar, service.address) as address:
            connector: aiohttp.BaseConnector
            if address.path is not None:
                connector = aiohttp.UnixConnector(address.path, force_close=True)
            else:
                connector = aiohttp.TCPConnector(force_close=True, resolver=Everywhere(address))
            jar = aiohttp.DummyCookieJar()
            skipped = ("User-Agent", "Accept", "Accept-Encoding")
            async with aiohttp.ClientSession(
                connector=connector, cookie_jar=jar, skip_auto_headers=skipped
            ) as http:
                yield Front(proxy, address, service, http)


class Everywhere(aiohttp.abc.AbstractResolver):
    """Every name is the proxy's address."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:  # noqa: ARG002 - its shape
        found = {"hostname": host, "host": self._address.host, "port": self._address.port}
        return [found | {"family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing is held."""


def configuration(issuer: str, data: str) -> dict[str, Any]:
    """What deploy/ names: the strategy ``plain`` and the service ``orders``."""
    strategy = {"idp": "generic", "issuer": issuer, "audience": ["api://default"]}

    def application(client_id: str, registrations: list[str]) -> dict[str, Any]:
        return {
            "id": f"app-{client_id}",
            "name": f"{client_id} app",
            "strategy": "plain",
            "client_id": client_id,
            "registrations": registrations,
            "groups": ["gold", "internal"],
        }

    return {
        "listen": {"data": data, "control": "127.0.0.1:0"},
        "strategies": {"plain": strategy},
        "applications": [application("orders", ["orders"]), application("billing", ["billing"])],
        "throttle": {"max_failures": MAX_FAILURES},
    }


@dataclass(frozen=True, slots=True)
class Judged:
    """A proxy before the real sidecar."""

    front: Front
    idp: FakeIdp

    def bearer(self, client_id: str = "orders") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.idp.token(client_id)}"}


@asynccontextmanager
async def open_judged(proxy: Proxy, *, unix: bool) -> AsyncIterator[Judged]:
    """Everything real but the identity provider."""
    with tempfile.TemporaryDirectory(prefix="px-") as folder:
        data = f"unix:{folder}/data.sock" if unix else "127.0.0.1:0"
        async with (
            FakeIdp({"orders": SECRET, "billing": "b"}, clock=SystemClock()) as idp,
            running(configuration(idp.issuer, data), Path(folder)) as sidecar,
            open_front(proxy, sidecar.data) as front,
        ):
            yield Judged(front, idp)


@dataclass(frozen=True, slots=True)
class Scripted:
    """A proxy before a sidecar that plays bytes."""

    front: Front
    sidecar: StubSidecar


@asynccontextmanager
async def open_scripted(proxy: Proxy) -> AsyncIterator[Scripted]:
    """The sidecar says what a test tells it to."""
    sidecar = StubSidecar()
    await sidecar.start()
    sidecar.play(problem("401 Unauthorized", "no_credential"))
    try:
        async with open_front(proxy, sidecar.url.removeprefix("http://")) as front:
            yield Scripted(front, sidecar)
    finally:
        await sidecar.stop()
