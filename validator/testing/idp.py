"""An identity provider on loopback: discovery, keys, tokens, introspection, registration. FOR DEVELOPMENT ONLY.

Law of this file: it answers as RFC 6749, RFC 8414 and OpenID Connect Discovery say until it is told to
misbehave; introspection and registration have files of their own, and so has the server under it.
"""

import ssl
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from validator.model import Endpoint
from validator.ports import Clock
from validator.testing.clients import FakeClient, OAuthError, authenticate, form_of, registered
from validator.testing.introspection import Introspection
from validator.testing.mint import ABSENT, SigningKey, TokenMint
from validator.testing.registration import Registration
from validator.testing.serving import LOOPBACK, NO_STORE, LoopbackServer, Route, error_reply


class FakeIdp(LoopbackServer):
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
        host, public_origin: see ``LoopbackServer``.

    Attributes:
        mint: its keys and its stamp, from ``start`` on.
        clients: may be changed at any time.
        introspection: the introspection endpoint and its switches, from ``start`` on.
        registration: the registration endpoint and its switches.
        metadata: changes to the discovery document, such as ``{"issuer": "https://other"}``.
        well_known: the discovery documents that exist; others are 404.
        jwks_document: in place of the key set, such as ``{"keys": []}``.
        jwks_cache_control: the ``Cache-Control`` of the key set; ``None`` sends none.
        invalid_client_status: 401 or 400: providers differ.
    """

    mint: TokenMint
    introspection: Introspection

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
        host: str = LOOPBACK,
        public_origin: str | None = None,
    ) -> None:
        super().__init__(port=port, ssl_context=ssl_context, host=host, public_origin=public_origin)
        self.clients = registered(clients)
        self.registration = Registration(self.clients, clock, on_delete=self._forget)
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

    def _open(self) -> None:
        self.mint = TokenMint(
            f"{self.origin}{self._path}",
            self._clock,
            alg=self._alg,
            audience=self._audience,
            lifetime_s=self._lifetime_s,
            keyring=self._keyring,
        )
        self.introspection = Introspection(self.mint, self.clients, self._clock)

    def _forget(self, client_id: str) -> None:
        """RFC 7592 section 2.3: the tokens of a deleted client end with it."""
        self.introspection.revoke_client(client_id)

    # -- its addresses ---------------------------------------------------------------------------------------

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
    def introspection_endpoint(self) -> str:
        return f"{self._base}/introspect"

    @property
    def registration_endpoint(self) -> str:
        return f"{self._base}/register"

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
        overrides = self._claims(client_id, claims)
        client = self.clients.get(client_id)
        if client is not None and client.opaque and header is None and key is None:
            return self.introspection.opaque(self.mint.claims(overrides))
        return self.mint.mint(overrides, header=header, key=key)

    def opaque_token(self, client_id: str, /, **claims: Any) -> str:
        """A random string that introspection knows by these claims, whatever the client's tokens are else."""
        return self.introspection.opaque(self.mint.claims(self._claims(client_id, claims)))

    def _claims(self, client_id: str, claims: Mapping[str, Any]) -> dict[str, Any]:
        client = self.clients.get(client_id)
        scope = " ".join(client.scopes) if client and client.scopes else ABSENT
        base = {"sub": client_id, "client_id": client_id, "azp": client_id, "scope": scope}
        return {**base, **(client.claims if client else {}), **claims}

    def revoke(self, token: str) -> None:
        """Introspection calls this token inactive from now on."""
        self.introspection.revoke(token)

    # -- serving ---------------------------------------------------------------------------------------------

    def _routes(self) -> Iterable[Route]:
        path = self._path.rstrip("/")
        discovery, registration = Endpoint.DISCOVERY, Endpoint.REGISTRATION
        yield Route(discovery, "GET", f"{path}/.well-known/openid-configuration", self._discovery)
        # RFC 8414 section 3.1: well-known comes before the issuer's path.
        yield Route(discovery, "GET", f"/.well-known/oauth-authorization-server{path}", self._discovery)
        yield Route(Endpoint.JWKS, "GET", f"{path}/jwks", self._jwks)
        yield Route(Endpoint.TOKEN, "POST", f"{path}/token", self._token)
        yield Route(Endpoint.INTROSPECTION, "POST", f"{path}/introspect", self.introspection.answer)
        yield Route(registration, "POST", f"{path}/register", self.registration.create)
        client = f"{path}/register/{{client_id}}"
        yield Route(registration, "GET", client, self.registration.read)
        yield Route(registration, "PUT", client, self.registration.update)
        yield Route(registration, "DELETE", client, self.registration.delete)

    async def _discovery(self, request: web.Request) -> web.Response:
        if not any(f"/.well-known/{name}" in request.path for name in self.well_known):
            return web.json_response({"error": "not_found"}, status=404)
        document = {
            "issuer": self.issuer,
            "jwks_uri": self.jwks_uri,
            "token_endpoint": self.token_endpoint,
            "introspection_endpoint": self.introspection_endpoint,
            "registration_endpoint": self.registration_endpoint,
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["none"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.alg for key in self.mint.keys}),
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            **self.metadata,
        }
        return web.json_response({name: value for name, value in document.items() if value is not ABSENT})

    async def _jwks(self, _request: web.Request) -> web.Response:
        document = self.mint.jwks() if self.jwks_document is None else self.jwks_document
        headers = {"Cache-Control": self.jwks_cache_control} if self.jwks_cache_control is not None else None
        return web.json_response(document, headers=headers)

    async def _token(self, request: web.Request) -> web.Response:
        try:
            form = form_of(request.content_type, await request.read())
            document = self._grant(request.headers.get("Authorization"), form)
        except OAuthError as error:
            return error_reply(request, error)
        return web.json_response(document, headers=NO_STORE)

    def _grant(self, authorization: str | None, form: dict[str, str]) -> dict[str, Any]:
        """The client_credentials grant (RFC 6749 section 4.4)."""
        client_id, client = authenticate(
            self.clients, authorization, form, failure_status=self.invalid_client_status
        )
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "only client_credentials is served here")
        if "client_credentials" not in client.grants:
            raise OAuthError("unauthorized_client", "this client may not use that grant")
        asked = tuple(form.get("scope", "").split())
        if client.scopes is not None and not set(asked) <= set(client.scopes):
            raise OAuthError("invalid_scope", "this client may not have that scope")
        scope = " ".join(asked or client.scopes or ())
        audience = form.get("audience") or form.get("resource") or self.mint.audience
        token = self.token(client_id, **{"scope": scope or ABSENT, "aud": audience, **client.claims})
        reply = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self.mint.lifetime_s) if client.expires_in is None else client.expires_in,
            "scope": scope or ABSENT,
        }
        return {name: value for name, value in reply.items() if value is not ABSENT}
