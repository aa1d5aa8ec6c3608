"""Auth0: one tenant, its own domain and a custom one.

Law of this file: addresses, documents and the client credentials grant as Auth0's reference describes them. The
tokens are made in ``auth0_tokens``.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from imitations.auth0_tokens import Auth0Api, Auth0Tokens
from imitations.vendor import RateLimit, Refusal, Vendor
from validator.model import Endpoint
from validator.ports import Clock
from validator.testing import FakeClient, Route, SigningKey, TokenMint
from validator.testing.clients import OAuthError, form_of, method_of
from validator.testing.serving import Handler, error_reply

__all__ = ["Auth0Api", "Auth0Imitation"]


class Auth0Imitation(Vendor):
    """A tenant at ``http://127.0.0.1:P/``; ``http://localhost:P/`` is its custom domain.

    Tokens and metadata name the domain that they were requested at, each with its slash at the end.

    Args:
        apis: by identifier.
        default_audience: the tenant's setting; ``None``: there is none.

    Attributes:
        opaque_without_audience: mints the opaque token that is good for /userinfo only, where else a request
            without audience is refused.
        tokens: mints without HTTP, see there; ``token`` is the short way.
        rate_limit: ``rate_limit.allowed`` requests a minute.
    """

    tokens: Auth0Tokens

    def __init__(
        self,
        clients: Mapping[str, str | FakeClient] | None = None,
        *,
        clock: Clock,
        apis: Mapping[str, Auth0Api] | None = None,
        default_audience: str | None = None,
        keyring: str = "auth0",
        port: int = 0,
    ) -> None:
        super().__init__(clients, clock=clock, port=port)
        self.apis = dict(apis or {})
        self.default_audience = default_audience
        self.opaque_without_audience = False
        self.rate_limit = RateLimit(clock)
        self._keyring = keyring

    def _open(self) -> None:
        mint = TokenMint(f"{self.origin}/", self._clock, keyring=self._keyring)
        self.tokens = Auth0Tokens(mint, self.apis, self.clients, self._clock)

    # -- its addresses ---------------------------------------------------------------------------------------

    @property
    def mint(self) -> TokenMint:
        return self.tokens.mint

    @property
    def issuer(self) -> str:
        return self.mint.issuer

    @property
    def custom_issuer(self) -> str:
        """That of the custom domain."""
        return f"http://localhost:{self._port}/"

    @property
    def discovery_url(self) -> str:
        return f"{self.issuer}.well-known/openid-configuration"

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}oauth/token"

    # -- tokens without HTTP ---------------------------------------------------------------------------------

    def token(
        self,
        client_id: str,
        /,
        *,
        audience: str | None = None,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        **claims: Any,
    ) -> str:
        """An application's token for ``audience``, or for the default one, or for the first API."""
        return self.tokens.application(client_id, self._named(audience), header=header, key=key, claims=claims)

    def user_token(self, client_id: str, /, *, audience: str | None = None, **claims: Any) -> str:
        """A token that a person got with ``openid``: ``aud`` is a list."""
        return self.tokens.user(client_id, self._named(audience), claims)

    def _named(self, audience: str | None) -> str:
        return audience or self.default_audience or next(iter(self.apis), "https://api.example/")

    # -- serving ---------------------------------------------------------------------------------------------

    def _routes(self) -> Iterable[Route]:
        for name in ("openid-configuration", "oauth-authorization-server"):
            yield Route(Endpoint.DISCOVERY, "GET", f"/.well-known/{name}", self._limited(self._metadata))
        yield Route(Endpoint.JWKS, "GET", "/.well-known/jwks.json", self._limited(self._keys))
        yield Route(Endpoint.TOKEN, "POST", "/oauth/token", self._limited(self._token))

    def _limited(self, answer: Handler) -> Handler:
        async def limited(request: web.Request) -> web.Response:
            passes, facts = self.rate_limit.count()
            try:
                if not passes:
                    raise OAuthError("too_many_requests", "Global limit has been reached", 429)  # noqa: TRY301
                reply = await answer(request)
            except OAuthError as error:
                reply = error_reply(request, error)
            except Refusal as refusal:
                reply = refusal.reply()
            reply.headers.update({f"X-RateLimit-{name.title()}": str(value) for name, value in facts.items()})
            return reply

        return limited

    async def _metadata(self, request: web.Request) -> web.Response:
        issuer = self._asked_at(request)
        document = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}authorize",
            "token_endpoint": f"{issuer}oauth/token",
            "userinfo_endpoint": f"{issuer}userinfo",
            "jwks_uri": f"{issuer}.well-known/jwks.json",
            "response_types_supported": ["code", "token", "id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256", "RS256", "PS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }
        return web.json_response(document)

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response(self.mint.jwks(), headers={"Cache-Control": "public, max-age=15"})

    async def _token(self, request: web.Request) -> web.Response:
        form = await _parameters(request)
        authorization = request.headers.get("Authorization")
        client_id, _ = method_of(authorization, form)
        if "grant_type" not in form:
            raise OAuthError("invalid_request", "Missing required parameter: grant_type", 400)
        if form["grant_type"] != "client_credentials":
            raise OAuthError("unsupported_grant_type", f"Unsupported grant type: {form['grant_type']}", 403)
        if client_id is None or not self.proved(client_id, authorization, form):
            raise OAuthError("access_denied", "Unauthorized", 401)
        document = self._grant(client_id, form, self._asked_at(request))
        return web.json_response(document, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})

    def _grant(self, client_id: str, form: Mapping[str, str], issuer: str) -> dict[str, Any]:
        audience = form.get("audience") or self.default_audience
        if not audience:
            if self.opaque_without_audience:
                return {"access_token": self.tokens.opaque(), "expires_in": 86400, "token_type": "Bearer"}
            text = "No audience parameter was provided, and no default audience has been configured"
            raise OAuthError("access_denied", text, 403)
        api = self.apis.get(audience)
        if api is None:
            raise OAuthError("access_denied", f"Service not found: {audience}", 403)
        if api.granted_to is not None and client_id not in api.granted_to:
            text = (
                f'Client is not authorized to access "{audience}". You need to create a "client-grant" associated '
                "to this API. See: https://auth0.com/docs/api/v2#!/Client_Grants/post_client_grants"
            )
            raise OAuthError("access_denied", text, 403)
        asked = tuple(form.get("scope", "").split())
        if not set(asked) <= set(api.scopes):
            raise OAuthError("access_denied", "Client has not been granted scopes: " + ", ".join(asked), 403)
        scopes = asked or api.scopes
        token = self.tokens.application(client_id, audience, claims={"iss": issuer}, scopes=scopes)
        document = {"access_token": token, "expires_in": api.lifetime_s, "token_type": "Bearer"}
        return document | ({"scope": " ".join(scopes)} if scopes else {})

    def _asked_at(self, request: web.Request) -> str:
        """The issuer of the domain that the request came to."""
        return self.custom_issuer if request.host.startswith("localhost") else self.issuer


async def _parameters(request: web.Request) -> dict[str, str]:
    """A form, or the same as a JSON object."""
    body = await request.read()
    if request.content_type != "application/json":
        return form_of(request.content_type, body)
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise OAuthError("invalid_request", "Invalid request payload JSON format")
    return document
