"""decide(): extract, authenticate, resolve the application, check its registration, render.

Law of this file: the one way from a request to an answer, and the sole catcher of ``AuthError``. The fast path
(``answer`` finding a reply) trusts nothing that was not judged here; everything judged here is judged whole.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping

import structlog

from validator.caching import Caches, Moment, Reply, Tally
from validator.core import sessions
from validator.core.extract import extract
from validator.core.registry import authorize, demand
from validator.core.sealing import NONCE_BYTES
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
from validator.pipeline.answers import Answers
from validator.pipeline.asked import Asked
from validator.pipeline.strategy import DIGEST_BYTES, MAX_JOINED, JointRoute, Lifetimes, Route, Strategy
from validator.ports import Clock, Registry, Revocations
from validator.singleflight import SingleFlight

_METHODS: Mapping[type, Method] = {
    BearerToken: Method.BEARER,
    ClientCredentials: Method.CLIENT_CREDENTIALS,
    SessionCookie: Method.SESSION,
}
_MAX_ROUTES = 10_000  # more than any gateway has services; beyond it routes are made anew for each request

log = structlog.get_logger(__name__)


class Pipeline:
    """Judges requests.

    Args:
        observe: told of each judgement that was not a replay: seconds it took.
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
        self._answers = Answers(caches, lifetimes, tallies)
        self._clock = clock
        self._observe = observe
        self._flight = flight
        self._routes: dict[tuple[str, str], Route] = {}

    def route(self, strategy: str, service: str) -> Route | None:
        """The route for a strategy, or for several with commas between, and a service; ``None``: one of them is
        not configured or named twice, or they are too many."""
        route = self._routes.get((strategy, service))
        if route is None:
            if (found := self._strategies.get(strategy)) is not None:
                route = Route(found, service, self._caches)
            elif (names := self._joined(strategy)) is not None:
                route = JointRoute([Route(one, service, self._caches) for one in names], self._caches)
            if route is not None and len(self._routes) < _MAX_ROUTES:
                self._routes[strategy, service] = route
        return route

    def _joined(self, names: str) -> list[Strategy] | None:
        each = names.split(",", MAX_JOINED)
        if not 1 < len(each) == len(set(each)) <= MAX_JOINED:
            return None
        found = [strategy for name in each if (strategy := self._strategies.get(name)) is not None]
        return found if len(found) == len(each) else None

    def answer(
        self,
        route: Route,
        authorization: bytes | None,
        session: bytes | None,
        now: float,
        trace_id: str | None = None,
    ) -> Reply | Awaitable[Reply]:
        """The answer, or what will be the answer where somebody has to be asked.

        Args:
            authorization: value of the only ``Authorization`` header.
            session: value of the session cookie; not looked at beside an ``authorization``.
            now: seconds since the epoch.
            trace_id: of the request's trace, for the log.
        """
        key = route.key(authorization, session)
        known = self._caches.replies.known(key, now) or self._caches.denials.known(key, now)
        if known is None and self._confirmed(route, key, now):
            known = self._caches.replies.known(key, now)
        return known or self.judge(route, key, authorization, session, now, trace_id)

    def replay(self, route: Route, key: bytes, now: float) -> bytes | None:
        """The whole answer to a credential that was judged before, or ``None`` where it has to be judged: the
        short way of ``answer``, to the same bytes.

        Args:
            key: the route's for the credential.
        """
        replies = self._caches.replies
        known = replies.replay(key, now)
        if known is None:
            known = self._caches.denials.replay(key, now)
            if known is None and self._confirmed(route, key, now):
                known = replies.replay(key, now)
        return known

    def _confirmed(self, route: Route, key: bytes, now: float) -> bool:
        """Whether an answer that a change has put in doubt would be the same today. What its proof rests on and
        what is written about the application are judged as for a new one; if anything differs, a new one it is.
        """
        caches = self._caches
        head = caches.replies.in_doubt(key, now)
        if head is None:
            return False
        epoch = self._epoch.value
        try:
            if not self._is_same(route, key[:DIGEST_BYTES], head, now):
                return False
        except Exception:  # noqa: BLE001 - judging it meets that again, and says what it is
            return False
        caches.proof_hits += 1
        caches.replies.confirm(key, epoch)
        return True

    def _is_same(self, route: Route, proof_key: bytes, head: bytes, now: float) -> bool:
        if isinstance(route, JointRoute):  # no proof stands under its keys: from the credential it is found again
            return False
        strategy = route.strategy
        proof = self._caches.known_proof(proof_key)
        if proof is None or now >= proof.good_until:
            return False
        if not strategy.authenticators[proof.method].still_holds(proof):
            return False
        known = self._registry.find(strategy.name, proof.client_id)
        application = authorize(known, route.service, self._registry.knowledge)
        # The session that the answer names is to count as well.
        evidence = proof if proof.opens is None else proof._replace(session=proof.opens)
        if self._revocations.covers(evidence, application):
            return False
        return self._answers.is_as_told(head, proof, application)

    def refuse(self, route: Route, error: AuthError, trace_id: str | None = None) -> Reply:
        """The answer to a request that has no single credential to judge."""
        return self._answers.refused(route, None, None, error, self._clock.now(), None, trace_id)

    def strategy_unknown(self, name: str | None = None, trace_id: str | None = None) -> Reply:
        """The answer to a gateway that asks for a strategy which is not configured, or names none."""
        return self._answers.strategy_unknown(name, trace_id)

    def judge(
        self,
        route: Route,
        key: bytes,
        authorization: bytes | None,
        session: bytes | None,
        now: float,
        trace_id: str | None = None,
    ) -> Reply | Awaitable[Reply]:
        """As ``answer``, for what is known not to be known."""
        moment = self._caches.moment
        return self._judge(
            Asked(route, key, authorization, session, trace_id, self._clock.monotonic(), moment), now
        )

    def _judge(self, asked: Asked, now: float) -> Reply | Awaitable[Reply]:
        route = asked.route
        epoch = self._epoch.value
        method: Method | None = None
        proof: Proof | None = None
        picked_by: str | None = None
        try:
            demand(self._registry.knowledge)
            credential = extract(
                asked.authorization, asked.session, max_token_bytes=route.strategy.max_token_bytes
            )
            method = _METHODS[type(credential)]
            own_key = asked.key
            if isinstance(route, JointRoute) and (picked := route.pick(method, credential)) is not None:
                joint, (route, whose) = route, picked
                if whose is None:
                    return self._find_out(asked, joint, method, credential)
                if isinstance(credential, ClientCredentials):
                    picked_by = credential.client_id
                if not whose:
                    # Whose a client id is, the registry says; whose a token is, the token itself.
                    demand(self._registry.knowledge, whole=isinstance(credential, ClientCredentials))
                    route.strategy.authenticators[method].disown(credential, now)
                own_key = route.key(asked.authorization, asked.session)
            strategy = route.strategy
            if method not in strategy.methods:
                raise Denied(  # noqa: TRY301 - one catcher for every refusal
                    Reason.METHOD_NOT_ENABLED, f"{method.value} is off under this strategy"
                )
            proof_key = route.proof_key(own_key, asked.authorization, credential)
            proof = self._proven(strategy, method, proof_key, now)
            if proof is None:
                proof = strategy.authenticators[method].prove_now(credential, now)
                if proof is None:
                    return self._prove(asked, route, credential, method, proof_key, epoch, picked_by)
                proof = self._keep(strategy, proof_key, proof, now, asked.begun)
            answer = self._conclude(route, self._key(asked), proof, now, picked_by)
        except AuthError as error:
            answer = self._answers.refused(
                route, self._key(asked), method, error, now, proof, asked.trace_id, picked_by
            )
        except Exception:  # noqa: BLE001 - fails closed, and says so in the log
            answer = self._broken(route, method, now, asked.trace_id)
        self._observe(self._clock.monotonic() - asked.started)
        return answer

    def _key(self, asked: Asked) -> bytes | None:
        """Under which the answer is kept: not at all, where anything was forgotten since it was asked for."""
        return asked.key if asked.begun == self._caches.moment else None

    async def _judge_again(self, asked: Asked) -> Reply:
        answer = self._judge(asked, self._clock.now())
        return answer if isinstance(answer, Reply) else await answer

    async def _find_out(self, asked: Asked, joint: JointRoute, method: Method, credential: Credential) -> Reply:
        """Judges what nobody can be picked for before an identity provider has said what it is called."""
        try:
            silent = await joint.find_out(method, credential)
        except Exception:  # noqa: BLE001 - fails closed, and says so in the log
            answer = self._broken(joint, method, self._clock.now(), asked.trace_id)
        else:
            if silent is None:
                return await self._judge_again(asked)
            route, error = silent
            answer = self._answers.refused(route, None, method, error, self._clock.now(), None, asked.trace_id)
        self._observe(self._clock.monotonic() - asked.started)
        return answer

    async def _prove(
        self,
        asked: Asked,
        route: Route,
        credential: Credential,
        method: Method,
        proof_key: bytes,
        epoch: int,
        picked_by: str | None,
    ) -> Reply:
        """Asks, and judges. This may begin long after it was called, behind others on its connection.

        Args:
            epoch: at which ``route`` was picked.
        """
        if isinstance(asked.route, JointRoute) and epoch != self._epoch.value:
            return await self._judge_again(asked)  # whose it is may have changed: nobody else is to see it
        proof: Proof | None = None
        authenticator = route.strategy.authenticators[method]

        async def prove() -> Proof:
            found = await authenticator.prove(credential)
            return self._keep(route.strategy, proof_key, found, self._clock.now(), asked.begun)

        def remembered() -> bytes | None:
            # What was begun before anything was forgotten, or before another strategy had the credential, answers
            # only this once.
            joint = asked.route
            if isinstance(joint, JointRoute) and epoch != self._epoch.value:
                return self._key(asked) if joint.still_picks(route, method, credential) else None
            return self._key(asked)

        try:
            # Who asks after something was forgotten does not join a call of before.
            since = b"".join(part.to_bytes(8, "big") for part in asked.begun)
            proof = await self._flight.run(proof_key + since, prove)
            if not authenticator.still_holds(proof):  # between its end and this turn of the loop
                raise Denied(  # noqa: TRY301 - one catcher for every refusal
                    Reason.KEY_UNKNOWN, "its key was withdrawn while it was judged"
                )
            answer = self._conclude(route, remembered(), proof, self._clock.now(), picked_by)
        except AuthError as error:
            answer = self._answers.refused(
                route, remembered(), method, error, self._clock.now(), proof, asked.trace_id, picked_by
            )
        except Exception:  # noqa: BLE001 - fails closed, and says so in the log
            answer = self._broken(route, method, self._clock.now(), asked.trace_id)
        self._observe(self._clock.monotonic() - asked.started)
        return answer

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
            proof = proof._replace(opens=self._begin(strategy, proof, now))
        if now < proof.good_until:
            self._caches.keep_proof(proof_key, proof, begun)
        return proof

    def _begin(self, strategy: Strategy, proof: Proof, now: float) -> Session | None:
        session = sessions.begin(
            secrets.token_urlsafe(16),
            proof.strategy,
            proof.client_id,
            proof.token_id,
            now=now,
            ends=proof.ends_at,
            rules=strategy.session_rules,
            upstream_headers=proof.upstream_headers,
        )
        if sessions.fits(session):
            return session
        log.warning(
            "no session opened",
            strategy=strategy.name,
            client_id=proof.client_id,
            detail="it has no room in a cookie: its client id, token id or upstream_headers "
            f"(at most {sessions.MAX_CARRIED_BYTES} bytes) are too long",
        )
        return None

    def _conclude(self, route: Route, key: bytes | None, proof: Proof, now: float, picked_by: str | None) -> Reply:
        """From a proof to an answer, without an await: nothing changes while it is judged. Without a ``key`` the
        answer is not kept."""
        strategy = route.strategy
        epoch = self._epoch.value
        demand(self._registry.knowledge)
        application = self._registry.find(strategy.name, proof.client_id)
        if self._revocations.covers(proof, application):
            raise Denied(Reason.REVOKED, "the client, application, token or session was revoked")
        application = authorize(application, route.service, self._registry.knowledge)
        session, fresh = self._session(strategy, proof, application, now)
        cookie = None
        if session is not None and fresh:
            cookie = strategy.ring.seal(session, secrets.token_bytes(NONCE_BYTES))
        return self._answers.allowed(route, key, proof, application, session, cookie, now, epoch, picked_by)

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
        if now >= opens.ends_at or self._revocations.covers(proof._replace(session=opens), application):
            anew = self._begin(strategy, proof, now)
            # The credential counts for this request alone, or the client's sessions ended in this very moment.
            if (
                anew is None
                or now >= anew.ends_at
                or self._revocations.covers(proof._replace(session=anew), application)
            ):
                return None, False
            opens = anew
        return sessions.renewed(opens, now), True

    def _broken(self, route: Route, method: Method | None, now: float, trace_id: str | None) -> Reply:
        log.exception(  # noqa: LOG004 - called while one is handled
            "judgement failed", strategy=route.strategy.name, service=route.service
        )
        error = Unavailable(Reason.STORE_UNAVAILABLE, "an error of our own; see the log line above")
        return self._answers.refused(route, None, method, error, now, None, trace_id)
