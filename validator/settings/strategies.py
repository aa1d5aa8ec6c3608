"""A strategy: one issuer and what is demanded of its credentials.

Law of this file: data, bounds and the defaults that follow from the identity provider. What one value says
about another is judged in ``checks``.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from validator.core import entra, trust
from validator.core.entra import TokenEndpointVersion
from validator.core.providers import PROVIDERS, Provider, TokenEndpointAuthMethod
from validator.core.upstream import MAX_HEADERS
from validator.model import Method
from validator.settings.bridge import ClientRegistration
from validator.settings.introspection import Introspection
from validator.settings.values import (
    Audiences,
    ClaimName,
    ClaimPath,
    ClaimPaths,
    ClaimValue,
    FilePath,
    Flag,
    FormName,
    HeaderName,
    Issuer,
    Issuers,
    Scopes,
    Seconds,
    Section,
    TokenTypes,
    Url,
    once,
    one_or_many,
    refusal,
)

ProviderName = Literal[
    "azure", "azure-v1", "azure-v2", "okta", "auth0", "curity", "keycloak", "kong-identity", "generic"
]
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # RFC 7518 section 3.1, RFC 8037: those with a public key

ALGORITHMS: tuple[Algorithm, ...] = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
METHODS = (Method.CLIENT_CREDENTIALS, Method.BEARER, Method.SESSION)


def _algorithm(value: object) -> object:
    if isinstance(value, str):
        if value.lower() == "none":
            raise refusal("an algorithm that signs: `none` would let anyone write a token (RFC 8725 section 3.2)")
        if value.upper().startswith("HS"):
            raise refusal(
                "an algorithm with a public key: with HS* whoever can verify a token can also write one; "
                "set the API to RS256 at the identity provider"
            )
    return value


def _provider(data: Mapping[str, object]) -> Provider:
    # Where idp itself is wrong, its own mistake is reported and this default is never used.
    return PROVIDERS.get(str(data.get("idp")), PROVIDERS["generic"])


def _auth_method(data: Mapping[str, object]) -> TokenEndpointAuthMethod:
    return _provider(data).token_endpoint_auth_method


def asks_for_graph(data: Mapping[str, object]) -> bool:
    """Whether a strategy's client credentials are proved by a token for Microsoft Graph: Konnect's documents
    print that scope, and it is what is left to ask for where no API is configured."""
    if not trust.is_entra(str(data.get("idp"))):
        return False
    audience, scopes = (
        tuple(v) if isinstance(v := data.get(n), list | tuple) else () for n in ("audience", "scopes")
    )
    return entra.is_graph(entra.grant_resource(str(data.get("issuer")), audience, scopes))


class Strategy(Section):
    """One application auth strategy."""

    idp: ProviderName = Field(
        examples=["generic"],
        description="whose ways apply: azure, azure-v1, azure-v2, okta, auth0, curity, keycloak, kong-identity "
        "or generic",
    )
    issuer: Issuer = Field(
        examples=["https://idp.example.com"], description="the issuer's URL, or its full discovery URL"
    )
    additional_issuers: Issuers = Field(
        default=(),
        max_length=16,
        examples=[["https://login.example.com"]],
        description="further names of the same issuer, such as a custom domain; each with its own keys",
    )
    credential_claim: ClaimPaths = Field(
        default_factory=lambda data: _provider(data).claims,
        min_length=1,
        max_length=16,
        examples=[["client_id", "azp"]],
        description="the claims that may hold the client id, in order; a dotted name is a path",
    )
    audience: Audiences = Field(
        default=(),
        max_length=64,
        examples=[["api://orders"]],
        description="a token must be for one of these; without any, tokens for every audience pass",
    )
    scopes: Scopes = Field(
        default=(),
        max_length=64,
        examples=[["api://orders/.default"]],
        description="what is requested at the token endpoint when a client id and secret are proved",
    )
    required_scopes: Scopes = Field(
        default=(),
        max_length=64,
        examples=[["orders:read"]],
        description="what a token must carry, all of it",
    )
    required_claims: Mapping[ClaimName, ClaimValue] = Field(
        default_factory=lambda data: _provider(data).required_claims,
        max_length=16,
        examples=[{"purpose": "access_token"}],
        description="what a token must say of itself, by claim",
    )
    auth_methods: Annotated[tuple[Method, ...], one_or_many(Method), once] = Field(
        default=METHODS,
        min_length=1,
        examples=[["client_credentials", "bearer", "session"]],
        description="which of client_credentials, bearer and session are on",
    )
    jwks_uri: Url | None = Field(
        default=None,
        examples=["https://idp.example.com/jwks"],
        description="where the keys are, for an identity provider without discovery",
    )
    token_endpoint: Url | None = Field(
        default=None,
        examples=["https://idp.example.com/token"],
        description="where tokens are minted, for an identity provider without discovery",
    )
    introspection_endpoint: Url | None = Field(
        default=None,
        examples=["https://idp.example.com/introspect"],
        description="where opaque tokens are asked about; switches introspection on",
    )
    introspection: Introspection | None = Field(
        default=None,
        examples=[{"client_id": "gateway", "client_secret_file": "/run/secrets/introspection-secret"}],
        description="how opaque tokens are asked about; switches introspection on",
    )
    registration: ClientRegistration | None = Field(
        default=None,
        examples=[{"initial_access_token_file": "/run/secrets/initial-access-token"}],
        description="how the HTTP DCR bridge asks this identity provider for clients",
    )
    discovery: Flag = Field(
        default_factory=lambda data: data.get("jwks_uri") is None,
        examples=[True],
        description="whether to read the issuer's discovery document; true unless jwks_uri is given",
    )
    token_endpoint_auth_method: TokenEndpointAuthMethod = Field(
        default_factory=_auth_method,
        examples=["client_secret_post"],
        description="how a client id and secret are sent to the token endpoint",
    )
    token_params: Mapping[FormName, str] = Field(
        default_factory=dict,
        max_length=32,
        examples=[{"organization": "org_123"}],
        description="further form parameters of the token request",
    )
    token_endpoint_version: TokenEndpointVersion = Field(
        default_factory=lambda data: "v1" if data.get("idp") == "azure-v1" else "v2",
        examples=["v2"],
        description="Entra alone: which of a tenant's token endpoints proves client ids and secrets, v1 or v2",
    )
    trust_token_response: Flag = Field(
        default_factory=asks_for_graph,
        examples=[False],
        description="Entra alone: whether a token for Microsoft Graph, which nobody else can verify, proves the "
        "client id and secret it was minted for",
    )
    upstream_headers: Mapping[HeaderName, ClaimPath] = Field(
        default_factory=dict,
        max_length=MAX_HEADERS,
        examples=[{"X-Claim-Tenant": "ctx.tenant"}],
        description="what the upstream is told of a token: headers and the claim of each; a dotted name is a path",
    )
    forward_minted_token: Flag = Field(
        default=False,
        examples=[True],
        description="whether the answer to a client id and secret carries the access token minted for them",
    )
    token_types: TokenTypes = Field(
        default=("JWT", "at+jwt"),
        min_length=1,
        max_length=16,
        examples=[["at+jwt"]],
        description="the `typ` that a token's header may have; [at+jwt] alone demands RFC 9068",
    )
    algorithms: Annotated[
        tuple[Annotated[Algorithm, BeforeValidator(_algorithm)], ...], one_or_many(Algorithm), once
    ] = Field(
        default=ALGORITHMS,
        min_length=1,
        examples=[["RS256", "ES256"]],
        description="the signature algorithms that are accepted",
    )
    leeway_s: Seconds = Field(
        default=0,
        ge=0,
        le=300,
        examples=[5],
        description="how far clocks may differ when exp, nbf and iat are judged",
    )
    ca_file: FilePath | None = Field(
        default=None,
        examples=["/etc/ssl/certs/corporate.pem"],
        description="a PEM bundle to trust for this identity provider instead of the system's",
    )
    allow_insecure_http: Flag = Field(
        default=False,
        examples=[False],
        description="whether http is allowed beyond loopback; secrets go in clear",
    )

    @property
    def provider(self) -> Provider:
        """The ways of this strategy's identity provider."""
        return PROVIDERS[self.idp]

    @property
    def demanded_claims(self) -> Mapping[str, str]:
        """What a token must say: the provider's own and the configured, of which none at all switches both off."""
        configured = "required_claims" in self.model_fields_set
        if configured and not self.required_claims:
            return {}
        return {**self.provider.required_claims, **self.required_claims}

    @property
    def configured_claims(self) -> Mapping[str, str]:
        """What the operator demands, however the token is read."""
        return self.required_claims if "required_claims" in self.model_fields_set else {}

    @property
    def unseen_by_graph(self) -> tuple[str, ...]:
        """The settings that demand what cannot be looked for in a token for Microsoft Graph."""
        demands = {"required_scopes": self.required_scopes, "required_claims": self.configured_claims}
        return tuple(name for name, demanded in demands.items() if demanded)

    @property
    def introspects(self) -> bool:
        """Whether opaque tokens are asked about."""
        return self.introspection is not None or self.introspection_endpoint is not None

    def allows(self, method: Method) -> bool:
        """Whether a credential of this kind is looked at."""
        return method in self.auth_methods
