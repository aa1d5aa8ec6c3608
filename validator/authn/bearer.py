"""Bearer tokens (RFC 6750): whom a token presented by a caller speaks for."""

from collections.abc import Mapping
from typing import Any, NoReturn

from validator.authn.access_token import AccessTokens, VerifiedToken
from validator.authn.introspection import Introspection
from validator.authn.sharing import Sharing
from validator.authn.throttle import Try
from validator.core import jws
from validator.core.claims import Principal
from validator.errors import Denied
from validator.model import BearerToken, Credential, Method, Proof, Reason


class BearerAuthenticator:
    """``ports.Authenticator`` for ``BearerToken``.

    Args:
        introspection: asked about tokens that are not read here; ``None``: those are refused.
        sharing: of what was asked, with other members of a fleet; ``None``: there are none.
    """

    def __init__(
        self,
        strategy: str,
        tokens: AccessTokens,
        *,
        introspection: Introspection | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self._strategy = strategy
        self._tokens = tokens
        self._introspection = introspection
        self._sharing = sharing

    @property
    def tokens(self) -> AccessTokens:
        """Who reads tokens."""
        return self._tokens

    def prove_now(self, credential: Credential, now: float) -> Proof | None:
        assert isinstance(credential, BearerToken)  # noqa: S101 - the pipeline dispatches by type
        if self._asked_about(credential.token) is not None:
            return None
        verified = self._tokens.verify_now(credential.token, now)
        return None if verified is None else self._verified(verified)

    async def prove(self, credential: Credential) -> Proof:
        assert isinstance(credential, BearerToken)  # noqa: S101 - as above
        introspection = self._asked_about(credential.token)
        if introspection is None:
            return self._verified(await self._tokens.verify(credential.token))
        if self._sharing is None:
            return await self._inspected(introspection, credential.token)
        introspection.screen(credential.token)

        async def ask(_attempt: Try, _proven: bool) -> Proof:
            return await self._inspected(introspection, credential.token)

        question = self._sharing.token(
            credential.token, longest_s=introspection.longest_s, still_holds=self.still_holds
        )
        return await self._sharing.prove(question, ask)

    def still_holds(self, proof: Proof) -> bool:
        return proof.key_id is None or self._tokens.still_holds(proof.key_id)

    def recognises(self, credential: Credential, claims: Mapping[str, Any] | None) -> bool | None:
        assert isinstance(credential, BearerToken)  # noqa: S101 - as above
        # A token that names an issuer is that issuer's, also where it is asked about: it is not shown to others.
        if claims is None or ("iss" not in claims and not jws.looks_like_jwt(credential.token)):
            return self._asked_about(credential.token) is not None
        return self._tokens.issuers.names(claims.get("iss"))

    async def find_out(self, credential: Credential, claims: Mapping[str, Any] | None) -> bool:
        known = self.recognises(credential, claims)
        if known is not None or claims is None:
            return bool(known)
        try:
            await self._tokens.issuers.ask(claims)
        except Denied:
            return False
        return True

    def disown(self, credential: Credential, now: float) -> NoReturn:
        assert isinstance(credential, BearerToken)  # noqa: S101 - as above
        if self._asked_about(credential.token) is None:
            self._tokens.verify_now(credential.token, now)  # in its own words
        raise Denied(Reason.ISSUER_MISMATCH, "the token names no issuer of these strategies")

    def _asked_about(self, token: bytes) -> Introspection | None:
        """Who is asked about this token; ``None``: it is read."""
        introspection = self._introspection
        return introspection if introspection is not None and introspection.answers_for(token) else None

    async def _inspected(self, introspection: Introspection, token: bytes) -> Proof:
        found = await introspection.inspect(token)
        return self._proof(found.principal, found.good_until, found.good_until, found.key_id)

    def _verified(self, verified: VerifiedToken) -> Proof:
        ends_at = verified.principal.expires_at
        return self._proof(verified.principal, ends_at, ends_at, verified.key_id)

    def _proof(self, principal: Principal, good_until: float, ends_at: float, key_id: str | None) -> Proof:
        return Proof(
            strategy=self._strategy,
            method=Method.BEARER,
            client_id=principal.client_id,
            good_until=good_until,
            ends_at=ends_at,
            token_id=principal.token_id,
            key_id=key_id,
            upstream_headers=principal.upstream_headers,
        )
