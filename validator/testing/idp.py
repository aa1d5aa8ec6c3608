"""An identity provider on loopback: discovery, keys, and tokens for clients. FOR DEVELOPMENT ONLY.

Law of this file: it answers as RFC 6749, RFC 8414 and OpenID Connect Discovery say until it is told to
misbehave, keeps count of who asked, and never shows itself beyond loopback.
"""

import asyncio
import logging
import secrets
import socket
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import parse_qsl

from aiohttp import web

from validator.model import Endpoint
from validator.ports import Clock
from validator.testing.clients import FakeClient, OAuthError, authenticate, form_of, method_of
from validator.testing.faults import Fault
from validator.testing.mint import ABSENT, SigningKey, TokenMint

_LOOPBACK: Final = "127.0.0.1"
_SECRET_PARAMETERS: Final = {"client_secret", "client_assertion"}
_SECRET_HEADERS: Final = {"authorization", "cookie"}
_BACKLOG: Final = 1024  # a thousand first requests at once are one of the things it is there for
_SEEN_KEPT: Final = 1000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """What arrived, without its secrets. ``parameters`` are the form's."""

    endpoint: Endpoint
    method: str
    path: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    client_id: str | None = None
    auth_method: str | None = None


class FakeIdp:
    """Use it as ``async with FakeIdp({"orders": "secret"}, clock=clock) as idp:``.

    Args:
        clients: client id -> secret, or -> ``FakeClient``.
        clock: times the tokens.
        path: of the issuer, such as ``/oauth2/default``; ``/`` makes an issuer that ends in a slash.
        alg: of the first signing key.
        audience: the ``aud`` where a request names no ``audience`` or ``resource``.
        lifetime_s: seconds from ``iat`` to ``exp``.
        keyring: see ``TokenMint``; two providers that must not share keys need two names.
        port: 0 takes a free one.
        ssl_context: serves https with it.

    Attributes:
        mint: its keys and its stamp, from ``start`` on.
        clients: may be changed at any time.
        calls: requests by endpoint, counted on arrival, whatever was answered.
        requests: the last thousand requests.
        faults: by endpoint; see ``fail``.
        metadata: changes to the discovery document, such as ``{"issuer": "https://other"}``.
        well_known: the discovery documents that exist; others are 404.
        jwks_document: in place of the key set, such as ``{"keys": []}``.
        jwks_cache_control: the ``Cache-Control`` of the key set; ``None`` sends none.
        invalid_client_status: 401 or 400: providers differ.
    """

    mint: TokenMint

    def __init__(
        self,
        clients: Mapping[str, str | FakeClient] | None = None,
        *,
        clock: Clock,
        path: str = "",
        alg: str = "RS256",
        audience: str | list[str] = "api://default",
        lifetime_s: float = 3600,
        keyring: str = "default",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.clients = {
            client_id: FakeClient(client) if isinstance(client, str) else client
            for client_id, client in (clients or {}).items()
        }
        self.calls: Counter[Endpoint] = Counter()
        self.requests: deque[SeenRequest] = deque(maxlen=_SEEN_KEPT)
        self.faults: dict[Endpoint, Fault] = {}
        self.metadata: dict[str, Any] = {}
        self.well_known = {"openid-configuration", "oauth-authorization-server"}
        self.jwks_document: object | None = None
        self.jwks_cache_control: str | None = None
        self.invalid_client_status = 401
        self._clock = clock
        self._path = path
        self._alg = alg
        self._audience = audience
        self._lifetime_s = lifetime_s
        self._keyring = keyring
        self._port = port
        self._ssl_context = ssl_context
        self._arrival = asyncio.Condition()
        self._held: socket.socket | None = None  # the port, while nobody listens on it
        self._runner: web.AppRunner | None = None

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
            self.mint = TokenMint(
                f"{self.origin}{self._path}",
                self._clock,
                alg=self._alg,
                audience=self._audience,
                lifetime_s=self._lifetime_s,
                keyring=self._keyring,
            )
            await self.bring_back()
        except BaseException:
            await self.stop()
            raise
        _log.warning("%s is a DEVELOPMENT identity provider: it guards nothing", self.issuer)

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
        runner = web.AppRunner(
            self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.SockSite(runner, held, backlog=_BACKLOG, ssl_context=self._ssl_context).start()
        self._runner = runner

    def _bound(self) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((_LOOPBACK, self._port))
            bound.setblocking(False)
        except OSError:
            bound.close()
            raise
        return bound

    # -- its addresses ---------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        return f"{'https' if self._ssl_context else 'http'}://{_LOOPBACK}:{self._port}"

    @property
    def issuer(self) -> str:
        return self.mint.issuer

    @property
    def discovery_url(self) -> str:
        return f"{self._base}/.well-known/openid-configuration"

    @property
    def jwks_uri(self) -> str:
        return f"{self._base}/jwks"

    @property
    def token_endpoint(self) -> str:
        return f"{self._base}/token"

    @property
    def _base(self) -> str:
        return f"{self.origin}{self._path.rstrip('/')}"

    # -- what tests do with it -------------------------------------------------------------------------------

    def token(
        self,
        client_id: str,
        /,
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        **claims: Any,
    ) -> str:
        """The token that this client would get, changed by ``claims``, without asking over HTTP. The client
        need not be registered."""
        client = self.clients.get(client_id)
        scope = " ".join(client.scopes) if client and client.scopes else ABSENT
        base = {"sub": client_id, "client_id": client_id, "azp": client_id, "scope": scope}
        own = client.claims if client else {}
        return self.mint.mint({**base, **own, **claims}, header=header, key=key)

    def fail(self, fault: Fault, *endpoints: Endpoint) -> None:
        """Answers that way, at these endpoints or at all, until ``heal``."""
        self.faults.update(dict.fromkeys(endpoints or Endpoint, fault))

    def heal(self, *endpoints: Endpoint) -> None:
        """The right answers again, for requests that arrive from now on."""
        for endpoint in endpoints or tuple(Endpoint):
            self.faults.pop(endpoint, None)

    async def wait_for_calls(self, endpoint: Endpoint, count: int, *, timeout_s: float = 5.0) -> None:
        """Returns once that many calls have arrived there; raises ``TimeoutError`` after ``timeout_s``."""
        async with asyncio.timeout(timeout_s), self._arrival:
            await self._arrival.wait_for(lambda: self.calls[endpoint] >= count)

    # -- serving ---------------------------------------------------------------------------------------------

    def _application(self) -> web.Application:
        path = self._path.rstrip("/")
        application = web.Application()
        application.router.add_get(
            f"{path}/.well-known/openid-configuration", self._route(Endpoint.DISCOVERY, self._discovery)
        )
        application.router.add_get(  # RFC 8414 section 3.1: well-known comes before the issuer's path
            f"/.well-known/oauth-authorization-server{path}", self._route(Endpoint.DISCOVERY, self._discovery)
        )
        application.router.add_get(f"{path}/jwks", self._route(Endpoint.JWKS, self._jwks))
        application.router.add_post(f"{path}/token", self._route(Endpoint.TOKEN, self._token))
        return application

    def _route(
        self, endpoint: Endpoint, answer: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(request: web.Request) -> web.Response:
            self.requests.append(await _seen(endpoint, request))
            async with self._arrival:
                self.calls[endpoint] += 1
                self._arrival.notify_all()
            fault = self.faults.get(endpoint)
            if fault is not None and fault.gate is not None:
                await fault.gate.wait()
            if fault is not None and fault.status is not None:
                return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
            return await answer(request)

        return serve

    async def _discovery(self, request: web.Request) -> web.Response:
        if not any(f"/.well-known/{name}" in request.path for name in self.well_known):
            return web.json_response({"error": "not_found"}, status=404)
        document = {
            "issuer": self.issuer,
            "jwks_uri": self.jwks_uri,
            "token_endpoint": self.token_endpoint,
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["none"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.alg for key in self.mint.keys}),
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            **self.metadata,
        }
        return web.json_response({name: value for name, value in document.items() if value is not ABSENT})

    async def _jwks(self, _request: web.Request) -> web.Response:
        document = self.mint.jwks() if self.jwks_document is None else self.jwks_document
        headers = {"Cache-Control": self.jwks_cache_control} if self.jwks_cache_control is not None else None
        return web.json_response(document, headers=headers)

    async def _token(self, request: web.Request) -> web.Response:
        headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
        try:
            document = self._grant(
                request.headers.get("Authorization"), form_of(request.content_type, await request.read())
            )
        except OAuthError as error:
            if error.status == 401 and "Authorization" in request.headers:  # noqa: PLR2004  RFC 6749 section 5.2
                headers["WWW-Authenticate"] = 'Basic realm="development"'
            return web.json_response(
                {"error": error.error, "error_description": error.description},
                status=error.status,
                headers=headers,
            )
        return web.json_response(document, headers=headers)

    def _grant(self, authorization: str | None, form: dict[str, str]) -> dict[str, Any]:
        """The client_credentials grant (RFC 6749 section 4.4)."""
        client_id, client = authenticate(
            self.clients, authorization, form, failure_status=self.invalid_client_status
        )
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "only client_credentials is served here")
        asked = tuple(form.get("scope", "").split())
        if client.scopes is not None and not set(asked) <= set(client.scopes):
            raise OAuthError("invalid_scope", "this client may not have that scope")
        scope = " ".join(asked or client.scopes or ())
        audience = form.get("audience") or form.get("resource") or self.mint.audience
        token = (
            secrets.token_urlsafe(32)
            if client.opaque
            else self.token(client_id, **{"scope": scope or ABSENT, "aud": audience, **client.claims})
        )
        reply = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self.mint.lifetime_s) if client.expires_in is None else client.expires_in,
            "scope": scope or ABSENT,
        }
        return {name: value for name, value in reply.items() if value is not ABSENT}


async def _seen(endpoint: Endpoint, request: web.Request) -> SeenRequest:
    form = dict(parse_qsl((await request.read()).decode(errors="replace"), keep_blank_values=True))
    client_id, auth_method = method_of(request.headers.get("Authorization"), form)
    return SeenRequest(
        endpoint=endpoint,
        method=request.method,
        path=request.path,
        headers={
            name.lower(): value for name, value in request.headers.items() if name.lower() not in _SECRET_HEADERS
        },
        parameters={name: value for name, value in form.items() if name not in _SECRET_PARAMETERS},
        client_id=client_id,
        auth_method=auth_method,
    )
