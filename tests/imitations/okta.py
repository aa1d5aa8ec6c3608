"""Okta: one custom authorization server and the org's own.

Law of this file: addresses, documents, the client credentials grant and introspection, as Okta's guides and
reference describe them. The clients API is in ``okta_clients``.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from imitations.okta_clients import OktaClients, api_error
from imitations.vendor import RateLimit, Refusal, Vendor
from validator.model import Endpoint
from validator.ports import Clock
from validator.testing import ABSENT, FakeClient, Introspection, Route, SigningKey, TokenMint
from validator.testing.clients import OAuthError, form_of, method_of
from validator.testing.serving import Handler, error_reply

_OIDC_SCOPES = frozenset({"openid", "profile", "email", "address", "phone", "offline_access", "groups"})


class OktaImitation(Vendor):
    """An org at ``{origin}``, with a custom authorization server at ``{origin}/oauth2/{authorization_server}``.

    A client given by its secret alone is registered for ``client_secret_basic``, Okta's default.

    Args:
        audience: the custom server's one audience.
        scopes: the custom scopes that exist there.
        default_scopes: granted where none is asked for; empty: then ``scope`` is required.
        custom_claims: names of claims that hold ``app.clientId``.
        ssws_tokens: who may use the clients API.

    Attributes:
        policy: whether an access policy lets clients in.
        mint: the custom server's; its keys are published.
        org_mint: the org's; its keys are not published.
        introspection, org_introspection: the endpoints of the two.
        jwks_cache_control: of the key set.
        rate_limit: ``rate_limit.allowed`` requests a minute.
        client_api: the clients API, and what it holds.
    """

    mint: TokenMint
    org_mint: TokenMint
    introspection: Introspection
    org_introspection: Introspection

    def __init__(
        self,
        clients: Mapping[str, str | FakeClient] | None = None,
        *,
        clock: Clock,
        authorization_server: str = "default",
        audience: str = "api://default",
        scopes: tuple[str, ...] = ("orders.read", "orders.write"),
        default_scopes: tuple[str, ...] = (),
        custom_claims: tuple[str, ...] = (),
        ssws_tokens: Iterable[str] = ("00-okta-api-token",),
        lifetime_s: int = 3600,
        keyring: str = "okta",
        port: int = 0,
    ) -> None:
        basic = frozenset({"client_secret_basic"})
        given = {
            client_id: FakeClient(client, auth_methods=basic) if isinstance(client, str) else client
            for client_id, client in (clients or {}).items()
        }
        super().__init__(given, clock=clock, port=port)
        self.scopes = scopes
        self.default_scopes = default_scopes
        self.custom_claims = custom_claims
        self.policy = True
        self.jwks_cache_control: str | None = "max-age=3600, must-revalidate"
        self.rate_limit = RateLimit(clock)
        self.client_api = OktaClients(self.clients, clock, frozenset(ssws_tokens))
        self._server = authorization_server
        self._audience = audience
        self._lifetime_s = lifetime_s
        self._keyring = keyring

    def _open(self) -> None:
        custom, org = f"{self.origin}/oauth2/{self._server}", self.origin
        ring, seconds = self._keyring, self._lifetime_s
        self.mint = TokenMint(custom, self._clock, audience=self._audience, keyring=ring, lifetime_s=seconds)
        self.org_mint = TokenMint(org, self._clock, audience=org, keyring=f"{ring} org", lifetime_s=seconds)
        self.introspection = Introspection(self.mint, self.clients, self._clock, describe=_described)
        self.org_introspection = Introspection(self.org_mint, self.clients, self._clock, describe=_described)
        for endpoint in (self.introspection, self.org_introspection):
            endpoint.signs = False

    # -- its addresses ---------------------------------------------------------------------------------------

    @property
    def issuer(self) -> str:
        """That of the custom server."""
        return self.mint.issuer

    @property
    def org_issuer(self) -> str:
        return self.org_mint.issuer

    @property
    def discovery_url(self) -> str:
        return f"{self.issuer}/.well-known/openid-configuration"

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/v1/token"

    @property
    def clients_endpoint(self) -> str:
        return f"{self.origin}/oauth2/v1/clients"

    # -- tokens without HTTP ---------------------------------------------------------------------------------

    def token(
        self,
        client_id: str,
        /,
        *,
        scopes: tuple[str, ...] | None = None,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        **claims: Any,
    ) -> str:
        """The custom server's token with these scopes, or with the default ones, or with the first there is."""
        granted = scopes or self.default_scopes or self.scopes[:1]
        own = dict.fromkeys(self.custom_claims, client_id) | claims
        return self._mint(self.mint, client_id, granted, own, header, key)

    def org_token(
        self, client_id: str, /, *, scopes: tuple[str, ...] = ("okta.users.read",), **claims: Any
    ) -> str:
        """A token of the org server: to be treated as opaque."""
        return self._mint(self.org_mint, client_id, scopes, claims, None, None)

    def user_token(self, client_id: str, /, *, scopes: tuple[str, ...] = ("openid",), **claims: Any) -> str:
        """A token that a person got: ``uid``, and ``sub`` is the login."""
        now = int(self._clock.now())
        person = {"sub": "ada@example.com", "uid": "00u5t60iloOHN9pBi0h7", "auth_time": now, **claims}
        return self.token(client_id, scopes=scopes, **person)

    def _mint(
        self,
        mint: TokenMint,
        client_id: str,
        scopes: tuple[str, ...],
        own: Mapping[str, Any],
        header: Mapping[str, Any] | None,
        key: SigningKey | None,
    ) -> str:
        client = self.clients.get(client_id)
        claims = {
            "ver": 1,
            "jti": f"AT.{secrets.token_urlsafe(32)}",
            "cid": client_id,
            "scp": list(scopes),
            "sub": client_id,
            **(client.claims if client else {}),
            **own,
        }
        return mint.mint(claims, header={"typ": ABSENT, **(header or {})}, key=key)

    # -- serving ---------------------------------------------------------------------------------------------

    def _routes(self) -> Iterable[Route]:
        custom = f"/oauth2/{self._server}"
        oidc, rfc8414 = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
        routes: list[tuple[Endpoint, str, str, Handler]] = [
            (Endpoint.DISCOVERY, "GET", f"{custom}{oidc}", self._metadata),
            (Endpoint.DISCOVERY, "GET", f"{custom}{rfc8414}", self._metadata),
            (Endpoint.DISCOVERY, "GET", f"{rfc8414}{custom}", self._metadata),
            (Endpoint.DISCOVERY, "GET", oidc, self._org_metadata),
            (Endpoint.DISCOVERY, "GET", rfc8414, self._org_metadata),
            (Endpoint.JWKS, "GET", f"{custom}/v1/keys", self._keys),
            (Endpoint.JWKS, "GET", "/oauth2/v1/keys", self._org_keys),
            (Endpoint.TOKEN, "POST", f"{custom}/v1/token", self._token),
            (Endpoint.TOKEN, "POST", "/oauth2/v1/token", self._org_token),
            (Endpoint.INTROSPECTION, "POST", f"{custom}/v1/introspect", self.introspection.answer),
            (Endpoint.INTROSPECTION, "POST", "/oauth2/v1/introspect", self.org_introspection.answer),
        ]
        for method, path, answer in self.client_api.routes():
            routes.append((Endpoint.REGISTRATION, method, path, answer))
        for endpoint, method, path, answer in routes:
            yield Route(endpoint, method, path, self._limited(answer))

    def _limited(self, answer: Handler) -> Handler:
        async def limited(request: web.Request) -> web.Response:
            passes, facts = self.rate_limit.count()
            try:
                if not passes:
                    text = "API call exceeded rate limit due to too many requests."
                    raise api_error(429, "E0000047", text)
                reply = await answer(request)
            except OAuthError as error:
                reply = error_reply(request, error)
            except Refusal as refusal:
                reply = refusal.reply()
            reply.headers.update({f"X-Rate-Limit-{name.title()}": str(value) for name, value in facts.items()})
            return reply

        return limited

    async def _metadata(self, _request: web.Request) -> web.Response:
        return web.json_response(
            _metadata(self.issuer, f"{self.issuer}/v1", [*self.scopes, *sorted(_OIDC_SCOPES)])
        )

    async def _org_metadata(self, _request: web.Request) -> web.Response:
        scopes = sorted(_OIDC_SCOPES)
        return web.json_response(_metadata(self.org_issuer, f"{self.origin}/oauth2/v1", scopes))

    async def _keys(self, _request: web.Request) -> web.Response:
        headers = {"Cache-Control": self.jwks_cache_control} if self.jwks_cache_control is not None else None
        return web.json_response(self.mint.jwks(), headers=headers)

    async def _org_keys(self, _request: web.Request) -> web.Response:
        """Those of ID tokens, which sign no access token."""
        ids = TokenMint(self.org_issuer, self._clock, keyring=f"{self._keyring} org id tokens")
        return web.json_response(ids.jwks())

    async def _token(self, request: web.Request) -> web.Response:
        client_id, asked = await self._granted(request)
        if not self.policy:
            text = "Policy evaluation failed for this request, please check the policy configurations."
            raise OAuthError("access_denied", text)
        granted = asked or self.default_scopes
        if not granted:
            text = (
                "The authorization server resource does not have any configured default scopes, 'scope' must be "
                "provided."
            )
            raise OAuthError("invalid_scope", text)
        if set(granted) & _OIDC_SCOPES or not set(granted) <= set(self.scopes):
            # No person is there whom openid could speak of, so they count as not configured.
            raise OAuthError(
                "invalid_scope", "One or more scopes are not configured for the authorization server resource."
            )
        return _granted(self.token(client_id, scopes=granted), granted, self._lifetime_s)

    async def _org_token(self, request: web.Request) -> web.Response:
        client_id, asked = await self._granted(request)
        if not asked or not all(scope.startswith("okta.") for scope in asked):
            raise OAuthError("invalid_scope", "One or more scopes are not allowed for this client.")
        return _granted(self.org_token(client_id, scopes=asked), asked, self._lifetime_s)

    async def _granted(self, request: web.Request) -> tuple[str, tuple[str, ...]]:
        form = form_of(request.content_type, await request.read())
        authorization = request.headers.get("Authorization")
        client_id, _ = method_of(authorization, form)
        if client_id is None or not self.proved(client_id, authorization, form):
            text = "Client authentication failed. Either the client or the client credentials are invalid."
            raise OAuthError("invalid_client", text, 401)
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "The authorization grant type is not supported.")
        if "client_credentials" not in self.clients[client_id].grants:
            text = "The client is not authorized to use the provided grant type."
            raise OAuthError("unauthorized_client", text)
        return client_id, tuple(form.get("scope", "").split())


def _granted(token: str, scopes: tuple[str, ...], lifetime_s: int) -> web.Response:
    document = {
        "token_type": "Bearer",
        "expires_in": lifetime_s,
        "access_token": token,
        "scope": " ".join(scopes),
    }
    return web.json_response(document, headers={"Cache-Control": "no-store"})


def _metadata(issuer: str, base: str, scopes: list[str]) -> dict[str, Any]:
    methods = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "registration_endpoint": f"{issuer.partition('/oauth2/')[0]}/oauth2/v1/clients",
        "jwks_uri": f"{base}/keys",
        "response_types_supported": ["code", "token", "id_token", "code id_token"],
        "grant_types_supported": ["authorization_code", "implicit", "refresh_token", "client_credentials"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": scopes,
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint": f"{base}/introspect",
        "introspection_endpoint_auth_methods_supported": methods,
    }


def _described(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Okta's introspection: ``scope`` is a string there, and ``cid`` is called ``client_id``."""
    same = ("iss", "aud", "sub", "iat", "exp", "jti", "uid")
    return {
        **{name: claims[name] for name in same if name in claims},
        "client_id": claims.get("cid"),
        "scope": " ".join(claims.get("scp", ())),
        "username": claims.get("sub"),
        "token_type": "Bearer",
    }
