"""The rows of the README's table: one identity provider each, in one of its shapes.

Law of this file: a row says how its provider runs and which strategy a person would write; what must then hold is
the same for all and stands in ``test_identity_providers``. Where a real provider can run here it does; the
vendors' clouds are imitated.
"""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

import aiohttp
from imitations import (
    Auth0Api,
    Auth0Imitation,
    CurityImitation,
    EntraImitation,
    EntraResource,
    OktaImitation,
)
from oidc_provider.provider import Client, OidcProvider, Resource

from validator.ports import Clock
from validator.testing import ABSENT, FakeIdp

TENANT = "11111111-aaaa-4111-8111-111111111111"
GUID = "3f0c1c9e-aaaa-4000-8000-00000000000b"  # a client id as Entra gives it
API_GUID = "99999999-aaaa-4999-8999-999999999999"
SECRET = "s3~cret.with_-8Q~" + "a" * 20
API = "api://orders"
GRAPH = "https://graph.microsoft.com/.default"
METHODS = ("client_credentials", "bearer", "session")


@dataclass(frozen=True)
class Stage:
    """A provider that runs.

    Attributes:
        strategy: what is configured for it.
        token: an access token as the application's developer gets one, at the provider's token endpoint.
    """

    strategy: Mapping[str, Any]
    token: Callable[[], Awaitable[str]]
    client_id: str
    secret: str = SECRET


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        methods: those that can work.
    """

    key: str
    shown: str
    idp: str
    start: Callable[[Clock], AbstractAsyncContextManager[Stage]] = field(repr=False)
    real: bool = False
    methods: tuple[str, ...] = METHODS

    def __str__(self) -> str:
        return self.key


async def granted(url: str, form: Mapping[str, str], *, basic: tuple[str, str] | None = None) -> str:
    """What the developer does by curl."""
    headers = {"Authorization": aiohttp.encode_basic_auth(*map(quote_plus, basic))} if basic else {}
    data = {"grant_type": "client_credentials", **form}
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, data=data) as reply:
        document = await reply.json()
        assert reply.status == 200, document
        token: str = document["access_token"]
        return token


def _pair(client_id: str) -> dict[str, str]:
    return {"client_id": client_id, "client_secret": SECRET}


# Entra


def _entra(idp: str, *, version: int, endpoint: str, typed: str) -> Callable[[Clock], Any]:
    @contextlib.asynccontextmanager
    async def start(clock: Clock) -> AsyncIterator[Stage]:
        resource = EntraResource(version=version, audience=API_GUID)
        async with EntraImitation({GUID: SECRET}, tenant=TENANT, clock=clock, resources={API: resource}) as tenant:
            issuers = {
                "tenant": tenant.base,
                "slash": tenant.base + "/",
                "v2": f"{tenant.base}/v2.0",
                "discovery": tenant.discovery_url,
            }
            asked = {"resource": API} if endpoint == "v1" else {"scope": f"{API}/.default"}
            url = tenant.token_endpoint if endpoint == "v1" else tenant.token_endpoint_v2
            yield Stage(
                {
                    "idp": idp,
                    "issuer": issuers[typed],
                    "audience": [API, API_GUID],
                    "token_endpoint_version": endpoint,
                },
                lambda: granted(url, _pair(GUID) | asked),
                GUID,
            )

    return start


@contextlib.asynccontextmanager
async def _entra_own_keys(clock: Clock) -> AsyncIterator[Stage]:
    resources = {API: EntraResource(version=2, audience=API_GUID, own_key=True)}
    async with EntraImitation({GUID: SECRET}, tenant=TENANT, clock=clock, resources=resources) as tenant:
        yield Stage(
            {
                "idp": "azure",
                "issuer": f"{tenant.discovery_url}?appid={API_GUID}",
                "audience": [API_GUID],
                "scopes": [f"{API}/.default"],
            },
            lambda: granted(tenant.token_endpoint_v2, _pair(GUID) | {"scope": f"{API}/.default"}),
            GUID,
        )


@contextlib.asynccontextmanager
async def _entra_graph(clock: Clock) -> AsyncIterator[Stage]:
    """Konnect's documents name no API at all, and scopes that no application can have."""
    async with EntraImitation({GUID: SECRET}, tenant=TENANT, clock=clock) as tenant:
        yield Stage(
            {
                "idp": "azure",
                "issuer": tenant.base,
                "credential_claim": ["client_id"],
                "scopes": ["openid", "email"],
            },
            lambda: granted(tenant.token_endpoint_v2, _pair(GUID) | {"scope": GRAPH}),
            GUID,
        )


# Okta


def _okta(*, custom_claim: str | None = None) -> Callable[[Clock], Any]:
    @contextlib.asynccontextmanager
    async def start(clock: Clock) -> AsyncIterator[Stage]:
        claims = (custom_claim,) if custom_claim else ()
        async with OktaImitation({"0oaOrders": SECRET}, clock=clock, custom_claims=claims) as org:
            strategy = {
                "idp": "okta",
                "issuer": org.issuer,
                "audience": ["api://default"],
                "scopes": ["openid", "orders.read"],
                "required_scopes": ["orders.read"],
            }
            yield Stage(
                strategy | ({"credential_claim": [custom_claim]} if custom_claim else {}),
                lambda: granted(org.token_endpoint, {"scope": "orders.read"}, basic=("0oaOrders", SECRET)),
                "0oaOrders",
            )

    return start


@contextlib.asynccontextmanager
async def _okta_org(clock: Clock) -> AsyncIterator[Stage]:
    async with OktaImitation({"0oaOrders": SECRET, "gateway": "g4teway"}, clock=clock) as org:
        yield Stage(
            {
                "idp": "okta",
                "issuer": org.org_issuer,
                "scopes": ["okta.apps.read"],
                "introspection": {"client_id": "gateway", "client_secret": "g4teway", "tokens": "all"},
            },
            lambda: granted(
                f"{org.origin}/oauth2/v1/token", {"scope": "okta.apps.read"}, basic=("0oaOrders", SECRET)
            ),
            "0oaOrders",
        )


# Auth0


def _auth0(profile: Any, *, custom_domain: bool = False) -> Callable[[Clock], Any]:
    @contextlib.asynccontextmanager
    async def start(clock: Clock) -> AsyncIterator[Stage]:
        apis = {API: Auth0Api(profile=profile, audience_list=custom_domain)}
        async with Auth0Imitation({"orders": SECRET}, clock=clock, apis=apis) as tenant:
            strategy = {"idp": "auth0", "issuer": tenant.issuer.rstrip("/"), "audience": [API]}
            domain = tenant.issuer
            if custom_domain:
                strategy["additional_issuers"] = [tenant.custom_issuer]
                domain = tenant.custom_issuer
            yield Stage(
                strategy, lambda: granted(f"{domain}oauth/token", _pair("orders") | {"audience": API}), "orders"
            )

    return start


# Curity


def _curity(kind: str) -> Callable[[Clock], Any]:
    @contextlib.asynccontextmanager
    async def start(clock: Clock) -> AsyncIterator[Stage]:
        async with CurityImitation(
            {"orders": SECRET},
            clock=clock,
            introspection_clients={"gateway": "g4teway"},
            jwt_access_tokens=kind == "jwt",
        ) as server:
            strategy: dict[str, Any] = {"idp": "curity", "issuer": server.discovery_url}
            if kind != "jwt":
                strategy["introspection_endpoint"] = server.introspection_endpoint
                strategy["introspection"] = {
                    "client_id": "gateway",
                    "client_secret": "g4teway",
                    "response": "phantom" if kind == "phantom" else "json",
                }
            yield Stage(strategy, lambda: granted(server.token_endpoint, _pair("orders")), "orders")

    return start


# Providers by the standards


def _standard(*, opaque: bool = False, discovery: bool = True) -> Callable[[Clock], Any]:
    @contextlib.asynccontextmanager
    async def start(clock: Clock) -> AsyncIterator[Stage]:
        del clock  # the provider has its own, and the test's starts at the same moment
        resource = Resource(format="opaque" if opaque else "jwt")
        clients = [Client("orders", SECRET, "client_secret_post"), Client("gateway", "g4teway")]
        provider = OidcProvider(clients, resources=[resource])
        await asyncio.to_thread(provider.start)
        try:
            strategy: dict[str, Any] = {
                "idp": "generic",
                "issuer": provider.issuer,
                "audience": ["api://default"],
            }
            if opaque:
                strategy["introspection"] = {
                    "client_id": "gateway",
                    "client_secret": "g4teway",
                    "ignore_no_store": True,
                }
            if not discovery:
                strategy |= {"jwks_uri": provider.jwks_uri, "token_endpoint": provider.token_endpoint}
            yield Stage(strategy, lambda: asyncio.to_thread(_from, provider), "orders")
        finally:
            await asyncio.to_thread(provider.stop)

    return start


def _from(provider: OidcProvider) -> str:
    form = urlencode({"grant_type": "client_credentials", **_pair("orders")}).encode()
    with urllib.request.urlopen(provider.token_endpoint, form, timeout=10) as reply:  # noqa: S310 - its own URL
        token: str = json.load(reply)["access_token"]
        return token


def _shaped(idp: str, claims: Mapping[str, Any], path: str, **strategy: Any) -> Callable[[Clock], Any]:
    """A provider by the standards whose tokens have this shape."""

    @contextlib.asynccontextmanager
    async def start(clock: Clock) -> AsyncIterator[Stage]:
        async with FakeIdp({"orders": SECRET}, clock=clock, path=path, audience=API) as provider:
            provider.clients["orders"].claims = dict(claims)
            yield Stage(
                {"idp": idp, "issuer": provider.issuer, "audience": [API], **strategy},
                lambda: granted(provider.token_endpoint, _pair("orders")),
                "orders",
            )

    return start


KEYCLOAK = {
    "typ": "Bearer",
    "sub": "5e6f7a8b-aaaa-4000-8000-0123456789ab",
    "preferred_username": "service-account-orders",
    "email_verified": False,
    "clientHost": "127.0.0.1",
}
KONG_IDENTITY = {"sub": "orders", "client_id": ABSENT, "azp": ABSENT, "scope": "openid"}

ROWS = (
    Row(
        "entra-v1",
        "Microsoft Entra ID, v1.0 tokens",
        "azure",
        _entra("azure", version=1, endpoint="v1", typed="tenant"),
    ),
    Row(
        "entra-v2",
        "Microsoft Entra ID, v2.0 tokens",
        "azure",
        _entra("azure", version=2, endpoint="v2", typed="slash"),
    ),
    Row(
        "entra-v1-by-v2",
        "Microsoft Entra ID, v1.0 tokens from the v2.0 endpoint",
        "azure",
        _entra("azure", version=1, endpoint="v2", typed="v2"),
    ),
    Row(
        "entra-only-v1",
        "Microsoft Entra ID, v1.0 alone",
        "azure-v1",
        _entra("azure-v1", version=1, endpoint="v1", typed="discovery"),
    ),
    Row(
        "entra-only-v2",
        "Microsoft Entra ID, v2.0 alone",
        "azure-v2",
        _entra("azure-v2", version=2, endpoint="v2", typed="v2"),
    ),
    Row("entra-own-keys", "Microsoft Entra ID, an API with keys of its own", "azure", _entra_own_keys),
    Row(
        "entra-graph",
        "Microsoft Entra ID, with the Graph scope of Konnect's documents",
        "azure",
        _entra_graph,
        methods=("client_credentials", "session"),
    ),
    Row("okta", "Okta, custom authorization server", "okta", _okta()),
    Row("okta-claim", "Okta, with the claim of Konnect's guide", "okta", _okta(custom_claim="client_id")),
    Row("okta-org", "Okta, org authorization server by introspection", "okta", _okta_org),
    Row("auth0", "Auth0, its own token profile", "auth0", _auth0("auth0")),
    Row("auth0-9068", "Auth0, RFC 9068 token profile", "auth0", _auth0("rfc9068")),
    Row("auth0-domain", "Auth0, custom domain", "auth0", _auth0("auth0", custom_domain=True)),
    Row("curity-jwt", "Curity, JWTs", "curity", _curity("jwt")),
    Row("curity-opaque", "Curity, opaque tokens by introspection", "curity", _curity("opaque")),
    Row("curity-phantom", "Curity, phantom tokens", "curity", _curity("phantom")),
    Row("generic", "oidc-provider, JWTs (RFC 9068)", "generic", _standard(), real=True),
    Row(
        "generic-opaque",
        "oidc-provider, opaque tokens by introspection",
        "generic",
        _standard(opaque=True),
        real=True,
    ),
    Row("generic-static", "oidc-provider, without discovery", "generic", _standard(discovery=False), real=True),
    Row("keycloak", "Keycloak", "keycloak", _shaped("keycloak", KEYCLOAK, "/realms/orders")),
    Row("kong-identity", "Kong Identity", "kong-identity", _shaped("kong-identity", KONG_IDENTITY, "")),
)
