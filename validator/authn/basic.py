"""Client credentials in a Basic header (RFC 7617), proved by the grant that they are meant for (RFC 6749
section 4.4) at the strategy's token endpoint.

Law of this file: an outage says nothing about a pair and is never kept; a refusal is kept for a short time; and
what the identity provider mints must, where it can be read, name the client that asked.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from validator.authn.access_token import AccessTokens
from validator.authn.throttle import Throttle
from validator.core.claims import Principal
from validator.core.jws import looks_like_jwt
from validator.core.oauth import GrantOptions, MintedToken, grant_request, read_grant_reply
from validator.core.registry import canonical_client_id
from validator.errors import Denied, Unavailable
from validator.issuers import Issuer
from validator.model import ClientCredentials, Credential, Method, Proof, Reason
from validator.ports import Clock, HttpClient

_MAX_REFUSALS = 10_000
_MAX_PROVEN = 100_000
_PROVEN_S = 86400.0
# Of a token that was minted a moment ago these say that clocks differ or keys have not arrived, not who asked.
_OURS = frozenset({Reason.TOKEN_NOT_YET_VALID, Reason.TOKEN_EXPIRED, Reason.KEY_UNKNOWN})


@dataclass(frozen=True, slots=True)
class BasicRules:
    """How long to believe, in seconds: a proved pair at most, and a refused one."""

    proof_ttl_s: float
    negative_ttl_s: float


class BasicAuthenticator:
    """``ports.Authenticator`` for ``ClientCredentials``.

    Args:
        digest: a keyed digest of a pair, another one after everything was forgotten; the pair itself is kept
            nowhere.
        registered: whether an application has this client id under this strategy.
    """

    def __init__(
        self,
        strategy: str,
        *,
        issuer: Issuer,
        http: HttpClient,
        tokens: AccessTokens,
        options: GrantOptions,
        rules: BasicRules,
        throttle: Throttle,
        clock: Clock,
        digest: Callable[[ClientCredentials], bytes],
        registered: Callable[[str], bool],
    ) -> None:
        self._strategy = strategy
        self._issuer = issuer
        self._http = http
        self._tokens = tokens
        self._options = options
        self._rules = rules
        self._throttle = throttle
        self._clock = clock
        self._digest = digest
        self._registered = registered
        self._refused: TTLCache[bytes, tuple[Reason, float]] = TTLCache(
            _MAX_REFUSALS, rules.negative_ttl_s, timer=clock.monotonic
        )

        # Pairs that proved right within a day: asking about one is no guess, so that those who guess do not
        # lock out the one who knows.
        self._proven: TTLCache[bytes, bool] = TTLCache(_MAX_PROVEN, _PROVEN_S, timer=clock.monotonic)

    def prove_now(self, credential: Credential, now: float) -> Proof | None:  # noqa: ARG002 - the port's shape
        assert isinstance(credential, ClientCredentials)  # noqa: S101 - the pipeline dispatches by type
        refused = self._refused.get(self._digest(credential))
        if refused is not None:
            reason, until = refused
            # Said, so that no answer that rests on this refusal is kept for longer than the refusal itself.
            left_s = until - self._clock.monotonic()
            raise Denied(reason, "refused a moment ago", retry_after_s=left_s)
        if self._digest(credential) not in self._proven:
            self._throttle.check(
                self._strategy, credential.client_id, registered=self._registered(credential.client_id)
            )
        return None

    async def prove(self, credential: Credential) -> Proof:
        assert isinstance(credential, ClientCredentials)  # noqa: S101 - as above
        return await self._ask(credential)

    def still_holds(self, proof: Proof) -> bool:  # noqa: ARG002 - the port's shape; only time ends this proof
        return True

    async def _ask(self, pair: ClientCredentials) -> Proof:
        digest = self._digest(pair)  # before anything is awaited: it changes when everything is forgotten
        endpoint = (await self._issuer.known()).token_endpoint
        if endpoint is None:
            raise Unavailable(
                Reason.IDP_UNAVAILABLE, "the discovery document names no token_endpoint; configure token_endpoint"
            )
        registered = self._registered(pair.client_id)
        guess = self._proven.pop(digest, None) is None
        with self._throttle.attempt(self._strategy, pair.client_id, registered=registered, guess=guess) as attempt:
            answered = False
            try:
                reply = await self._http.send(grant_request(endpoint, pair, self._options))
                answered = True
                minted = read_grant_reply(reply)
                self._proven[digest] = True
                return await self._proof(pair, minted)
            except Unavailable:
                if not guess:
                    self._proven[digest] = True
                attempt.failed = (
                    answered and not registered
                )  # whoever invents client ids is not to provoke errors for free
                raise
            except Denied as denied:
                attempt.failed = denied.reason in (Reason.CREDENTIALS_REJECTED, Reason.SCOPE_MISSING)
                if self._rules.negative_ttl_s > 0:
                    until = self._clock.monotonic() + self._rules.negative_ttl_s
                    self._refused[digest] = (denied.reason, until)
                raise

    async def _minted_for(self, token: bytes) -> Principal:
        try:
            return (await self._tokens.verify(token)).principal
        except Denied as denied:
            if denied.reason in _OURS:
                raise Unavailable(
                    Reason.IDP_UNAVAILABLE,
                    f"the pair is right, but the token minted for it cannot be judged: {denied}",
                ) from None
            raise

    async def _proof(self, pair: ClientCredentials, minted: MintedToken) -> Proof:
        now = self._clock.now()
        token_ends = now + self._rules.proof_ttl_s if minted.lifetime_s is None else now + minted.lifetime_s
        token_id: str | None = None
        token = minted.access_token.encode("utf-8", "replace")
        if looks_like_jwt(token):
            principal = await self._minted_for(token)
            if canonical_client_id(principal.client_id) != canonical_client_id(pair.client_id):
                raise Denied(
                    Reason.CREDENTIALS_REJECTED, "the token that the identity provider minted names another client"
                )
            if minted.lifetime_s is None:
                token_ends = principal.expires_at
            token_ends = min(token_ends, principal.expires_at)
            token_id = principal.token_id
        return Proof(
            strategy=self._strategy,
            method=Method.CLIENT_CREDENTIALS,
            client_id=pair.client_id,
            good_until=min(token_ends, now + self._rules.proof_ttl_s),
            ends_at=token_ends,
            token_id=token_id,
        )
