"""decide(): extract, authenticate, resolve the application, check its registration, render.

Law of this file: the one way from a request to an answer, and the sole catcher of ``AuthError``. The fast path
(``answer`` finding a reply) trusts nothing that was not judged here; everything judged here is judged whole.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from validator.caching import Caches, Moment, Reply, Tally
from validator.core import reply, sessions
from validator.core.extract import extract
from validator.core.registry import authorize
from validator.core.sealing import NONCE_BYTES
from validator.core.sessions import KeyRing, SessionRules
from validator.errors import AuthError, Denied, Unavailable
from validator.model import (
    Application,
    BearerToken,
    ClientCredentials,
    Credential,
    Method,
    Proof,
    Reason,
    Session,
    SessionCookie,
)
from validator.ports import Authenticator, Clock, Registry, Revocations
from validator.singleflight import SingleFlight

_METHODS: Mapping[type, Method] = {
    BearerToken: Method.BEARER,
    ClientCredentials: Method.CLIENT_CREDENTIALS,
    SessionCookie: Method.SESSION,
}
_MAX_ROUTES = 10_000  # more than any gateway has services; beyond it routes are made anew for each request
_NO_METHOD, _ALLOWED = "none", "allowed"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Strategy:
    """An application auth strategy, ready to judge by.

    ``fingerprint`` changes with anything that a proof under this strategy depends on, so that a reload with
    other rules cannot meet proofs of the old ones.
    """

    name: str
    fingerprint: bytes
    methods: frozenset[Method]
    authenticators: Mapping[Method, Authenticator]
    ring: KeyRing
    session_rules: SessionRules
    cookie_name: str
    max_token_bytes: int = 16384


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long answers may be reused, in seconds."""

    decision_ttl_s: float = 30.0
    negative_ttl_s: float = 5.0


class Route:
    """What every request for one service under one strategy has in common."""

    __slots__ = ("authorization_seed", "no_credential_key", "service", "session_seed", "strategy")

    def __init__(self, strategy: Strategy, service: str, caches: Caches) -> None:
        self.strategy = strategy
        self.service = service
        parts = [b"reply", strategy.fingerprint, strategy.name.encode(), service.encode()]
        self.authorization_seed = caches.seed([*parts, b"authorization"])
        self.session_seed = caches.seed([*parts, b"session"])
        self.no_credential_key = caches.seed([*parts, b"none"]).digest()


class Pipeline:
    """Judges requests.

    Args:
        observe: told of each judgement that was not a replay: seconds it took.

    Attributes:
        tallies: by (strategy, method, outcome, reason); for the metrics.
    """

    def __init__(
        self,
        strategies: Mapping[str, Strategy],
        *,
        registry: Registry,
        revocations: Revocations,
        caches: Caches,
        lifetimes: Lifetimes,
        clock: Clock,
        tallies: dict[tuple[str, str, str, str], Tally],
        flight: SingleFlight[bytes, Proof],
        observe: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._strategies = strategies
        self._registry = registry
        self._revocations = revocations
        self._caches = caches
        self._epoch = caches.epoch
        self._lifetimes = lifetimes
        self._clock = clock
        self._observe = observe
        self._flight = flight
        self._routes: dict[tuple[str, str], Route] = {}
        self.tallies = tallies

    def route(self, strategy: str, service: str) -> Route | None:
        """The route for a strategy and a service; ``None``: no such strategy."""
        route = self._routes.get((strategy, service))
        if route is None and (found := self._strategies.get(strategy)) is not None:
            route = Route(found, service, self._caches)
            if len(self._routes) < _MAX_ROUTES:
                self._routes[strategy, service] = route
        return route

    def answer(
        self, route: Route, authorization: bytes | None, session: bytes | None, now: float
    ) -> Reply | Awaitable[Reply]:
        """The answer, or what will be the answer where somebody has to be asked.

        Args:
            authorization: value of the only ``Authorization`` header.
            session: value of the session cookie; not looked at beside an ``authorization``.
            now: seconds since the epoch.
        """
        if authorization is not None:
            digest = route.authorization_seed.copy()
            digest.update(authorization)
            key = digest.digest()
        elif session:
            digest = route.session_seed.copy()
            digest.update(session)
            key = digest.digest()
        else:
            key = route.no_credential_key
        caches = self._caches
        known = caches.replies.get(key) or caches.denials.get(key)
        if known is not None and now < known.deadline:
            epoch = self._epoch.value
            if known.epoch == epoch:
                known.tally.replayed += 1
                return known
            if self._epoch.unmoved_since(known.epoch, known.shards):
                known.epoch = epoch
                known.tally.replayed += 1
                return known
        return self._judge_now(route, key, authorization, session, now)

    def refuse(self, route: Route, error: AuthError) -> Reply:
        """The answer to a request that has no single credential to judge."""
        return self._refused(route, None, None, error, self._clock.now(), None)

    def strategy_unknown(self, name: str | None = None) -> Reply:
        """The answer to a gateway that asks for a strategy which is not configured, or names none."""
        asked = f"for the strategy {name[:64]!r}, which is not configured" if name else "for no strategy"
        self._log("unknown", None, Denied(Reason.STRATEGY_UNKNOWN, f"the gateway asks {asked}"), None, None)
        tally = self._count("unknown", None, "denied", Reason.STRATEGY_UNKNOWN.value)
        tally.judged += 1
        return Reply(reply.refused(Reason.STRATEGY_UNKNOWN), tally)

    def _judge_now(
        self, route: Route, key: bytes, authorization: bytes | None, session: bytes | None, now: float
    ) -> Reply | Awaitable[Reply]:
        started = self._clock.monotonic()
        strategy = route.strategy
        method: Method | None = None
        proof: Proof | None = None
        try:
            credential = extract(authorization, session, max_token_bytes=strategy.max_token_bytes)
            method = _METHODS[type(credential)]
            if method not in strategy.methods:
                raise Denied(  # noqa: TRY301 - one catcher for every refusal
                    Reason.METHOD_NOT_ENABLED, f"{method.value} is off under this strategy"
                )
            proof_key = self._proof_key(strategy, credential)
            proof = self._proven(strategy, method, proof_key, now)
            if proof is None:
                proof = strategy.authenticators[method].prove_now(credential, now)
                if proof is None:
                    return self._judge(route, key, credential, method, proof_key, started)
                proof = self._keep(strategy, proof_key, proof, now, self._caches.moment)
            answer = self._conclude(route, key, proof, now)
        except AuthError as error:
            answer = self._refused(route, key, method, error, now, proof)
        except Exception:  # noqa: BLE001 - fails closed, and says so in the log
            answer = self._broken(route, method, now)
        self._observe(self._clock.monotonic() - started)
        return answer

    async def _judge(
        self,
        route: Route,
        key: bytes,
        credential: Credential,
        method: Method,
        proof_key: bytes,
        started: float,
    ) -> Reply:
        proof: Proof | None = None
        caches = self._caches
        begun = caches.moment
        authenticator = route.strategy.authenticators[method]

        async def prove() -> Proof:
            found = await authenticator.prove(credential)
            return self._keep(route.strategy, proof_key, found, self._clock.now(), begun)

        def remembered() -> bytes | None:  # what was begun before anything was forgotten answers only this once
            return key if begun == caches.moment else None

        try:
            # Who asks after something was forgotten does not join a call of before.
            since = b"".join(part.to_bytes(8, "big") for part in begun)
            proof = await self._flight.run(proof_key + since, prove)
            if not authenticator.still_holds(proof):  # between its end and this turn of the loop
                raise Denied(  # noqa: TRY301 - one catcher for every refusal
                    Reason.KEY_UNKNOWN, "its key was withdrawn while it was judged"
                )
            answer = self._conclude(route, remembered(), proof, self._clock.now())
        except AuthError as error:
            answer = self._refused(route, remembered(), method, error, self._clock.now(), proof)
        except Exception:  # noqa: BLE001 - fails closed, and says so in the log
            answer = self._broken(route, method, self._clock.now())
        self._observe(self._clock.monotonic() - started)
        return answer

    def _proof_key(self, strategy: Strategy, credential: Credential) -> bytes:
        parts = [b"proof", strategy.fingerprint, strategy.name.encode()]
        match credential:
            case BearerToken(token):
                parts += [b"bearer", token]
            case ClientCredentials(client_id, client_secret):
                parts += [b"basic", client_id.encode(), client_secret.encode()]
            case SessionCookie(value):
                parts += [b"session", value]
        return self._caches.seed(parts).digest()

    def _proven(self, strategy: Strategy, method: Method, proof_key: bytes, now: float) -> Proof | None:
        proof = self._caches.known_proof(proof_key)
        if proof is not None:
            if now < proof.good_until and strategy.authenticators[method].still_holds(proof):
                self._caches.proof_hits += 1
                return proof
            self._caches.proofs.discard(proof_key)
        self._caches.proof_misses += 1
        return None

    def _keep(self, strategy: Strategy, proof_key: bytes, proof: Proof, now: float, begun: Moment) -> Proof:
        if proof.method is Method.SESSION:
            return proof  # opening a cookie again costs less than remembering it
        # A credential that was forgotten while it was judged opens no session that would outlive it.
        if Method.SESSION in strategy.methods and begun == self._caches.moment:
            proof = replace(proof, opens=self._begin(strategy, proof, now))
        if now < proof.good_until:
            self._caches.keep_proof(proof_key, proof, begun)
        return proof

    def _begin(self, strategy: Strategy, proof: Proof, now: float) -> Session:
        return sessions.begin(
            secrets.token_urlsafe(16),
            proof.strategy,
            proof.client_id,
            proof.token_id,
            now=now,
            ends=proof.ends_at,
            rules=strategy.session_rules,
        )

    def _conclude(self, route: Route, key: bytes | None, proof: Proof, now: float) -> Reply:
        """From a proof to an answer, without an await: nothing changes while it is judged. Without a ``key`` the
        answer is not kept."""
        strategy = route.strategy
        epoch = self._epoch.value
        application = self._registry.find(strategy.name, proof.client_id)
        if self._revocations.covers(proof, application):
            raise Denied(Reason.REVOKED, "the client, application, token or session was revoked")
        application = authorize(application, route.service)
        session, fresh = self._session(strategy, proof, application, now)
        cookie = None
        if session is not None and fresh:
            sealed = strategy.ring.seal(session, secrets.token_bytes(NONCE_BYTES))
            cookie = reply.set_cookie(strategy.cookie_name, sealed)
        deadline = min(now + self._lifetimes.decision_ttl_s, proof.good_until)
        if session is not None:  # also with a fresh cookie: replayed for longer, it would arrive stale
            deadline = min(deadline, sessions.renew_at(session, strategy.session_rules))
        answer = Reply(
            reply.allowed(
                application, proof.method, session_id=session.id if session else None, set_cookie=cookie
            ),
            self._count(strategy.name, proof.method, _ALLOWED, ""),
            deadline=deadline if key is not None else 0.0,  # and no gateway keeps what is not kept here
            epoch=epoch,
            shards=self._shards(strategy, proof, session),
        )
        answer.tally.judged += 1
        if key is not None and now < deadline:
            self._caches.replies.put(key, answer)
        return answer

    def _session(
        self, strategy: Strategy, proof: Proof, application: Application, now: float
    ) -> tuple[Session | None, bool]:
        """The session to name in the answer, and whether its cookie is to be set."""
        if proof.session is not None:
            if now >= sessions.renew_at(proof.session, strategy.session_rules):
                return sessions.renewed(proof.session, now), True
            return proof.session, False
        if proof.opens is None:
            return None, False
        opens = proof.opens
        if now >= opens.ends_at or self._revocations.covers(replace(proof, session=opens), application):
            opens = self._begin(strategy, proof, now)
            # The credential counts for this request alone, or the client's sessions ended in this very moment.
            if now >= opens.ends_at or self._revocations.covers(replace(proof, session=opens), application):
                return None, False
        return sessions.renewed(opens, now), True

    def _shards(self, strategy: Strategy, proof: Proof, session: Session | None) -> tuple[int, ...]:
        names = {proof.token_id, session.id if session else None, session.token_id if session else None}
        return (
            self._epoch.client_shard(strategy.name, proof.client_id),
            *(self._epoch.id_shard(name) for name in names if name is not None),
        )

    def _refused(
        self,
        route: Route,
        key: bytes | None,
        method: Method | None,
        error: AuthError,
        now: float,
        proof: Proof | None,
    ) -> Reply:
        strategy = route.strategy
        reason = error.reason
        outcome = "unavailable" if isinstance(error, Unavailable) else "denied"
        challenge = b""
        if reason.status == 401 or reason is Reason.SCOPE_MISSING:  # noqa: PLR2004 - RFC 9110's Unauthorized
            challenge = reply.challenge(strategy.methods, strategy.name, reason, method)
        waits = error.retry_after_s if reason.status in (429, 503) else None
        answer = Reply(
            reply.refused(reason, challenge=challenge, retry_after_s=waits),
            self._count(strategy.name, method, outcome, reason.value),
            epoch=self._epoch.value,
        )
        answer.tally.judged += 1
        self._log(strategy.name, method, error, route.service, proof)
        if key is not None and outcome == "denied" and waits is None:
            ttl = self._lifetimes.negative_ttl_s
            if error.retry_after_s is not None:
                ttl = min(ttl, error.retry_after_s)
            answer.deadline = now + ttl if proof is None else min(now + ttl, proof.good_until)
            if proof is not None:
                answer.shards = self._shards(strategy, proof, proof.session)
            self._caches.replies.discard(key)
            if now < answer.deadline:
                self._caches.denials.put(key, answer)
        return answer

    def _broken(self, route: Route, method: Method | None, now: float) -> Reply:
        log.exception(  # noqa: LOG004 - called while one is handled
            "judgement failed", strategy=route.strategy.name, service=route.service
        )
        error = Unavailable(Reason.STORE_UNAVAILABLE, "an error of our own; see the log line above")
        return self._refused(route, None, method, error, now, None)

    def _count(self, strategy: str, method: Method | None, outcome: str, reason: str) -> Tally:
        key = (strategy, method.value if method else _NO_METHOD, outcome, reason)
        tally = self.tallies.get(key)
        if tally is None:
            tally = self.tallies[key] = Tally()
        return tally

    @staticmethod
    def _log(
        strategy: str, method: Method | None, error: AuthError, service: str | None, proof: Proof | None
    ) -> None:
        write = log.warning if isinstance(error, Unavailable) else log.info
        write(
            "unavailable" if isinstance(error, Unavailable) else "denied",
            strategy=strategy,
            service=service,
            method=method.value if method else None,
            reason=error.reason.value,
            detail=error.detail,
            client_id=proof.client_id if proof else None,
        )
