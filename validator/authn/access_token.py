"""A JWT access token against an issuer's keys.

Law of this file: the order of the checks. What is cheap and can only refuse comes first, so that foreign,
stale and broken tokens cost no signature and cause no fetch; nothing is concluded before the signature holds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from validator.core import claims, jws
from validator.core.claims import Expectations, Principal
from validator.core.jwks import VerificationKey
from validator.issuers import Issuer
from validator.ports import Clock


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a strategy demands of a token, but for the issuer's name, which discovery tells."""

    algorithms: frozenset[str]
    audiences: frozenset[str]
    client_claims: tuple[tuple[str, ...], ...]
    token_types: frozenset[str]
    required_scopes: frozenset[str] = frozenset()
    scope_claims: tuple[str, ...] = ("scope", "scp")
    leeway_s: float = 0.0
    max_bytes: int = 16384


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Whom a genuine token speaks for, and the thumbprint of the key that says so."""

    principal: Principal
    key_id: str


class AccessTokens:
    """Verifies access tokens of one issuer under one strategy's rules.

    Args:
        verifications: told of every signature that is checked, for a metric.
    """

    def __init__(
        self, issuer: Issuer, rules: TokenRules, clock: Clock, *, verifications: Callable[[], None] = lambda: None
    ) -> None:
        self._issuer = issuer
        self._rules = rules
        self._clock = clock
        self._expected: Expectations | None = None
        self._verifications = verifications

    def verify_now(self, token: bytes, now: float) -> VerifiedToken | None:
        """The token's principal, or ``None`` where the issuer must be asked first.

        Raises:
            Denied, Unavailable: as ``jws``, ``claims`` and ``Issuer.key`` say.
        """
        parsed = self._parsed(token)
        expected = self._expectations()
        if expected is None:
            return None
        claims.screen(parsed.payload, expected, now)
        key = self._issuer.key(parsed.kid, parsed.alg)
        return None if key is None else self._conclude(parsed, key, expected, now)

    async def verify(self, token: bytes) -> VerifiedToken:
        """The same, asking the issuer where that is needed."""
        parsed = self._parsed(token)
        await self._issuer.known()
        expected = self._expectations()
        assert expected is not None  # noqa: S101 - known() has returned, so the name is there
        claims.screen(parsed.payload, expected, self._clock.now())
        key = await self._issuer.fetch_key(parsed.kid, parsed.alg)
        return self._conclude(parsed, key, expected, self._clock.now())

    def still_holds(self, key_id: str) -> bool:
        """Whether the key that verified a token is still published."""
        return self._issuer.holds(key_id)

    def _parsed(self, token: bytes) -> jws.Jws:
        parsed = jws.parse(token, max_bytes=self._rules.max_bytes)
        jws.check_algorithm(parsed, self._rules.algorithms)
        return parsed

    def _conclude(
        self, parsed: jws.Jws, key: VerificationKey, expected: Expectations, now: float
    ) -> VerifiedToken:
        self._verifications()
        jws.verify(parsed, key.key)
        return VerifiedToken(claims.judge(parsed, expected, now), key.thumbprint)

    def _expectations(self) -> Expectations | None:
        metadata = self._issuer.metadata
        if metadata is None:
            return None
        if self._expected is None or self._expected.issuer != metadata.issuer:
            rules = self._rules
            self._expected = Expectations(
                issuer=metadata.issuer,
                audiences=rules.audiences,
                client_claims=rules.client_claims,
                token_types=rules.token_types,
                required_scopes=rules.required_scopes,
                scope_claims=rules.scope_claims,
                leeway_s=rules.leeway_s,
            )
        return self._expected
