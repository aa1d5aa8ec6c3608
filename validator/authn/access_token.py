"""A JWT access token against the keys of the issuer that it names.

Law of this file: the order of the checks. What is cheap and can only refuse comes first, so that foreign,
stale and broken tokens cost no signature and cause no fetch; nothing is concluded before the signature holds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from validator.authn.trusted import Expected, TokenRules, TrustedIssuers
from validator.core import claims, entra, jws
from validator.core.claims import Expectations, Principal
from validator.core.jwks import VerificationKey
from validator.core.telling import Step, Tell, nobody
from validator.errors import Denied
from validator.model import Reason
from validator.ports import Clock

_Judge = Callable[[jws.Jws, Expectations, float, Tell], Principal]


@dataclass(slots=True)
class VerifiedToken:
    """Whom a genuine token speaks for, and the key that says so."""

    principal: Principal
    key_id: str


class AccessTokens:
    """Verifies access tokens under one strategy's rules.

    Args:
        verifications: told of every signature that is checked, for a metric.
        tell: told of every check that a token has passed.
    """

    def __init__(
        self,
        issuers: TrustedIssuers,
        rules: TokenRules,
        clock: Clock,
        *,
        verifications: Callable[[], None] = lambda: None,
        tell: Tell = nobody,
    ) -> None:
        self._issuers = issuers
        self._rules = rules
        self._clock = clock
        self._verifications = verifications
        self._tell = tell

    @property
    def issuers(self) -> TrustedIssuers:
        """Whose tokens these are."""
        return self._issuers

    def verify_now(self, token: bytes, now: float) -> VerifiedToken | None:
        """The token's principal, or ``None`` where the issuer must be asked first.

        Raises:
            Denied, Unavailable: as ``jws``, ``claims``, ``entra`` and ``Issuer.key`` say.
        """
        parsed = self._parsed(token)
        expected = self._issuers.find(parsed.payload)
        if expected is None:
            return None
        self._screen(parsed, expected, now)
        key = expected.issuer.key(parsed.kid, parsed.alg)
        return None if key is None else self._conclude(parsed, key, expected, now, claims.judge_screened)

    async def verify(self, token: bytes) -> VerifiedToken:
        """The same, asking the issuer where that is needed."""
        parsed = self._parsed(token)
        expected = await self._issuers.ask(parsed.payload)
        self._screen(parsed, expected, self._clock.now())
        key = await expected.issuer.fetch_key(parsed.kid, parsed.alg)
        return self._conclude(parsed, key, expected, self._clock.now(), claims.judge)

    async def verified_statement(self, token: bytes) -> tuple[jws.Jws, Expected, str]:
        """A signed statement of one of the issuers that is no access token, its issuer and the key that signed it;
        what it says is not judged here."""
        parsed = jws.parse(token, max_bytes=self._rules.max_bytes)
        jws.check_algorithm(parsed, self._rules.algorithms)
        expected = await self._issuers.ask(parsed.payload)
        key = await expected.issuer.fetch_key(parsed.kid, parsed.alg)
        self._verifications()
        jws.verify(parsed, key.key)
        return parsed, expected, self._issuers.key_id(expected, key.thumbprint)

    def still_holds(self, key_id: str) -> bool:
        """Whether the key that verified a token is still published."""
        return self._issuers.holds(key_id)

    def _parsed(self, token: bytes) -> jws.Jws:
        rules = self._rules
        if rules.opaque_because and jws.looks_opaque(token):
            raise Denied(Reason.TOKEN_MALFORMED, f"an opaque token: {rules.opaque_because}")
        parsed = jws.parse(token, max_bytes=rules.max_bytes)
        self._tell(Step.PARSED, parsed)
        if rules.graph_instead is not None:
            entra.refuse_graph(parsed, rules.graph_instead)
            self._tell(Step.NOT_FOR_GRAPH, None)
        jws.check_algorithm(parsed, rules.algorithms)
        self._tell(Step.ALGORITHM, None)
        return parsed

    def _screen(self, parsed: jws.Jws, expected: Expected, now: float) -> None:
        self._tell(Step.ISSUER, expected)
        claims.screen(parsed.payload, expected.token, now)
        self._tell(Step.SCREENED, None)

    def _conclude(
        self, parsed: jws.Jws, key: VerificationKey, expected: Expected, now: float, judge: _Judge
    ) -> VerifiedToken:
        self._tell(Step.KEY, key)
        self._verifications()
        jws.verify(parsed, key.key)
        self._tell(Step.SIGNATURE, None)
        principal = judge(parsed, expected.token, now, self._tell)
        return VerifiedToken(principal, self._issuers.key_id(expected, key.thumbprint))
