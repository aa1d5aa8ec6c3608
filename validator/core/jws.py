"""Strict parse and signature of a compact JWS.

Law of this file: everything that decides whether bytes are a well-formed signed token, and whether a given key
signed it, lives here (RFC 7515, RFC 8725). Which key may sign is ``jwks``'s business, what the claims say is
``claims``'s. ``jku``, ``x5u``, ``jwk`` and ``x5c`` in a header are never looked at.
"""

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from jwt.algorithms import Algorithm

from validator.errors import Denied
from validator.model import Reason

# Asymmetric signatures only: `none` proves nothing and an HMAC key would be the public key (RFC 8725 section 3.1).
ALGORITHMS: Final[dict[str, Algorithm]] = {
    name: jwt.get_algorithm_by_name(name)
    for name in (
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    )
}  # fmt: skip

# What most tokens are signed with, verified with the same library but for two objects that PyJWT makes for each.
_PKCS1: Final = PKCS1v15()
_PKCS1_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512(),
}  # fmt: skip

_SHARED_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
_MAX_DEPTH = 64
_WHITESPACE: Final = " \t\r\n"  # RFC 8259 section 2
# Tokens signed with one key begin alike: some keys of some issuers are in use at a time.
_KNOWN_HEADERS: Final = 256
_KNOWN_HEADER_BYTES: Final = 512
# Strings first, closed or not, so that a bracket in one does not count and no byte is looked at twice.
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', re.DOTALL)
_JWE_DOTS = 4
_JWS_DOTS = 2

# base64url -> base64; what base64url does not have becomes a character that base64 does not have either.
_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING: Final = (b"", None, b"==", b"=")
# What may come last where only part of a character is used: the bits left over are zero (RFC 4648 section 3.5).
_LAST: Final = (None, None, frozenset(b"AQgw"), frozenset(b"AEIMQUYcgkosw048"))


@dataclass(slots=True, repr=False)
class Jws:
    """A compact JWS taken apart; nothing in it is to be believed before ``verify``.

    ``payload`` is the decoded JSON object of the claims.
    """

    alg: str
    kid: str | None
    typ: str | None
    header: Mapping[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"Jws(alg={self.alg!r}, <redacted>)"


def _malformed(detail: str) -> Denied:
    return Denied(Reason.TOKEN_MALFORMED, detail)


def decode_base64url(part: bytes) -> bytes:
    """Base64url without padding (RFC 7515 section 2); no line breaks, no other alphabet, and one spelling of the
    same bytes only, so that no part of a token or cookie can be altered unseen.

    Raises:
        ValueError: anything else.
    """
    over = len(part) % 4
    padding, last = _PADDING[over], _LAST[over]
    if padding is None:
        raise ValueError("impossible length")
    if last is not None and part[-1] not in last:
        raise ValueError("bits left over")
    return binascii.a2b_base64(part.translate(_TO_BASE64) + padding, strict_mode=True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicated member")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _too_deep(text: str) -> bool:
    """Whether brackets are nested deeper than anything that is meant well. Where the interpreter gives up differs
    between its versions."""
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > _MAX_DEPTH:
            return True
    return False


def read_json_object(data: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 with unique member names (RFC 8725 section 2.4 names what parsers disagreeing on
    duplicates lead to), without NaN, and with nothing after it.

    Raises:
        ValueError: anything else, also nesting too deep to read.
    """
    text = data.decode("utf-8")
    if _too_deep(text):
        raise ValueError("nested too deep")
    if text.startswith("{"):
        value, end = _decoder.raw_decode(text)
        if end != len(text) and text[end:].strip(_WHITESPACE):
            raise ValueError("something follows the object")
    else:
        value = _decoder.decode(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for one kind of input
    return value


def _read_part(part: bytes, name: str) -> dict[str, Any]:
    try:
        return read_json_object(decode_base64url(part))
    except ValueError:
        raise _malformed(
            f"the {name} is not base64url of one JSON object with unique members"
        ) from None  # the cause would quote the token


def _optional_string(header: Mapping[str, Any], name: str) -> str | None:
    value = header.get(name)
    if value is None and name not in header:
        return None
    if not isinstance(value, str):
        raise _malformed(f"the header's {name} is not a string")
    return value


def _read_header(part: bytes) -> tuple[str, str | None, str | None, Mapping[str, Any]]:
    """``alg``, ``kid``, ``typ`` and the whole header."""
    header = _read_part(part, "header")
    alg = header.get("alg")
    if not isinstance(alg, str):
        raise _malformed("the header names no alg")
    if "crit" in header:
        raise _malformed("the header holds crit, and no extension is understood (RFC 7515 section 4.1.11)")
    return alg, _optional_string(header, "kid"), _optional_string(header, "typ"), MappingProxyType(header)


_known_header = lru_cache(_KNOWN_HEADERS)(_read_header)


def looks_like_jwt(token: bytes) -> bool:
    """Whether a token is meant to be readable: three dotted parts, the first a JSON object's start."""
    return token.count(b".") == _JWS_DOTS and token.startswith(b"ey")


def looks_opaque(token: bytes) -> bool:
    """Whether a token is neither signed nor encrypted in a compact form (RFC 7515, RFC 7516)."""
    return token.count(b".") not in (_JWS_DOTS, _JWE_DOTS)


def claims_unverified(token: bytes) -> Mapping[str, Any] | None:
    """What a token says of itself, to pick who is to judge it; ``None`` where it cannot be read. What ``parse``
    takes apart is read here, however its header is spelled."""
    if token.count(b".") != _JWS_DOTS:
        return None
    try:
        return read_json_object(decode_base64url(token.split(b".")[1]))
    except ValueError:
        return None


def parse(token: bytes, *, max_bytes: int) -> Jws:
    """Takes a compact JWS apart (RFC 7515 section 5.2, steps 1 to 7), reading header and payload once.

    Not checked here: the algorithm against the configuration, the signature, the claims.

    Raises:
        Denied: ``token_malformed`` or ``token_encrypted``.
    """
    if len(token) > max_bytes:
        raise _malformed(f"the token is longer than {max_bytes} bytes")
    dots = token.count(b".")
    if dots == _JWE_DOTS:
        raise Denied(Reason.TOKEN_ENCRYPTED, "five parts: an encrypted token (RFC 7516); ask for a signed one")
    if dots != _JWS_DOTS:
        raise _malformed("not a compact JWS of three parts; opaque tokens cannot be read")
    signing_input, _, last = token.rpartition(b".")
    first, _, second = signing_input.partition(b".")
    known = len(first) <= _KNOWN_HEADER_BYTES
    alg, kid, typ, header = _known_header(first) if known else _read_header(first)
    payload = _read_part(second, "payload")
    try:
        signature = decode_base64url(last)
    except ValueError:
        raise _malformed("the signature is not base64url") from None
    return Jws(alg, kid, typ, header, payload, signing_input, signature)


def check_algorithm(jws: Jws, allowed: frozenset[str]) -> None:
    """RFC 8725 section 3.1: the configuration names the algorithms, never the token.

    Raises:
        Denied: ``algorithm_not_allowed``.
    """
    if jws.alg not in allowed or jws.alg not in ALGORITHMS:
        why = "is not among the configured ones"
        if jws.alg in _SHARED_SECRET:
            why = (
                "is made with a secret that whoever can check it can also sign with (RFC 8725 section 3.2); have "
                "the identity provider sign tokens for this API with RS256"
            )
        raise Denied(Reason.ALGORITHM_NOT_ALLOWED, f"alg {jws.alg[:20]!r} {why}")


def verify(jws: Jws, key: Any) -> None:
    """Whether ``key`` (a ``cryptography`` public key that fits ``alg``) signed this token.

    Raises:
        Denied: ``signature_invalid``.
    """
    digest = _PKCS1_HASHES.get(jws.alg)
    try:
        if digest is None:
            valid = ALGORITHMS[jws.alg].verify(jws.signing_input, key, jws.signature)
        else:
            key.verify(jws.signature, jws.signing_input, _PKCS1, digest)  # raises where it does not fit
            valid = True
    except Exception:  # noqa: BLE001 - whatever a crafted signature upsets in the library, it is not a valid one
        valid = False
    if not valid:
        raise Denied(Reason.SIGNATURE_INVALID, f"the signature does not fit the key {jws.kid!r}")
