"""Client credentials in a Basic header (RFC 7617), proved by the grant that they are meant for (RFC 6749
section 4.4) at the strategy's token endpoint.

Law of this file: an outage says nothing about a pair and is never kept; a refusal is kept for a short time; and
what the identity provider mints must, where it can be read, name the client that asked.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

import structlog
from cachetools import TTLCache

from validator.authn.access_token import AccessTokens
from validator.authn.introspection import Introspection
from validator.authn.shared_answers import Question
from validator.authn.sharing import Sharing
from validator.authn.throttle import Throttle, Try
from validator.core.entra import graph_client
from validator.core.jws import looks_like_jwt
from validator.core.oauth import GrantOptions, MintedToken, grant_request, read_grant_reply
from validator.core.registry import canonical_client_id
from validator.core.telling import Step, Tell, nobody
from validator.core.upstream import MAX_FORWARDED_BYTES, forwarded
from validator.errors import Denied, Unavailable
from validator.issuers import Issuer
from validator.model import ClientCredentials, Credential, Method, Proof, Reason, UpstreamHeaders
from validator.ports import Clock, HttpClient

_MAX_REFUSALS = 10_000
_MAX_PROVEN = 100_000
_PROVEN_S = 86400.0
_ON_ITS_WAY_S, _ON_ITS_WAY_FRACTION = 10.0, 0.1  # of its life that a forwarded token is not given out any more
# Of a token that was minted a moment ago these say that clocks differ or keys have not arrived, not who asked.
_OURS = frozenset({Reason.TOKEN_NOT_YET_VALID, Reason.TOKEN_EXPIRED, Reason.TOKEN_INACTIVE, Reason.KEY_UNKNOWN})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BasicRules:
    """What is believed, and for how long.

    Attributes:
        proof_ttl_s: seconds for which a proved pair is believed at most.
        negative_ttl_s: seconds for which a refused one stays refused.
        trust_token_response: whether a token for Microsoft Graph, which only Graph can verify, proves the pair:
            the token endpoint handed it out over TLS to whoever knew the secret.
        required_scopes: what an opaque minted token must have been granted.
        required_claims: names of claims that a minted token must be read for.
        forward_minted_token: whether the upstream is to have the minted token.
        leeway_s: by how much a token's end, as it is judged here, lies beyond the one written in it.
    """

    proof_ttl_s: float
    negative_ttl_s: float
    trust_token_response: bool = False
    required_scopes: frozenset[str] = frozenset()
    required_claims: tuple[str, ...] = ()
    forward_minted_token: bool = False
    leeway_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """An issuer that mints tokens for a strategy's clients, and how it is asked."""

    issuer: Issuer
    http: HttpClient
    options: GrantOptions


class Basis(StrEnum):
    """Why a minted token counts."""

    VERIFIED = "verified"
    INTROSPECTED = "introspected"
    GRAPH = "graph"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which token endpoint is asked, and how."""

    endpoint: str
    options: GrantOptions


@dataclass(frozen=True, slots=True)
class _Minted:
    """What is known of a token that was minted: nothing but what the reply says where it cannot be read."""

    basis: Basis
    client_id: str | None = None
    expires_at: float | None = None
    token_id: str | None = None
    upstream_headers: UpstreamHeaders = ()


class BasicAuthenticator:
    """``ports.Authenticator`` for ``ClientCredentials``.

    Args:
        grants: in order of preference; the first whose issuer exists is asked.
        introspection: asked about opaque tokens that were minted; ``None``: the reply alone counts.
        digest: a keyed digest of a pair, another one after everything was forgotten; the pair itself is kept
            nowhere.
        registered: whether an application has this client id under this strategy.
        sharing: with other members of a fleet; ``None``: there are none.
        tell: told of what was asked, what came, and why it counts.
    """

    def __init__(
        self,
        strategy: str,
        *,
        grants: Sequence[Grant],
        tokens: AccessTokens,
        introspection: Introspection | None = None,
        rules: BasicRules,
        throttle: Throttle,
        clock: Clock,
        digest: Callable[[ClientCredentials], bytes],
        registered: Callable[[str], bool],
        sharing: Sharing | None = None,
        tell: Tell = nobody,
    ) -> None:
        self._strategy = strategy
        self._grants = tuple(grants)
        self._tokens = tokens
        self._introspection = introspection
        self._rules = rules
        self._throttle = throttle
        self._clock = clock
        self._digest = digest
        self._registered = registered
        self._sharing = sharing
        self._tell = tell
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
        # The fleet may know a pair that is not known here, so it is asked before anybody is shut out.
        if self._sharing is None and self._digest(credential) not in self._proven:
            self._throttle.check(
                self._strategy, credential.client_id, registered=self._registered(credential.client_id)
            )
        return None

    async def prove(self, credential: Credential) -> Proof:
        assert isinstance(credential, ClientCredentials)  # noqa: S101 - as above
        if self._sharing is None:
            return await self._ask(credential, Try(), proven=False)
        digest = self._digest(credential)

        async def ask(attempt: Try, proven: bool) -> Proof:
            return await self._ask(credential, attempt, proven=proven)

        proof = await self._sharing.prove(self._question(self._sharing, credential), ask)
        self._proven[digest] = True  # also where another member asked
        return proof

    def vouch(self, pair: ClientCredentials) -> None:
        """Whoever presents this pair is not guessing: it was just made. It is proved all the same."""
        self._proven[self._digest(pair)] = True
        if self._sharing is not None:
            with suppress(Unavailable):  # the registry cannot be read: others then have to prove it like any pair
                self._sharing.vouch(self._question(self._sharing, pair))

    def still_holds(self, proof: Proof) -> bool:  # noqa: ARG002 - the port's shape; only time ends this proof
        return True

    def recognises(self, credential: Credential, claims: Mapping[str, Any] | None) -> bool:  # noqa: ARG002 - as above
        assert isinstance(credential, ClientCredentials)  # noqa: S101 - as above
        return self._registered(credential.client_id)

    async def find_out(self, credential: Credential, claims: Mapping[str, Any] | None) -> bool:
        return self.recognises(credential, claims)

    def disown(self, credential: Credential, now: float) -> NoReturn:  # noqa: ARG002 - the port's shape
        assert isinstance(credential, ClientCredentials)  # noqa: S101 - as above
        # Counted as a wrong secret is, or who guesses could tell by it which client ids there are.
        with self._throttle.attempt(self._strategy, credential.client_id, registered=False) as attempt:
            attempt.failed = True
        raise Denied(Reason.CREDENTIALS_REJECTED, "no application of these strategies has the client id")

    def _question(self, sharing: Sharing, pair: ClientCredentials) -> Question:
        return sharing.pair(
            pair,
            self._throttle,
            registered=self._registered(pair.client_id),
            guess=self._digest(pair) not in self._proven,
            longest_s=self._rules.proof_ttl_s,
        )

    async def _ask(self, pair: ClientCredentials, attempt: Try, *, proven: bool) -> Proof:
        digest = self._digest(pair)  # before anything is awaited: it changes when everything is forgotten
        grant, endpoint = await self._grant()
        registered = self._registered(pair.client_id)
        guess = self._proven.pop(digest, None) is None and not proven
        with self._throttle.attempt(
            self._strategy, pair.client_id, registered=registered, guess=guess, attempt=attempt
        ):
            answered = False
            try:
                self._tell(Step.GRANT, Asked(endpoint, grant.options))
                reply = await grant.http.send(grant_request(endpoint, pair, grant.options))
                answered = True
                minted = read_grant_reply(reply, grant.options)
                self._tell(Step.MINTED, minted)
                self._proven[digest] = attempt.right = True
                return await self._proof(pair, minted, grant)
            except Unavailable:
                if not guess:
                    self._proven[digest] = True
                # Whoever invents client ids is not to provoke errors for free.
                attempt.failed = answered and not registered
                raise
            except Denied as denied:
                attempt.failed = denied.reason in (Reason.CREDENTIALS_REJECTED, Reason.SCOPE_MISSING)
                attempt.right = bool(attempt.right)
                if self._rules.negative_ttl_s > 0:
                    until = self._clock.monotonic() + self._rules.negative_ttl_s
                    self._refused[digest] = (denied.reason, until)
                raise

    async def _grant(self) -> tuple[Grant, str]:
        """Who is asked, and where."""
        for grant in self._grants:
            if grant.issuer.absent and grant is not self._grants[-1]:
                continue
            try:
                endpoint = (await grant.issuer.known()).token_endpoint
            except Unavailable:
                if grant.issuer.absent and grant is not self._grants[-1]:
                    continue
                raise
            if endpoint is not None:
                return grant, endpoint
            break
        raise Unavailable(
            Reason.IDP_UNAVAILABLE, "the discovery document names no token_endpoint; configure token_endpoint"
        )

    async def _read(self, pair: ClientCredentials, minted: MintedToken, grant: Grant) -> _Minted:
        """What can be known of the minted token.

        Raises:
            Denied, Unavailable: it is not what the strategy accepts.
        """
        token = minted.access_token.encode("utf-8", "replace")
        asked = self._introspection
        if asked is None and not looks_like_jwt(token):
            granted = minted.scopes if minted.scopes is not None else grant.options.asked_scopes
            if missing := self._rules.required_scopes - granted:
                raise Denied(Reason.SCOPE_MISSING, f"the client was not granted {', '.join(sorted(missing))}")
            if claims := ", ".join(self._rules.required_claims):
                raise Denied(
                    Reason.CLAIM_MISSING, f"the minted token is opaque, and {claims} cannot be read in it"
                )
            return _Minted(Basis.OPAQUE)
        try:
            if asked is not None and asked.answers_for(token):
                principal, basis = (await asked.inspect(token)).principal, Basis.INTROSPECTED
            else:
                principal, basis = (await self._tokens.verify(token)).principal, Basis.VERIFIED
        except Denied as denied:
            if denied.reason is Reason.TOKEN_FOR_GRAPH:
                return self._graph(pair, token, denied)
            if denied.reason in _OURS:
                raise Unavailable(
                    Reason.IDP_UNAVAILABLE,
                    f"the pair is right, but the token minted for it cannot be judged: {denied}",
                ) from None
            raise
        return _Minted(
            basis, principal.client_id, principal.expires_at, principal.token_id, principal.upstream_headers
        )

    def _graph(self, pair: ClientCredentials, token: bytes, denied: Denied) -> _Minted:
        rules = self._rules
        if not rules.trust_token_response or rules.required_scopes or rules.required_claims:
            raise Denied(
                denied.reason, f"{denied.detail}; the strategy's scopes ask for it, see trust_token_response"
            )
        return _Minted(Basis.GRAPH, client_id=graph_client(token) or pair.client_id)

    async def _proof(self, pair: ClientCredentials, reply: MintedToken, grant: Grant) -> Proof:
        now = self._clock.now()  # of the reply, from which expires_in counts
        minted = await self._read(pair, reply, grant)
        self._tell(Step.MINTED_COUNTS, minted.basis)
        if minted.client_id is not None and (
            canonical_client_id(minted.client_id) != canonical_client_id(pair.client_id)
        ):
            raise Denied(
                Reason.CREDENTIALS_REJECTED, "the token that the identity provider minted names another client"
            )
        ends = [now + reply.lifetime_s] if reply.lifetime_s is not None else []
        if minted.expires_at is not None and minted.expires_at != float("inf"):
            ends.append(minted.expires_at)
        ends_at = min(ends, default=now + self._rules.proof_ttl_s)
        proof = Proof(
            strategy=self._strategy,
            method=Method.CLIENT_CREDENTIALS,
            client_id=pair.client_id,
            good_until=min(ends_at, now + self._rules.proof_ttl_s),
            ends_at=ends_at,
            token_id=minted.token_id,
            upstream_headers=minted.upstream_headers,
        )
        return self._with_token(proof, reply, minted) if self._rules.forward_minted_token else proof

    def _with_token(self, proof: Proof, reply: MintedToken, minted: _Minted) -> Proof:
        """The same with the token itself, for no longer than the token's own word: whoever gets it next need not
        grant our leeway."""
        token = forwarded(reply.access_token)
        if token is None:
            log.warning(
                "minted token not forwarded",
                strategy=proof.strategy,
                client_id=proof.client_id,
                detail=f"it is longer than {MAX_FORWARDED_BYTES} bytes, or not of visible ASCII characters alone",
            )
            return proof
        ends_at = proof.ends_at
        if minted.expires_at is not None:
            ends_at = min(ends_at, minted.expires_at - self._rules.leeway_s)
        # So that it does not end on its way.
        ends_at -= min(_ON_ITS_WAY_S, max(0.0, ends_at - self._clock.now()) * _ON_ITS_WAY_FRACTION)
        return proof._replace(good_until=min(proof.good_until, ends_at), minted=token)
