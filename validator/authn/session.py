"""Session cookies: those that we sealed, for this strategy, and that still last."""

from collections.abc import Mapping
from typing import Any, NoReturn

from validator.core.sessions import KeyRing, SessionRules, check_alive, last_moment
from validator.errors import Denied
from validator.model import Credential, Method, Proof, Reason, SessionCookie


class SessionAuthenticator:
    """``ports.Authenticator`` for ``SessionCookie``; asks nobody."""

    def __init__(self, strategy: str, ring: KeyRing, rules: SessionRules) -> None:
        self._strategy = strategy
        self._ring = ring
        self._rules = rules

    def prove_now(self, credential: Credential, now: float) -> Proof:
        assert isinstance(credential, SessionCookie)  # noqa: S101 - the pipeline dispatches by type
        session = self._ring.open(credential.value, self._strategy)
        check_alive(session, self._rules, now)
        ends = last_moment(session, self._rules)
        return Proof(
            strategy=self._strategy,
            method=Method.SESSION,
            client_id=session.client_id,
            good_until=ends,
            ends_at=ends,
            session=session,
            upstream_headers=session.upstream_headers,
        )

    async def prove(self, credential: Credential) -> Proof:
        raise AssertionError(f"{credential!r} is proved without asking")

    def still_holds(self, proof: Proof) -> bool:  # noqa: ARG002 - opened anew for every judgement
        return True

    def recognises(self, credential: Credential, claims: Mapping[str, Any] | None) -> bool:  # noqa: ARG002 - see below
        assert isinstance(credential, SessionCookie)  # noqa: S101 - as above
        try:
            self._ring.open(credential.value, self._strategy)
        except Denied:
            return False
        return True

    async def find_out(self, credential: Credential, claims: Mapping[str, Any] | None) -> bool:
        return self.recognises(credential, claims)

    def disown(self, credential: Credential, now: float) -> NoReturn:  # noqa: ARG002 - the port's shape
        raise Denied(Reason.SESSION_INVALID, "no cookie of these strategies'")
