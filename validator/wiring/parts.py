"""Settings -> the values that the inner floors are made from.

Law of this file: translation alone; each function says what one part of the configuration means to one module.
"""

import hashlib

from validator.adapters.breaker import CircuitBreaker
from validator.adapters.idp import IdpClient
from validator.authn.access_token import TokenRules
from validator.core.oauth import GrantOptions
from validator.issuers import IssuerPlace
from validator.ports import Clock
from validator.server.dataplane import Bounds
from validator.server.metrics import Metrics
from validator.settings import Settings
from validator.settings import Strategy as StrategySettings


def issuer_place(strategy: StrategySettings) -> IssuerPlace:
    """Where a strategy's issuer is found."""
    return IssuerPlace(strategy.issuer, strategy.jwks_uri, strategy.token_endpoint, strategy.discovery)


def grant_options(strategy: StrategySettings) -> GrantOptions:
    """How a strategy's token endpoint is asked."""
    provider = strategy.provider
    parameters = dict(strategy.token_params)
    if provider.audience_parameter and strategy.audience:
        parameters.setdefault(provider.audience_parameter, strategy.audience[0])
    return GrantOptions(
        strategy.token_endpoint_auth_method, strategy.scopes if provider.sends_scope else (), parameters
    )


def token_rules(strategy: StrategySettings, max_bytes: int) -> TokenRules:
    """What a strategy demands of a token."""
    return TokenRules(
        algorithms=frozenset(strategy.algorithms),
        audiences=frozenset(strategy.audience),
        client_claims=tuple(tuple(path.split(".")) for path in strategy.credential_claim),
        token_types=frozenset(typ.lower().removeprefix("application/") for typ in strategy.token_types),
        required_scopes=frozenset(strategy.required_scopes),
        scope_claims=strategy.provider.scope_claims,
        leeway_s=strategy.leeway_s,
        max_bytes=max_bytes,
    )


def new_client(
    strategy: StrategySettings, settings: Settings, clock: Clock, metrics: Metrics | None = None
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
