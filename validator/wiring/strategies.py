"""One strategy's settings -> everything that judges by it.

Law of this file: construction alone, and everything that is constructed is given what it needs; nothing is kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from validator.authn.access_token import AccessTokens
from validator.authn.basic import BasicAuthenticator, BasicRules, Grant
from validator.authn.bearer import BearerAuthenticator
from validator.authn.introspection import Introspection
from validator.authn.session import SessionAuthenticator
from validator.authn.shared_answers import FleetSecret
from validator.authn.sharing import Sharing
from validator.authn.throttle import Throttle
from validator.authn.trusted import TokenRules, TrustedIssuers
from validator.caching import Caches
from validator.core.sessions import KeyRing, SessionRules
from validator.core.telling import Tell, nobody
from validator.model import ClientCredentials, Method
from validator.pipeline import Strategy
from validator.ports import Authenticator, Clock, HttpClient, Registry, SharedProofs
from validator.server.metrics import Metrics
from validator.settings import Settings
from validator.settings import Strategy as StrategySettings
from validator.wiring import parts
from validator.wiring.providers import Provider

_LEASE_SLACK_S = 1.0  # for what a member does beside its one call


@dataclass(frozen=True, slots=True)
class Shared:
    """What all strategies are built upon.

    Attributes:
        workers: how many processes judge the same requests.
        proofs: what the fleet has found out; ``None``: there is no fleet. Used only with ``session.keys``, the
            secret that its members have in common.
        forgotten_mark: the registry's, of a strategy and a canonical client id.
    """

    settings: Settings
    clock: Clock
    caches: Caches
    registry: Registry
    throttle: Throttle
    metrics: Metrics
    tell: Tell = nobody
    workers: int = 1
    proofs: SharedProofs | None = None
    forgotten_mark: Callable[[str, str], str] = lambda _strategy, _client_key: ""


def build(
    name: str, strategy: StrategySettings, providers: Sequence[Provider], ring: KeyRing, shared: Shared
) -> Strategy:
    """The strategy, ready to judge by.

    Args:
        providers: one for each of ``parts.trusted_places``, in that order.
    """
    settings = shared.settings
    session = settings.session
    rules = SessionRules(session.idle_ttl_s, session.absolute_ttl_s, session.outlive_token)
    token_rules = parts.token_rules(strategy, settings.limits.max_token_bytes)
    issuers = _issuers(strategy, providers, token_rules)
    tokens = AccessTokens(
        issuers,
        token_rules,
        shared.clock,
        verifications=lambda: shared.metrics.verified(name),
        tell=shared.tell,
    )
    # Two clients of the same endpoint, so that tokens which callers invent keep no minted one waiting.
    introspection = _introspection(
        strategy, issuers, tokens, providers[0].introspection_http, shared, guesses=True
    )
    of_minted = _introspection(strategy, issuers, tokens, providers[0].token_http, shared, guesses=False)
    sharing = _sharing(name, strategy, shared)
    authenticators: dict[Method, Authenticator] = {
        Method.BEARER: BearerAuthenticator(name, tokens, introspection=introspection, sharing=sharing),
        Method.SESSION: SessionAuthenticator(name, ring, rules),
        Method.CLIENT_CREDENTIALS: _basic(name, strategy, providers, tokens, of_minted, shared, sharing),
    }
    return Strategy(
        name=name,
        fingerprint=parts.fingerprint(strategy, settings),
        methods=frozenset(strategy.auth_methods),
        authenticators=authenticators,
        ring=ring,
        session_rules=rules,
        cookie_name=session.cookie_name,
        max_token_bytes=settings.limits.max_token_bytes,
    )


def _sharing(name: str, strategy: StrategySettings, shared: Shared) -> Sharing | None:
    settings = shared.settings
    keys = [key.get_secret_value() for key in settings.session.keys]
    if shared.proofs is None or not keys:
        return None
    return Sharing(
        name,
        shared.proofs,
        secret=FleetSecret(keys),
        fingerprint=parts.fingerprint(strategy, settings),
        clock=shared.clock,
        mark=lambda client_key: shared.forgotten_mark(name, client_key),
        moment=lambda: shared.caches.moment,
        lease_s=settings.outbound.timeout_s + _LEASE_SLACK_S,
        negative_ttl_s=settings.cache.negative_ttl_s,
    )


def _issuers(strategy: StrategySettings, providers: Sequence[Provider], rules: TokenRules) -> TrustedIssuers:
    places = parts.trusted_places(strategy)
    return TrustedIssuers(
        [
            parts.trusted_issuer(strategy, trusted, provider.issuer)
            for trusted, provider in zip(places, providers, strict=True)
        ],
        rules,
    )


def _introspection(
    strategy: StrategySettings,
    issuers: TrustedIssuers,
    tokens: AccessTokens,
    http: HttpClient,
    shared: Shared,
    *,
    guesses: bool,
) -> Introspection | None:
    options = parts.introspection_options(strategy)
    if options is None:
        return None
    throttle = shared.settings.throttle
    each = math.ceil(throttle.max_inactive_tokens / shared.workers)
    bound = Throttle(
        shared.clock,
        max_failures=each,
        max_unregistered_failures=each,
        window_s=throttle.window_s,
    )
    return Introspection(
        issuers,
        tokens,
        http=http,
        options=options,
        clock=shared.clock,
        everything=parts.introspects_everything(strategy),
        guesses=bound if guesses else None,
        tell=shared.tell,
    )


def _basic(
    name: str,
    strategy: StrategySettings,
    providers: Sequence[Provider],
    tokens: AccessTokens,
    introspection: Introspection | None,
    shared: Shared,
    sharing: Sharing | None,
) -> BasicAuthenticator:
    cache, caches = shared.settings.cache, shared.caches
    places = parts.trusted_places(strategy)
    refusals = caches.seed([b"refused", parts.fingerprint(strategy, shared.settings), name.encode()])

    def digest(pair: ClientCredentials) -> bytes:
        seed = refusals.copy()
        # A client id holds no colon here; the moment, so that what is forgotten of a client includes refusals.
        moment = caches.client_moment(name, pair.client_id)
        seed.update(f"{moment}:{pair.client_id}:{pair.client_secret}".encode())
        return seed.digest()

    grants = [
        Grant(providers[index].issuer, providers[index].token_http, parts.grant_options(strategy, places[index]))
        for index in parts.grant_order(strategy, places)
    ]
    return BasicAuthenticator(
        name,
        grants=grants,
        tokens=tokens,
        introspection=introspection,
        rules=BasicRules(
            cache.proof_ttl_s,
            cache.negative_ttl_s,
            strategy.trust_token_response,
            frozenset(strategy.required_scopes),
            tuple(strategy.configured_claims),
            strategy.forward_minted_token,
            strategy.leeway_s,
        ),
        throttle=shared.throttle,
        clock=shared.clock,
        digest=digest,
        registered=lambda client_id: shared.registry.find(name, client_id) is not None,
        sharing=sharing,
        tell=shared.tell,
    )
