"""What the tests of the core share: one issuer's mint, its keys, and how a refusal is looked at."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from validator.core import jwks, jws
from validator.core.claims import Expectations, Principal, judge
from validator.errors import Denied
from validator.model import Reason
from validator.testing import ManualClock, SigningKey, TokenMint

ISSUER = "https://idp.example"
NOW = 1_800_000_000.0
MAX_BYTES = 16384
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
ALL_ALGORITHMS = frozenset(ALGORITHMS)
EXPECTED = Expectations(
    issuer=ISSUER,
    audiences=frozenset({"api://orders"}),
    client_claims=(("client_id",), ("azp",)),
    token_types=frozenset({"jwt", "at+jwt"}),
)


def mint_of(alg: str = "ES256", *, keyring: str = "core") -> TokenMint:
    """A mint that stands at ``NOW``, whose tokens ``EXPECTED`` accepts once they name a client."""
    return TokenMint(ISSUER, ManualClock(NOW), alg=alg, audience="api://orders", keyring=keyring)


def keys_of(mint: TokenMint) -> jwks.KeySet:
    return jwks.parse_key_set(json.dumps(mint.jwks()).encode())


def public_key(key: SigningKey) -> Any:
    return key.private.public_key()


@contextlib.contextmanager
def refused(reason: Reason, *words: str) -> Iterator[None]:
    """The block ends in ``Denied`` for exactly this reason, and the operator reads these words."""
    with pytest.raises(Denied) as caught:
        yield
    assert caught.value.reason is reason, caught.value
    for word in words:
        assert word in caught.value.detail


@contextlib.contextmanager
def refused_or_read() -> Iterator[None]:
    """The block may end in ``Denied`` and in no other exception."""
    with contextlib.suppress(Denied):
        yield


def parse(token: str | bytes) -> jws.Jws:
    return jws.parse(token.encode() if isinstance(token, str) else token, max_bytes=MAX_BYTES)


def judged(token: str | bytes, keys: jwks.KeySet, expected: Expectations = EXPECTED) -> Principal:
    """A token's whole way through the core: parse, algorithm, key, signature, claims."""
    parsed = parse(token)
    jws.check_algorithm(parsed, ALL_ALGORITHMS)
    key = jwks.select(jwks.fitting(keys, parsed.kid, parsed.alg), parsed.kid, parsed.alg)
    jws.verify(parsed, key.key)
    return judge(parsed, expected, NOW)
