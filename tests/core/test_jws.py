"""A compact JWS is read in one strict way or not at all, and only the key that fits its configured algorithm can
have signed it (RFC 7515 section 5.2, RFC 8725 sections 2 and 3)."""

import json
from base64 import b64encode
from collections.abc import Callable

import pytest
from core_support import (
    ALGORITHMS,
    ALL_ALGORITHMS,
    EXPECTED,
    MAX_BYTES,
    NOW,
    mint_of,
    parse,
    public_key,
    refused,
    refused_or_read,
)
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core import jws
from validator.core.claims import judge
from validator.errors import Denied
from validator.model import Reason
from validator.testing.mint import b64url

MINT = mint_of()
HEADER = {"alg": "ES256", "kid": "k", "typ": "JWT"}
PAYLOAD = b'{"client_id":"orders"}'


def raw(header: bytes | dict[str, object] = HEADER, payload: bytes = PAYLOAD, signature: bytes = b"sig") -> bytes:
    """A token of these very bytes; parsing comes before any signature."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return f"{b64url(encoded)}.{b64url(payload)}.{b64url(signature)}".encode()


def with_header(**members: object) -> bytes:
    return raw({**HEADER, **members})


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_a_token_is_taken_apart_without_believing_it() -> None:
    parsed = parse(raw())
    assert (parsed.alg, parsed.kid, parsed.typ) == ("ES256", "k", "JWT")
    assert parsed.payload == {"client_id": "orders"}
    assert parsed.signing_input == raw().rpartition(b".")[0]
    assert parsed.signature == b"sig"
    assert "orders" not in repr(parsed)


def test_kid_and_typ_may_be_absent() -> None:
    parsed = parse(raw({"alg": "ES256"}))
    assert (parsed.kid, parsed.typ) == (None, None)


MALFORMED = {
    "empty": (b"", "three parts"),
    "opaque": (b"2YotnFZFEjr1zCsicMWpAA", "three parts"),
    "two-parts": (raw().rpartition(b".")[0], "three parts"),
    "four-parts": (raw() + b".e30", "three parts"),
    "six-parts": (raw() + b".e30.e30.e30", "three parts"),
    "three-empty-parts": (b"..", "header"),
    "empty-header": (b"." + raw().split(b".", 1)[1], "header"),
    "empty-payload": (raw(payload=b""), "payload"),
    "one-byte-too-long": (raw() + b"A" * (MAX_BYTES + 1 - len(raw())), f"longer than {MAX_BYTES}"),
    "a-megabyte": (raw(payload=b" " * 750_000 + PAYLOAD), f"longer than {MAX_BYTES}"),
    "a-megabyte-of-dots": (b"." * 1_000_000, f"longer than {MAX_BYTES}"),
    "header-padded": (raw().replace(b".", b"=.", 1), "header"),
    "payload-padded": (raw(payload=b'{"a":1 }').replace(b".c2ln", b"=.c2ln"), "payload"),
    "signature-padded": (raw(signature=b"si") + b"=", "signature"),
    "line-break-in-the-header": (b"ey\r\n" + raw()[2:], "header"),
    "line-break-in-the-payload": (raw().replace(b".ey", b".\ney"), "payload"),
    "line-break-at-the-end": (raw() + b"\n", "signature"),
    "space-at-the-end": (raw() + b" ", "signature"),
    "plus-of-standard-base64": (raw(signature=b"\xfb\xef\xbe").replace(b"----", b"++++"), "signature"),
    "slash-of-standard-base64": (raw(signature=b"\xff\xff\xff").replace(b"____", b"////"), "signature"),
    "trailing-bytes-after-the-signature": (raw() + b"A", "signature"),
    "bits-left-over-in-the-signature": (raw(signature=b"si")[:-1] + b"l", "signature"),
    "bits-left-over-in-the-payload": (raw(payload=b'{"a":1}').replace(b"fQ.", b"fR."), "payload"),
    "nul-in-the-signature": (raw()[:-1] + b"\0", "signature"),
    "non-ascii-in-the-signature": (raw()[:-1] + b"\xe9", "signature"),
    "trailing-bytes-after-the-header": (raw(json.dumps(HEADER).encode() + b"{}"), "header"),
    "trailing-bytes-after-the-payload": (raw(payload=PAYLOAD + b"x"), "payload"),
    "trailing-nul-after-the-payload": (raw(payload=PAYLOAD + b"\0"), "payload"),
    "duplicate-in-the-header": (raw(b'{"alg":"ES256","alg":"none"}'), "header"),
    "duplicate-spelt-with-an-escape": (raw(b'{"alg":"ES256","\\u0061lg":"none"}'), "header"),
    "duplicate-in-the-payload": (raw(payload=b'{"client_id":"a","client_id":"b"}'), "payload"),
    "duplicate-with-the-same-value": (raw(payload=b'{"exp":1,"exp":1}'), "payload"),
    "duplicate-nested-in-the-header": (raw(b'{"alg":"ES256","x":{"a":1,"a":2}}'), "header"),
    "duplicate-nested-in-the-payload": (raw(payload=b'{"x":[{"y":{"a":1,"a":2}}]}'), "payload"),
    "nan": (raw(payload=b'{"exp":NaN}'), "payload"),
    "infinity": (raw(payload=b'{"exp":Infinity}'), "payload"),
    "minus-infinity": (raw(payload=b'{"exp":-Infinity}'), "payload"),
    "an-integer-of-5000-digits": (raw(payload=b'{"exp":' + b"9" * 5000 + b"}"), "payload"),
    "objects-nested-2000-deep": (raw(payload=deep(2000)), "payload"),
    "arrays-nested-10000-deep": (raw(payload=b'{"a":' + b"[" * 10_000), "payload"),
    "header-nested-deep": (raw(b'{"alg":"ES256","a":' + deep(2000) + b"}"), "header"),
    "payload-an-array": (raw(payload=b"[]"), "payload"),
    "payload-a-string": (raw(payload=b'"orders"'), "payload"),
    "payload-null": (raw(payload=b"null"), "payload"),
    "header-an-array": (raw(b'["ES256"]'), "header"),
    "payload-no-json": (raw(payload=b"client_id=orders"), "payload"),
    "payload-with-single-quotes": (raw(payload=b"{'client_id':'orders'}"), "payload"),
    "payload-with-a-comment": (raw(payload=b'{"a":1/**/}'), "payload"),
    "payload-with-a-comma-at-the-end": (raw(payload=b'{"a":1,}'), "payload"),
    "control-character-in-a-string": (raw(payload=b'{"client_id":"a\nb"}'), "payload"),
    "not-utf-8": (raw(payload=b'{"client_id":"\xe9"}'), "payload"),
    "utf-8-of-a-surrogate": (raw(payload=b'{"client_id":"\xed\xa0\x80"}'), "payload"),
    "overlong-utf-8": (raw(payload=b'{"client_id":"\xc0\xae"}'), "payload"),
    "utf-16": (raw(payload='{"client_id":"orders"}'.encode("utf-16")), "payload"),
    "utf-16-without-a-mark": (raw(payload='{"client_id":"orders"}'.encode("utf-16-le")), "payload"),
    "byte-order-mark": (raw(payload=b"\xef\xbb\xbf" + PAYLOAD), "payload"),
    "header-with-a-byte-order-mark": (raw(b"\xef\xbb\xbf" + json.dumps(HEADER).encode()), "header"),
    "no-alg": (raw({"typ": "JWT"}), "no alg"),
    "alg-null": (with_header(alg=None), "no alg"),
    "alg-a-list": (with_header(alg=["ES256"]), "no alg"),
    "kid-a-number": (with_header(kid=1), "kid is not a string"),
    "kid-null": (with_header(kid=None), "kid is not a string"),
    "kid-a-list": (with_header(kid=["k"]), "kid is not a string"),
    "kid-an-object": (with_header(kid={"k": "k"}), "kid is not a string"),
    "typ-a-number": (with_header(typ=1), "typ is not a string"),
    "crit-unknown": (with_header(crit=["x"], x=1), "crit"),
    "crit-empty": (with_header(crit=[]), "crit"),
    "crit-null": (with_header(crit=None), "crit"),
    "crit-b64": (with_header(crit=["b64"], b64=False), "crit"),
}


@pytest.mark.parametrize(("token", "words"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_strict_jws_is_malformed_and_says_where(token: bytes, words: str) -> None:
    with refused(Reason.TOKEN_MALFORMED, words):
        parse(token)


def test_a_token_at_the_bound_is_read() -> None:
    token = raw(payload=PAYLOAD + b" " * 300)
    assert jws.parse(token, max_bytes=len(token)).alg == "ES256"
    with refused(Reason.TOKEN_MALFORMED, "longer"):
        jws.parse(token, max_bytes=len(token) - 1)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(b"eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d", id="by-its-parts"),
        pytest.param(raw() + b".e30.e30", id="whatever-the-parts-hold"),
        pytest.param(b"....", id="all-empty"),
    ],
)
def test_five_parts_are_named_as_encrypted(token: bytes) -> None:
    with refused(Reason.TOKEN_ENCRYPTED):
        parse(token)


def test_no_detail_quotes_the_token() -> None:
    canary = "canary7f3a"
    for payload in (canary, f'{{"{canary}":1,"{canary}":2}}', f'{{"a":"{canary}"'):
        with pytest.raises(Denied) as caught:
            parse(raw(payload=payload.encode()))
        assert canary not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    ("member", "check"),
    [
        ("alg", lambda parsed: jws.check_algorithm(parsed, ALL_ALGORITHMS)),
        ("kid", lambda parsed: jws.verify(parsed, public_key(MINT.current))),
        ("typ", lambda parsed: judge(parsed, EXPECTED, NOW)),
    ],
)
def test_a_lone_surrogate_in_the_header_reaches_a_log_escaped(
    member: str, check: Callable[[jws.Jws], None]
) -> None:
    """``\\ud800`` is legal JSON and cannot be encoded; what is said of it can."""
    with pytest.raises(Denied) as caught:
        check(parse(with_header(**{member: "\ud800"})))
    assert caught.value.detail.encode()


@pytest.mark.parametrize(
    "alg",
    ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "ES256K", "es256", "RS1", "RSA-OAEP", "dir"],
)
def test_an_algorithm_that_is_not_configured_is_refused(alg: str) -> None:
    with refused(Reason.ALGORITHM_NOT_ALLOWED):
        jws.check_algorithm(parse(with_header(alg=alg)), ALL_ALGORITHMS)


@pytest.mark.parametrize("alg", ["none", "HS256", "HS512", "ES256K"])
def test_a_configuration_cannot_turn_on_what_proves_nothing(alg: str) -> None:
    with refused(Reason.ALGORITHM_NOT_ALLOWED):
        jws.check_algorithm(parse(with_header(alg=alg)), frozenset({alg}))


def test_a_known_algorithm_that_is_not_configured_is_refused() -> None:
    with refused(Reason.ALGORITHM_NOT_ALLOWED, "RS256"):
        jws.check_algorithm(parse(with_header(alg="RS256")), frozenset({"ES256"}))


@pytest.mark.parametrize(
    "token",
    [MINT.mint_alg_none(), mint_of("RS256").mint_key_confused()],
    ids=["alg-none", "hs256-with-public-pem"],
)
def test_the_two_classic_forgeries_are_refused_by_their_algorithm(token: str) -> None:
    with refused(Reason.ALGORITHM_NOT_ALLOWED):
        jws.check_algorithm(parse(token), ALL_ALGORITHMS)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_accepts_its_own_signature_and_no_flipped_bit(alg: str) -> None:
    mint = mint_of(alg)
    key = public_key(mint.current)
    parsed = parse(mint.mint())
    jws.check_algorithm(parsed, frozenset({alg}))
    jws.verify(parsed, key)
    signature, message = bytearray(parsed.signature), bytearray(parsed.signing_input)
    for target in (signature, message):
        for position in (0, len(target) // 2, len(target) - 1):
            target[position] ^= 1
            altered = jws.Jws(alg, None, None, {}, {}, bytes(message), bytes(signature))
            with refused(Reason.SIGNATURE_INVALID):
                jws.verify(altered, key)
            target[position] ^= 1
    jws.verify(jws.Jws(alg, None, None, {}, {}, bytes(message), bytes(signature)), key)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_refuses_a_signature_of_another_length(alg: str) -> None:
    mint = mint_of(alg)
    parsed = parse(mint.mint())
    size = len(parsed.signature)
    for signature in (
        b"",
        b"\0" * size,
        parsed.signature[:-1],
        parsed.signature + b"\0",
        b"\0" + parsed.signature,
    ):
        with refused(Reason.SIGNATURE_INVALID):
            jws.verify(jws.Jws(alg, None, None, {}, {}, parsed.signing_input, signature), public_key(mint.current))


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_refuses_another_key_of_its_kind(alg: str) -> None:
    mint = mint_of(alg)
    other = mint.add_key(alg)
    with refused(Reason.SIGNATURE_INVALID):
        jws.verify(parse(mint.mint()), public_key(other))


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512"])
def test_an_ecdsa_signature_in_der_is_refused(alg: str) -> None:
    """RFC 7518 section 3.4: R and S beside each other, not ASN.1."""
    mint = mint_of(alg)
    parsed = parse(mint.mint())
    half = len(parsed.signature) // 2
    r, s = (int.from_bytes(parsed.signature[part]) for part in (slice(half), slice(half, None)))
    der = encode_dss_signature(r, s)
    token = parsed.signing_input + b"." + b64url(der).encode()
    with refused(Reason.SIGNATURE_INVALID):
        jws.verify(parse(token), public_key(mint.current))


@pytest.mark.parametrize(
    ("alg", "kind"),
    [
        ("ES256", "ES384"), ("ES384", "ES256"), ("ES512", "ES256"), ("ES256", "RS256"),
        ("RS256", "ES256"), ("PS256", "EdDSA"), ("EdDSA", "ES256"), ("RS256", "EdDSA"),
    ],
)  # fmt: skip
def test_a_key_of_another_kind_or_curve_is_a_refusal_and_no_crash(alg: str, kind: str) -> None:
    with refused(Reason.SIGNATURE_INVALID):
        jws.verify(parse(mint_of(alg).mint()), public_key(mint_of(kind).current))


@pytest.mark.parametrize(("alg", "said"), [("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS512")])
def test_a_signature_of_one_rsa_algorithm_is_none_of_another(alg: str, said: str) -> None:
    mint = mint_of(alg)
    with refused(Reason.SIGNATURE_INVALID):
        jws.verify(parse(mint.mint(header={"alg": said})), public_key(mint.current))


@pytest.mark.parametrize(
    ("token", "readable"),
    [
        (raw(), True),
        (raw() + b".e30.e30", False),
        (raw().rpartition(b".")[0], False),
        (b"2YotnFZFEjr1zCsicMWpAA", False),
        (b"a.b.c", False),
        (b"", False),
    ],
)
def test_a_token_is_meant_to_be_readable_by_its_parts_and_start(token: bytes, readable: bool) -> None:
    assert jws.looks_like_jwt(token) is readable


@given(st.binary(max_size=64))
@settings(deadline=None, max_examples=300)
def test_base64url_has_one_spelling(data: bytes) -> None:
    """What decodes, encodes to the very same characters again."""
    text = b64url(data).encode()
    assert jws.decode_base64url(text) == data
    for other in (b64encode(data), text + b"=", text + b"\n", b" " + text):
        if other != text:
            with pytest.raises(ValueError, match=r".*"):
                jws.decode_base64url(other)


@given(st.text("AQgwBRhx-_09", max_size=12))
@settings(deadline=None, max_examples=500)
def test_base64url_that_decodes_is_canonical(text: str) -> None:
    try:
        data = jws.decode_base64url(text.encode())
    except ValueError:
        return
    assert b64url(data) == text


PIECES = st.sampled_from([b".", b"eyJhbGciOiJFUzI1NiJ9", b"e30", b"ey", b"=", b"\n", b"\xff"]) | st.binary(
    max_size=30
)


@given(st.binary(max_size=300) | st.lists(PIECES, max_size=9).map(b"".join))
@settings(deadline=None, max_examples=500)
def test_arbitrary_bytes_are_parsed_or_denied(token: bytes) -> None:
    with refused_or_read():
        parse(token)


@given(st.binary(max_size=120), st.binary(max_size=120))
@settings(deadline=None, max_examples=300)
def test_arbitrary_header_and_payload_bytes_are_parsed_or_denied(header: bytes, payload: bytes) -> None:
    with refused_or_read():
        parse(raw(header))
    with refused_or_read():
        parse(raw(payload=payload))


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ('{"a":' + "[" * 63 + "]" * 63 + "}", True),
        ('{"a":' + "[" * 64 + "]" * 64 + "}", False),
        ('{"a":"' + "[" * 500 + '"}', True),
        ('{"a":"' + '\\"[' * 500 + '"}', True),
        ('{"a":[' + ",".join(["[]"] * 500) + "]}", True),
        ('{"' + "[" * 500, False),
    ],
    ids=["at the bound", "one beyond", "in a string", "behind escaped quotes", "side by side", "never closed"],
)
def test_json_is_read_to_a_depth_that_no_interpreter_decides(text: str, readable: bool) -> None:
    if readable:
        assert jws.read_json_object(text.encode())
    else:
        with pytest.raises(ValueError):  # noqa: PT011 - whichever is seen first
            jws.read_json_object(text.encode())
