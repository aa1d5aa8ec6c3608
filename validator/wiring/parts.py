"""Settings -> the values that the inner floors are made from.

Law of this file: translation alone; each function says what one part of the configuration means to one module.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from validator.adapters.breaker import CircuitBreaker
from validator.adapters.idp import IdpClient
from validator.authn.trusted import TokenRules, TrustedIssuer
from validator.core import entra, trust
from validator.core.entra import TokenEndpointVersion, TokenVersion
from validator.core.introspection import IntrospectionOptions
from validator.core.oauth import GrantOptions
from validator.core.providers import USER_SCOPES
from validator.core.trust import TrustedPlace
from validator.issuers import Issuer, IssuerPlace
from validator.model import ClientCredentials
from validator.ports import Clock
from validator.server.dataplane import Bounds
from validator.server.metrics import IdpMeter
from validator.settings import Settings
from validator.settings import Strategy as StrategySettings
from validator.settings.introspection import Introspection

_ENDPOINT_OF: Mapping[TokenVersion | None, TokenEndpointVersion] = {"1.0": "v1", "2.0": "v2"}


def trusted_places(strategy: StrategySettings) -> tuple[TrustedPlace, ...]:
    """Where the issuers of a strategy are found, the typed one first, and what each one's tokens must say."""
    place = IssuerPlace(
        strategy.issuer,
        jwks_uri=strategy.jwks_uri,
        token_endpoint=strategy.token_endpoint,
        introspection_endpoint=strategy.introspection_endpoint,
        discovery=strategy.discovery,
    )
    return trust.trusted_places(
        strategy.idp,
        place,
        additional=strategy.additional_issuers,
        claims=strategy.credential_claim,
        required_claims=strategy.demanded_claims,
    )


def trusted_issuer(strategy: StrategySettings, trusted: TrustedPlace, issuer: Issuer) -> TrustedIssuer:
    """What the tokens of one of a strategy's issuers must say."""
    claims = trusted.claims
    standard = () if "credential_claim" in strategy.model_fields_set else ("client_id",)  # RFC 7662 section 2.2
    return TrustedIssuer(
        issuer,
        _paths(claims),
        trusted.version,
        trusted.required_claims,
        introspected_claims=_paths(tuple(dict.fromkeys((*standard, *claims)))),
        introspected_required=strategy.configured_claims,
    )


def _paths(claims: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    # A claim named by a URL, as Auth0 has its custom ones, is no path.
    return tuple((path,) if "://" in path else tuple(path.split(".")) for path in claims)


def grant_options(strategy: StrategySettings, trusted: TrustedPlace) -> GrantOptions:
    """How the token endpoint of one of a strategy's issuers is asked."""
    provider = strategy.provider
    scopes = strategy.scopes
    parameters = dict(strategy.token_params)
    if trust.is_entra(strategy.idp):
        resource = entra.grant_resource(trusted.place.issuer, strategy.audience, scopes)
        fixed = trusted.version is None or strategy.token_endpoint is not None
        version = strategy.token_endpoint_version if fixed else _ENDPOINT_OF[trusted.version]
        asked = entra.grant_parameters(version, resource)
        return GrantOptions(strategy.token_endpoint_auth_method, (), {**asked, **parameters})
    if provider.audience_parameter and strategy.audience:
        parameters.setdefault(provider.audience_parameter, strategy.audience[0])
    if not provider.user_scopes:
        scopes = tuple(scope for scope in scopes if scope not in USER_SCOPES)
    return GrantOptions(strategy.token_endpoint_auth_method, scopes, parameters, provider.audience_parameter)


def grant_order(strategy: StrategySettings, places: Sequence[TrustedPlace]) -> list[int]:
    """Which of a strategy's issuers proves client ids and secrets: the typed one, but for Entra that of the
    configured version of the token endpoint, and the other where that one does not exist."""
    if strategy.token_endpoint is not None or places[0].version is None:
        return [0]
    tenant = [index for index, trusted in enumerate(places) if trusted.version is not None][:2]
    return sorted(
        tenant, key=lambda index: _ENDPOINT_OF.get(places[index].version) != strategy.token_endpoint_version
    )


def introspection_options(strategy: StrategySettings) -> IntrospectionOptions | None:
    """How a strategy's issuer is asked about opaque tokens; ``None``: not at all."""
    if not strategy.introspects:
        return None
    section = strategy.introspection or Introspection()
    secret = section.client_secret.get_secret_value() if section.client_secret else None
    client = ClientCredentials(section.client_id, secret) if section.client_id and secret is not None else None
    return IntrospectionOptions(
        client, section.auth_method, section.response, section.ttl_s, section.ignore_no_store
    )


def introspects_everything(strategy: StrategySettings) -> bool:
    """Whether also tokens that could be read are asked about."""
    return strategy.introspection is not None and strategy.introspection.tokens == "all"


def token_rules(strategy: StrategySettings, max_bytes: int) -> TokenRules:
    """What a strategy demands of a token."""
    provider = strategy.provider
    is_entra = trust.is_entra(strategy.idp)
    headers = strategy.upstream_headers
    return TokenRules(
        algorithms=frozenset(strategy.algorithms),
        audiences=frozenset(strategy.audience),
        token_types=frozenset(typ.lower().removeprefix("application/") for typ in strategy.token_types),
        required_scopes=frozenset(strategy.required_scopes),
        scope_claims=provider.scope_claims,
        leeway_s=strategy.leeway_s,
        max_bytes=max_bytes,
        people=provider.people,
        user_scopes=provider.user_scopes,
        graph_instead=entra.scope_instead(strategy.audience, strategy.scopes) if is_entra else None,
        opaque_because=provider.opaque_because,
        upstream_headers=tuple(zip(headers, _paths(tuple(headers.values())), strict=True)),
    )


def new_client(
    strategy: StrategySettings, settings: Settings, clock: Clock, metrics: IdpMeter | None = None
) -> IdpClient:
    """The client that reaches a strategy's identity provider.

    Raises:
        ValueError: ``ca_file`` holds no certificates.
    """
    outbound = settings.outbound
    breaker = CircuitBreaker(clock, threshold=outbound.breaker_failures, reset_s=outbound.breaker_reset_s)
    return IdpClient(
        clock=clock,
        breaker=breaker,
        observe=metrics.idp_call(strategy.issuer) if metrics else lambda _endpoint, _outcome, _seconds: None,
        total_timeout_s=outbound.timeout_s,
        connect_timeout_s=outbound.connect_timeout_s,
        max_reply_bytes=outbound.max_reply_bytes,
        max_concurrent=outbound.max_concurrent,
        ca_file=strategy.ca_file,
        allow_insecure_http=strategy.allow_insecure_http,
    )


def fingerprint(strategy: StrategySettings, settings: Settings) -> bytes:
    """Changes with anything that a proof under this strategy depends on; secrets are not part of it."""
    parts = (
        strategy.model_dump_json(),
        settings.session.model_dump_json(exclude={"keys", "keys_file"}),
        settings.cache.model_dump_json(),
        str(settings.limits.max_token_bytes),
    )
    return hashlib.sha256("\n".join(parts).encode()).digest()


def session_binding(strategy: StrategySettings) -> str:
    """What a session rests on: a strategy that trusts others, or demands more, honours no session of before."""
    names = {
        "idp", "issuer", "additional_issuers", "jwks_uri", "credential_claim", "audience", "required_scopes",
        "required_claims",
    }  # fmt: skip
    rests_on = strategy.model_dump_json(include=names)
    if strategy.upstream_headers:
        # A cookie holds the headers of its day; under other names they would be other claims.
        rests_on += json.dumps(sorted(strategy.upstream_headers.items()))
    return hashlib.sha256(rests_on.encode()).hexdigest()


def bounds(settings: Settings) -> Bounds:
    limits = settings.limits
    return Bounds(
        max_header_bytes=limits.max_header_bytes,
        max_body_bytes=limits.max_body_bytes,
        max_connections=limits.max_connections,
        max_pipelined=limits.max_pipelined,
        idle_timeout_s=limits.idle_timeout_s,
        header_timeout_s=limits.header_timeout_s,
    )
