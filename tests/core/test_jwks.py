"""A key set yields public verification keys only, and a token gets exactly one of them or none
(RFC 7517 sections 4 and 5, RFC 7638, RFC 9111 section 5.2.2.1)."""

import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from core_support import ALGORITHMS, judged, keys_of, mint_of, refused
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core.jwks import MAX_KEYS, KeySet, fitting, parse_key_set, refresh_interval, select
from validator.model import Reason
from validator.testing import ABSENT
from validator.testing.mint import b64url

RSA = mint_of("RS256").current
EC = mint_of("ES256").current
OKP = mint_of("EdDSA").current

# RFC 7638 section 3.1
RFC_7638_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi"
    "FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0"
    "zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF"
    "Cur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
RFC_7638_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
# RFC 8037 appendix A.3
RFC_8037_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC_8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def jwk(base: Mapping[str, Any] = EC.public_jwk, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**base, **changes}.items() if value is not ABSENT}


def key_set(*keys: object) -> KeySet:
    return parse_key_set(json.dumps({"keys": keys}).encode())


def kids(keys: KeySet, kid: str | None, alg: str) -> list[str | None]:
    return [key.kid for key in fitting(keys, kid, alg)]


@pytest.mark.parametrize(
    ("key", "thumbprint"),
    [
        pytest.param(RFC_7638_KEY, RFC_7638_THUMBPRINT, id="rfc-7638-rsa"),
        pytest.param(RFC_8037_KEY, RFC_8037_THUMBPRINT, id="rfc-8037-ed25519"),
        pytest.param(
            {**RFC_7638_KEY, "kid": "other", "use": "sig"}, RFC_7638_THUMBPRINT, id="of-its-numbers-alone"
        ),
    ],
)
def test_the_thumbprint_is_that_of_the_rfcs(key: dict[str, Any], thumbprint: str) -> None:
    assert key_set(key).thumbprints == {thumbprint}


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_without_alg_fits_every_algorithm_of_its_kind_and_no_other(alg: str) -> None:
    family = {"R": {"RS", "PS"}, "P": {"RS", "PS"}}.get(alg[0])
    expected = {a for a in ALGORITHMS if a[:2] in family} if family else {alg}
    [key] = key_set(jwk(mint_of(alg).current.public_jwk, alg=ABSENT)).keys
    assert key.algorithms == expected


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_with_alg_fits_that_one_alone(alg: str) -> None:
    [key] = keys_of(mint_of(alg)).keys
    assert key.algorithms == {alg}


def test_ed25519_may_be_called_by_its_newer_name() -> None:
    """RFC 9864."""
    assert key_set(jwk(OKP.public_jwk, alg="Ed25519")).keys[0].algorithms == {"EdDSA"}


def test_an_ed448_key_verifies_eddsa() -> None:
    public = ed448.Ed448PrivateKey.generate().public_key()
    key = {"kty": "OKP", "crv": "Ed448", "x": b64url(public.public_bytes_raw())}
    assert key_set(key).keys[0].algorithms == {"EdDSA"}


def weak(bits: int) -> dict[str, Any]:
    numbers = rsa.RSAPublicNumbers(
        65537, (1 << (bits - 1)) + 1
    )  # an odd number of that size; nobody signs with it
    size = (bits + 7) // 8
    return {"kty": "RSA", "e": "AQAB", "n": b64url(numbers.n.to_bytes(size))}


def private(alg: str) -> dict[str, Any]:
    return jwt.get_algorithm_by_name(alg).to_jwk(mint_of(alg).current.private, as_dict=True)


def off_the_curve() -> dict[str, Any]:
    return jwk(y=EC.public_jwk["x"])


IGNORED = {
    "for-encryption": (jwk(use="enc"), "not for signatures"),
    "use-no-string": (jwk(use=["sig"]), "not for signatures"),
    "key-ops-without-verify": (jwk(use=ABSENT, key_ops=["encrypt"]), "not for verifying"),
    "key-ops-sign": (jwk(use=ABSENT, key_ops=["sign"]), "not for verifying"),
    "key-ops-empty": (jwk(key_ops=[]), "not for verifying"),
    "key-ops-no-list": (jwk(key_ops="verify"), "not for verifying"),
    "symmetric": ({"kty": "oct", "k": "AAAA", "alg": "HS256", "kid": "k"}, "'oct' verifies nothing"),
    "private-rsa": (private("RS256"), "a private key"),
    "private-ec": (private("ES256"), "a private key"),
    "private-ed25519": (private("EdDSA"), "a private key"),
    "rsa-1024": (weak(1024), "1024 bits"),
    "rsa-2047": (weak(2047), "2047 bits"),
    "rsa-8193": (weak(8193), "8193 bits"),
    "rsa-of-nothing": ({"kty": "RSA", "e": "AQAB", "n": ""}, "no key"),
    "rsa-without-e": ({"kty": "RSA", "n": weak(2048)["n"]}, "no key"),
    "rsa-with-e-1": ({**weak(2048), "e": "AQ"}, "no key"),
    "off-the-curve": (off_the_curve(), "no key"),
    "coordinates-of-another-curve": (jwk(crv="P-384", alg="ES384"), "no key"),
    "coordinates-no-strings": (jwk(x=1), "no key"),
    "ec-without-y": (jwk(y=ABSENT), "no key"),
    "ed25519-of-31-bytes": (jwk(OKP.public_jwk, x=b64url(bytes(31))), "no key"),
    "unknown-curve": (jwk(crv="secp256k1", alg=ABSENT), "does not go with"),
    "x25519": (jwk(OKP.public_jwk, crv="X25519", alg=ABSENT), "does not go with"),
    "no-curve": (jwk(crv=ABSENT), "does not go with"),
    "curve-of-another-type": (jwk(OKP.public_jwk, crv="P-256"), "does not go with"),
    "unknown-kty": (jwk(kty="AKP"), "'AKP' verifies nothing"),
    "kty-missing": (jwk(kty=ABSENT), "not a string"),
    "kty-a-list": (jwk(kty=["EC"]), "not a string"),
    "kid-a-number": (jwk(kid=7), "not a string"),
    "alg-a-list": (jwk(alg=["ES256"]), "not a string"),
    "alg-of-encryption": (jwk(RSA.public_jwk, alg="RSA-OAEP", use=ABSENT), "does not go with"),
    "alg-of-another-curve": (jwk(alg="ES384"), "does not go with"),
    "alg-of-a-secret": (jwk(RSA.public_jwk, alg="HS256"), "does not go with"),
    "alg-none": (jwk(RSA.public_jwk, alg="none"), "does not go with"),
    "a-string": ("key", "not an object"),
    "null": (None, "not an object"),
}


@pytest.mark.parametrize(("key", "why"), IGNORED.values(), ids=IGNORED)
def test_an_unusable_key_is_ignored_with_its_reason_and_the_good_one_stays(key: object, why: str) -> None:
    good = jwk(mint_of("ES256", keyring="good").current.public_jwk, kid="good")
    found = key_set(key, good)
    assert [usable.kid for usable in found.keys] == ["good"]
    assert len(found.ignored) == 1
    assert why in found.ignored[0]
    assert found.ignored[0].startswith("key 0: ")


@pytest.mark.parametrize(("key", "why"), IGNORED.values(), ids=IGNORED)
def test_a_set_of_unusable_keys_is_no_set(key: object, why: str) -> None:
    """A set that shrinks to nothing must not replace a good one, so it is an error and not empty."""
    with pytest.raises(ValueError, match="no usable key") as caught:
        key_set(key)
    assert why in str(caught.value)


@pytest.mark.parametrize("bits", [2048, 8192])
def test_rsa_keys_at_the_bounds_are_usable(bits: int) -> None:
    assert len(key_set(weak(bits)).keys) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="a-web-page"),
        pytest.param(b"[]", id="an-array"),
        pytest.param(b"{}", id="without-keys"),
        pytest.param(b'{"keys":null}', id="keys-null"),
        pytest.param(b'{"keys":{}}', id="keys-an-object"),
        pytest.param(b'{"keys":[]}', id="no-keys"),
        pytest.param(b'{"keys":[],"keys":[]}', id="keys-twice"),
        pytest.param(b'{"keys":[\xff]}', id="not-utf-8"),
        pytest.param(b'{"keys":[' + b"[" * 100_000, id="deep"),
        pytest.param(json.dumps({"keys": [jwk()] * (MAX_KEYS + 1)}).encode(), id="more-than-anyone-publishes"),
        pytest.param(json.dumps(jwk()).encode(), id="a-key-and-no-set"),
        pytest.param(json.dumps({"keys": [jwk()]}).encode() + b"x", id="trailing-bytes"),
    ],
)
def test_what_is_no_key_set_raises(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a JWK Set|no usable key"):
        parse_key_set(body)


def test_unknown_members_are_no_obstacle() -> None:
    assert len(parse_key_set(json.dumps({"keys": [jwk(x5c=["?"], ext=True)], "iss": 1}).encode()).keys) == 1


def test_the_kid_picks_the_key() -> None:
    mint = mint_of("ES256")
    keys = [mint.current, mint.add_key("ES256"), mint.add_key("ES256")]
    for key in keys:
        chosen = select(fitting(keys_of(mint), key.kid, "ES256"), key.kid, "ES256")
        assert chosen.kid == key.kid


ONE = key_set(jwk(kid="a"))
TWO = key_set(jwk(kid="a"), jwk(mint_of("ES256", keyring="second").current.public_jwk, kid="b"))
SAME_KID = key_set(jwk(kid="a"), jwk(mint_of("ES256", keyring="second").current.public_jwk, kid="a"))
KINDS = key_set(jwk(kid="a"), jwk(RSA.public_jwk, kid="a"))
NAMELESS = key_set(jwk(kid=ABSENT))


@pytest.mark.parametrize(
    ("keys", "kid", "alg"),
    [
        pytest.param(ONE, "a", "ES256", id="the-kid-fits"),
        pytest.param(ONE, None, "ES256", id="no-kid-and-one-key"),
        pytest.param(TWO, "b", "ES256", id="the-kid-fits-one-of-two"),
        pytest.param(KINDS, None, "ES256", id="no-kid-and-one-key-of-that-kind"),
        pytest.param(KINDS, "a", "RS256", id="one-kid-for-two-kinds"),
        pytest.param(NAMELESS, None, "ES256", id="no-kid-anywhere"),
        pytest.param(key_set(jwk(kid="a"), jwk(kid="a")), "a", "ES256", id="the-very-same-key-twice"),
    ],
)
def test_exactly_one_candidate_is_taken(keys: KeySet, kid: str | None, alg: str) -> None:
    candidates = fitting(keys, kid, alg)
    assert select(candidates, kid, alg) is candidates[0]


@pytest.mark.parametrize(
    ("keys", "kid", "alg"),
    [
        pytest.param(ONE, "b", "ES256", id="unknown-kid"),
        pytest.param(ONE, "A", "ES256", id="kid-in-another-case"),
        pytest.param(ONE, "", "ES256", id="empty-kid"),
        pytest.param(ONE, "a", "ES384", id="alg-of-another-curve"),
        pytest.param(ONE, "a", "RS256", id="alg-of-another-kind"),
        pytest.param(ONE, None, "RS256", id="no-kid-and-no-key"),
        pytest.param(TWO, None, "ES256", id="no-kid-and-two-keys"),
        pytest.param(SAME_KID, "a", "ES256", id="two-keys-of-one-kid"),
        pytest.param(NAMELESS, "a", "ES256", id="a-kid-and-a-nameless-key"),
    ],
)
def test_none_or_several_candidates_are_an_unknown_key(keys: KeySet, kid: str | None, alg: str) -> None:
    with refused(Reason.KEY_UNKNOWN):
        select(fitting(keys, kid, alg), kid, alg)


def test_a_key_published_once_for_each_algorithm_is_one_key_for_both() -> None:
    keys = key_set(jwk(RSA.public_jwk, kid="a", alg="RS256"), jwk(RSA.public_jwk, kid="a", alg="PS256"))
    assert [key.algorithms for key in keys.keys] == [{"RS256", "PS256"}]
    assert kids(keys, "a", "RS256") == kids(keys, "a", "PS256") == ["a"]
    assert kids(keys, "a", "RS512") == []


def test_a_key_without_a_kid_is_not_the_key_called_none() -> None:
    keys = key_set(jwk(kid=ABSENT), jwk(kid="None"))
    assert {key.kid for key in keys.keys} == {None, "None"}


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
@pytest.mark.parametrize("kid", ["theirs", "ours", None])
def test_a_key_that_a_token_brings_along_is_never_used(member: str, kid: str | None) -> None:
    """RFC 8725 section 3.10: signed by the very key that its own header embeds or points at."""
    ours, theirs = mint_of("ES256"), mint_of("ES256", keyring="attacker")
    brought: object = {
        "jwk": dict(theirs.current.public_jwk),
        "x5c": [b64url(theirs.current.public_pem)],
    }.get(member, "http://attacker.example/keys")
    name = {"ours": ours.current.kid, "theirs": theirs.current.kid, None: ABSENT}[kid]
    token = theirs.mint({"client_id": "orders"}, header={member: brought, "kid": name})
    with refused(Reason.KEY_UNKNOWN if kid == "theirs" else Reason.SIGNATURE_INVALID):
        judged(token, keys_of(ours))


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
def test_a_genuine_token_may_carry_such_a_member_and_it_changes_nothing(member: str) -> None:
    mint = mint_of("ES256")
    assert judged(mint.mint({"client_id": "orders"}, header={member: "?"}), keys_of(mint)).client_id == "orders"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 600),
        ("max-age=300", 300),
        ("public, max-age=300", 300),
        ("public,MAX-AGE = 300", 300),
        ('max-age="300"', 300),
        ("max-age=59", 60),
        ("max-age=60", 60),
        ("max-age=61", 61),
        ("max-age=599", 599),
        ("max-age=600", 600),
        ("max-age=601", 600),
        ("max-age=0", 60),
        ("max-age=99999999999999999999", 600),
        ("max-age=-1", 600),
        ("max-age=soon", 600),
        ("s-maxage=300", 600),
        ("x-max-age=300", 600),
        ("no-store", 60),
        ("No-Cache, max-age=300", 60),
        ("must-revalidate", 600),
    ],
)
def test_the_refresh_interval_is_the_max_age_within_the_bounds(header: str, seconds: float) -> None:
    assert refresh_interval(header, minimum_s=60, maximum_s=600) == seconds


@given(st.text(max_size=60) | st.integers().map("max-age={}".format))
@settings(deadline=None, max_examples=300)
def test_no_cache_control_moves_the_refresh_interval_out_of_its_bounds(header: str) -> None:
    assert 60 <= refresh_interval(header, minimum_s=60, maximum_s=600) <= 600


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.just("AQAB")
    | st.lists(st.text(max_size=3))
)
MEMBERS = st.sampled_from(["kty", "crv", "n", "e", "x", "y", "use", "key_ops", "alg", "kid", "d", "k"])


@given(st.sampled_from([RSA, EC, OKP]), st.dictionaries(MEMBERS, VALUES, max_size=4))
@settings(deadline=None, max_examples=300)
def test_a_mangled_key_is_read_or_ignored(base: Any, changes: dict[str, Any]) -> None:
    good = jwk(mint_of("ES384").current.public_jwk, kid="good")
    found = key_set({**base.public_jwk, **changes}, good)
    assert "good" in {key.kid for key in found.keys}
    assert len(found.keys) + len(found.ignored) == 2


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_arbitrary_bytes_are_no_key_set(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a JWK Set"):
        parse_key_set(body)


def test_curves_of_the_same_size_are_told_apart() -> None:
    """secp256k1 has coordinates as long as those of P-256."""
    numbers = ec.generate_private_key(ec.SECP256K1()).public_key().public_numbers()
    with pytest.raises(ValueError, match="no usable key"):
        key_set(
            {"kty": "EC", "crv": "P-256", "x": b64url(numbers.x.to_bytes(32)), "y": b64url(numbers.y.to_bytes(32))}
        )
