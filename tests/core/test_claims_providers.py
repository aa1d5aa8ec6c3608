"""What one provider's tokens must say beyond what all must: `sub` is an application's only in an application's
token, and a token is of the kind that its issuer says it is."""

import dataclasses
import json
from typing import Any

import pytest
from core_support import EXPECTED, ISSUER, NOW, keys_of, mint_of, refused

from validator.core import jwks
from validator.core.claims import Expectations, judge, judge_introspected
from validator.core.jws import Jws
from validator.model import Reason
from validator.testing import ABSENT

BY_SUBJECT = dataclasses.replace(EXPECTED, client_claims=(("sub",), ("client_id",)), user_scopes=False)
CURITY = dataclasses.replace(
    BY_SUBJECT,
    audiences=frozenset(),
    required_claims={"purpose": "access_token"},
    usual_claims={"purpose": "access_token"},
    people=True,
)
GOOD = {"iss": ISSUER, "aud": "api://orders", "sub": "orders", "iat": NOW - 60, "exp": NOW + 60}


def claims(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not ABSENT}


def client(expected: Expectations, **changes: Any) -> str:
    return judge(Jws("RS256", "k", "JWT", {}, claims(**changes), b"", b""), expected, NOW).client_id


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"client_id": "orders"},
        {"azp": "orders"},
        {"scope": "orders:read"},
        {"scope": ""},
        {"gty": "client-credentials"},
        {"grant_type": "client_credentials"},
    ],
    ids=repr,
)
def test_the_subject_of_an_applications_token_is_the_application(changes: dict[str, Any]) -> None:
    assert client(BY_SUBJECT, **changes) == "orders"


USERS = [
    {"client_id": "app"},
    {"azp": "app"},
    {"auth_time": NOW - 100},
    {"acr": "1"},
    {"amr": ["pwd"]},
    {"email": "o@example.com"},
    {"name": "O"},
    {"preferred_username": "orders"},
    {"nonce": "n"},
    {"scope": "openid profile"},
    {"scp": ["openid"]},
    {"cid": "app"},
    {"appid": "app"},
    {"uid": "00u1"},
    {"user_name": "orders"},
    {"username": "orders"},
    {"upn": "orders@example.com"},
    {"gty": "password"},
    {"grant_type": "authorization_code"},
    {"client_id": ["orders"]},
]


@pytest.mark.parametrize("changes", USERS, ids=repr)
def test_the_subject_of_a_users_token_is_the_user_even_under_an_applications_name(changes: dict[str, Any]) -> None:
    with refused(Reason.TOKEN_TYPE_WRONG):
        client(BY_SUBJECT, **changes)
    with refused(Reason.TOKEN_TYPE_WRONG):
        judge_introspected(claims(active=True, **changes), BY_SUBJECT, NOW)


def test_openid_marks_a_user_only_where_client_credentials_cannot_have_it() -> None:
    assert client(dataclasses.replace(BY_SUBJECT, user_scopes=True), scope="openid") == "orders"


@pytest.mark.parametrize("aud", ["orders", ["orders"], ["x", "orders"], ABSENT])
def test_a_token_that_was_asked_for_no_api_is_for_its_own_client(aud: object) -> None:
    assert client(CURITY, aud=aud, purpose="access_token") == "orders"


@pytest.mark.parametrize("aud", ["demo-client", ["demo-client"], []])
def test_a_subject_beside_another_client_is_a_user(aud: object) -> None:
    with refused(Reason.TOKEN_TYPE_WRONG, "aud", "configure audience"):
        client(CURITY, aud=aud, purpose="access_token")


def test_a_configured_audience_is_an_api_and_tells_nothing_of_the_subject() -> None:
    assert client(dataclasses.replace(CURITY, audiences=EXPECTED.audiences), purpose="access_token") == "orders"


@pytest.mark.parametrize(
    ("purpose", "reason"),
    [
        (ABSENT, Reason.CLAIM_MISSING),
        (None, Reason.CLAIM_MISSING),
        ("id", Reason.TOKEN_TYPE_WRONG),
        ("refresh_token", Reason.TOKEN_TYPE_WRONG),
        (["access_token"], Reason.TOKEN_TYPE_WRONG),
        ("ACCESS_TOKEN", Reason.TOKEN_TYPE_WRONG),
    ],
    ids=repr,
)
def test_a_token_is_what_it_says_it_is(purpose: object, reason: Reason) -> None:
    with refused(reason, "purpose"):
        client(CURITY, aud="orders", purpose=purpose)


def test_an_introspected_token_need_not_repeat_its_purpose_but_may_not_contradict_it() -> None:
    introspected = dataclasses.replace(CURITY, required_claims={})
    assert judge_introspected(claims(aud="orders"), introspected, NOW).client_id == "orders"
    with refused(Reason.TOKEN_TYPE_WRONG):
        judge_introspected(claims(aud="orders", purpose="id"), introspected, NOW)


@pytest.mark.parametrize("aud", [None, ABSENT])
def test_a_token_for_nobody_in_particular_breaks_nothing(aud: object) -> None:
    assert client(CURITY, aud=aud, purpose="access_token") == "orders"


# Other kinds of token that the same issuer signs

OTHERS = [
    {"typ": "Refresh"},
    {"typ": "refresh"},
    {"typ": "Offline"},
    {"typ": "ID"},
    {"typ": "logout+jwt"},
    {"token_type": "refresh_token"},
    {"token_type": "refresh"},
    {"token_use": "refresh"},
    {"token_use": "id"},
    {"tokenName": "refresh_token"},
    {"tokenName": "id_token"},
    {"purpose": "refresh_token"},
    {"purpose": "id"},
    {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
]
ACCESS = [
    {"typ": "Bearer"},
    {"token_type": "Bearer"},
    {"token_type": "access_token"},
    {"token_use": "access"},
    {"tokenName": "access_token"},
    {"typ": "service"},
    {"purpose": "orders"},
]


@pytest.mark.parametrize("changes", OTHERS, ids=repr)
def test_a_token_that_calls_itself_something_else_is_no_access_token(changes: dict[str, Any]) -> None:
    with refused(Reason.TOKEN_TYPE_WRONG):
        client(EXPECTED, client_id="orders", **changes)
    with refused(Reason.TOKEN_TYPE_WRONG):
        judge_introspected(claims(active=True, client_id="orders", **changes), EXPECTED, NOW)


@pytest.mark.parametrize("changes", ACCESS, ids=repr)
def test_a_token_that_calls_itself_one_or_nothing_is(changes: dict[str, Any]) -> None:
    assert client(EXPECTED, **{"client_id": "orders", **changes}) == "orders"


# Keys that are bound to a tenant

TID, OTHER = "11111111-aaaa-4111-8111-111111111111", "22222222-aaaa-4222-8222-222222222222"


@pytest.mark.parametrize(
    ("bound_to", "usable"),
    [
        (f"https://login.microsoftonline.com/{TID}/v2.0", True),
        (f"https://login.microsoftonline.com/{TID.upper()}/v2.0", True),
        ("https://login.microsoftonline.com/{tenantid}/v2.0", True),
        (f"https://login.microsoftonline.com/{OTHER}/v2.0", False),
        (7, True),
    ],
)
def test_a_key_of_another_tenant_is_no_key_here(bound_to: object, usable: bool) -> None:
    mint = mint_of()
    mint.add_key("ES256", kid="bound")
    document = mint.jwks()
    document["keys"][1]["issuer"] = bound_to
    found = jwks.parse_key_set(json.dumps(document).encode(), f"https://sts.windows.net/{TID}/")
    assert ("bound" in {key.kid for key in found.keys}) is usable
    assert len(keys_of(mint).keys) == 2


def test_a_token_of_entra_is_named_by_its_uti() -> None:
    entra = dataclasses.replace(EXPECTED, version="2.0")
    payload = claims(client_id="orders", ver="2.0", uti="u-1", jti="j-1")
    assert judge(Jws("RS256", "k", "JWT", {}, payload, b"", b""), entra, NOW).token_id == "u-1"
    assert judge(Jws("RS256", "k", "JWT", {}, payload, b"", b""), EXPECTED, NOW).token_id == "j-1"
    with refused(Reason.TOKEN_MALFORMED, "uti"):
        judge(Jws("RS256", "k", "JWT", {}, payload | {"uti": 7}, b"", b""), entra, NOW)
