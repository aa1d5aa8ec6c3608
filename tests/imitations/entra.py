"""Microsoft Entra ID: one tenant, two versions of everything.

Law of this file: the tenant's addresses, documents and token endpoints (Microsoft's pages on access tokens, on
claims, and on the client credentials flow of v1.0 and v2.0). The tokens are made in ``entra_tokens``.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from imitations.entra_tokens import GRAPH, EntraKeys, EntraResource, EntraTokens
from imitations.vendor import Refusal, Vendor
from validator.model import Endpoint
from validator.ports import Clock
from validator.testing import FakeClient, Route, SigningKey
from validator.testing.clients import OAuthError, form_of, method_of

__all__ = ["EntraImitation", "EntraResource"]

_ALWAYS = {
    "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
    "response_types_supported": ["code", "id_token", "code id_token", "token id_token", "token"],
    "subject_types_supported": ["pairwise"],
    "id_token_signing_alg_values_supported": ["RS256"],
    "scopes_supported": ["openid"],
    "tenant_region_scope": "EU",
    "cloud_instance_name": "microsoftonline.com",
    "msgraph_host": "graph.microsoft.com",
}
_TRACE = "0f3a1f8e-2a51-4b7a-9f0a-6d6f5b7d0100"
_CORRELATION = "d3c6a1de-5f6e-4d3a-8a0c-2b1f4c1e7a42"


class EntraImitation(Vendor):
    """A tenant at ``{origin}/{tenant}/``.

    Args:
        tenant: its GUID.
        resources: the APIs by App ID URI; Microsoft Graph is always there. The resource alone decides the version
            of the token, never the endpoint.
        loopback_issuers: issuers of the right shape on this server, in place of Microsoft's own.
        v1_host, v2_host: of the issuers, for national clouds.
        lifetime_s: seconds from now to ``exp``.
        keyring: tenants share their keys, as Microsoft's do, unless they are given two names.

    Attributes:
        tokens: mints without HTTP, see there; ``token`` is the short way.
        keys: the key sets; rotate with ``keys.v1.rotate()``.
    """

    tokens: EntraTokens
    keys: EntraKeys

    def __init__(
        self,
        clients: Mapping[str, str | FakeClient] | None = None,
        *,
        tenant: str,
        clock: Clock,
        resources: Mapping[str, EntraResource] | None = None,
        loopback_issuers: bool = False,
        v1_host: str = "https://sts.windows.net",
        v2_host: str = "https://login.microsoftonline.com",
        lifetime_s: int = 3600,
        keyring: str = "entra",
        port: int = 0,
    ) -> None:
        super().__init__(clients, clock=clock, port=port)
        self.tenant = tenant.lower()
        self.resources = dict(resources or {})
        self._loopback_issuers = loopback_issuers
        self._hosts = (v1_host, v2_host)
        self._lifetime_s = lifetime_s
        self._keyring = keyring

    def _open(self) -> None:
        v1_host, v2_host = (self.origin, self.origin) if self._loopback_issuers else self._hosts
        self.keys = EntraKeys(self.tenant, v1_host, v2_host, self._clock, self._keyring)
        self.tokens = EntraTokens(
            self.keys, self.tenant, self.resources, self.clients, self._clock, self._lifetime_s
        )

    # -- its addresses ---------------------------------------------------------------------------------------

    @property
    def base(self) -> str:
        """The tenant's address, which is no issuer."""
        return f"{self.origin}/{self.tenant}"

    @property
    def issuer(self) -> str:
        """That of v1 tokens, with its slash at the end."""
        return self.keys.v1.issuer

    @property
    def issuer_v2(self) -> str:
        return self.keys.v2.issuer

    @property
    def discovery_url(self) -> str:
        return f"{self.base}/.well-known/openid-configuration"

    @property
    def discovery_url_v2(self) -> str:
        return f"{self.base}/v2.0/.well-known/openid-configuration"

    @property
    def token_endpoint(self) -> str:
        return f"{self.base}/oauth2/token"

    @property
    def token_endpoint_v2(self) -> str:
        return f"{self.base}/oauth2/v2.0/token"

    # -- tokens without HTTP ---------------------------------------------------------------------------------

    def token(
        self,
        client_id: str,
        /,
        *,
        resource: str | None = None,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        **claims: Any,
    ) -> str:
        """An application's token for ``resource``, or for the first of the resources."""
        return self.tokens.application(client_id, self._named(resource), header=header, key=key, claims=claims)

    def user_token(
        self, client_id: str, /, *, resource: str | None = None, scp: str = "access_as_user", **claims: Any
    ) -> str:
        """A token that a person got through the application: ``scp``, and a ``sub`` that is not the ``oid``."""
        return self.tokens.user(client_id, self._named(resource), scp, claims)

    def _named(self, resource: str | None) -> str:
        return resource if resource is not None else next(iter(self.resources), GRAPH)

    # -- serving ---------------------------------------------------------------------------------------------

    def _routes(self) -> Iterable[Route]:
        well_known = ".well-known/openid-configuration"
        documents = {
            f"/{{tenant}}/{well_known}": (Endpoint.DISCOVERY, self._metadata_v1),
            f"/{{tenant}}/v2.0/{well_known}": (Endpoint.DISCOVERY, self._metadata_v2),
            "/{tenant}/discovery/keys": (Endpoint.JWKS, self._keys_v1),
            "/{tenant}/discovery/v2.0/keys": (Endpoint.JWKS, self._keys_v2),
        }
        for path, (endpoint, answer) in documents.items():
            yield Route(endpoint, "GET", path, self._in_tenant(answer))
        for path, grant in (("oauth2/token", self._grant_v1), ("oauth2/v2.0/token", self._grant_v2)):
            yield Route(Endpoint.TOKEN, "*", f"/{{tenant}}/{path}", self._in_tenant(self._endpoint(grant)))

    def _in_tenant(
        self, answer: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def guarded(request: web.Request) -> web.Response:
            asked = request.match_info["tenant"]
            if asked.lower() != self.tenant:  # typed in upper case it is the same tenant
                return self._error(400, "invalid_tenant", 90002, f"Tenant '{asked}' not found.").reply()
            try:
                return await answer(request)
            except Refusal as refusal:
                return refusal.reply()

        return guarded

    async def _metadata_v1(self, request: web.Request) -> web.Response:
        suffix = f"?appid={request.query['appid']}" if "appid" in request.query else ""
        document = {
            "token_endpoint": self.token_endpoint,
            "jwks_uri": f"{self.base}/discovery/keys{suffix}",
            "issuer": self.issuer,
            "microsoft_multi_refresh_token": True,
            "authorization_endpoint": f"{self.base}/oauth2/authorize",
        }
        return web.json_response(document | _ALWAYS)

    async def _metadata_v2(self, request: web.Request) -> web.Response:
        suffix = f"?appid={request.query['appid']}" if "appid" in request.query else ""
        document = {
            "token_endpoint": self.token_endpoint_v2,
            "jwks_uri": f"{self.base}/discovery/v2.0/keys{suffix}",
            "issuer": self.issuer_v2,
            "authorization_endpoint": f"{self.base}/oauth2/v2.0/authorize",
        }
        return web.json_response(document | _ALWAYS)

    async def _keys_v1(self, request: web.Request) -> web.Response:
        return self._key_set(self.keys.v1.jwks(), request, v2=False)

    async def _keys_v2(self, request: web.Request) -> web.Response:
        return self._key_set(self.keys.v2_jwks(), request, v2=True)

    def _key_set(self, normal: dict[str, Any], request: web.Request, *, v2: bool) -> web.Response:
        appid = request.query.get("appid")
        own = [self.keys.own_jwk(appid, v2=v2)] if appid is not None and self.tokens.signs_itself(appid) else []
        return web.json_response({"keys": own + normal["keys"]})

    def _endpoint(
        self, grant: Callable[[Mapping[str, str], str], dict[str, Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            if request.method != "POST":
                text = f"The endpoint only accepts POST requests. Received a {request.method} request."
                raise self._error(400, "invalid_request", 900561, text)
            form = await self._form(request)
            document = grant(form, self._client(request.headers.get("Authorization"), form))
            return web.json_response(document, headers={"Cache-Control": "no-store, no-cache"})

        return answer

    async def _form(self, request: web.Request) -> dict[str, str]:
        try:
            return form_of(request.content_type, await request.read())
        except OAuthError:
            raise self._missing("grant_type") from None

    def _client(self, authorization: str | None, form: Mapping[str, str]) -> str:
        client_id, _ = method_of(authorization, form)
        if form.get("grant_type") is None:
            raise self._missing("grant_type")
        if form["grant_type"] != "client_credentials":
            text = "The app requested an unsupported grant type."
            raise self._error(400, "unsupported_grant_type", 70003, text)
        if client_id is None:
            raise self._missing("client_id")
        if client_id.lower() not in {known.lower() for known in self.clients}:
            text = f"Application with identifier '{client_id}' was not found in the directory."
            raise self._error(400, "unauthorized_client", 700016, text)
        client_id = next(known for known in self.clients if known.lower() == client_id.lower())
        if not self.proved(client_id, authorization, form):
            text = f"Invalid client secret provided. [...] for app '{client_id}'."
            raise self._error(401, "invalid_client", 7000215, text)
        return client_id

    def _grant_v1(self, form: Mapping[str, str], client_id: str) -> dict[str, Any]:
        resource = form.get("resource")
        if not resource:
            raise self._missing("resource")
        token = self._minted(client_id, resource)
        now = int(self._clock.now())
        return {
            "token_type": "Bearer",
            "expires_in": str(self._lifetime_s - 1),
            "ext_expires_in": str(self._lifetime_s - 1),
            "expires_on": str(now + self._lifetime_s - 1),
            "not_before": str(now - 300),
            "resource": resource,
            "access_token": token,
        }

    def _grant_v2(self, form: Mapping[str, str], client_id: str) -> dict[str, Any]:
        scopes = form.get("scope", "").split()
        if not scopes:
            raise self._missing("scope")
        for scope in scopes:
            if not scope.endswith("/.default"):
                text = (
                    f"The provided value for scope {scope} is not valid. Client credential flows must have a "
                    "scope value with /.default suffixed to the resource identifier (application ID URI)."
                )
                raise self._error(400, "invalid_scope", 1002012, text)
        if len(scopes) > 1:
            text = (
                "Provided value for the input parameter scope is not valid because it contains more than one "
                f"resource. Scope {' '.join(scopes)} is not valid."
            )
            raise self._error(400, "invalid_scope", 28000, text)
        token = self._minted(client_id, scopes[0].removesuffix("/.default"))
        seconds = self._lifetime_s - 1
        return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}

    def _minted(self, client_id: str, resource: str) -> str:
        if not self.tokens.knows(resource):
            text = f"The resource principal named {resource} was not found in the tenant named {self.tenant}."
            raise self._error(400, "invalid_resource", 500011, text)
        return self.tokens.application(client_id, resource)

    def _missing(self, name: str) -> Refusal:
        text = f"The request body must contain the following parameter: '{name}'."
        return self._error(400, "invalid_request", 900144, text)

    def _error(self, status: int, error: str, code: int, text: str) -> Refusal:
        at = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        ids = f"Trace ID: {_TRACE} Correlation ID: {_CORRELATION} Timestamp: {at}"
        document = {
            "error": error,
            "error_description": f"AADSTS{code}: {text} {ids}",
            "error_codes": [code],
            "timestamp": at,
            "trace_id": _TRACE,
            "correlation_id": _CORRELATION,
            "error_uri": f"{self.origin}/error?code={code}",
        }
        return Refusal(status, document)
