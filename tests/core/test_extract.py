"""Out of the headers comes exactly one credential, taken literally, or a refusal that says what is wrong with it
(RFC 6750 section 2.1, RFC 7617 section 2, RFC 6265 section 5.4)."""

import base64

import pytest
from core_support import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core.extract import MAX_CLIENT_ID_CHARS, MAX_COOKIE_BYTES, extract, session_cookie
from validator.errors import Denied
from validator.model import BearerToken, ClientCredentials, Credential, Reason, SessionCookie

MAX = 2000  # above what a client id of the greatest length takes in base64
NAME = b"__Host-session"


def of(authorization: bytes | None, session: bytes | None = None) -> Credential:
    return extract(authorization, session, max_token_bytes=MAX)


def basic(pair: str | bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair.encode() if isinstance(pair, str) else pair)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        pytest.param(b"Bearer abc.def.ghi", b"abc.def.ghi", id="as-written-in-the-rfc"),
        pytest.param(b"bearer abc", b"abc", id="lower-case"),
        pytest.param(b"BEARER abc", b"abc", id="upper-case"),
        pytest.param(b"bEaReR abc", b"abc", id="mixed-case"),
        pytest.param(b"Bearer    abc", b"abc", id="several-spaces"),
        pytest.param(b" \tBearer abc\t ", b"abc", id="white-space-around"),
        pytest.param(b"Bearer Bearer", b"Bearer", id="a-token-called-bearer"),
        pytest.param(b"Bearer " + b"t" * MAX, b"t" * MAX, id="at-the-bound"),
    ],
)
def test_a_bearer_token_is_what_follows_the_scheme(header: bytes, token: bytes) -> None:
    assert of(header) == BearerToken(token)


SECRETS = {
    "plain": "s3cret",
    "colon": "a:b:c",
    "only-colons": "::",
    "percent": "100%",
    "percent-encoded-is-literal": "a%3Ab%2B",
    "plus": "a+b",
    "slash-and-equals": "a/b==",
    "utf-8": "pässwörd-密-🔑",
    "space-inside": "two words",
    "quotes": "a\"b'c\\",
}


@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC", b"bAsIc"])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_basic_pair_is_taken_literally_from_base64(secret: str, scheme: bytes) -> None:
    header = scheme + b" " + base64.b64encode(f"orders:{secret}".encode())
    assert of(header) == ClientCredentials("orders", secret)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_basic_pair_may_come_without_base64(secret: str) -> None:
    """As Konnect's documents print it: ``Basic CLIENT_ID:CLIENT_SECRET``."""
    assert of(b"Basic " + f"orders:{secret}".encode()) == ClientCredentials("orders", secret)


def test_a_pair_that_would_also_be_base64_text_is_told_apart_by_its_colon() -> None:
    """``b3JkZXJzOnM=`` is base64 of a pair; with a colon in it, it is an id and a secret."""
    assert of(b"Basic b3JkZXJzOnM=") == ClientCredentials("orders", "s")
    assert of(b"Basic b3JkZXJz:OnM=") == ClientCredentials("b3JkZXJz", "OnM=")


REFUSED = {
    "nothing-at-all": (b"", Reason.MALFORMED_CREDENTIAL, "empty"),
    "white-space": (b" \t ", Reason.MALFORMED_CREDENTIAL, "empty"),
    "bearer-alone": (b"Bearer", Reason.MALFORMED_CREDENTIAL, "nothing follows Bearer"),
    "bearer-and-spaces": (b"Bearer   ", Reason.MALFORMED_CREDENTIAL, "nothing follows Bearer"),
    "two-words-after-bearer": (b"Bearer a b", Reason.MALFORMED_CREDENTIAL, "more than one word"),
    "a-tab-inside-a-token": (b"Bearer a\tb", Reason.MALFORMED_CREDENTIAL, "more than one word"),
    "two-bearers-in-one": (b"Bearer a, Bearer b", Reason.MALFORMED_CREDENTIAL, "more than one word"),
    "token-beyond-the-bound": (b"Bearer " + b"t" * (MAX + 1), Reason.TOKEN_MALFORMED, f"longer than {MAX}"),
    "basic-alone": (b"Basic", Reason.MALFORMED_CREDENTIAL, "nothing follows Basic"),
    "basic-beyond-the-bound": (b"Basic a:" + b"t" * (MAX - 1), Reason.MALFORMED_CREDENTIAL, "longer than"),
    "neither-base64-nor-pair": (b"Basic !!!", Reason.MALFORMED_CREDENTIAL, "neither base64"),
    "base64-unpadded": (b"Basic b3JkZXJzOnM", Reason.MALFORMED_CREDENTIAL, "neither base64"),
    "base64-padded-too-much": (b"Basic b3JkZXJzOnM==", Reason.MALFORMED_CREDENTIAL, "neither base64"),
    "base64-then-more": (b"Basic b3JkZXJzOnM=b3Jk", Reason.MALFORMED_CREDENTIAL, "neither base64"),
    "base64-broken-by-a-space": (b"Basic b3Jk ZXJzOnM=", Reason.MALFORMED_CREDENTIAL, "neither base64"),
    "no-colon-in-the-pair": (basic("orders"), Reason.MALFORMED_CREDENTIAL, "no colon"),
    "empty-id": (basic(":secret"), Reason.MALFORMED_CREDENTIAL, "empty"),
    "empty-secret": (basic("orders:"), Reason.MALFORMED_CREDENTIAL, "empty"),
    "empty-both": (basic(":"), Reason.MALFORMED_CREDENTIAL, "empty"),
    "un-encoded-empty-id": (b"Basic :secret", Reason.MALFORMED_CREDENTIAL, "empty"),
    "un-encoded-empty-secret": (b"Basic orders:", Reason.MALFORMED_CREDENTIAL, "empty"),
    "not-utf-8": (basic(b"orders:\xe9"), Reason.MALFORMED_CREDENTIAL, "not UTF-8"),
    "un-encoded-not-utf-8": (b"Basic orders:\xff", Reason.MALFORMED_CREDENTIAL, "not UTF-8"),
    "surrogate-in-utf-8": (basic(b"orders:\xed\xa0\x80"), Reason.MALFORMED_CREDENTIAL, "not UTF-8"),
    "line-break-in-the-secret": (basic("orders:a\nb"), Reason.MALFORMED_CREDENTIAL, "control"),
    "nul-in-the-secret": (basic("orders:a\0b"), Reason.MALFORMED_CREDENTIAL, "control"),
    "delete-in-the-secret": (basic("orders:a\x7fb"), Reason.MALFORMED_CREDENTIAL, "control"),
    "line-break-in-the-id": (basic("or\r\nders:s"), Reason.MALFORMED_CREDENTIAL, "control"),
    "next-line-in-the-id": (basic("or\x85ders:s"), Reason.MALFORMED_CREDENTIAL, "control"),
    "right-to-left-mark-in-the-id": (basic("or\u202eders:s"), Reason.MALFORMED_CREDENTIAL, "control"),
    "id-too-long": (basic("i" * (MAX_CLIENT_ID_CHARS + 1) + ":s"), Reason.MALFORMED_CREDENTIAL, "256"),
    "digest": (b'Digest username="a"', Reason.METHOD_NOT_ENABLED, "neither Bearer nor Basic"),
    "negotiate": (b"Negotiate YII", Reason.METHOD_NOT_ENABLED, "neither Bearer nor Basic"),
    "dpop": (b"DPoP abc", Reason.METHOD_NOT_ENABLED, "neither Bearer nor Basic"),
    "bare-token": (b"eyJhbGciOiJSUzI1NiJ9.e30.c2ln", Reason.METHOD_NOT_ENABLED, "neither"),
    "bearer-with-a-colon": (b"Bearer: abc", Reason.METHOD_NOT_ENABLED, "neither"),
    "bearer-glued-to-its-token": (b"Bearerabc", Reason.METHOD_NOT_ENABLED, "neither"),
    "bearer-and-a-tab": (b"Bearer\tabc", Reason.METHOD_NOT_ENABLED, "neither"),
    "non-ascii-look-alike": ("\u0412earer abc".encode(), Reason.METHOD_NOT_ENABLED, "neither"),
}


@pytest.mark.parametrize(("header", "reason", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_credential_is_refused_with_its_own_reason(header: bytes, reason: Reason, words: str) -> None:
    with refused(reason, words):
        of(header)


def test_a_client_id_of_the_greatest_length_passes() -> None:
    longest = "i" * MAX_CLIENT_ID_CHARS
    assert of(basic(f"{longest}:s")) == ClientCredentials(longest, "s")


def test_a_basic_credential_at_the_bound_passes() -> None:
    assert of(b"Basic a:" + b"t" * (MAX - 2)) == ClientCredentials("a", "t" * (MAX - 2))


@pytest.mark.parametrize(
    ("authorization", "session", "credential"),
    [
        pytest.param(b"Bearer abc", b"sealed", BearerToken(b"abc"), id="bearer-before-cookie"),
        pytest.param(basic("a:b"), b"sealed", ClientCredentials("a", "b"), id="basic-before-cookie"),
        pytest.param(None, b"sealed", SessionCookie(b"sealed"), id="cookie-alone"),
        pytest.param(None, b"s" * MAX_COOKIE_BYTES, SessionCookie(b"s" * MAX_COOKIE_BYTES), id="cookie-at-bound"),
    ],
)
def test_authorization_wins_over_the_cookie(
    authorization: bytes | None, session: bytes | None, credential: Credential
) -> None:
    assert of(authorization, session) == credential


@pytest.mark.parametrize(
    ("authorization", "session", "reason"),
    [
        pytest.param(None, None, Reason.NO_CREDENTIAL, id="nothing"),
        pytest.param(None, b"", Reason.NO_CREDENTIAL, id="empty-cookie"),
        pytest.param(None, b"s" * (MAX_COOKIE_BYTES + 1), Reason.SESSION_INVALID, id="cookie-beyond-bound"),
        pytest.param(b"", b"sealed", Reason.MALFORMED_CREDENTIAL, id="an-empty-authorization-still-wins"),
        pytest.param(b"Digest a", b"sealed", Reason.METHOD_NOT_ENABLED, id="an-unknown-scheme-still-wins"),
        pytest.param(b"Bearer a b", b"sealed", Reason.MALFORMED_CREDENTIAL, id="a-broken-token-still-wins"),
    ],
)
def test_a_refused_authorization_never_falls_back_to_the_cookie(
    authorization: bytes | None, session: bytes | None, reason: Reason
) -> None:
    with refused(reason):
        of(authorization, session)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        pytest.param(b"__Host-session=v", b"v", id="alone"),
        pytest.param(b"  __Host-session=v\t", b"v", id="white-space-around"),
        pytest.param(b"a=b; __Host-session=v; c=d", b"v", id="in-the-middle"),
        pytest.param(b"a=b;__Host-session=v", b"v", id="no-space-after-the-semicolon"),
        pytest.param(b"__Host-session=v;", b"v", id="semicolon-at-the-end"),
        pytest.param(b"__Host-session=a=b==", b"a=b==", id="equals-in-the-value"),
        pytest.param(b"__Host-session=", b"", id="empty"),
        pytest.param(b"x__Host-session=v", None, id="our-name-at-another-name's-end"),
        pytest.param(b"a=b; x__Host-session=v", None, id="the-same-among-others"),
        pytest.param(b"__Host-session2=v", None, id="our-name-at-another-name's-start"),
        pytest.param(b"__Host-session2=v; __Host-session=w", b"w", id="beside-a-longer-name"),
        pytest.param(b"a=__Host-session=v", None, id="our-name-in-another-value"),
        pytest.param(b"a=b&__Host-session=v", None, id="ampersand-separates-nothing"),
        pytest.param(b"__host-session=v", None, id="names-are-compared-with-case"),
        pytest.param(b"__Host-session", None, id="no-equals"),
        pytest.param(b"", None, id="empty-header"),
        pytest.param(b";;; ;", None, id="nothing-but-separators"),
        pytest.param(b"a=\xff\xfe; __Host-session=v", b"v", id="rubbish-beside-it"),
    ],
)
def test_the_session_cookie_is_found_by_its_whole_name(header: bytes, value: bytes | None) -> None:
    assert session_cookie(header, NAME) == value


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"__Host-session=v; __Host-session=w", id="two-values"),
        pytest.param(b"__Host-session=v; __Host-session=v", id="the-same-value-twice"),
        pytest.param(b"__Host-session=; a=b; __Host-session=w", id="one-of-them-empty"),
    ],
)
def test_two_session_cookies_are_two_credentials(header: bytes) -> None:
    with refused(Reason.MULTIPLE_CREDENTIALS):
        session_cookie(header, NAME)


def test_no_refusal_and_no_repr_shows_the_secret() -> None:
    canary = "canary-7f3a"
    credentials = (of(b"Bearer " + canary.encode()), of(basic(f"orders:{canary}")), of(None, canary.encode()))
    assert all(canary not in repr(credential) for credential in credentials)
    for header in (f"Bearer {canary} x", f"Basic {canary}", f"Digest {canary}", f"{canary} x", f"Basic :{canary}"):
        with pytest.raises(Denied) as caught:
            of(header.encode())
        assert canary not in f"{caught.value} {caught.value!r} {caught.value.detail}"


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([b"", b"Bearer ", b"Basic ", b"bearer\t", b"Basic  "]),
    st.binary(max_size=200),
    st.none() | st.binary(max_size=50),
)
def test_whatever_arrives_is_a_credential_or_a_denial(scheme: bytes, rest: bytes, session: bytes | None) -> None:
    try:
        credential = of(scheme + rest, session)
    except Denied:
        return
    assert not isinstance(credential, SessionCookie)
    if isinstance(credential, ClientCredentials):
        assert credential.client_id
        assert credential.client_secret
        assert ":" not in credential.client_id
    else:
        assert credential.token in rest


@settings(deadline=None, max_examples=300)
@given(
    st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters=":"), min_size=1, max_size=40),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=80),
)
def test_every_pair_survives_base64(client_id: str, secret: str) -> None:
    assert of(basic(f"{client_id}:{secret}")) == ClientCredentials(client_id, secret)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=20).filter(lambda b: b";" not in b and not b.strip(b" \t").startswith(NAME))))
def test_other_cookies_change_nothing(others: list[bytes]) -> None:
    assert session_cookie(b"; ".join([*others, NAME + b"=v"]), NAME) == b"v"
    assert session_cookie(b";".join([NAME + b"=v", *others]), NAME) == b"v"
