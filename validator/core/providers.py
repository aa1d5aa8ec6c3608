"""What each identity provider does its own way, as data.

Law of this file: no behaviour and no network; a table that others read. Whatever stands here is a default
that the configuration can override, because tenants differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

TokenEndpointAuthMethod = Literal["client_secret_basic", "client_secret_post"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One identity provider's ways.

    Attributes:
        name: the ``idp`` of a strategy.
        claims: dotted paths of the claims that may hold the client id, tried in order. A property of the
            issuer and never one chain for all: ``sub`` exists everywhere and names a user in user tokens.
        token_endpoint_auth_method: how a client id and secret are sent to the token endpoint (RFC 6749
            section 2.3.1, in the words of RFC 7591).
        audience_parameter: the parameter of the token request that carries the audience; ``None`` where the
            scope or the client's registration decides it.
        sends_scope: whether the token request carries ``scope``.
        scope_claims: the claims of an access token that may list its scopes, tried in order.
    """

    name: str
    claims: tuple[str, ...]
    token_endpoint_auth_method: TokenEndpointAuthMethod = "client_secret_post"  # noqa: S105 -- a method's name
    audience_parameter: str | None = None
    sends_scope: bool = True
    scope_claims: tuple[str, ...] = ("scope", "scp")


PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        provider.name: provider
        for provider in (
            # The resource's manifest decides which version a tenant mints, not the endpoint that was asked:
            # v1 tokens have appid and no azp, v2 tokens azp and no appid.
            Provider("azure", claims=("appid", "azp")),
            # The v1 token endpoint takes the API's App ID URI as `resource` and knows no `scope`.
            Provider("azure-v1", claims=("appid",), audience_parameter="resource", sends_scope=False),
            Provider("azure-v2", claims=("azp",)),
            Provider("okta", claims=("cid",), token_endpoint_auth_method="client_secret_basic"),  # noqa: S106 -- same
            # The token profile is chosen per API, so one tenant may mint both: azp in Auth0's own profile,
            # client_id in that of RFC 9068.
            Provider("auth0", claims=("azp", "client_id"), audience_parameter="audience"),
            # Its tokens have no client_id unless one is configured; client_credentials puts it into sub.
            Provider("curity", claims=("sub", "client_id")),
            Provider("generic", claims=("client_id", "azp")),
        )
    }
)
