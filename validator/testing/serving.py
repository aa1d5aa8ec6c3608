"""A server on loopback that keeps count and can be told to misbehave. FOR DEVELOPMENT ONLY.

Law of this file: the life of the port, what arrived, and faults; what the right answers are is decided by those
who build on it. It shows itself beyond loopback only where a ``host`` says so.
"""

import asyncio
import json
import logging
import socket
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Self
from urllib.parse import parse_qsl

from aiohttp import web

from validator.model import Endpoint
from validator.testing.clients import OAuthError, method_of
from validator.testing.faults import Fault

LOOPBACK: Final = "127.0.0.1"
NO_STORE: Final[Mapping[str, str]] = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""RFC 6749 section 5.1: on every answer that holds a secret."""

Handler = Callable[[web.Request], Awaitable[web.Response]]

_SECRET_PARAMETERS: Final = {"client_secret", "client_assertion", "registration_access_token", "token"}
_SECRET_HEADERS: Final = {"authorization", "cookie"}
_BACKLOG: Final = 1024  # a thousand first requests at once are one of the things it is there for
_SEEN_KEPT: Final = 1000
_UNAUTHORIZED: Final = 401

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """What arrived, without its secrets. ``parameters`` are the form's, or the members of a JSON body."""

    endpoint: Endpoint
    method: str
    path: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    client_id: str | None = None
    auth_method: str | None = None


class Route(NamedTuple):
    """One address of a server: what it counts as, how it is reached, who answers."""

    endpoint: Endpoint
    method: str
    path: str
    answer: Handler


class LoopbackServer:
    """Use it as ``async with`` block. Subclasses say ``_routes``, and may prepare in ``_open``.

    Args:
        port: 0 takes a free one.
        ssl_context: serves https with it.
        host: an address other than loopback is for the network of a container alone.
        public_origin: how others reach it, where that is not the address that it listens on.

    Attributes:
        calls: requests by endpoint, counted on arrival, whatever was answered.
        paths: the same by path.
        requests: the last thousand requests.
        faults: by endpoint or path; see ``fail``.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        host: str = LOOPBACK,
        public_origin: str | None = None,
    ) -> None:
        self.calls: Counter[Endpoint] = Counter()
        self.paths: Counter[str] = Counter()
        self.requests: deque[SeenRequest] = deque(maxlen=_SEEN_KEPT)
        self.faults: dict[str, Fault] = {}
        self._port = port
        self._ssl_context = ssl_context
        self._host = host
        self._public_origin = public_origin
        self._arrival = asyncio.Condition()
        self._held: socket.socket | None = None  # the port, while nobody listens on it
        self._runner: web.AppRunner | None = None

    def _open(self) -> None:
        """Makes what needs to know the port, before anybody can ask."""

    def _routes(self) -> Iterable[Route]:
        """What is served."""
        raise NotImplementedError

    # -- its life --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Binds the port, makes the keys, listens.

        Raises:
            OSError: the port is taken.
            ValueError: an ``alg`` that it cannot sign with.
        """
        self._held = self._bound()
        self._port = self._held.getsockname()[1]
        try:
            self._open()
            await self.bring_back()
        except BaseException:
            await self.stop()
            raise
        _log.warning("%s is a DEVELOPMENT identity provider: it guards nothing", self.origin)

    async def stop(self) -> None:
        """Closes every connection and gives the port back; requests under way are cut off."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        held, self._held = self._held, None
        if held is not None:
            held.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def take_down(self) -> None:
        """From now on connections are refused; the port stays reserved for ``bring_back``."""
        await self.stop()
        self._held = self._bound()

    async def bring_back(self) -> None:
        """Listens again on the same port. Does nothing while it listens."""
        if self._runner is not None:
            return
        held, self._held = self._held or self._bound(), None
        application = web.Application()
        for route in self._routes():
            application.router.add_route(route.method, route.path, self._served(route))
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, held, backlog=_BACKLOG, ssl_context=self._ssl_context).start()
        self._runner = runner

    def _bound(self) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self._host, self._port))
            bound.setblocking(False)
        except OSError:
            bound.close()
            raise
        return bound

    @property
    def origin(self) -> str:
        if self._public_origin is not None:
            return self._public_origin
        return f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    # -- what tests do with it -------------------------------------------------------------------------------

    def fail(self, fault: Fault, *where: str) -> None:
        """Answers that way until ``heal``: at these endpoints, at these paths (``/…``), or at all endpoints. A
        path's own fault goes before that of its endpoint."""
        self.faults.update(dict.fromkeys(where or Endpoint, fault))

    def heal(self, *where: str) -> None:
        """The right answers again, for requests that arrive from now on; without arguments everywhere."""
        for place in where or tuple(self.faults):
            self.faults.pop(place, None)

    async def wait_for_calls(self, endpoint: Endpoint, count: int, *, timeout_s: float = 5.0) -> None:
        """Returns once that many calls have arrived there; raises ``TimeoutError`` after ``timeout_s``."""
        async with asyncio.timeout(timeout_s), self._arrival:
            await self._arrival.wait_for(lambda: self.calls[endpoint] >= count)

    # -- serving ---------------------------------------------------------------------------------------------

    def _served(self, route: Route) -> Handler:
        async def serve(request: web.Request) -> web.Response:
            self.requests.append(await _seen(route.endpoint, request))
            async with self._arrival:
                self.calls[route.endpoint] += 1
                self.paths[request.path] += 1
                self._arrival.notify_all()
            fault = self.faults.get(request.path) or self.faults.get(route.endpoint)
            return await (route.answer(request) if fault is None else _faulty(fault, route.answer, request))

        return serve


async def _faulty(fault: Fault, answer: Handler, request: web.Request) -> web.Response:
    right = await answer(request) if fault.late else None
    if fault.gate is not None:
        await fault.gate.wait()
    if fault.drops and request.transport is not None:
        request.transport.abort()
    if fault.status is not None:
        return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
    return right or await answer(request)


async def _seen(endpoint: Endpoint, request: web.Request) -> SeenRequest:
    parameters = _parameters(request.content_type, await request.read())
    client_id, auth_method = method_of(request.headers.get("Authorization"), parameters)
    return SeenRequest(
        endpoint=endpoint,
        method=request.method,
        path=request.path,
        headers={
            name.lower(): value for name, value in request.headers.items() if name.lower() not in _SECRET_HEADERS
        },
        parameters={name: value for name, value in parameters.items() if name not in _SECRET_PARAMETERS},
        client_id=client_id,
        auth_method=auth_method,
    )


def _parameters(content_type: str, body: bytes) -> dict[str, str]:
    if content_type == "application/json":
        try:
            document = json.loads(body)
        except ValueError:
            return {}
        members = document.items() if isinstance(document, dict) else ()
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in members}
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def error_reply(request: web.Request, error: OAuthError) -> web.Response:
    """An error as RFC 6749 section 5.2 writes it, with the challenge that belongs to it."""
    headers = dict(NO_STORE)
    if error.error == "invalid_token":  # RFC 6750 section 3
        headers["WWW-Authenticate"] = 'Bearer realm="development"'
    elif error.status == _UNAUTHORIZED and "Authorization" in request.headers:
        headers["WWW-Authenticate"] = 'Basic realm="development"'
    return web.json_response(
        {"error": error.error, "error_description": error.description}, status=error.status, headers=headers
    )
