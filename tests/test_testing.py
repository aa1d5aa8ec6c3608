"""The fakes keep their promises: what is right there is right, and what is broken is broken as named."""

import base64
import json
from typing import Any

import jwt
import pytest

from validator.testing import ABSENT, ManualClock, TokenMint
from validator.testing.mint import _thumbprint

ALGORITHMS = ["RS256", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload))  # type: ignore[return-value]


def verified(token: str, jwks: dict[str, Any], **options: Any) -> dict[str, Any]:
    """By PyJWT's own high-level path, which the product does not use."""
    keys = jwt.PyJWKSet.from_dict(jwks)
    header = jwt.get_unverified_header(token)
    return jwt.decode(
        token,
        keys[header["kid"]],
        algorithms=[header["alg"]],
        options={"verify_aud": False, "verify_exp": False, "verify_iat": False, **options},
    )


# -- ManualClock ---------------------------------------------------------------------------------------------


def test_the_clock_moves_only_when_told() -> None:
    clock = ManualClock(now=100.0, monotonic=7.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 9.5)
    clock.set_now(50.0)
    assert (clock.now(), clock.monotonic()) == (50.0, 9.5)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


# -- TokenMint -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_what_it_mints_verifies_against_what_it_publishes(clock: ManualClock, alg: str) -> None:
    mint = TokenMint("https://idp.example", clock, alg=alg, audience="api://orders", lifetime_s=60)
    claims = verified(mint.mint({"sub": "orders", "aud": ABSENT}), mint.jwks())
    assert claims.pop("jti")
    assert claims == {
        "iss": "https://idp.example",
        "iat": clock.now(),
        "exp": clock.now() + 60,
        "sub": "orders",
    }


def test_no_private_member_is_published(clock: ManualClock) -> None:
    mint = TokenMint("https://idp.example", clock)
    for alg in ("ES256", "ES384", "ES512", "EdDSA"):
        mint.add_key(alg)
    names = {name for jwk in mint.jwks()["keys"] for name in jwk}
    assert names == {"kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"}


def test_the_key_id_is_the_thumbprint_of_rfc_7638() -> None:
    modulus = (  # section 3.1
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF"
        "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9"
        "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1"
        "jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    thumbprint = _thumbprint({"n": modulus, "kty": "RSA", "e": "AQAB"})
    assert thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_keys_are_shared_within_a_keyring_and_never_across(clock: ManualClock) -> None:
    one, same = (
        TokenMint("https://a.example", clock, alg="ES256"),
        TokenMint("https://b.example", clock, alg="ES256"),
    )
    other = TokenMint("https://c.example", clock, alg="ES256", keyring="other")
    assert one.current.kid == same.current.kid
    assert one.current.kid != other.current.kid
    assert one.add_key("ES256").kid != one.current.kid


def test_rotation_keeps_the_old_key_until_it_is_retired(clock: ManualClock) -> None:
    mint = TokenMint("https://idp.example", clock, alg="ES256")
    old, old_token = mint.current, mint.mint()
    new = mint.rotate()
    assert parts(mint.mint())[0]["kid"] == new.kid != old.kid
    assert verified(old_token, mint.jwks())
    mint.retire(old.kid)
    assert [key["kid"] for key in mint.jwks()["keys"]] == [new.kid]
    last = mint.rotate("EdDSA", retire=True)
    assert [key["kid"] for key in mint.jwks()["keys"]] == [last.kid]
    assert parts(mint.mint())[0]["alg"] == "EdDSA"


def test_header_and_claims_obey_every_override(clock: ManualClock) -> None:
    mint = TokenMint("https://idp.example", clock, alg="ES256")
    token = mint.mint(
        {"exp": "soon", "iss": ABSENT, "jti": ["a"]},
        header={"crit": ["b64"], "kid": "wrong", "typ": ABSENT},
    )
    header, payload = parts(token)
    assert header == {"alg": "ES256", "kid": "wrong", "crit": ["b64"]}
    assert payload == {"aud": "api://default", "iat": clock.now(), "exp": "soon", "jti": ["a"]}


def test_raw_bytes_go_out_untouched_and_signed(clock: ManualClock) -> None:
    mint = TokenMint("https://idp.example", clock, alg="ES256")
    token = mint.mint_raw(b'{"alg":"ES256","alg":"none"}', b'{"sub":"a","sub":"b"}')
    header, payload, signature = token.split(".")
    assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"ES256","alg":"none"}'
    algorithm = jwt.get_algorithm_by_name("ES256")
    public = mint.current.private.public_key()
    assert algorithm.verify(f"{header}.{payload}".encode(), public, base64.urlsafe_b64decode(signature + "=="))


def test_the_unsecured_token_has_an_empty_signature(clock: ManualClock) -> None:
    token = TokenMint("https://idp.example", clock).mint_alg_none({"sub": "x"})
    assert token.endswith(".")
    assert parts(token)[0]["alg"] == "none"


def test_the_key_confused_token_verifies_under_the_public_pem_as_a_secret(clock: ManualClock) -> None:
    mint = TokenMint("https://idp.example", clock)
    signing_input, _, signature = mint.mint_key_confused().rpartition(".")
    algorithm = jwt.get_algorithm_by_name("HS256")
    assert parts(f"{signing_input}.{signature}")[0]["alg"] == "HS256"
    assert algorithm.verify(
        signing_input.encode(), mint.current.public_pem, base64.urlsafe_b64decode(signature + "==")
    )


def test_an_algorithm_that_it_cannot_sign_with_is_named(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match=r"HS256.*RS256"):
        TokenMint("https://idp.example", clock, alg="HS256")


def test_a_private_key_does_not_print(clock: ManualClock) -> None:
    assert "private" not in repr(TokenMint("https://idp.example", clock).current)
