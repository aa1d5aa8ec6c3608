"""``validator check --online``: what one strategy's issuers say, and whether its methods can work with that.

Law of this file: issuers are reached by the same parts as in the sidecar, nobody's secret is proved, and every
call has the bounds of ``outbound``. Nothing is printed from here.
"""

import asyncio
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from validator.adapters.clock import SystemClock
from validator.adapters.idp import IdpClient
from validator.authn.access_token import AccessTokens
from validator.authn.introspection import Introspection
from validator.authn.trusted import TrustedIssuers
from validator.core import entra, trust
from validator.core.discovery import typed_issuer_differs
from validator.core.jwks import VerificationKey
from validator.errors import Denied, Unavailable
from validator.inspecting import claims, grants, registration
from validator.inspecting.findings import Findings, Inspected, Visit
from validator.inspecting.redis import inspect_redis
from validator.issuers import Freshness, Issuer
from validator.model import Method, Reason
from validator.settings import Settings, Strategy
from validator.wiring import new_client, parts, trusted_places
from validator.words import clean

__all__ = ["Inspected", "inspect", "inspect_redis"]

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_MAX_KEYS_SHOWN = 10


async def inspect(name: str, strategy: Strategy, settings: Settings) -> Inspected:
    """Reaches every issuer of a strategy, and tries its introspection endpoint with a made-up token."""
    report = Findings([f"strategy {name}: {strategy.provider.title} ({strategy.idp})"])
    clock = SystemClock()
    places = trusted_places(strategy)
    clients: list[IdpClient] = []
    visits: list[Visit] = []
    try:
        try:
            for trusted in places:
                http = await asyncio.to_thread(new_client, strategy, settings, clock)
                clients.append(http)
                issuer = Issuer(trusted.place, http=http, clock=clock, freshness=Freshness())
                visits.append(Visit(trusted, issuer, http))
        except ValueError as error:
            report.say(f"NOT REACHED: {error}")
            return Inspected(name, report.lines, works=False)
        await asyncio.gather(*(visit.reach() for visit in visits))
        for visit in visits:
            _tell_issuer(report, strategy, visit, visits)
        await _tell_introspection(report, strategy, visits, clock, settings)
        grants.tell(report, strategy, visits)
        registration.tell(report, name, settings, visits[0])
        _judge_keys(report, strategy, visits)
        claims.judge(report, strategy, [visit.trusted for visit in visits])
    finally:
        await asyncio.gather(*(visit.issuer.close() for visit in visits))
        await asyncio.gather(*(client.close() for client in clients))
    return Inspected(name, report.lines, works=_tell_methods(report, strategy) and report.bridge_works)


def _tell_issuer(report: Findings, strategy: Strategy, visit: Visit, visits: Sequence[Visit]) -> None:
    place, metadata = visit.trusted.place, visit.issuer.metadata
    version = visit.trusted.version
    if metadata is None:
        if visit.issuer.absent and any(other.issuer.metadata for other in visits):
            report.say(
                f"note: there is no issuer of v{version} tokens here (404 for {place.document}); "
                f"v{version} tokens are refused"
            )
        else:
            report.say(f"issuer {place.issuer}")
            report.say(f"NOT REACHED: {visit.failure}", 2)
        return
    kind = f"v{version} tokens" if version else "tokens"
    report.say(f"issuer {clean(metadata.issuer)}")
    names = " or ".join(f"`{claim}`" for claim in claims.usable(strategy, visit.trusted))
    report.say(f"{kind} carry exactly this `iss`" + (f", and {names} names the application" if names else ""), 2)
    report.say(
        f"read from {metadata.document}" if metadata.document else "as configured; no discovery document is read",
        2,
    )
    if _names_another(strategy, place.issuer, metadata.issuer):
        report.say(
            f"ISSUER MISMATCH: the file says {place.issuer}, the issuer calls itself {clean(metadata.issuer)}; "
            "tokens must carry the latter",
            2,
        )
    keys = visit.issuer.keys
    if keys is None:
        report.say(f"NO KEYS: {visit.issuer.missing()}", 2)
        return
    shown = ", ".join(_key(key) for key in keys.keys[:_MAX_KEYS_SHOWN])
    more = f" and {len(keys.keys) - _MAX_KEYS_SHOWN} more" if len(keys.keys) > _MAX_KEYS_SHOWN else ""
    count = "1 key" if len(keys.keys) == 1 else f"{len(keys.keys)} keys"
    report.say(f"{count} at {metadata.jwks_uri}: {shown}{more}", 2)
    for why in keys.ignored:
        report.say(f"note: ignored {clean(why)}", 2)


def _names_another(strategy: Strategy, typed: str, found: str) -> bool:
    if trust.is_entra(strategy.idp) and not entra.GUID.search(typed):
        return False  # the tenant by one of its domain names; the issuer always has the GUID
    return typed_issuer_differs(typed, found)


def _key(key: VerificationKey) -> str:
    algorithms = "any RSA algorithm" if key.algorithms >= _RSA else ", ".join(sorted(key.algorithms))
    return f"{clean(key.kid) if key.kid else '(no kid)'} ({algorithms})"


# Introspection


async def _tell_introspection(
    report: Findings, strategy: Strategy, visits: Sequence[Visit], clock: SystemClock, settings: Settings
) -> None:
    options = parts.introspection_options(strategy)
    metadata = visits[0].issuer.metadata
    if options is None or metadata is None:
        return
    if metadata.introspection_endpoint is None:
        report.say(
            "NO INTROSPECTION ENDPOINT: the discovery document names none; configure introspection_endpoint"
        )
        _stops_opaque(report, "opaque tokens cannot be asked about without an introspection endpoint")
        return
    who = (
        f"as {options.client.client_id!r} by {options.auth_method}" if options.client else "without authentication"
    )
    report.say(f"introspection endpoint {metadata.introspection_endpoint}, {who}, answers as {options.response}")
    rules = parts.token_rules(strategy, settings.limits.max_token_bytes)
    issuers = TrustedIssuers(
        [parts.trusted_issuer(strategy, visit.trusted, visit.issuer) for visit in visits], rules
    )
    tokens = AccessTokens(issuers, rules, clock)
    asking = Introspection(issuers, tokens, http=visits[0].http, options=options, clock=clock, everything=True)
    try:
        await asking.inspect(secrets.token_urlsafe(32).encode())
    except Unavailable as error:
        report.say(f"INTROSPECTION FAILS: {error.detail}", 2)
        _stops_opaque(report, "introspection fails, so that no opaque token can be judged")
        return
    except Denied as error:
        if error.reason is Reason.TOKEN_INACTIVE:
            report.say("tried with a made-up token: inactive, as it should be", 2)
            return
    report.say("INTROSPECTION CALLS A MADE-UP TOKEN ACTIVE: its answers prove nothing", 2)
    _stops_opaque(report, "the introspection endpoint calls a made-up token active")


def _stops_opaque(report: Findings, why: str) -> None:
    # Also a client id and secret: what is minted for them is asked about in the same way.
    for method in (Method.BEARER, Method.CLIENT_CREDENTIALS):
        report.stops(method, why)


# What follows for each method


def _judge_keys(report: Findings, strategy: Strategy, visits: Sequence[Visit]) -> None:
    everything = parts.introspects_everything(strategy)
    for visit in visits:
        if visit.issuer.absent and any(other.issuer.metadata for other in visits):
            continue
        why = _unreadable(strategy, visit)
        if why is None or (everything and visit.issuer.metadata is not None):
            continue
        report.stops(Method.BEARER, why)
        if strategy.trust_token_response:
            continue  # the pair is proved without reading what is minted
        report.stops(Method.CLIENT_CREDENTIALS, why)


def _unreadable(strategy: Strategy, visit: Visit) -> str | None:
    """Why no token of this issuer could be verified."""
    issuer, place = visit.issuer, visit.trusted.place
    if issuer.metadata is None:
        return f"{place.issuer} was not reached"
    if issuer.keys is None:
        return f"no token of {clean(issuer.metadata.issuer)} can be verified without its keys"
    published = frozenset[str]().union(*(key.algorithms for key in issuer.keys.keys))
    if published.isdisjoint(strategy.algorithms):
        return (
            f"the keys are for {', '.join(sorted(published))}, but the strategy's algorithms are "
            f"{', '.join(strategy.algorithms)}"
        )
    name = clean(issuer.metadata.issuer)
    if strategy.idp == "okta" and not trust.is_custom_okta_server(urlsplit(name).path):
        return f"{name} is Okta's org authorization server: {strategy.provider.opaque_because}"
    return None


def _tell_methods(report: Findings, strategy: Strategy) -> bool:
    """Says what is ready and what is not; whether all that is enabled is ready."""
    ready: list[Method] = []
    for method in (Method.CLIENT_CREDENTIALS, Method.BEARER):
        if not strategy.allows(method):
            continue
        obstacles = list(dict.fromkeys(report.obstacles.get(method, ())))
        if obstacles:
            report.say(f"{method.value}: NOT READY because {'; and '.join(obstacles)}")
            continue
        ready.append(method)
        condition = f", {report.conditions[method]}" if method in report.conditions else ""
        report.say(f"{method.value}: ready{_terms(strategy, method)}{condition}")
    if strategy.allows(Method.SESSION):
        opened = f"ready, opened by {' or '.join(ready)}"
        report.say(f"session: {opened if ready else 'NOT READY because no other method is, and one must open it'}")
    others = [method for method in strategy.auth_methods if method is not Method.SESSION]
    return set(others) <= set(ready)


def _terms(strategy: Strategy, method: Method) -> str:
    if method is not Method.BEARER:
        return ""
    audience = f" for {' or '.join(strategy.audience)}" if strategy.audience else " for any audience"
    return f", tokens{audience}" + (", opaque ones by introspection" if strategy.introspects else "")
