"""A million credentials asked for as Zipf's law has it, on the product's own pipeline, by a clock of hand.

Law of this file: what is a hit, when an answer ends and what is forgotten is decided by the product; here requests
are drawn and counted. Between two judgements of a credential its requests are replays, by the deadline that the
product gave: they are counted, and one of them is really asked and must be the same answer.
"""

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import structlog

from validator.caching import Caches, Reply
from validator.core.sessions import KeyRing, SessionRules
from validator.errors import Denied
from validator.model import (
    Application,
    BearerToken,
    ClientCredentials,
    Credential,
    Method,
    Proof,
    Reason,
    RegistrationStatus,
)
from validator.pipeline import Lifetimes, Pipeline, Strategy
from validator.singleflight import SingleFlight
from validator.testing import ManualClock

CREDENTIALS = 1_000_000
EXPONENT = 1.0
TOKEN_LIFETIME_S = 3600.0  # what most providers give an access token, also one that is minted to prove a pair
UNBOUNDED = 10_000_000
STRATEGY, SERVICE, CLIENT = "zipf", "orders", "zipf-app"
_ALLOWED = b"HTTP/1.1 200 "
_HARMONIC = float(np.sum(1.0 / np.arange(1, CREDENTIALS + 1) ** EXPONENT))

# Refusals are what the exposure is measured by; each would print a line.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))


@dataclass(frozen=True)
class Block:
    """Neighbours in rank, for which one credential stands that is asked for as often as they are on average."""

    first: int
    members: int

    def rate(self, per_second: float) -> float:
        ranks = np.arange(self.first, self.first + self.members)
        return per_second * float(np.mean(1.0 / ranks**EXPONENT)) / _HARMONIC


def blocks(*, alone: int, per_decade: int) -> list[Block]:
    """The first ranks each alone, then so many blocks a decade."""
    made = [Block(rank, 1) for rank in range(1, alone + 1)]
    first = alone + 1
    while first <= CREDENTIALS:
        members = max(1, min(round(first * (10 ** (1 / per_decade) - 1)), CREDENTIALS + 1 - first))
        made.append(Block(first, members))
        first += members
    return made


@dataclass
class World:
    """One sidecar's decisions: its pipeline, with an identity provider that answers at once.

    Attributes:
        kind: ``bearer``, ``basic`` or ``introspected``.
        proof_ttl_s: ``cache.proof_ttl_s``, or ``introspection.ttl_s``.
        asked: signatures checked or calls at the identity provider, so far.
        unlike: replays that were not the answer they should have been.
    """

    kind: str
    decision_ttl_s: float
    proof_ttl_s: float
    max_entries: int = UNBOUNDED
    asked: int = 0
    unlike: int = 0
    gone: bool = False  # the credential is refused at the identity provider from now on
    revoked: bool = False  # the client is revoked here
    caches: Caches = field(init=False)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.caches = Caches(b"a bench has no secrets", max_entries=self.max_entries)
        self._application = Application("1", "Zipf", STRATEGY, CLIENT, {SERVICE: RegistrationStatus.APPROVED})
        method = Method.CLIENT_CREDENTIALS if self.kind == "basic" else Method.BEARER
        strategy = Strategy(
            STRATEGY,
            b"",
            frozenset({method}),
            {method: self},
            KeyRing([bytes(32)]),
            SessionRules(900, 86400),
            "session",
        )
        self._pipeline = Pipeline(
            {STRATEGY: strategy},
            registry=self,
            revocations=self,
            caches=self.caches,
            lifetimes=Lifetimes(self.decision_ttl_s, 5),
            clock=self.clock,
            tallies={},
            flight=SingleFlight(),
        )
        route = self._pipeline.route(STRATEGY, SERVICE)
        if route is None:
            raise AssertionError("the strategy stands above")
        self._route = route

    def ask(self, authorization: bytes, now: float) -> Reply:
        self.clock.set_now(now)
        answer = self._pipeline.answer(self._route, authorization, None, now)
        if not isinstance(answer, Reply):
            raise TypeError("nobody is waited for here")
        return answer

    def forget_client(self) -> None:
        """What the control plane's revocation does: the client's answers are judged again."""
        self.caches.epoch.touch_client(STRATEGY, CLIENT)

    def credential(self, name: int, serial: int, ends_at: float) -> bytes:
        """The ``Authorization`` of a client with the ``serial``-th token of its life; a pair stays the same."""
        if self.kind == "basic":
            return b"Basic " + base64.b64encode(b"c%d:secret" % name)
        return b"Bearer %d.%d.%d" % (name, serial, ends_at)

    # -- ports.Authenticator, ports.Registry, ports.Revocations ---------------------------------------------

    def prove_now(self, credential: Credential, now: float) -> Proof:
        self.asked += 1
        if self.gone:
            raise Denied(Reason.CREDENTIALS_REJECTED, "gone")
        match credential:
            case BearerToken(token):
                ends_at = float(token.rpartition(b".")[2])
                good_until = min(ends_at, now + self.proof_ttl_s) if self.kind == "introspected" else ends_at
                return Proof(STRATEGY, Method.BEARER, CLIENT, good_until, ends_at)
            case ClientCredentials():
                ends_at = now + TOKEN_LIFETIME_S
                good_until = min(ends_at, now + self.proof_ttl_s)
                return Proof(STRATEGY, Method.CLIENT_CREDENTIALS, CLIENT, good_until, ends_at)
        raise AssertionError(credential)

    async def prove(self, credential: Credential) -> Proof:
        raise AssertionError(credential)

    def still_holds(self, _proof: Proof) -> bool:
        return True

    def find(self, _strategy: str, _client_id: str) -> Application:
        return self._application

    def covers(self, _proof: Proof, _application: Application | None) -> bool:
        return self.revoked


@dataclass(frozen=True)
class Cycle:
    """One judgement and the replays until its deadline."""

    asked_at: float
    reply: Reply
    proved: bool


def life(world: World, name: int, rate: float, random: np.random.Generator) -> Iterator[Cycle]:
    """The judgements of one credential's requests, from its first one on, without an end."""
    now = world.clock.now()
    serial, ends_at = 0, 0.0
    while True:
        if now >= ends_at:
            serial, ends_at = serial + 1, math.floor(now + TOKEN_LIFETIME_S)
        authorization = world.credential(name, serial, ends_at)
        before = world.asked
        reply = world.ask(authorization, now)
        yield Cycle(now, reply, world.asked > before)
        ends = max(now, reply.deadline)
        if ends > now:
            again = world.ask(authorization, now + (ends - now) * random.random() * 0.999)
            kept = (reply.rendered.head, reply.deadline)  # judged anew it would have another deadline
            world.unlike += (again.rendered.head, again.deadline) != kept
        # A Poisson process forgets: the first request from the deadline on is as far away as any.
        now = ends + random.exponential(1 / rate)


@dataclass(frozen=True)
class Share:
    """Of all requests: those that were replayed, and those that needed a proof; and the simulated time."""

    hits: float
    proofs: float
    days: float


def shares(world: World, population: list[Block], per_second: float, cycles: int, settle_s: float) -> Share:
    """What becomes of the requests of all credentials, each watched over some ``cycles`` of its own.

    Args:
        settle_s: how long one cycle is apart from the wait for the next request; watching begins somewhere within
            the first one, so that a cold start counts for nothing.
    """
    random = np.random.default_rng(4)
    total = hits = proofs = days = 0.0
    for block in population:
        rate = block.rate(per_second)
        cycle_s = settle_s + 1 / rate
        begins = world.clock.now() + cycle_s * (1 + random.random())
        ends = begins + cycles * cycle_s
        requests = judged = proved = 0
        for cycle in life(world, block.first, rate, random):
            if cycle.asked_at >= ends:
                break
            if cycle.asked_at >= begins:
                requests, judged, proved = requests + 1, judged + 1, proved + cycle.proved
            replays_s = min(ends, cycle.reply.deadline) - max(begins, cycle.asked_at)
            if replays_s > 0:
                requests += int(random.poisson(rate * replays_s))
        weight = rate * block.members
        total += weight
        if requests:
            hits += weight * (1 - judged / requests)
            proofs += weight * proved / requests
        days = max(days, cycles * cycle_s / 86400)
    return Share(hits / total, proofs / total, days)


@dataclass(frozen=True)
class Bounded:
    """What a bound on entries does."""

    proofs: float  # of all requests
    evicted_per_s: float


def bounded(
    kind: str, max_entries: int, per_second: float, *, proof_ttl_s: float, hours: float, scale: int
) -> Bounded:
    """Every request of a world ``scale`` times smaller, bound included: evictions depend on all of them together.
    The first hour fills the caches and does not count."""
    random = np.random.default_rng(4)
    world = World(kind, 30, proof_ttl_s, max_entries=max(2, max_entries // scale))
    firsts = range(1, CREDENTIALS + 1, scale)
    rates = np.array([Block(first, scale).rate(per_second) for first in firsts])
    count = int(per_second / scale * hours * 3600)
    times = world.clock.now() + np.cumsum(random.exponential(scale / per_second, count))
    names = np.searchsorted(np.cumsum(rates) / rates.sum(), random.random(count)).tolist()
    tokens: dict[int, tuple[int, float]] = {}
    warm_at = world.clock.now() + 3600
    proofs_before = evicted_before = requests = 0
    for name, now in zip(names, times.tolist(), strict=True):
        if not requests and now >= warm_at:
            proofs_before, evicted_before = world.asked, world.caches.proofs.evictions
        requests += now >= warm_at
        serial, ends_at = tokens.get(name, (0, 0.0))
        if now >= ends_at:
            serial, ends_at = tokens[name] = serial + 1, math.floor(now + TOKEN_LIFETIME_S)
        world.ask(world.credential(name, serial, ends_at), now)
    watched_s = (hours - 1) * 3600
    evicted = (world.caches.proofs.evictions - evicted_before) * scale
    return Bounded((world.asked - proofs_before) / requests, evicted / watched_s)


@dataclass(frozen=True)
class Exposure:
    """For how long a client that keeps asking is still let in, in seconds."""

    mean_s: float
    worst_s: float


def exposure(world: World, per_second: float, draws: int, *, gateway: bool = False) -> Exposure:
    """Of clients drawn as requests are, so that busy ones count as often as they ask.

    At some moment the credential is refused at the identity provider and nobody tells the sidecar; or, with a
    ``gateway`` that keeps decisions for their ``max-age``, the client is revoked here.
    """
    random = np.random.default_rng(4)
    ranks = np.exp(random.random(draws) * math.log(CREDENTIALS)).astype(int)  # Zipf's law with exponent one
    spans: list[float] = []
    for name, rank in enumerate(ranks.tolist()):
        rate = Block(rank, 1).rate(per_second)
        now = world.clock.now()
        settle_s = world.decision_ttl_s if gateway else world.proof_ttl_s
        cut = now + (settle_s + 1 / rate) * (1 + random.random())
        spans.append(_allowed_after(cut, world, name, rate, random, gateway=gateway))
    return Exposure(float(np.mean(spans)), max(spans))


def _allowed_after(
    cut: float, world: World, name: int, rate: float, random: np.random.Generator, *, gateway: bool
) -> float:
    now = world.clock.now()
    world.gone = world.revoked = False
    serial, ends_at, last = 0, 0.0, cut
    while True:
        if now >= cut and gateway and not world.revoked:
            world.revoked = True
            world.forget_client()
        world.gone = now >= cut and not gateway
        if now >= ends_at:
            if world.gone:
                return last - cut  # it gets no other token
            serial, ends_at = serial + 1, math.floor(now + TOKEN_LIFETIME_S)
        reply = world.ask(world.credential(name, serial, ends_at), now)
        if not reply.rendered.head.startswith(_ALLOWED):
            return last - cut
        left_s = reply.deadline - now
        until = now + (math.floor(left_s) if gateway else left_s)
        last = max(last, now, until - random.exponential(1 / rate))
        now = max(now, until) + random.exponential(1 / rate)
