"""Key sets, the one key, and freshness rules.

Law of this file: everything that decides which key verifies a token lives here (RFC 7517, RFC 7638).
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from validator.core.entra import GUID
from validator.core.jws import ALGORITHMS, read_json_object
from validator.errors import Denied
from validator.model import Reason

MAX_KEYS = 1000  # Microsoft's advice for a cache of its keys; nobody publishes more
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
MAX_RSA_BITS = 8192  # a check costs the square of the size, and the key set is somebody else's

# kty, crv -> the algorithms that such a key can verify (RFC 7518 section 3.1, RFC 8037 section 3.1)
_FITS: Final[dict[tuple[str, str | None], frozenset[str]]] = {
    ("RSA", None): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("OKP", "Ed448"): frozenset({"EdDSA"}),
}
_THUMBPRINT_MEMBERS: Final = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
}
_PUBLIC_TYPES: Final = (RSAPublicKey, EllipticCurvePublicKey, Ed25519PublicKey, Ed448PublicKey)
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key, parsed once. ``thumbprint`` is RFC 7638's, over SHA-256."""

    thumbprint: str
    kid: str | None
    algorithms: frozenset[str]
    key: Any


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one issuer, and why the others are not."""

    keys: tuple[VerificationKey, ...]
    ignored: tuple[str, ...] = ()

    @property
    def thumbprints(self) -> frozenset[str]:
        return frozenset(key.thumbprint for key in self.keys)


def parse_key_set(body: bytes, issuer: str = "") -> KeySet:
    """The verification keys of a JWK Set (RFC 7517 section 5). Keys of unknown types, for encryption, too weak or
    broken are ignored one by one, as section 5 asks; private and symmetric keys too: they have no place there.

    Args:
        issuer: whose tokens the keys are to verify; Entra publishes keys of other tenants in the same set.

    Raises:
        ValueError: not a JWK Set, or no usable key in it. The message is for an operator.
    """
    try:
        keys = read_json_object(body).get("keys")
    except ValueError as error:
        raise ValueError(f"not a JWK Set: {error}") from None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise ValueError(f"not a JWK Set: `keys` is not an array of at most {MAX_KEYS}")
    usable: dict[tuple[str, str | None], VerificationKey] = {}
    ignored: list[str] = []
    for position, jwk in enumerate(keys):
        try:
            key = _read_key(jwk, issuer)
        except ValueError as error:
            ignored.append(f"key {position}: {error}")
        else:
            # One key published twice, once for each algorithm, is one key for both.
            same = usable.setdefault((key.thumbprint, key.kid), key)
            usable[key.thumbprint, key.kid] = replace(same, algorithms=same.algorithms | key.algorithms)
    if not usable:
        raise ValueError("no usable key in the set" + "".join(f"; {why}" for why in ignored[:5]))
    return KeySet(tuple(usable.values()), tuple(ignored))


def _read_key(jwk: object, issuer: str) -> VerificationKey:  # noqa: C901 - a list of reasons to pass a key over
    if not isinstance(jwk, dict):
        raise ValueError("not an object")  # noqa: TRY004 - read beside the other reasons to ignore a key
    kty, crv, kid, alg = (jwk.get(name) for name in ("kty", "crv", "kid", "alg"))
    if not isinstance(kty, str) or not all(value is None or isinstance(value, str) for value in (crv, kid, alg)):
        raise ValueError("kty, crv, kid or alg is not a string")
    if kty not in _THUMBPRINT_MEMBERS:
        raise ValueError(f"kty {kty[:20]!r} verifies nothing here")
    if "d" in jwk:
        raise ValueError("a private key")
    if _names_another_tenant(jwk.get("issuer"), issuer):
        raise ValueError("bound to another issuer")
    if jwk.get("use") not in (None, "sig"):
        raise ValueError("not for signatures")
    operations = jwk.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise ValueError("not for verifying")
    fitting = _FITS.get((kty, None if kty == "RSA" else crv), frozenset())
    if alg is not None:
        fitting &= {alg} if alg != "Ed25519" else {"EdDSA"}  # RFC 9864 names the same thing anew
    if not fitting:
        raise ValueError(f"alg {alg!r} does not go with {kty} {crv or ''}")
    try:
        key = ALGORITHMS[min(fitting)].from_jwk(jwk)
    except Exception:  # noqa: BLE001 - the library's many ways to say that the numbers are wrong
        raise ValueError("its numbers make no key") from None
    if not isinstance(key, _PUBLIC_TYPES):
        raise ValueError("not a public key")  # noqa: TRY004 - as above
    if isinstance(key, RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise ValueError(f"{key.key_size} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    return VerificationKey(_thumbprint(jwk, kty), kid, fitting, key)


def _names_another_tenant(bound_to: object, issuer: str) -> bool:
    """Entra's `issuer` member of a key: a tenant's, or a template for all."""
    if not isinstance(bound_to, str):
        return False
    theirs, ours = GUID.search(bound_to), GUID.search(issuer)
    return bool(theirs and ours and theirs[0].lower() != ours[0].lower())


def _thumbprint(jwk: Mapping[str, Any], kty: str) -> str:
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[kty]}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def fitting(key_set: KeySet, kid: str | None, alg: str) -> list[VerificationKey]:
    """The keys that a header could mean."""
    return [key for key in key_set.keys if alg in key.algorithms and (kid is None or key.kid == kid)]


def select(candidates: list[VerificationKey], kid: str | None, alg: str) -> VerificationKey:
    """The one candidate: "try them all" would let a token choose its key.

    Raises:
        Denied: ``key_unknown``, none or several fit.
    """
    if len(candidates) == 1:
        return candidates[0]
    if kid is None:
        raise Denied(Reason.KEY_UNKNOWN, f"no kid in the header, and {len(candidates)} keys fit {alg}")
    found = "no key has" if not candidates else f"{len(candidates)} keys have"
    raise Denied(Reason.KEY_UNKNOWN, f"{found} kid {kid[:100]!r} for {alg}")


def refresh_interval(cache_control: str, *, minimum_s: float, maximum_s: float) -> float:
    """Seconds until a key set is to be fetched again: its ``max-age`` (RFC 9111 section 5.2.2.1) within the
    configured bounds, ``maximum_s`` where it names none."""
    lowered = cache_control.lower()
    if "no-store" in lowered or "no-cache" in lowered:
        return minimum_s
    found = _MAX_AGE.search(lowered)
    return min(max(float(found[1]), minimum_s), maximum_s) if found else maximum_s
