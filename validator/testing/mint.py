"""Keys, key sets and tokens, right ones and broken ones. FOR DEVELOPMENT ONLY.

Law of this file: everything that signs lives here; it obeys every override and checks nothing.
"""

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from validator.ports import Clock

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_KIND_OF_ALG: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}
_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_THUMBPRINT_MEMBERS: Final = ("crv", "e", "kty", "n", "x", "y")  # RFC 7638 section 3.2, in its order


class Absent(Enum):
    """The type of ``ABSENT``."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""As an override: leave this member out."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair and the algorithm that it signs with.

    Attributes:
        kid: the RFC 7638 thumbprint unless chosen.
        public_jwk: its entry in the key set (RFC 7517 section 4).
    """

    alg: str
    kid: str
    private: PrivateKey = field(repr=False)
    public_jwk: Mapping[str, Any] = field(repr=False)

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, signing_input: bytes) -> bytes:
        """The raw JWS signature (RFC 7515 section 5.1)."""
        return jwt.get_algorithm_by_name(self.alg).sign(signing_input, self.private)


class TokenMint:
    """The key ring and the stamp of one issuer.

    Args:
        issuer: the ``iss`` of what it mints.
        clock: ``now`` is the ``iat``.
        alg: of the first key: RS*, PS*, ES256, ES384, ES512 or EdDSA.
        audience: the default ``aud``.
        lifetime_s: seconds from ``iat`` to ``exp``.
        keyring: private keys are made once per process and shared by all mints of the same ``keyring``, since
            making RSA keys is slow. Two issuers that must not share keys need two names.

    Raises:
        ValueError: an algorithm that it cannot sign with.
    """

    def __init__(
        self,
        issuer: str,
        clock: Clock,
        *,
        alg: str = "RS256",
        audience: str | list[str] = "api://default",
        lifetime_s: float = 3600,
        keyring: str = "default",
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self.lifetime_s = lifetime_s
        self._clock = clock
        self._keyring = keyring
        self._made: dict[str, int] = {}  # kind -> how many of its keys have been taken from the ring
        self.keys: list[SigningKey] = []
        self.current = self.add_key(alg)

    def add_key(self, alg: str = "RS256", *, kid: str | None = None) -> SigningKey:
        """Publishes one more key, without signing with it yet: assign ``current``, or call ``rotate``."""
        kind = _KIND_OF_ALG.get(alg)
        if kind is None:
            raise ValueError(f"cannot sign with {alg!r}; one of {', '.join(_KIND_OF_ALG)}")
        index = self._made.get(kind, 0)
        self._made[kind] = index + 1
        private = _private_key(self._keyring, kind, index)
        jwk = jwt.get_algorithm_by_name(alg).to_jwk(private.public_key(), as_dict=True)
        jwk = {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}
        kid = kid if kid is not None else _thumbprint(jwk)
        key = SigningKey(alg, kid, private, {**jwk, "kid": kid, "use": "sig", "alg": alg})
        self.keys.append(key)
        return key

    def rotate(self, alg: str | None = None, *, kid: str | None = None, retire: bool = False) -> SigningKey:
        """A new key signs from now on. The old ones stay published, unless they are to ``retire``."""
        if retire:
            self.keys.clear()
        self.current = self.add_key(alg or self.current.alg, kid=kid)
        return self.current

    def retire(self, kid: str) -> None:
        """No longer published; a token that it signed can no longer be verified."""
        self.keys = [key for key in self.keys if key.kid != kid]

    def jwks(self) -> dict[str, Any]:
        """The key set (RFC 7517 section 5)."""
        return {"keys": [dict(key.public_jwk) for key in self.keys]}

    def claims(self, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """``iss``, ``aud``, ``iat``, ``exp`` and a fresh ``jti``, changed by ``overrides``."""
        now = int(self._clock.now())
        return _merged(
            {
                "iss": self.issuer,
                "aud": self.audience,
                "iat": now,
                "exp": now + int(self.lifetime_s),
                "jti": secrets.token_hex(16),
            },
            overrides,
        )

    def mint(
        self,
        claims: Mapping[str, Any] | None = None,
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """A signed token. The overrides are taken as they are, also where they make it a wrong one.

        Args:
            claims: changes to ``claims()``; ``ABSENT`` removes one.
            header: changes to ``alg``, ``kid`` and ``typ: at+jwt`` (RFC 9068 section 2.1). Changing ``alg``
                changes what the header says, not how it is signed.
            key: signs in place of ``current``; it need not be published.
        """
        key = key or self.current
        return self.mint_raw(
            _json(_merged({"alg": key.alg, "kid": key.kid, "typ": "at+jwt"}, header)),
            _json(self.claims(claims)),
            key=key,
        )

    def mint_raw(
        self, header: bytes, payload: bytes, *, key: SigningKey | None = None, signature: bytes | None = None
    ) -> str:
        """These very bytes, for what no JSON writer would write: duplicate members, other encodings, no JSON.
        Signed by ``key`` (or ``current``), or carrying ``signature``."""
        signing_input = f"{b64url(header)}.{b64url(payload)}"
        if signature is None:
            signature = (key or self.current).sign(signing_input.encode())
        return f"{signing_input}.{b64url(signature)}"

    def mint_alg_none(self, claims: Mapping[str, Any] | None = None) -> str:
        """An unsecured JWS (RFC 7515 appendix A.5)."""
        header = {"alg": "none", "kid": self.current.kid, "typ": "at+jwt"}
        return self.mint_raw(_json(header), _json(self.claims(claims)), signature=b"")

    def mint_key_confused(self, claims: Mapping[str, Any] | None = None) -> str:
        """HS256 keyed with the public key's PEM: the key confusion of RFC 8725 section 2.1."""
        header = _json({"alg": "HS256", "kid": self.current.kid, "typ": "at+jwt"})
        payload = _json(self.claims(claims))
        signing_input = f"{b64url(header)}.{b64url(payload)}".encode()
        signature = hmac.digest(self.current.public_pem, signing_input, "sha256")
        return self.mint_raw(header, payload, signature=signature)


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def _private_key(keyring: str, kind: str, index: int) -> PrivateKey:  # noqa: ARG001  name and index tell keys apart
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind])


def _thumbprint(jwk: Mapping[str, Any]) -> str:
    return b64url(hashlib.sha256(_json({name: jwk[name] for name in sorted(jwk)})).digest())


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    merged = {**base, **(overrides or {})}
    return {name: value for name, value in merged.items() if value is not ABSENT}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
