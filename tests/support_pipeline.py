"""A pipeline with everything real below it but the wire: registry, caches, issuers, authenticators, a clock.

Law of this file: it wires as the program does and judges nothing.
"""

import base64
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support_http import ISSUER, CannedHttp

from validator.authn.access_token import AccessTokens
from validator.authn.basic import BasicAuthenticator, BasicRules, Grant
from validator.authn.bearer import BearerAuthenticator
from validator.authn.introspection import Introspection
from validator.authn.session import SessionAuthenticator
from validator.authn.sharing import Sharing
from validator.authn.throttle import Throttle
from validator.authn.trusted import TokenRules, TrustedIssuer, TrustedIssuers
from validator.caching import Caches, Reply, Tally
from validator.core.introspection import IntrospectionOptions
from validator.core.jws import ALGORITHMS
from validator.core.oauth import GrantOptions
from validator.core.sessions import KeyRing, SessionRules
from validator.issuers import Freshness, Issuer, IssuerPlace
from validator.model import Application, ClientCredentials, Knowledge, Method, Proof, RegistrationStatus, Session
from validator.pipeline import Lifetimes, Pipeline, Strategy
from validator.ports import Authenticator
from validator.registry.index import MemoryRegistry
from validator.singleflight import SingleFlight
from validator.testing import ManualClock

COOKIE = "__Host-session"
RULES = TokenRules(
    algorithms=frozenset(ALGORITHMS),
    audiences=frozenset({"api://default"}),
    token_types=frozenset({"jwt", "at+jwt"}),
)
CLIENT_CLAIMS = (("client_id",), ("azp",))
RING = KeyRing([bytes(range(32))])
ALL_METHODS = frozenset(Method)


def app(client_id: str = "orders", *services: str, strategy: str = "plain", active: bool = True) -> Application:
    """Approved for ``services``, or for ``svc`` where none is named."""
    registrations = dict.fromkeys(services or ("svc",), RegistrationStatus.APPROVED)
    name = f"app-{strategy}-{client_id}"
    return Application(name, client_id.title(), strategy, client_id, registrations, active)


def basic(client_id: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{client_id}:{secret}".encode())


@dataclass
class Seen:
    """An answer as a gateway reads it."""

    status: int
    headers: dict[str, str]
    reason: str | None
    reply: Reply = field(repr=False)

    @property
    def said(self) -> tuple[int, str | None]:
        return self.status, self.reason

    @property
    def cookie(self) -> bytes:
        """The sealed value of the session cookie that it sets."""
        name, _, rest = self.headers["set-cookie"].partition("=")
        assert name == COOKIE
        return rest.partition(";")[0].encode()


def read(reply: Reply) -> Seen:
    head, _, body = reply.rendered.wire(0).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Seen(int(first.split()[1]), headers, json.loads(body)["reason"] if body else None, reply)


class Kitchen:
    """One pipeline and its parts.

    Attributes:
        verifications: signatures checked, by strategy.
    """

    def __init__(
        self,
        clock: ManualClock,
        http: CannedHttp,
        *,
        applications: Iterable[Application] | None = None,
        lifetimes: Lifetimes | None = None,
        session: SessionRules | None = None,
        basic: BasicRules | None = None,
        freshness: Freshness | None = None,
        strategies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.clock = clock
        self.http = http
        self.caches = Caches(b"0123456789abcdef", max_entries=10_000)
        self.registry = MemoryRegistry(
            clock=clock, epoch=self.caches.epoch, strategies=("plain", "other", "third")
        )
        for application in [app()] if applications is None else applications:
            self.registry.apply(application)
        self.lifetimes = lifetimes or Lifetimes()
        self.session = session or SessionRules(900.0, 86400.0)
        self.basic = basic or BasicRules(300.0, self.lifetimes.negative_ttl_s)
        self.throttle = Throttle(clock, max_failures=10, max_unregistered_failures=100, window_s=60.0)
        self.issuer = Issuer(
            IssuerPlace(ISSUER),
            http=http,
            clock=clock,
            freshness=freshness or Freshness(),
            changed=self.caches.epoch.touch_all,
        )
        self.verifications: dict[str, int] = {}
        self.tallies: dict[tuple[str, str, str, str], Tally] = {}
        self.flight: SingleFlight[bytes, Proof] = SingleFlight()
        self.reload(strategies or {"plain": {}})

    def strategy(
        self,
        name: str,
        *,
        rules: TokenRules = RULES,
        methods: frozenset[Method] = ALL_METHODS,
        options: GrantOptions | None = None,
        fingerprint: bytes = b"one",
        authenticators: Mapping[Method, Authenticator] | None = None,
        ring: KeyRing = RING,
        introspection: IntrospectionOptions | None = None,
        max_inactive: int = 1000,
        idp: tuple[Issuer, CannedHttp] | None = None,
        everything: bool = False,
        sharing: Sharing | None = None,
    ) -> Strategy:
        issuer, http = idp or (self.issuer, self.http)

        def count() -> None:
            self.verifications[name] = self.verifications.get(name, 0) + 1

        def digest(pair: ClientCredentials) -> bytes:
            parts = [
                b"refused",
                str(self.caches.client_moment(name, pair.client_id)).encode(),
                fingerprint,
                name.encode(),
            ]
            return self.caches.seed([*parts, pair.client_id.encode(), pair.client_secret.encode()]).digest()

        issuers = TrustedIssuers([TrustedIssuer(issuer, CLIENT_CLAIMS)], rules)
        tokens = AccessTokens(issuers, rules, self.clock, verifications=count)
        asked = introspection and Introspection(
            issuers,
            tokens,
            http=http,
            options=introspection,
            clock=self.clock,
            everything=everything,
            guesses=Throttle(
                self.clock, max_failures=max_inactive, max_unregistered_failures=max_inactive, window_s=60.0
            ),
        )
        real: dict[Method, Authenticator] = {
            Method.BEARER: BearerAuthenticator(name, tokens, introspection=asked or None, sharing=sharing),
            Method.SESSION: SessionAuthenticator(name, ring, self.session),
            Method.CLIENT_CREDENTIALS: BasicAuthenticator(
                name,
                grants=[Grant(issuer, http, options or GrantOptions("client_secret_post"))],
                tokens=tokens,
                introspection=asked or None,
                rules=self.basic,
                throttle=self.throttle,
                clock=self.clock,
                digest=digest,
                registered=lambda client_id: self.registry.find(name, client_id) is not None,
                sharing=sharing,
            ),
        }
        return Strategy(
            name=name,
            fingerprint=fingerprint,
            methods=methods,
            authenticators={**real, **(authenticators or {})},
            ring=ring,
            session_rules=self.session,
            cookie_name=COOKIE,
        )

    def reload(self, strategies: Mapping[str, Mapping[str, Any]], **parts: Any) -> None:
        """Another pipeline over the same caches, registry and issuer."""
        self.pipeline = Pipeline(
            {name: self.strategy(name, **options) for name, options in strategies.items()},
            **{
                "registry": self.registry,
                "revocations": self.registry,
                "caches": self.caches,
                "lifetimes": self.lifetimes,
                "clock": self.clock,
                "tallies": self.tallies,
                "flight": self.flight,
                **parts,
            },
        )

    async def ask(
        self,
        authorization: bytes | str | None = None,
        *,
        cookie: bytes | None = None,
        service: str = "svc",
        strategy: str = "plain",
    ) -> Seen:
        """What the pipeline answers; a ``str`` is a bearer token."""
        if isinstance(authorization, str):
            authorization = b"Bearer " + authorization.encode()
        route = self.pipeline.route(strategy, service)
        assert route is not None
        answer = self.pipeline.answer(route, authorization, cookie, self.clock.now())
        return read(await answer if inspect.isawaitable(answer) else answer)

    def opened(self, seen: Seen) -> Session:
        """The session in the cookie of an answer."""
        return RING.open(seen.cookie, "plain")

    @property
    def judged(self) -> int:
        return sum(tally.judged for tally in self.tallies.values())

    @property
    def replayed(self) -> int:
        return sum(tally.replayed for tally in self.tallies.values())

    async def close(self) -> None:
        await self.flight.close()
        await self.issuer.close()


class Scripted:
    """``ports.Authenticator`` that does what it is told."""

    def __init__(self, now: Proof | Exception | None, later: Proof | Exception | None = None) -> None:
        self.now = now
        self.later = later
        self.holds = True

    def prove_now(self, *_: object) -> Proof | None:
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    async def prove(self, *_: object) -> Proof:
        if isinstance(self.later, Exception):
            raise self.later
        assert self.later is not None
        return self.later

    def still_holds(self, *_: object) -> bool:
        return self.holds


def proof(clock: ManualClock, **changes: Any) -> Proof:
    end = clock.now() + 600
    return Proof("plain", Method.BEARER, "orders", end, end, "jti-1")._replace(**changes)


def scripted(kitchen: Kitchen, now: Proof | Exception | None, later: Proof | Exception | None = None) -> Scripted:
    made = Scripted(now, later)
    kitchen.reload({"plain": {"authenticators": {Method.BEARER: made}}})
    return made


class Failing:
    """A registry, or a list of revocations, that raises."""

    knowledge = Knowledge.CURRENT

    def __init__(self, error: Exception) -> None:
        self._error = error

    def find(self, *_: object) -> Application | None:
        raise self._error

    def covers(self, *_: object) -> bool:
        raise self._error
