"""From a judgement to the answer: rendered, counted, logged, kept.

Law of this file: what is decided is decided before; here is only for how long it may be said again.
"""

import structlog

from validator.caching import NO_SHARDS, Caches, Reply, Shards, Tally
from validator.core import reply, sessions
from validator.core.reply import Rendered
from validator.errors import AuthError, Denied, Unavailable
from validator.model import Application, Method, Proof, Reason, Session
from validator.pipeline.strategy import MAX_JOINED, Lifetimes, Route, Strategy

_NO_METHOD, _ALLOWED = "none", "allowed"
_MAX_FACTS = 10_000  # applications; beyond it what is told about each is written anew

log = structlog.get_logger(__name__)


class Answers:
    """Makes answers, and keeps those that may be given again.

    Attributes:
        tallies: by (strategy, method, outcome, reason).
    """

    def __init__(
        self, caches: Caches, lifetimes: Lifetimes, tallies: dict[tuple[str, str, str, str], Tally]
    ) -> None:
        self._caches = caches
        self._lifetimes = lifetimes
        self._facts: dict[tuple[str, str, str, tuple[str, ...], Method], tuple[bytes, Rendered]] = {}
        self.tallies = tallies

    def allowed(
        self,
        route: Route,
        key: bytes | None,
        proof: Proof,
        application: Application,
        session: Session | None,
        cookie: bytes | None,
        now: float,
        epoch: int,
        picked_by: str | None = None,
    ) -> Reply:
        """200.

        Args:
            key: under which it is kept; ``None``: it is not.
            session: the one to name.
            cookie: its sealed form, where that is to be set.
            epoch: at which all of it was found out.
            picked_by: the client id, where which strategies have it decided who judged.

        Raises:
            ValueError: see ``reply.facts``.
        """
        strategy = route.strategy
        deadline = min(now + self._lifetimes.decision_ttl_s, proof.good_until)
        facts, rendered = self._told(application, proof.method)
        told = facts
        if proof.upstream_headers or proof.minted is not None:
            told, rendered = self._told_of(proof, facts)
        if session is not None:
            # Also with a fresh cookie: replayed for longer, it would arrive stale.
            deadline = min(deadline, sessions.renew_at(session, strategy.session_rules))
            set_cookie = None if cookie is None else reply.set_cookie(strategy.cookie_name, cookie)
            rendered = reply.allowed(
                told,
                session=reply.session_line(session.id),
                set_cookie=set_cookie,
                holds_token=proof.minted is not None,
            )
        tally = self.tally(strategy.name, proof.method, _ALLOWED, "")
        tally.judged += 1
        if key is None:  # and no gateway keeps what is not kept here
            return Reply(rendered, tally)
        answer = Reply(rendered, tally, deadline)
        if now < deadline:
            self._caches.denials.discard(key)
            shards = self._shards(strategy, proof, session, picked_by)
            common = rendered.head if session is None and told is facts else facts
            self._caches.replies.put(key, answer, epoch=epoch, shards=shards, common=common)
        return answer

    def is_as_told(self, head: bytes, proof: Proof, application: Application) -> bool:
        """Whether an earlier 200 says what one for this proof would say now, but for the cookie it sets."""
        told, rendered = self._told(application, proof.method)
        if proof.upstream_headers or proof.minted is not None:
            told, rendered = self._told_of(proof, told)
        session = proof.session or proof.opens
        if session is None:
            return head == rendered.head
        return head.startswith(told + reply.session_line(session.id))

    def refused(
        self,
        route: Route,
        key: bytes | None,
        method: Method | None,
        error: AuthError,
        now: float,
        proof: Proof | None,
        trace_id: str | None = None,
        picked_by: str | None = None,
    ) -> Reply:
        """401, 403, 429 or 503; the first two are kept, for as long as their reason lasts. See ``allowed``."""
        strategy = route.strategy
        reason = error.reason
        outcome = "unavailable" if isinstance(error, Unavailable) else "denied"
        challenge = b""
        if reason.status == 401 or reason is Reason.SCOPE_MISSING:  # noqa: PLR2004 - RFC 9110's Unauthorized
            challenge = reply.challenge(strategy.methods, strategy.name, reason, method)
        waits = error.retry_after_s if reason.status in (429, 503) else None
        answer = Reply(
            reply.refused(reason, challenge=challenge, retry_after_s=waits),
            self.tally(strategy.name, method, outcome, reason.value),
        )
        answer.tally.judged += 1
        self.log(strategy.name, method, error, route.service, proof, trace_id)
        if key is not None and outcome == "denied" and waits is None:
            ttl = self._lifetimes.negative_ttl_s
            if error.retry_after_s is not None:
                ttl = min(ttl, error.retry_after_s)
            answer.deadline = now + ttl if proof is None else min(now + ttl, proof.good_until)
            shards = NO_SHARDS
            if proof is not None:
                shards = self._shards(strategy, proof, proof.session, picked_by)
            elif picked_by is not None:
                shards = self._caches.epoch.shards(None, picked_by)
            self._caches.replies.discard(key)
            if now < answer.deadline:
                head = answer.rendered.head
                self._caches.denials.put(key, answer, epoch=self._caches.epoch.value, shards=shards, common=head)
        return answer

    def strategy_unknown(self, name: str | None, trace_id: str | None = None) -> Reply:
        """404."""
        asked = f"for the strategy {name[:64]!r}, which is not configured" if name else "for no strategy"
        if name and "," in name:
            asked = f"for {name[:64]!r}: each must be a configured strategy, none twice, and at most {MAX_JOINED}"
        error = Denied(Reason.STRATEGY_UNKNOWN, f"the gateway asks {asked}")
        self.log("unknown", None, error, None, None, trace_id)
        tally = self.tally("unknown", None, "denied", Reason.STRATEGY_UNKNOWN.value)
        tally.judged += 1
        return Reply(reply.refused(Reason.STRATEGY_UNKNOWN), tally)

    def tally(self, strategy: str, method: Method | None, outcome: str, reason: str) -> Tally:
        """Where such answers are counted."""
        key = (strategy, method or _NO_METHOD, outcome, reason)
        tally = self.tallies.get(key)
        if tally is None:
            tally = self.tallies[strategy, str(key[1]), outcome, reason] = Tally()
        return tally

    def _told(self, application: Application, method: Method) -> tuple[bytes, Rendered]:
        """What a 200 says about the application, alone and as a whole answer without a session; the same objects
        for the same facts, so that a million answers hold them once."""
        key = (application.id, application.name, application.client_id, application.groups, method)
        known = self._facts.get(key)
        if known is None:
            facts = reply.facts(application, method)
            known = facts, reply.allowed(facts)
            if len(self._facts) >= _MAX_FACTS:
                self._facts.clear()
            self._facts[key] = known
        return known

    @staticmethod
    def _told_of(proof: Proof, facts: bytes) -> tuple[bytes, Rendered]:
        """The same with what this credential alone has the upstream told."""
        told = facts + reply.proof_lines(proof)
        return told, reply.allowed(told, holds_token=proof.minted is not None)

    def _shards(self, strategy: Strategy, proof: Proof, session: Session | None, picked_by: str | None) -> Shards:
        shards = self._caches.epoch.shards
        under = strategy.name if picked_by is None else None
        if session is None:
            return shards(under, proof.client_id, proof.token_id)
        return shards(under, proof.client_id, proof.token_id, session.id, session.token_id)

    @staticmethod
    def log(
        strategy: str,
        method: Method | None,
        error: AuthError,
        service: str | None,
        proof: Proof | None,
        trace_id: str | None = None,
    ) -> None:
        """One line for one refusal that was judged."""
        write = log.warning if isinstance(error, Unavailable) else log.info
        write(
            "unavailable" if isinstance(error, Unavailable) else "denied",
            strategy=strategy,
            service=service,
            method=method.value if method else None,
            reason=error.reason.value,
            detail=error.detail,
            client_id=proof.client_id if proof else None,
            **({"trace_id": trace_id} if trace_id is not None else {}),
        )
