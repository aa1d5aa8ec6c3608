"""A hostile token costs little and gains nothing: what can be refused without a key never reaches one, and no
mutation of a genuine token speaks for anybody."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from core_support import ALL_ALGORITHMS, ISSUER, MAX_BYTES, NOW, judged, keys_of, mint_of
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.authn.access_token import AccessTokens
from validator.authn.trusted import TokenRules, TrustedIssuer, TrustedIssuers
from validator.core import jwks
from validator.core.discovery import Metadata
from validator.errors import AuthError, Denied
from validator.issuers import Issuer
from validator.model import Reason
from validator.testing import ABSENT, ManualClock
from validator.testing.mint import b64url

MINT = mint_of()
KEYS = keys_of(MINT)
VALID = MINT.mint({"client_id": "orders"})
OTHER = MINT.mint({"client_id": "billing"})
RULES = TokenRules(
    algorithms=ALL_ALGORITHMS,
    audiences=frozenset({"api://orders"}),
    token_types=frozenset({"jwt", "at+jwt"}),
    max_bytes=MAX_BYTES,
)


class CountingIssuer:
    """Stands where the issuer stands, and counts what is asked of it."""

    def __init__(self, *, metadata: bool = True) -> None:
        self.metadata = Metadata(ISSUER, None, None) if metadata else None
        self.absent = False
        self.asked = 0

    def key(self, kid: str | None, alg: str) -> jwks.VerificationKey:
        self.asked += 1
        return jwks.select(jwks.fitting(KEYS, kid, alg), kid, alg)

    async def fetch_key(self, kid: str | None, alg: str) -> jwks.VerificationKey:
        return self.key(kid, alg)

    async def known(self) -> None:
        self.asked += self.metadata is None


class Bench:
    """The bearer's verifier with every costly step counted."""

    def __init__(self, *, metadata: bool = True) -> None:
        self.issuer = CountingIssuer(metadata=metadata)
        self.verifications = 0
        trusted = TrustedIssuer(cast("Issuer", self.issuer), (("client_id",),))
        issuers = TrustedIssuers([trusted], RULES)
        self.tokens = AccessTokens(issuers, RULES, ManualClock(NOW), verifications=self._count)

    def _count(self) -> None:
        self.verifications += 1

    @property
    def cost(self) -> tuple[int, int]:
        """Keys asked for, signatures checked."""
        return self.issuer.asked, self.verifications


def signed(claims: dict[str, Any] | None = None, header: dict[str, Any] | None = None) -> str:
    return MINT.mint({"client_id": "orders", **(claims or {})}, header=header)


def rewritten(header: bytes | None = None, payload: bytes | None = None) -> str:
    """These bytes, signed by the genuine key."""
    head = json.dumps({"alg": "ES256", "kid": MINT.current.kid, "typ": "at+jwt"}).encode()
    return MINT.mint_raw(head if header is None else header, b"{}" if payload is None else payload)


# A token, and what it may cost: nothing, a look for its key, or its one signature.
FREE, A_LOOK, A_SIGNATURE = (0, 0), (1, 0), (1, 1)
HOSTILE: dict[str, tuple[str, Reason, tuple[int, int]]] = {
    "alg-none": (MINT.mint_alg_none({"client_id": "orders"}), Reason.ALGORITHM_NOT_ALLOWED, FREE),
    "hs256-with-the-public-key": (
        mint_of("RS256").mint_key_confused({"client_id": "orders"}),
        Reason.ALGORITHM_NOT_ALLOWED,
        FREE,
    ),
    "crit": (signed(header={"crit": ["x"], "x": 1}), Reason.TOKEN_MALFORMED, FREE),
    "kid-a-number": (signed(header={"kid": 1}), Reason.TOKEN_MALFORMED, FREE),
    "duplicate-in-the-header": (rewritten(b'{"alg":"ES256","alg":"ES256"}'), Reason.TOKEN_MALFORMED, FREE),
    "duplicate-in-the-payload": (rewritten(payload=b'{"iss":"a","iss":"b"}'), Reason.TOKEN_MALFORMED, FREE),
    "nan": (rewritten(payload=b'{"exp":NaN}'), Reason.TOKEN_MALFORMED, FREE),
    "not-utf-8": (rewritten(payload=b'{"a":"\xff"}'), Reason.TOKEN_MALFORMED, FREE),
    "utf-16": (rewritten(payload="{}".encode("utf-16")), Reason.TOKEN_MALFORMED, FREE),
    "deep": (rewritten(payload=b'{"a":' + b"[" * 9000 + b"]" * 9000), Reason.TOKEN_MALFORMED, FREE),
    "trailing-bytes": (rewritten(payload=b"{}x"), Reason.TOKEN_MALFORMED, FREE),
    "padding": (VALID + "=", Reason.TOKEN_MALFORMED, FREE),
    "line-break": (VALID[:40] + "\n" + VALID[40:], Reason.TOKEN_MALFORMED, FREE),
    "a-megabyte": (VALID + "A" * 1_000_000, Reason.TOKEN_MALFORMED, FREE),
    "two-parts": (VALID.rpartition(".")[0], Reason.TOKEN_MALFORMED, FREE),
    "five-parts": (VALID + ".e30.e30", Reason.TOKEN_ENCRYPTED, FREE),
    "another-issuer": (signed({"iss": "https://other.example"}), Reason.ISSUER_MISMATCH, FREE),
    "iss-deeply-nested": (
        rewritten(payload=b'{"iss":' + b"[" * 400 + b"]" * 400 + b"}"),
        Reason.TOKEN_MALFORMED,
        FREE,
    ),
    "exp-a-string": (signed({"exp": "1800000060"}), Reason.TOKEN_MALFORMED, FREE),
    "exp-of-400-digits": (signed({"exp": 10**400}), Reason.TOKEN_MALFORMED, FREE),
    "exp-missing": (signed({"exp": ABSENT}), Reason.CLAIM_MISSING, FREE),
    "expired": (signed({"exp": NOW}), Reason.TOKEN_EXPIRED, FREE),
    "unknown-kid": (signed(header={"kid": "nobody's"}), Reason.KEY_UNKNOWN, A_LOOK),
    "alg-of-another-key": (signed(header={"alg": "ES384"}), Reason.KEY_UNKNOWN, A_LOOK),
    "signature-of-another-key": (
        mint_of(keyring="attacker").mint({"client_id": "orders"}, header={"kid": MINT.current.kid}),
        Reason.SIGNATURE_INVALID,
        A_SIGNATURE,
    ),
    "empty-signature": (VALID.rpartition(".")[0] + ".", Reason.SIGNATURE_INVALID, A_SIGNATURE),
    "another-audience": (signed({"aud": "api://other"}), Reason.AUDIENCE_MISMATCH, A_SIGNATURE),
    "no-client": (signed({"client_id": ABSENT}), Reason.CLAIM_MISSING, A_SIGNATURE),
    "nbf-of-400-digits": (signed({"nbf": 10**400}), Reason.TOKEN_MALFORMED, A_SIGNATURE),
}


def test_a_genuine_token_costs_one_signature() -> None:
    """What the counters of this file count is real."""
    bench = Bench()
    verified = bench.tokens.verify_now(VALID.encode(), NOW)
    assert verified is not None
    assert verified.principal.client_id == "orders"
    assert bench.cost == A_SIGNATURE


@pytest.mark.parametrize(("token", "reason", "cost"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_token_is_refused_at_its_bounded_cost(
    token: str, reason: Reason, cost: tuple[int, int]
) -> None:
    """Neither on the short way nor on the one that may ask the issuer."""
    bench = Bench()
    with pytest.raises(Denied) as caught:
        bench.tokens.verify_now(token.encode(), NOW)
    assert (caught.value.reason, bench.cost) == (reason, cost)
    bench = Bench()
    with pytest.raises(Denied) as caught:
        await bench.tokens.verify(token.encode())
    assert (caught.value.reason, bench.cost) == (reason, cost)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, (_, reason, _) in HOSTILE.items()
        if reason is Reason.TOKEN_MALFORMED and "exp" not in n and "nbf" not in n
    ],
)
async def test_a_malformed_token_does_not_even_wake_an_unknown_issuer(name: str) -> None:
    bench = Bench(metadata=False)
    with pytest.raises(Denied):
        await bench.tokens.verify(HOSTILE[name][0].encode())
    assert bench.issuer.asked == 0


def flip(position: int, byte: int) -> str:
    return VALID[:position] + chr(byte) + VALID[position + 1 :]


MUTATIONS: dict[str, Callable[[int, int], str]] = {
    "replace": flip,
    "cut": lambda position, byte: VALID[:position] + VALID[position + 1 + byte :],
    "insert": lambda position, byte: VALID[:position] + chr(byte) + VALID[position:],
    "splice": lambda position, _: VALID[:position] + OTHER[position:],
    "repeat": lambda position, _: VALID[:position] + VALID,
}


@given(st.integers(0, min(len(VALID), len(OTHER)) - 1), st.sampled_from(sorted(MUTATIONS)), st.integers(0, 255))
@settings(deadline=None, max_examples=1000)
def test_a_mutated_token_never_speaks_for_anyone(position: int, how: str, byte: int) -> None:
    mutated = MUTATIONS[how](position, byte)
    if mutated not in (VALID, OTHER):
        with pytest.raises(Denied):
            judged(mutated.encode("latin-1"), KEYS)


def test_every_single_bit_of_a_token_counts() -> None:
    """Also the bits that base64url leaves over at the end of a part."""
    for position in range(len(VALID)):
        for bit in range(8):
            altered = bytearray(VALID.encode())
            altered[position] ^= 1 << bit
            with pytest.raises(Denied):
                judged(bytes(altered), KEYS)


@given(
    st.dictionaries(
        st.text(max_size=6), st.text(max_size=6) | st.integers() | st.lists(st.integers(), max_size=2)
    ),
    st.sampled_from(["header", "payload"]),
)
@settings(deadline=None, max_examples=300)
def test_a_rewritten_part_is_refused_by_the_genuine_signature(changes: dict[str, Any], which: str) -> None:
    parts = VALID.split(".")
    index = 0 if which == "header" else 1
    whole = {"alg": "ES256", "kid": MINT.current.kid, "typ": "at+jwt"} if index == 0 else MINT.claims()
    parts[index] = b64url(json.dumps({**whole, "client_id": "billing", **changes}).encode())
    with pytest.raises(Denied):
        judged(".".join(parts), KEYS)


@given(st.binary(max_size=400))
@settings(deadline=None, max_examples=300)
def test_arbitrary_bytes_cost_nothing_and_raise_nothing_but_a_refusal(token: bytes) -> None:
    bench = Bench()
    with pytest.raises(AuthError):
        bench.tokens.verify_now(token, NOW)
    assert bench.verifications == 0
