"""Bearer tokens (RFC 6750): whom a token presented by a caller speaks for."""

from validator.authn.access_token import AccessTokens, VerifiedToken
from validator.model import BearerToken, Credential, Method, Proof


class BearerAuthenticator:
    """``ports.Authenticator`` for ``BearerToken``."""

    def __init__(self, strategy: str, tokens: AccessTokens) -> None:
        self._strategy = strategy
        self._tokens = tokens

    def prove_now(self, credential: Credential, now: float) -> Proof | None:
        assert isinstance(credential, BearerToken)  # noqa: S101 - the pipeline dispatches by type
        verified = self._tokens.verify_now(credential.token, now)
        return None if verified is None else self._proof(verified)

    async def prove(self, credential: Credential) -> Proof:
        assert isinstance(credential, BearerToken)  # noqa: S101 - as above
        return self._proof(await self._tokens.verify(credential.token))

    def still_holds(self, proof: Proof) -> bool:
        return proof.key_id is not None and self._tokens.still_holds(proof.key_id)

    def _proof(self, verified: VerifiedToken) -> Proof:
        principal = verified.principal
        return Proof(
            strategy=self._strategy,
            method=Method.BEARER,
            client_id=principal.client_id,
            good_until=principal.expires_at,
            ends_at=principal.expires_at,
            token_id=principal.token_id,
            key_id=verified.key_id,
        )
