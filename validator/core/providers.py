"""What each identity provider does its own way, as data.

Law of this file: no behaviour and no network; a table that others read. Whatever stands here is a default
that the configuration can override, because tenants differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

TokenEndpointAuthMethod = Literal["client_secret_basic", "client_secret_post"]

# Scopes of OpenID Connect Core sections 3.1.2.1, 5.4 and 11: about a user, and client credentials have none.
USER_SCOPES: Final = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})


@dataclass(frozen=True, slots=True)
class Provider:
    """One identity provider's ways.

    Attributes:
        name: the ``idp`` of a strategy.
        title: what people call it.
        claims: dotted paths of the claims that may hold the client id, tried in order. A property of the
            issuer and never one chain for all: ``sub`` exists everywhere and names a user in user tokens.
        never_issues: claims in which its access tokens do not carry the client id, unless someone has gone out
            of his way; configuring one is worth a warning.
        token_endpoint_auth_method: how a client id and secret are sent to the token endpoint (RFC 6749
            section 2.3.1, in the words of RFC 7591).
        audience_parameter: the parameter of the token request that carries the audience; ``None`` where the
            scope or the client's registration decides it.
        user_scopes: whether the token endpoint grants scopes about users to client credentials; where it does
            not, they are left out.
        scope_claims: the claims of an access token that may list its scopes, tried in order.
        required_claims: what an access token says of itself, by claim.
        people: whether people sign in there, so that a ``sub`` may be one.
        opaque_because: why a token of it may be opaque, and what to do about it.
    """

    name: str
    title: str
    claims: tuple[str, ...]
    never_issues: frozenset[str] = frozenset()
    token_endpoint_auth_method: TokenEndpointAuthMethod = "client_secret_post"  # noqa: S105 -- a method's name
    audience_parameter: str | None = None
    user_scopes: bool = False
    scope_claims: tuple[str, ...] = ("scope", "scp")
    required_claims: Mapping[str, str] = field(default_factory=dict)
    people: bool = True
    opaque_because: str = "configure introspection, or have the identity provider issue JWTs"


# A user's consent is in scp; what an application was granted itself is in roles, and then there is no scp.
_ENTRA_SCOPES: Final = ("scp", "roles")
_FOREIGN_TO_ENTRA: Final = frozenset({"client_id", "cid", "sub"})

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        provider.name: provider
        for provider in (
            # The resource's manifest decides which version a tenant mints, not the endpoint that was asked:
            # v1 tokens have appid and no azp, v2 tokens azp and no appid. See `entra`.
            Provider(
                "azure",
                "Microsoft Entra ID",
                claims=("appid", "azp"),
                never_issues=_FOREIGN_TO_ENTRA,
                scope_claims=_ENTRA_SCOPES,
            ),
            Provider(
                "azure-v1",
                "Microsoft Entra ID (v1.0 tokens)",
                claims=("appid",),
                never_issues=_FOREIGN_TO_ENTRA | {"azp"},
                scope_claims=_ENTRA_SCOPES,
            ),
            Provider(
                "azure-v2",
                "Microsoft Entra ID (v2.0 tokens)",
                claims=("azp",),
                never_issues=_FOREIGN_TO_ENTRA | {"appid"},
                scope_claims=_ENTRA_SCOPES,
            ),
            Provider(
                "okta",
                "Okta",
                claims=("cid",),
                never_issues=frozenset({"appid", "azp"}),
                token_endpoint_auth_method="client_secret_basic",  # noqa: S106 -- a method's name
                opaque_because="tokens of Okta's org authorization server are opaque to all but Okta; use a "
                "custom authorization server (https://{domain}/oauth2/{id}), or configure introspection",
            ),
            # The token profile is chosen per API, so one tenant may mint both: azp in Auth0's own profile,
            # client_id in that of RFC 9068.
            Provider(
                "auth0",
                "Auth0",
                claims=("azp", "client_id"),
                never_issues=frozenset({"appid", "cid", "sub"}),
                audience_parameter="audience",
                opaque_because="Auth0 issues an opaque token when none of its APIs is asked for: send `audience` "
                "with the API's identifier to the token endpoint",
            ),
            # Its tokens have no client_id unless one is configured; client_credentials puts it into sub.
            Provider(
                "curity",
                "Curity Identity Server",
                claims=("sub", "client_id"),
                never_issues=frozenset({"appid", "azp", "cid"}),
                required_claims={"purpose": "access_token"},
                opaque_because="Curity issues opaque tokens by default: configure introspection, or switch on "
                "`Use Access Token as JWT` in its token issuer",
            ),
            # In a service account's token sub is the id of the account's user.
            Provider(
                "keycloak",
                "Keycloak",
                claims=("azp", "client_id"),
                never_issues=frozenset({"appid", "cid", "sub"}),
                user_scopes=True,
            ),
            Provider("kong-identity", "Kong Identity", claims=("sub",), user_scopes=True, people=False),
            Provider("generic", "an OAuth 2.0 identity provider", claims=("client_id", "azp"), user_scopes=True),
        )
    }
)
