"""A gateway with the plugin, between a client and a sidecar that plays exact bytes.

Law of this file: it sets the stage for tests and judges nothing but the form of the generic 503.
"""

import asyncio
import itertools
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from gateway import builds
from gateway.gateway import KONG_VERSION, Gateway, Route
from gateway.stub import StubSidecar
from multidict import CIMultiDict, CIMultiDictProxy

TIMEOUT_MS = 1000
STALL_TIMEOUT_MS = 150
CANARY = "canary-4f1d"
BEARER = {"Authorization": f"Bearer {CANARY}"}
NOBODY = {"id": "0b7b21f6-8a4e-4e38-9d57-4f6a2f5b0c11", "username": "nobody", "custom_id": "nobody-1"}

IDENTITY_HEADERS = (
    "X-Application-Id",
    "X-Application-Name",
    "X-Credential-Identifier",
    "X-Auth-Method",
    "X-Application-Groups",
    "X-Session-Id",
    "X-Consumer-ID",
    "X-Consumer-Custom-ID",
    "X-Consumer-Username",
    "X-Anonymous-Consumer",
    "X-Consumer-Groups",
    "X-Authenticated-Groups",
)
CLAIM = "X-Claim-Tenant"  # in the upstream_headers of every route of a stage; of no other gateway's


def spellings(name: str) -> list[str]:
    """Every mixture of hyphens and underscores that a CGI or WSGI upstream takes for ``name``."""
    words = name.split("-")
    return [
        words[0] + "".join(mark + word for mark, word in zip(marks, words[1:], strict=True))
        for marks in itertools.product("-_", repeat=len(words) - 1)
    ]


SPOOFED = {spelled: "evil" for name in IDENTITY_HEADERS for spelled in spellings(name)}
SPOOFED_CLAIM = dict.fromkeys(spellings(CLAIM), "evil")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client got."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def upstream(self) -> dict[str, Any]:
        """What the echo behind the gateway saw."""
        seen: dict[str, Any] = json.loads(self.body)
        return seen

    @property
    def upstream_headers(self) -> dict[str, str]:
        """By the name that a CGI-like upstream would use; the values of one name joined."""
        folded: dict[str, str] = {}
        for name, value in self.upstream["headers"]:
            key = name.lower().replace("_", "-")
            folded[key] = f"{folded[key]}, {value}" if key in folded else value
        return folded

    @property
    def identity(self) -> dict[str, str]:
        """The identity headers that the upstream saw."""
        names = {name.lower() for name in (*IDENTITY_HEADERS, CLAIM)}
        return {name: value for name, value in self.upstream_headers.items() if name in names}


class Client:
    """Asks the gateway, every time on a connection of its own."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(
        self, path: str, headers: Mapping[str, str] | CIMultiDict[str] | None = None, *, method: str = "GET"
    ) -> Answer:
        sent = BEARER if headers is None else headers
        async with self._session.request(method, self._url + path, headers=sent) as got:
            return Answer(got.status, got.headers, await got.read())


def is_unavailable(answer: Answer) -> bool:
    """The 503 that says nothing about what happened inside."""
    return (
        answer.status == 503
        and answer.headers["Retry-After"].isdigit()
        and answer.headers["Content-Type"] == "application/problem+json"
        and "reason" not in json.loads(answer.body)
    )


@dataclass(frozen=True, slots=True)
class Places:
    """What the routes of a stage point to.

    Attributes:
        sidecar: on loopback.
        unix_sidecar: on a Unix socket.
        down: the URL of a sidecar that is down.
    """

    sidecar: StubSidecar
    unix_sidecar: StubSidecar
    down: str

    def route(self, path: str, service: str | None = "orders", /, **config: object) -> Route:
        """A route to the sidecar on loopback; what is no field of the configuration is one of ``Route``."""
        fields = {name: config.pop(name) for name in _ROUTE_FIELDS & set(config)}
        defaults = {
            "validator_url": self.sidecar.url,
            "strategy": "plain",
            "timeout_ms": TIMEOUT_MS,
            "upstream_headers": [CLAIM],
        }
        return Route(path, service, defaults | config, **fields)  # type: ignore[arg-type]


_ROUTE_FIELDS = {"authenticated", "plugins", "log", "sampled"}


@dataclass(frozen=True, slots=True)
class Stage:
    """What a test talks to. ``unix_sidecar`` serves ``/fresh/`` alone, and its pool starts empty."""

    client: Client
    sidecar: StubSidecar
    unix_sidecar: StubSidecar
    gateway: Gateway


def usual_routes(places: Places) -> list[Route]:
    """Those of the gateway's first tests."""
    route, down = places.route, places.down
    other = {
        "credential": {"id": "key-1"},
        "headers": {"X-Credential-Identifier": "key-1", "X-Consumer-Username": "alice"},
    }
    return [
        route("/allowed"),
        route("/fresh/", validator_url=places.unix_sidecar.url, timeout_ms=STALL_TIMEOUT_MS),
        route("/impatient", timeout_ms=STALL_TIMEOUT_MS),
        route("/anonymous", anonymous="nobody"),
        route("/lost", anonymous="missing"),
        route("/visible", hide_credentials=False),
        route("/down", validator_url=down),
        route("/down-anonymous", validator_url=down, anonymous="nobody"),
        route("/other", anonymous="nobody", authenticated=other),
        route("/nameless", None),
        route("/dots", ".."),
        route("/encoded", "ignored", service="a/b c?d", strategy="é%"),
        route("/cached", decision_cache_ttl_s=60),
        route("/cached-too", decision_cache_ttl_s=60),
        route("/briefly", decision_cache_ttl_s=0.3),
        Route("/plain", "orders"),
    ]


@asynccontextmanager
async def open_stage(
    build: str,
    routes: Callable[[Places], Sequence[Route]] = usual_routes,
    *,
    consumers: Sequence[Mapping[str, str]] = (NOBODY,),
    upstream_url: str | None = None,
    kong_version: str = KONG_VERSION,
) -> AsyncIterator[Stage]:
    """Starts everything once, for all tests of a module.

    Args:
        build: one of ``builds.BUILDS``.
    """
    with (
        builds.opened(build) as plugin,
        tempfile.TemporaryDirectory(prefix="stub-") as directory,
        socket.socket() as holder,
    ):
        holder.bind(("127.0.0.1", 0))  # taken, and nobody listens: a sidecar that is down
        sidecar, unix_sidecar = StubSidecar(), StubSidecar(Path(directory) / "data.sock")
        await sidecar.start()
        await unix_sidecar.start()
        places = Places(sidecar, unix_sidecar, f"http://127.0.0.1:{holder.getsockname()[1]}")
        gateway = await asyncio.to_thread(
            Gateway,
            routes(places),
            consumers=consumers,
            upstream_url=upstream_url,
            plugin_root=plugin.plugin_root,
            sandboxed=plugin.sandboxed,
            kong_version=kong_version,
        )
        try:
            await asyncio.to_thread(gateway.start)
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
                yield Stage(Client(session, gateway.url), sidecar, unix_sidecar, gateway)
        finally:
            await asyncio.to_thread(gateway.stop)
            await sidecar.stop()
            await unix_sidecar.stop()
