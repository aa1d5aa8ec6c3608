"""Curity Identity Server: the default token service under ``/oauth/v2``.

Law of this file: addresses, tokens and introspection as Curity's own samples and its phantom token modules show
them. Access tokens are opaque unless the token issuer is told to make JWTs.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from aiohttp import web

from imitations.vendor import Vendor
from validator.model import Endpoint
from validator.ports import Clock
from validator.testing import ABSENT, FakeClient, Introspection, Route, SigningKey, TokenMint
from validator.testing.clients import OAuthError, form_of, method_of, registered
from validator.testing.serving import NO_STORE, error_reply

_OPAQUE_PREFIX = "_0XBPWQQ_"
_INTERNAL = "\x00client_id"  # what the server knows of a token and the token does not say


class CurityImitation(Vendor):
    """A server whose anonymous endpoint is the issuer: ``{origin}/oauth/v2/oauth-anonymous``.

    Args:
        introspection_clients: those that may introspect, by Basic; clients of the token endpoint may not.
        jwt_access_tokens: "Use Access Token as JWT" of the token issuer.
        api_audience: ``aud`` of all tokens; ``None``: the client id.

    Attributes:
        introspection: JSON by RFC 7662, and the phantom token by ``Accept: application/jwt``.
    """

    mint: TokenMint
    introspection: "_CurityIntrospection"

    def __init__(
        self,
        clients: Mapping[str, str | FakeClient] | None = None,
        *,
        clock: Clock,
        introspection_clients: Mapping[str, str | FakeClient] | None = None,
        jwt_access_tokens: bool = False,
        api_audience: str | None = None,
        lifetime_s: int = 300,
        keyring: str = "curity",
        kid: str = "-1725417167",
        port: int = 0,
    ) -> None:
        super().__init__(clients, clock=clock, port=port)
        self.introspection_clients = registered(introspection_clients)
        for client in self.introspection_clients.values():
            client.auth_methods = frozenset({"client_secret_basic"})
        self.jwt_access_tokens = jwt_access_tokens
        self.api_audience = api_audience
        self._lifetime_s = lifetime_s
        self._keyring = keyring
        self._kid = kid

    def _open(self) -> None:
        issuer = f"{self.origin}/oauth/v2/oauth-anonymous"
        self.mint = TokenMint(issuer, self._clock, keyring=self._keyring, lifetime_s=self._lifetime_s)
        self.mint.rotate(kid=self._kid, retire=True)
        self.introspection = _CurityIntrospection(self.mint, self.introspection_clients, self._clock)

    # -- its addresses ---------------------------------------------------------------------------------------

    @property
    def issuer(self) -> str:
        return self.mint.issuer

    @property
    def discovery_url(self) -> str:
        """What Konnect's page has pasted as issuer."""
        return f"{self.issuer}/.well-known/openid-configuration"

    @property
    def token_endpoint(self) -> str:
        return f"{self.origin}/oauth/v2/oauth-token"

    @property
    def introspection_endpoint(self) -> str:
        return f"{self.origin}/oauth/v2/oauth-introspect"

    # -- tokens without HTTP ---------------------------------------------------------------------------------

    def token(
        self,
        client_id: str,
        /,
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        opaque: bool | None = None,
        **claims: Any,
    ) -> str:
        """An application's token: ``sub`` is the client. ``opaque`` overrides the token issuer's setting."""
        client = self.clients.get(client_id)
        own = {"sub": client_id, **(client.claims if client else {}), **claims}
        return self._issued(client_id, own, header, key, opaque)

    def user_token(
        self, client_id: str, /, user: str = "ada", *, opaque: bool | None = None, **claims: Any
    ) -> str:
        """A token that a person got: ``sub`` is the user's name, from the same namespace for all that it says."""
        return self._issued(client_id, {"sub": user, "scope": "openid", **claims}, None, None, opaque)

    def id_token(self, client_id: str, /, user: str = "ada", **claims: Any) -> str:
        """An ID token: the same keys, another ``purpose``."""
        now = int(self._clock.now())
        own = {"sub": user, "aud": client_id, "azp": client_id, "purpose": "id", "auth_time": now, **claims}
        return self.mint.mint({**self._base(client_id), "scope": ABSENT, **own}, header={"typ": "JWT"})

    def revoke(self, token: str) -> None:
        """Introspection calls this token inactive from now on."""
        self.introspection.revoke(token)

    def _base(self, client_id: str) -> dict[str, Any]:
        return {
            "jti": str(uuid4()),
            "delegationId": str(uuid4()),
            "nbf": int(self._clock.now()),
            "scope": "",
            "aud": self.api_audience or client_id,
            "purpose": "access_token",
        }

    def _issued(
        self,
        client_id: str,
        own: Mapping[str, Any],
        header: Mapping[str, Any] | None,
        key: SigningKey | None,
        opaque: bool | None,
    ) -> str:
        claims = self.mint.claims({**self._base(client_id), **own})
        as_opaque = not self.jwt_access_tokens if opaque is None else opaque
        if as_opaque:
            return self.introspection.opaque({**claims, _INTERNAL: client_id}, prefix=_OPAQUE_PREFIX)
        token = self.mint.mint(
            dict.fromkeys(self.mint.claims(), ABSENT) | claims, header={"typ": "JWT", **(header or {})}, key=key
        )
        self.introspection.owners[token] = client_id
        return token

    # -- serving ---------------------------------------------------------------------------------------------

    def _routes(self) -> Iterable[Route]:
        anonymous = "/oauth/v2/oauth-anonymous"
        yield Route(Endpoint.DISCOVERY, "GET", f"{anonymous}/.well-known/openid-configuration", self._metadata)
        yield Route(Endpoint.JWKS, "GET", f"{anonymous}/jwks", self._keys)
        yield Route(Endpoint.TOKEN, "POST", "/oauth/v2/oauth-token", self._token)
        yield Route(Endpoint.INTROSPECTION, "POST", "/oauth/v2/oauth-introspect", self.introspection.answer)

    async def _metadata(self, _request: web.Request) -> web.Response:
        base = f"{self.origin}/oauth/v2"
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/oauth-authorize",
            "token_endpoint": self.token_endpoint,
            "introspection_endpoint": self.introspection_endpoint,
            "revocation_endpoint": f"{base}/oauth-revoke",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
            "subject_types_supported": ["public", "pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }
        return web.json_response(document)

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response(self.mint.jwks())

    async def _token(self, request: web.Request) -> web.Response:
        try:
            form = form_of(request.content_type, await request.read())
            document = self._grant(request.headers.get("Authorization"), form)
        except OAuthError as error:
            return error_reply(request, error)
        return web.json_response(document, headers=NO_STORE)

    def _grant(self, authorization: str | None, form: Mapping[str, str]) -> dict[str, Any]:
        client_id, _ = method_of(authorization, form)
        if client_id is None or not self.proved(client_id, authorization, form):
            raise OAuthError("invalid_client", "Client authentication failed", 401)
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "The grant type is not supported")
        asked = tuple(form.get("scope", "").split())
        allowed = self.clients[client_id].scopes
        if "openid" in asked or (allowed is not None and not set(asked) <= set(allowed)):
            raise OAuthError("invalid_scope", "The requested scope is invalid, unknown, or malformed")
        scope = " ".join(asked or allowed or ())
        token = self.token(client_id, **{"scope": scope, **self.clients[client_id].claims})
        return {"access_token": token, "scope": scope, "token_type": "bearer", "expires_in": self._lifetime_s}


class _CurityIntrospection(Introspection):
    """Knows the client of every token, also where the token does not say; phantom tokens may be kept for as
    long as they live.

    Attributes:
        owners: the client of each JWT that was minted.
    """

    def __init__(self, mint: TokenMint, clients: Mapping[str, FakeClient], clock: Clock) -> None:
        super().__init__(mint, clients, clock, describe=_described)
        self.phantom = True
        self.signs = False
        self.owners: dict[str, str] = {}

    def claims_of(self, token: str) -> Mapping[str, Any] | None:
        claims = super().claims_of(token)
        if claims is None or claims.get("purpose") == "id":  # an ID token is nothing to introspect
            return None
        return {_INTERNAL: self.owners.get(token), **claims}

    def headers_of(self, claims: Mapping[str, Any] | None) -> dict[str, str]:
        if self.cache_control is not None or claims is None:
            return super().headers_of(claims)
        return {"Cache-Control": f"max-age={int(claims['exp'] - self._clock.now())}"}

    def phantom_of(self, claims: Mapping[str, Any]) -> str:
        said = dict.fromkeys(self._mint.claims(), ABSENT) | _said(claims)
        return self._mint.mint(said, header={"typ": "JWT"})


def _said(claims: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name != _INTERNAL}


def _described(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Curity's introspection names the client, which the token itself does not."""
    return {**_said(claims), "client_id": claims.get(_INTERNAL), "token_type": "bearer"}
