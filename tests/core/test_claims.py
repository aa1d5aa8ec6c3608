"""A genuine token entitles exactly the client that its claims name, while they hold, for whom they are meant
(RFC 7519 section 4.1, RFC 8725 section 3, RFC 9068 section 4)."""

import dataclasses
from typing import Any

import pytest
from core_support import EXPECTED, ISSUER, NOW, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core.claims import Expectations, Principal, judge, screen
from validator.core.jws import Jws
from validator.errors import Denied
from validator.model import Reason
from validator.testing import ABSENT

LEEWAY = dataclasses.replace(EXPECTED, leeway_s=30.0)
LONG_LEEWAY = dataclasses.replace(EXPECTED, leeway_s=90.0)
EPSILON = 1e-3
GOOD = {
    "iss": ISSUER,
    "aud": "api://orders",
    "client_id": "orders",
    "iat": NOW - 60,
    "exp": NOW + 60,
    "jti": "t-1",
}


def token(typ: str | None = "JWT", /, **changes: Any) -> Jws:
    """A token whose signature has been found good."""
    payload = {name: value for name, value in {**GOOD, **changes}.items() if value is not ABSENT}
    return Jws("ES256", "k", typ, {}, payload, b"", b"")


def test_a_good_token_speaks_for_its_client() -> None:
    assert judge(token(), EXPECTED, NOW) == Principal("orders", NOW + 60, "t-1")


def test_a_token_without_a_jti_has_no_name() -> None:
    assert judge(token(jti=ABSENT), EXPECTED, NOW).token_id is None


REFUSED = {
    "no-iss": ({"iss": ABSENT}, Reason.ISSUER_MISMATCH),
    "iss-null": ({"iss": None}, Reason.ISSUER_MISMATCH),
    "iss-a-list": ({"iss": [ISSUER]}, Reason.ISSUER_MISMATCH),
    "iss-with-a-slash": ({"iss": ISSUER + "/"}, Reason.ISSUER_MISMATCH),
    "iss-in-upper-case": ({"iss": ISSUER.upper()}, Reason.ISSUER_MISMATCH),
    "iss-that-begins-alike": ({"iss": ISSUER + ".attacker.example"}, Reason.ISSUER_MISMATCH),
    "iss-with-a-lone-surrogate": ({"iss": "\ud800"}, Reason.ISSUER_MISMATCH),
    "no-exp": ({"exp": ABSENT}, Reason.CLAIM_MISSING),
    "exp-null": ({"exp": None}, Reason.TOKEN_MALFORMED),
    "exp-a-string": ({"exp": str(NOW + 60)}, Reason.TOKEN_MALFORMED),
    "exp-true": ({"exp": True}, Reason.TOKEN_MALFORMED),
    "exp-a-list": ({"exp": [NOW + 60]}, Reason.TOKEN_MALFORMED),
    "exp-in-milliseconds": ({"exp": (NOW + 60) * 1000}, Reason.TOKEN_MALFORMED),
    "exp-infinite": ({"exp": float("inf")}, Reason.TOKEN_MALFORMED),
    "exp-minus-infinite": ({"exp": float("-inf")}, Reason.TOKEN_MALFORMED),
    "exp-nan": ({"exp": float("nan")}, Reason.TOKEN_MALFORMED),
    "exp-beyond-any-float": ({"exp": 10**400}, Reason.TOKEN_MALFORMED),
    "exp-below-any-float": ({"exp": -(10**400)}, Reason.TOKEN_MALFORMED),
    "exp-zero": ({"exp": 0}, Reason.TOKEN_EXPIRED),
    "exp-negative": ({"exp": -1}, Reason.TOKEN_EXPIRED),
    "nbf-a-string": ({"nbf": "0"}, Reason.TOKEN_MALFORMED),
    "nbf-null": ({"nbf": None}, Reason.TOKEN_MALFORMED),
    "nbf-false": ({"nbf": False}, Reason.TOKEN_MALFORMED),
    "nbf-beyond-any-float": ({"nbf": 10**400}, Reason.TOKEN_MALFORMED),
    "iat-a-string": ({"iat": "0"}, Reason.TOKEN_MALFORMED),
    "iat-null": ({"iat": None}, Reason.TOKEN_MALFORMED),
    "iat-beyond-any-float": ({"iat": 10**400}, Reason.TOKEN_MALFORMED),
    "no-aud": ({"aud": ABSENT}, Reason.AUDIENCE_MISMATCH),
    "aud-null": ({"aud": None}, Reason.AUDIENCE_MISMATCH),
    "aud-another": ({"aud": "api://billing"}, Reason.AUDIENCE_MISMATCH),
    "aud-in-upper-case": ({"aud": "API://ORDERS"}, Reason.AUDIENCE_MISMATCH),
    "aud-that-begins-alike": ({"aud": "api://orders/x"}, Reason.AUDIENCE_MISMATCH),
    "aud-two-in-one-string": ({"aud": "api://orders api://billing"}, Reason.AUDIENCE_MISMATCH),
    "aud-others": ({"aud": ["a", "b"]}, Reason.AUDIENCE_MISMATCH),
    "aud-empty": ({"aud": ""}, Reason.AUDIENCE_MISMATCH),
    "aud-empty-list": ({"aud": []}, Reason.AUDIENCE_MISMATCH),
    "aud-a-number": ({"aud": 1}, Reason.TOKEN_MALFORMED),
    "aud-an-object": ({"aud": {"api://orders": 1}}, Reason.TOKEN_MALFORMED),
    "aud-with-a-number-in-it": ({"aud": ["api://orders", 1]}, Reason.TOKEN_MALFORMED),
    "aud-with-a-list-in-it": ({"aud": [["api://orders"]]}, Reason.TOKEN_MALFORMED),
    "no-client": ({"client_id": ABSENT}, Reason.CLAIM_MISSING),
    "client-null": ({"client_id": None}, Reason.CLAIM_MISSING),
    "client-empty": ({"client_id": ""}, Reason.CLAIM_MISSING),
    "client-a-list": ({"client_id": ["orders"]}, Reason.CLAIM_MISSING),
    "client-a-number": ({"client_id": 7}, Reason.CLAIM_MISSING),
    "client-zero": ({"client_id": 0}, Reason.CLAIM_MISSING),
    "client-false": ({"client_id": False}, Reason.CLAIM_MISSING),
    "client-an-object": ({"client_id": {"id": "orders"}}, Reason.CLAIM_MISSING),
    "client-of-257": ({"client_id": "c" * 257}, Reason.CLAIM_MISSING),
    "client-with-a-line-break": ({"client_id": "orders\r\nX-Admin: 1"}, Reason.CLAIM_MISSING),
    "client-with-a-nul": ({"client_id": "orders\0"}, Reason.CLAIM_MISSING),
    "client-with-a-lone-surrogate": ({"client_id": "orders\ud800"}, Reason.CLAIM_MISSING),
    "client-with-a-bidi-override": ({"client_id": "orders\u202e"}, Reason.CLAIM_MISSING),
    "jti-a-number": ({"jti": 1}, Reason.TOKEN_MALFORMED),
    "jti-a-list": ({"jti": ["t-1"]}, Reason.TOKEN_MALFORMED),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_each_wrong_claim_has_its_reason(changes: dict[str, Any], reason: Reason) -> None:
    with refused(reason):
        judge(token(**changes), EXPECTED, NOW)


@pytest.mark.parametrize("changes", [changes for changes, _ in REFUSED.values()], ids=REFUSED)
def test_what_an_operator_reads_of_a_refusal_can_be_written_down(changes: dict[str, Any]) -> None:
    with pytest.raises(Denied) as caught:
        judge(token(**changes), EXPECTED, NOW)
    assert caught.value.detail.encode()


def test_an_audience_of_many_lines_stays_one_line_in_the_log() -> None:
    with pytest.raises(Denied) as caught:
        judge(token(aud="a\nb\x1b[2J\ud800"), EXPECTED, NOW)
    assert caught.value.reason is Reason.AUDIENCE_MISMATCH
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    ("changes", "expected", "outcome"),
    [
        pytest.param({"exp": NOW + EPSILON}, EXPECTED, None, id="exp-a-moment-ahead"),
        pytest.param({"exp": NOW}, EXPECTED, Reason.TOKEN_EXPIRED, id="exp-now"),
        pytest.param({"exp": NOW - EPSILON}, EXPECTED, Reason.TOKEN_EXPIRED, id="exp-a-moment-ago"),
        pytest.param({"exp": NOW - 30 + EPSILON}, LEEWAY, None, id="exp-within-the-leeway"),
        pytest.param({"exp": NOW - 30}, LEEWAY, Reason.TOKEN_EXPIRED, id="exp-at-the-leeway"),
        pytest.param({"nbf": NOW}, EXPECTED, None, id="nbf-now"),
        pytest.param({"nbf": NOW + EPSILON}, EXPECTED, Reason.TOKEN_NOT_YET_VALID, id="nbf-a-moment-ahead"),
        pytest.param({"nbf": NOW + 30}, LEEWAY, None, id="nbf-at-the-leeway"),
        pytest.param({"nbf": NOW + 30 + EPSILON}, LEEWAY, Reason.TOKEN_NOT_YET_VALID, id="nbf-beyond-the-leeway"),
        pytest.param({"iat": NOW + 60}, EXPECTED, None, id="iat-a-minute-ahead"),
        pytest.param({"iat": NOW + 60 + EPSILON}, EXPECTED, Reason.TOKEN_NOT_YET_VALID, id="iat-beyond-a-minute"),
        pytest.param({"iat": NOW + 60 + EPSILON}, LEEWAY, Reason.TOKEN_NOT_YET_VALID, id="iat-small-leeway"),
        pytest.param({"iat": NOW + 90}, LONG_LEEWAY, None, id="iat-at-a-longer-leeway"),
        pytest.param({"iat": NOW + 90 + EPSILON}, LONG_LEEWAY, Reason.TOKEN_NOT_YET_VALID, id="iat-beyond-it"),
        pytest.param({"iat": ABSENT, "nbf": ABSENT}, EXPECTED, None, id="neither-is-required"),
        pytest.param({"iat": 0, "nbf": 0.5}, EXPECTED, None, id="long-ago"),
        pytest.param({"exp": 1e11}, EXPECTED, None, id="exp-at-the-last-second-that-counts"),
        pytest.param({"exp": 1e11 + 1}, EXPECTED, Reason.TOKEN_MALFORMED, id="exp-one-beyond"),
    ],
)
def test_times_are_judged_to_the_moment(
    changes: dict[str, Any], expected: Expectations, outcome: Reason | None
) -> None:
    if outcome is None:
        assert judge(token(**changes), expected, NOW).client_id == "orders"
    else:
        with refused(outcome):
            judge(token(**changes), expected, NOW)


def test_the_leeway_is_part_of_how_long_a_token_is_believed() -> None:
    """The proof ends at the very moment from which a fresh judgement refuses."""
    ends = judge(token(), LEEWAY, NOW).expires_at
    assert ends == NOW + 60 + 30
    judge(token(), LEEWAY, ends - EPSILON)
    with refused(Reason.TOKEN_EXPIRED):
        judge(token(), LEEWAY, ends)


@pytest.mark.parametrize(
    ("changes", "expected", "wait_s"),
    [({"nbf": NOW + 5}, EXPECTED, 5), ({"nbf": NOW + 35}, LEEWAY, 5), ({"iat": NOW + 65}, EXPECTED, 5)],
)
def test_who_comes_too_early_is_told_how_long_to_wait(
    changes: dict[str, Any], expected: Expectations, wait_s: float
) -> None:
    with pytest.raises(Denied) as caught:
        judge(token(**changes), expected, NOW)
    assert caught.value.retry_after_s == wait_s
    assert judge(token(**{**changes, "exp": NOW + 999}), expected, NOW + wait_s)


@pytest.mark.parametrize("aud", ["api://orders", ["api://orders"], ["api://billing", "api://orders"]])
def test_one_audience_of_ours_is_enough(aud: object) -> None:
    assert judge(token(aud=aud), EXPECTED, NOW)


def test_any_of_the_configured_audiences_will_do() -> None:
    several = dataclasses.replace(EXPECTED, audiences=frozenset({"a", "api://orders"}))
    assert judge(token(), several, NOW)
    assert judge(token(aud="a"), several, NOW)


@pytest.mark.parametrize("aud", [ABSENT, "anything", ["a", "b"]])
def test_without_configured_audiences_any_will_do(aud: object) -> None:
    assert judge(token(aud=aud), dataclasses.replace(EXPECTED, audiences=frozenset()), NOW)


def test_without_configured_audiences_a_broken_one_is_still_refused() -> None:
    with refused(Reason.TOKEN_MALFORMED):
        judge(token(aud=1), dataclasses.replace(EXPECTED, audiences=frozenset()), NOW)


@pytest.mark.parametrize(
    ("typ", "types", "accepted"),
    [
        (None, {"jwt"}, True),
        ("", {"jwt"}, True),
        ("JWT", {"jwt"}, True),
        ("jwt", {"jwt"}, True),
        ("application/jwt", {"jwt"}, True),
        ("at+jwt", {"at+jwt"}, True),
        ("AT+JWT", {"at+jwt"}, True),
        ("application/at+jwt", {"at+jwt"}, True),
        ("APPLICATION/AT+JWT", {"at+jwt"}, True),
        ("at+jwt", {"jwt"}, False),
        (None, {"at+jwt"}, False),
        ("", {"at+jwt"}, False),
        ("JWT", {"at+jwt"}, False),
        ("application/application/at+jwt", {"at+jwt"}, False),
        ("at+jwt ", {"at+jwt"}, False),
        ("dpop+jwt", {"jwt", "at+jwt"}, False),
        ("logout+jwt", {"jwt", "at+jwt"}, False),
        ("secevent+jwt", {"jwt", "at+jwt"}, False),
        ("token-introspection+jwt", {"jwt", "at+jwt"}, False),
        ("JOSE", {"jwt", "at+jwt"}, False),
    ],
)
def test_the_type_is_one_of_the_accepted(typ: str | None, types: set[str], accepted: bool) -> None:
    expected = dataclasses.replace(EXPECTED, token_types=frozenset(types))
    if accepted:
        assert judge(token(typ), expected, NOW)
    else:
        with refused(Reason.TOKEN_TYPE_WRONG):
            judge(token(typ), expected, NOW)


AZP = {"client_id": ABSENT, "azp": "orders"}


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        pytest.param({"at_hash": "x"}, False, id="at-hash"),
        pytest.param({"c_hash": "x"}, False, id="c-hash"),
        pytest.param({"s_hash": None}, False, id="s-hash-even-null"),
        pytest.param({"nonce": "n"}, False, id="nonce"),
        pytest.param({"nonce": "n", "typ": "ID"}, False, id="keycloak-id-token"),
        pytest.param({"nonce": "n", "typ": "Bearer"}, True, id="keycloak-access-token-with-nonce"),
        pytest.param({"typ": "Bearer"}, True, id="keycloak-access-token"),
        pytest.param({**AZP, "typ": "Bearer", "acr": "1"}, True, id="keycloak-access-token-without-scopes"),
        pytest.param({"typ": "ID"}, False, id="keycloak-by-its-own-word"),
        pytest.param({"typ": "Refresh"}, False, id="keycloak-refresh-token"),
        pytest.param({"typ": "Offline"}, False, id="keycloak-offline-token"),
        pytest.param({"typ": "Logout"}, False, id="keycloak-logout-token"),
        pytest.param({"typ": ["ID"]}, True, id="a-list-is-nobody's-word"),
        pytest.param({"token_use": "id"}, False, id="cognito-id-token"),
        pytest.param({"token_use": "access"}, True, id="cognito-access-token"),
        pytest.param({"purpose": "id"}, False, id="curity-id-token"),
        pytest.param({"purpose": "access_token"}, True, id="curity-access-token"),
        pytest.param({**AZP, "aud": "orders"}, False, id="for-the-client-itself"),
        pytest.param({**AZP, "aud": ["orders"]}, False, id="for-the-client-itself-in-a-list"),
        pytest.param({**AZP, "aud": ["orders", "api://orders"]}, True, id="for-the-client-among-others"),
        pytest.param({**AZP, "aud": "orders", "scp": "read"}, True, id="for-the-client-itself-with-scopes"),
        pytest.param({**AZP, "aud": "orders", "scope": "read"}, True, id="same-in-the-other-claim"),
        pytest.param({**AZP, "aud": ["orders", "b"]}, False, id="for-the-client-and-somebody-else"),
        pytest.param({**AZP, "aud": "orders", "azpacr": "1"}, True, id="entra-for-the-client-itself"),
        pytest.param({**AZP, "aud": ["api://orders"]}, True, id="without-scopes-for-an-api"),
        pytest.param({**AZP, "email": "a@b.example"}, False, id="an-email-and-no-scopes"),
        pytest.param({**AZP, "auth_time": 1}, False, id="a-login-and-no-scopes"),
        pytest.param({**AZP, "amr": ["pwd"], "scp": "read"}, True, id="a-login-and-scopes"),
        pytest.param({"aud": "orders", "email": "a@b.example"}, True, id="named-by-client-id"),
    ],
)
@pytest.mark.parametrize("typ", ["JWT", None])
def test_an_id_token_is_never_an_access_token(typ: str | None, changes: dict[str, Any], accepted: bool) -> None:
    expected = dataclasses.replace(EXPECTED, audiences=frozenset({"orders", "api://orders"}))
    if accepted:
        assert judge(token(typ, **changes), expected, NOW).client_id == "orders"
    else:
        with refused(Reason.TOKEN_TYPE_WRONG, "an ID token"):
            judge(token(typ, **changes), expected, NOW)


def test_a_token_that_says_at_jwt_in_its_signed_header_is_an_access_token() -> None:
    assert judge(token("application/at+jwt", nonce="n", at_hash="x"), EXPECTED, NOW)


@pytest.mark.parametrize("typ", ["JWT", "at+jwt"])
@pytest.mark.parametrize("cnf", [{"jkt": "x"}, {"x5t#S256": "x"}, {"\n\ud800": 1}, {}, [], "x", 0, False])
def test_a_token_that_is_bound_to_a_key_is_no_bearer_token(typ: str, cnf: object) -> None:
    """RFC 7800, RFC 8705 section 3, RFC 9449 section 7.2: nobody has shown us that key."""
    with pytest.raises(Denied) as caught:
        judge(token(typ, cnf=cnf), EXPECTED, NOW)
    assert caught.value.reason is Reason.TOKEN_TYPE_WRONG
    assert caught.value.detail.isprintable()


NESTED = (("ctx", "app_id"), ("azp",), ("sub",))


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        pytest.param({"ctx": {"app_id": "a"}}, "a", id="nested"),
        pytest.param({"ctx": {"app_id": "a"}, "azp": "b", "sub": "c"}, "a", id="the-first-decides"),
        pytest.param({"azp": "b", "sub": "c"}, "b", id="the-second-where-the-first-is-absent"),
        pytest.param({"ctx": {"app_id": None}, "azp": "b"}, "b", id="null-is-absent"),
        pytest.param({"ctx": {}, "azp": "b"}, "b", id="an-empty-object"),
        pytest.param({"ctx": "app_id", "azp": "b"}, "b", id="no-object-on-the-way"),
        pytest.param({"ctx": [{"app_id": "a"}], "azp": "b"}, "b", id="a-list-on-the-way"),
        pytest.param({"ctx": None, "azp": "b"}, "b", id="null-on-the-way"),
        pytest.param({"ctx.app_id": "a", "azp": "b"}, "b", id="a-dot-in-the-name-is-no-path"),
        pytest.param({"ctx": {"app_id": ""}, "azp": "b"}, None, id="an-empty-first-decides"),
        pytest.param({"ctx": {"app_id": 7}, "azp": "b"}, None, id="a-number-first-decides"),
        pytest.param({"ctx": {"app_id": ["a"]}, "azp": "b"}, None, id="a-list-first-decides"),
        pytest.param({"ctx": {"app_id": {"a": 1}}, "azp": "b"}, None, id="an-object-first-decides"),
        pytest.param({"ctx": {"app_id": False}, "azp": "b"}, None, id="false-first-decides"),
        pytest.param({}, None, id="none"),
        pytest.param({"ctx": {"app_id": "a" * 256}}, "a" * 256, id="of-the-greatest-length"),
        pytest.param({"ctx": {"app_id": "ünïcode 密"}}, "ünïcode 密", id="unicode"),
    ],
)
def test_the_first_path_that_is_there_names_the_client(claims: dict[str, Any], outcome: str | None) -> None:
    expected = dataclasses.replace(EXPECTED, client_claims=NESTED)
    if outcome is None:
        with refused(Reason.CLAIM_MISSING):
            judge(token(**claims), expected, NOW)
    else:
        assert judge(token(**claims), expected, NOW).client_id == outcome


@pytest.mark.parametrize(
    ("claims", "accepted"),
    [
        ({"scope": "read write"}, True),
        ({"scope": "write  read\textra"}, True),
        ({"scp": ["read", "write"]}, True),
        ({"scp": "read write"}, True),
        ({"scope": ["read", "write", 7, None]}, True),
        ({}, False),
        ({"scope": ""}, False),
        ({"scope": "read"}, False),
        ({"scope": "READ WRITE"}, False),
        ({"scope": "read,write"}, False),
        ({"scope": "readwrite"}, False),
        ({"scp": ["read write"]}, False),
        ({"scope": {"read": 1, "write": 1}}, False),
        ({"scope": 1}, False),
        ({"scope": "read", "scp": "write"}, False),
        ({"scope": None, "scp": ["read", "write"]}, True),
    ],
)
def test_every_required_scope_is_there_in_one_claim(claims: dict[str, Any], accepted: bool) -> None:
    expected = dataclasses.replace(EXPECTED, required_scopes=frozenset({"read", "write"}))
    if accepted:
        assert judge(token(**claims), expected, NOW)
    else:
        with refused(Reason.SCOPE_MISSING):
            judge(token(**claims), expected, NOW)


@pytest.mark.parametrize("name", ["iss", "exp"])
def test_the_screen_refuses_before_any_key_what_the_judge_would_refuse(name: str) -> None:
    for row, (changes, reason) in REFUSED.items():
        if row.startswith((f"no-{name}", f"{name}-")):
            with refused(reason):
                screen(token(**changes).payload, EXPECTED, NOW)


def test_the_screen_passes_what_only_the_judge_may_refuse() -> None:
    screen(token(aud="other", client_id=ABSENT, nbf=NOW + 99).payload, EXPECTED, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CLAIMS = ("iss", "exp", "nbf", "iat", "aud", "client_id", "azp", "jti", "typ", "scope", "nonce")


@given(st.dictionaries(st.sampled_from(CLAIMS), JSON | st.integers(10**300, 10**400), max_size=4))
@settings(deadline=None, max_examples=500)
def test_whatever_the_claims_are_the_outcome_is_their_client_or_a_denial(changes: dict[str, Any]) -> None:
    expected = dataclasses.replace(EXPECTED, required_scopes=frozenset({"read"}))
    judging = token(**{"scope": "read", **changes})
    try:
        found = judge(judging, expected, NOW)
    except Denied:
        return
    assert found.client_id in (judging.payload.get("client_id"), judging.payload.get("azp"))
    assert found.expires_at > NOW
