"""``validator check --online``: what one strategy's issuers say, and whether its methods can work with that.

Law of this file: issuers are reached by the same parts as in the sidecar, nobody's secret is proved, and every
call has the bounds of ``outbound``. Nothing is printed from here.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from validator.adapters.clock import SystemClock
from validator.adapters.idp import IdpClient
from validator.authn.access_token import AccessTokens
from validator.authn.introspection import Introspection
from validator.authn.trusted import TrustedIssuers
from validator.core import entra, trust
from validator.core.discovery import typed_issuer_differs
from validator.core.jwks import VerificationKey
from validator.core.trust import TrustedPlace
from validator.errors import Denied, Unavailable
from validator.issuers import Freshness, Issuer
from validator.model import Method, Reason
from validator.settings import Settings, Strategy
from validator.wiring import new_client, parts, trusted_places
from validator.words import clean

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_MAX_KEYS_SHOWN = 10
_GRANT = "client_credentials"


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found of one strategy: lines for a person, and whether every enabled method can work."""

    name: str
    lines: Sequence[str]
    works: bool


@dataclass(slots=True)
class _Visit:
    """One issuer and what reaching it brought. ``failure`` is "" where its name is known."""

    trusted: TrustedPlace
    issuer: Issuer
    http: IdpClient
    failure: str = ""

    async def reach(self) -> None:
        try:
            await self.issuer.known()
            await self.issuer.tend()
        except Unavailable as error:
            self.failure = error.detail or "no answer"


@dataclass(slots=True)
class _Report:
    """The lines as they grow, and by method why it cannot work."""

    lines: list[str]
    obstacles: dict[Method, list[str]] = field(default_factory=dict)

    def say(self, text: str, depth: int = 1) -> None:
        self.lines.append("  " * depth + text)

    def stops(self, method: Method, why: str) -> None:
        self.obstacles.setdefault(method, []).append(why)


async def inspect(name: str, strategy: Strategy, settings: Settings) -> Inspected:
    """Reaches every issuer of a strategy, and tries its introspection endpoint with a made-up token."""
    report = _Report([f"strategy {name}: {strategy.provider.title} ({strategy.idp})"])
    clock = SystemClock()
    places = trusted_places(strategy)
    clients: list[IdpClient] = []
    visits: list[_Visit] = []
    try:
        try:
            for trusted in places:
                http = await asyncio.to_thread(new_client, strategy, settings, clock)
                clients.append(http)
                issuer = Issuer(trusted.place, http=http, clock=clock, freshness=Freshness())
                visits.append(_Visit(trusted, issuer, http))
        except ValueError as error:
            report.say(f"NOT REACHED: {error}")
            return Inspected(name, report.lines, works=False)
        await asyncio.gather(*(visit.reach() for visit in visits))
        for visit in visits:
            _tell_issuer(report, strategy, visit, visits)
        await _tell_introspection(report, strategy, visits, clock, settings)
        _tell_grant(report, strategy, visits)
        _judge_keys(report, strategy, visits)
    finally:
        await asyncio.gather(*(visit.issuer.close() for visit in visits))
        await asyncio.gather(*(client.close() for client in clients))
    return Inspected(name, report.lines, works=_tell_methods(report, strategy))


def _tell_issuer(report: _Report, strategy: Strategy, visit: _Visit, visits: Sequence[_Visit]) -> None:
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
    claims = " or ".join(f"`{claim}`" for claim in visit.trusted.claims)
    kind = f"v{version} tokens" if version else "tokens"
    report.say(f"issuer {clean(metadata.issuer)}")
    report.say(f"{kind} carry exactly this `iss`, and {claims} names the application", 2)
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
    report: _Report, strategy: Strategy, visits: Sequence[_Visit], clock: SystemClock, settings: Settings
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


def _stops_opaque(report: _Report, why: str) -> None:
    # Also a client id and secret: what is minted for them is asked about in the same way.
    for method in (Method.BEARER, Method.CLIENT_CREDENTIALS):
        report.stops(method, why)


# Client credentials


def _tell_grant(report: _Report, strategy: Strategy, visits: Sequence[_Visit]) -> None:
    method = Method.CLIENT_CREDENTIALS
    if not strategy.allows(method):
        return
    order = [visits[index] for index in parts.grant_order(strategy, [visit.trusted for visit in visits])]
    visit = next((visit for visit in order if not visit.issuer.absent), order[-1])
    metadata = visit.issuer.metadata
    if metadata is None:
        report.stops(method, f"{visit.trusted.place.issuer} was not reached")
        return
    if metadata.token_endpoint is None:
        report.say("NO TOKEN ENDPOINT: the discovery document names none; configure token_endpoint")
        report.stops(method, "there is no token endpoint at which a client id and secret could be proved")
        return
    options = parts.grant_options(strategy, visit.trusted)
    report.say(f"token endpoint {metadata.token_endpoint}, by {options.auth_method}")
    sent = [f"{name}={value}" for name, value in _parameters(options.scopes, options.parameters).items()]
    report.say(f"a client id and secret are tried there with {' '.join(['grant_type=' + _GRANT, *sent])}", 2)
    if any(entra.is_graph(value) for value in options.parameters.values()):
        _tell_graph(report, strategy)
    supported = metadata.token_endpoint_auth_methods
    if supported and options.auth_method not in supported:
        report.say(
            f"note: the issuer says that it supports {clean(', '.join(supported))}; "
            "see token_endpoint_auth_method",
            2,
        )
    elif supported:
        report.say(f"it supports {clean(', '.join(supported))}", 2)
    if metadata.grant_types and _GRANT not in metadata.grant_types:
        report.say(
            f"note: its metadata does not list the grant client_credentials, only "
            f"{clean(', '.join(metadata.grant_types))}",
            2,
        )


def _tell_graph(report: _Report, strategy: Strategy) -> None:
    if strategy.trust_token_response:
        report.say(
            "what is minted is for Microsoft Graph, which alone can verify it: the answer of the token "
            "endpoint over TLS is the proof (trust_token_response)",
            2,
        )
        return
    report.stops(
        Method.CLIENT_CREDENTIALS,
        "what is minted is for Microsoft Graph, which alone can verify it; ask for your own API in `scopes`, "
        "or set trust_token_response: true",
    )


def _parameters(scopes: Sequence[str], parameters: Mapping[str, str]) -> dict[str, str]:
    return {**parameters, **({"scope": " ".join(scopes)} if scopes else {})}


# What follows for each method


def _judge_keys(report: _Report, strategy: Strategy, visits: Sequence[_Visit]) -> None:
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


def _unreadable(strategy: Strategy, visit: _Visit) -> str | None:
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
    if strategy.idp == "okta" and "/oauth2/" not in name:
        return f"{name} is Okta's org authorization server: {strategy.provider.opaque_because}"
    return None


def _tell_methods(report: _Report, strategy: Strategy) -> bool:
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
        report.say(f"{method.value}: ready{_terms(strategy, method)}")
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
