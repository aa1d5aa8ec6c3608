"""Tokens that only their issuer can read (RFC 7662), and what is believed of its answer.

Law of this file: an answer counts no longer than the token, the issuer's ``Cache-Control`` and our own bound
allow; an outage says nothing about a token; a signed answer is as good as the key that signed it.
"""

import re
from dataclasses import dataclass
from typing import Final

from validator.authn.access_token import AccessTokens
from validator.authn.throttle import Throttle
from validator.authn.trusted import TrustedIssuers
from validator.core import claims, introspection
from validator.core.claims import Principal
from validator.core.introspection import IntrospectionOptions
from validator.core.jws import looks_like_jwt
from validator.core.telling import Step, Tell, nobody
from validator.errors import Denied, Unavailable
from validator.model import HttpReply, Reason
from validator.ports import Clock, HttpClient

_B64TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
# Of a JWT that the issuer hands out in answer these say that keys or settings differ, not whose token it is.
_OURS = frozenset(
    {
        Reason.TOKEN_MALFORMED,
        Reason.TOKEN_ENCRYPTED,
        Reason.ALGORITHM_NOT_ALLOWED,
        Reason.KEY_UNKNOWN,
        Reason.SIGNATURE_INVALID,
    }
)


@dataclass(frozen=True, slots=True)
class Inspected:
    """Whom an active token speaks for.

    Attributes:
        good_until: seconds since the epoch; until then the answer may be believed, also by a session.
        key_id: the key that signed the answer, where it is signed.
    """

    principal: Principal
    good_until: float
    key_id: str | None


class Introspection:
    """Asks the first issuer of a strategy about tokens.

    Args:
        everything: also about tokens that could be read here.
        guesses: bounds the answers that a token is inactive: whoever invents tokens is not to exhaust the issuer's
            rate limit for all.
        tell: told of what was asked and answered.
    """

    def __init__(
        self,
        issuers: TrustedIssuers,
        tokens: AccessTokens,
        *,
        http: HttpClient,
        options: IntrospectionOptions,
        clock: Clock,
        everything: bool = False,
        guesses: Throttle | None = None,
        tell: Tell = nobody,
    ) -> None:
        self._issuers = issuers
        self._tokens = tokens
        self._http = http
        self._options = options
        self._clock = clock
        self._everything = everything
        self._guesses = guesses
        self._tell = tell

    def answers_for(self, token: bytes) -> bool:
        """Whether a token is to be asked about rather than read."""
        return self._everything or not looks_like_jwt(token)

    @property
    def longest_s(self) -> float:
        """Seconds for which an answer is believed at most."""
        return self._options.ttl_s

    def screen(self, token: bytes) -> None:
        """Refuses what is no token at all, without asking anybody.

        Raises:
            Denied: ``token_malformed``.
        """
        if _B64TOKEN.fullmatch(token) is None:
            raise Denied(Reason.TOKEN_MALFORMED, "characters that no token has (RFC 6750 section 2.1)")

    async def inspect(self, token: bytes) -> Inspected:
        """Whom the token speaks for.

        Raises:
            Denied: ``token_inactive``, ``token_malformed``, ``too_many_attempts``, or as ``claims`` says.
            Unavailable: the issuer gives no answer that can be used.
        """
        self.screen(token)
        if self._guesses is None:
            return await self._inspect(token)
        try:
            self._guesses.check("", "", registered=True)
        except Denied as denied:
            detail = "too many inactive tokens of late; see throttle.max_inactive_tokens"
            raise Denied(denied.reason, detail, retry_after_s=denied.retry_after_s) from None
        with self._guesses.attempt("", "", registered=True, guess=False) as attempt:
            try:
                return await self._inspect(token)
            except Denied as denied:
                attempt.failed = denied.reason is Reason.TOKEN_INACTIVE
                raise

    async def _inspect(self, token: bytes) -> Inspected:
        issuer = self._issuers.first
        endpoint = (await issuer.known()).introspection_endpoint
        if endpoint is None:
            raise Unavailable(
                Reason.IDP_UNAVAILABLE,
                "the discovery document names no introspection_endpoint; configure introspection_endpoint",
            )
        self._tell(Step.INTROSPECTING, endpoint)
        reply = await self._http.send(introspection.introspection_request(endpoint, token, self._options))
        members = introspection.read_reply(reply, self._options.response)
        key_id: str | None = None
        if not isinstance(members, bytes):
            self._tell(Step.INTROSPECTED, members)
            expected = self._issuers.expectations(issuer).introspected
            principal = claims.judge_introspected(members, expected, self._clock.now())
        else:
            principal, key_id = await self._signed(members)
        return self._inspected(principal, reply, key_id)

    async def _signed(self, answer: bytes) -> tuple[Principal, str]:
        try:
            if self._options.response == "phantom":
                verified = await self._tokens.verify(answer)
                return verified.principal, verified.key_id
            parsed, expected, key_id = await self._tokens.verified_statement(answer)
        except Denied as denied:
            if self._options.response == "phantom" and denied.reason not in _OURS:
                raise
            raise Unavailable(
                Reason.IDP_UNAVAILABLE, f"the signed introspection answer cannot be verified: {denied}"
            ) from None
        client = self._options.client
        now = self._clock.now()
        name = expected.token.issuer
        inner = introspection.statement(parsed, client.client_id if client else None, name, now)
        self._tell(Step.INTROSPECTED, inner)
        return claims.judge_introspected(inner, expected.introspected, now), key_id

    def _inspected(self, principal: Principal, reply: HttpReply, key_id: str | None) -> Inspected:
        now = self._clock.now()
        believed_s = introspection.lifetime_s(reply.headers.get("cache-control", ""), self._options)
        return Inspected(principal, min(principal.expires_at, now + believed_s), key_id)
