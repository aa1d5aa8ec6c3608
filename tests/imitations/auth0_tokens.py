"""Auth0: access tokens of both profiles, signed by either kind of key, and encrypted ones.

Law of this file: the claims are those of Auth0's page on access token profiles; the encryption is RFC 7516's,
since no part of the product can make such a token.
"""

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from validator.ports import Clock
from validator.testing import ABSENT, FakeClient, SigningKey, TokenMint
from validator.testing.mint import b64url


@dataclass(frozen=True, slots=True)
class Auth0Api:
    """An API of the tenant.

    Attributes:
        profile: of its access tokens: Auth0's own (``azp``, ``typ: JWT``) or that of RFC 9068 (``client_id``,
            ``typ: at+jwt``).
        alg: with HS256 the tokens are signed with ``secret``, which the API knows and nobody publishes.
        encrypted: the signed token is wrapped into a JWE for the API.
        scopes: those that exist there, all granted where none is asked for.
        granted_to: the clients with a client grant; ``None``: all.
        audience_list: ``aud`` is a list, with /userinfo beside the API.
        gty: whether the Auth0 profile names the grant, as many tenants' tokens do.
        lifetime_s: 24 hours are the default.
    """

    profile: Literal["auth0", "rfc9068"] = "auth0"
    alg: Literal["RS256", "HS256"] = "RS256"
    secret: str = field(default="the-signing-secret-of-the-api", repr=False)
    encrypted: bool = False
    scopes: tuple[str, ...] = ()
    granted_to: frozenset[str] | None = None
    audience_list: bool = False
    gty: bool = True
    lifetime_s: int = 86400


class Auth0Tokens:
    """What the tenant mints."""

    def __init__(
        self, mint: TokenMint, apis: Mapping[str, Auth0Api], clients: Mapping[str, FakeClient], clock: Clock
    ) -> None:
        self.mint = mint
        self._apis = apis
        self._clients = clients
        self._clock = clock

    def application(
        self,
        client_id: str,
        audience: str,
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        claims: Mapping[str, Any] | None = None,
        scopes: tuple[str, ...] | None = None,
    ) -> str:
        """A token of the client credentials grant."""
        api = self._apis.get(audience, Auth0Api())
        client = self._clients.get(client_id)
        own = {"sub": f"{client_id}@clients", **(client.claims if client else {}), **(claims or {})}
        if api.gty and api.profile == "auth0":
            own.setdefault("gty", "client-credentials")
        named = self._claims(client_id, audience, api, api.scopes if scopes is None else scopes)
        return self._signed(api, {**named, **own}, header, key)

    def user(self, client_id: str, audience: str, claims: Mapping[str, Any]) -> str:
        """A token that a person got with ``openid``."""
        api = self._apis.get(audience, Auth0Api())
        named = self._claims(client_id, audience, api, ("openid", *api.scopes))
        own = {"sub": "auth0|5f7c8ec7c33c6c004bbafe82", "aud": self._with_userinfo(audience), **claims}
        return self._signed(api, {**named, **own}, None, None)

    def opaque(self) -> str:
        """A token that only /userinfo understands."""
        return secrets.token_urlsafe(24)

    def _claims(self, client_id: str, audience: str, api: Auth0Api, scopes: tuple[str, ...]) -> dict[str, Any]:
        claims: dict[str, Any] = {
            "aud": self._with_userinfo(audience) if api.audience_list else audience,
            "exp": int(self._clock.now()) + api.lifetime_s,
            "scope": " ".join(scopes) if scopes else ABSENT,
        }
        if api.profile == "rfc9068":
            return {**claims, "client_id": client_id, "jti": secrets.token_urlsafe(16)}
        return {**claims, "azp": client_id, "jti": ABSENT}

    def _with_userinfo(self, audience: str) -> list[str]:
        return [audience, f"{self.mint.issuer}userinfo"]

    def _signed(
        self,
        api: Auth0Api,
        claims: Mapping[str, Any],
        header: Mapping[str, Any] | None,
        key: SigningKey | None,
    ) -> str:
        header = {"typ": "at+jwt" if api.profile == "rfc9068" else "JWT", **(header or {})}
        if api.alg == "HS256":
            token = self._symmetric(claims, {"alg": "HS256", **header}, api.secret)
        else:
            token = self.mint.mint(claims, header=header, key=key)
        return _encrypted(token) if api.encrypted else token

    def _symmetric(self, claims: Mapping[str, Any], header: Mapping[str, Any], secret: str) -> str:
        """HS256 tokens name no key."""
        first = b64url(json.dumps(header).encode())
        signing_input = f"{first}.{b64url(json.dumps(self.mint.claims(claims)).encode())}"
        return f"{signing_input}.{b64url(hmac.digest(secret.encode(), signing_input.encode(), 'sha256'))}"


def _encrypted(token: str) -> str:
    """RFC 7516 section 7.1: five parts; the plaintext is the signed token."""
    header = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "cty": "JWT", "typ": "JWT", "kid": "the-apis-own-key"}
    protected = b64url(json.dumps(header).encode())
    content_key, nonce = os.urandom(32), os.urandom(12)
    sealed = AESGCM(content_key).encrypt(nonce, token.encode(), protected.encode())
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = _api_key().public_key().encrypt(content_key, oaep)
    return ".".join([protected, *(b64url(part) for part in (wrapped, nonce, sealed[:-16], sealed[-16:]))])


@cache
def _api_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
