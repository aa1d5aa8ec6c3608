"""What an introspection endpoint says about a token counts; what it does not say, or says about itself, does not
(RFC 7662, RFC 9701)."""

import dataclasses
import json
from base64 import b64decode
from typing import Any
from urllib.parse import parse_qs

import pytest
from core_support import EXPECTED, ISSUER, NOW, refused

from validator.core.claims import judge_introspected
from validator.core.introspection import (
    IntrospectionOptions,
    introspection_request,
    lifetime_s,
    read_reply,
    statement,
)
from validator.core.jws import Jws
from validator.errors import Unavailable
from validator.model import ClientCredentials, Endpoint, HttpReply, Reason
from validator.testing import ABSENT

CLIENT = ClientCredentials("gate:way", "p ss+%")
SECRET = "canary-secret"


def reply(document: object, status: int = 200, kind: str = "application/json", **headers: str) -> HttpReply:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpReply(status, {"content-type": kind, **headers}, body)


def options(**changes: Any) -> IntrospectionOptions:
    return IntrospectionOptions(**{"client": CLIENT, **changes})


@pytest.mark.parametrize(
    ("response", "accept"),
    [
        ("json", "application/json"),
        ("jwt", "application/token-introspection+jwt"),
        ("phantom", "application/jwt"),
    ],
)
def test_the_question_is_that_of_the_specification(response: str, accept: str) -> None:
    asked = introspection_request("https://idp.example/i", b"tok en&x=1", options(response=response))
    assert (asked.endpoint, asked.method, asked.headers["Accept"]) == (Endpoint.INTROSPECTION, "POST", accept)
    assert parse_qs(asked.body.decode()) == {"token": ["tok en&x=1"], "token_type_hint": ["access_token"]}
    assert b64decode(asked.headers["Authorization"].removeprefix("Basic ")) == b"gate%3Away:p+ss%2B%25"


def test_we_authenticate_in_the_body_where_that_is_configured() -> None:
    asked = introspection_request("https://idp.example/i", b"t", options(auth_method="client_secret_post"))
    assert "Authorization" not in asked.headers
    assert parse_qs(asked.body.decode())["client_secret"] == ["p ss+%"]


def test_no_secret_shows_itself() -> None:
    shown = repr(options(client=ClientCredentials("gateway", SECRET)))
    assert SECRET not in shown + repr(introspection_request("https://i", SECRET.encode(), options()))


@pytest.mark.parametrize("extra", [{}, {"exp": NOW + 60, "client_id": "orders"}])
def test_inactive_is_inactive(extra: dict[str, Any]) -> None:
    with refused(Reason.TOKEN_INACTIVE):
        read_reply(reply({"active": False, **extra}), "json")


def test_no_content_is_inactive_where_a_phantom_token_was_asked_for() -> None:
    with refused(Reason.TOKEN_INACTIVE):
        read_reply(HttpReply(204, {}, b""), "phantom")
    with pytest.raises(Unavailable):
        read_reply(HttpReply(204, {}, b""), "json")


@pytest.mark.parametrize(
    "answer",
    [
        *[reply({"active": active}) for active in ("true", 1, None, "yes", [True])],
        reply({}),
        reply([True]),
        reply(b"true"),
        reply(b"\xff"),
        reply({"active": True, "x": 1}, 201),
        reply({"active": True}, 302),
        reply({"active": False}, 400),
        reply({"active": False}, 401),
        reply({"active": True}, 404),
        reply(b'{"active": true, "active": false}'),
    ],
    ids=repr,
)
def test_what_does_not_answer_the_question_says_nothing(answer: HttpReply) -> None:
    with pytest.raises(Unavailable):
        read_reply(answer, "json")


@pytest.mark.parametrize("status", [400, 401, 403])
def test_whoever_refuses_us_is_told_of_by_the_settings_to_correct(status: int) -> None:
    with pytest.raises(Unavailable, match=r"introspection\.client_id") as caught:
        read_reply(reply({"error": "invalid_client", "error_description": SECRET}, status), "json")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("response", ["jwt", "phantom"])
def test_json_in_place_of_a_signed_answer_is_not_taken(response: Any) -> None:
    with pytest.raises(Unavailable, match=r"introspection\.response"):
        read_reply(reply({"active": True, "client_id": "orders"}), response)


# Signed answers


def signed(typ: str | None = "token-introspection+jwt", /, **changes: Any) -> Jws:
    said = {"active": True}
    payload = {"iss": ISSUER, "aud": "gate:way", "iat": NOW, "token_introspection": said, **changes}
    payload = {name: value for name, value in payload.items() if value is not ABSENT}
    return Jws("ES256", "k", typ, {}, payload, b"", b"")


def test_a_statement_is_for_us_by_the_issuer() -> None:
    assert statement(signed(), "gate:way", ISSUER, NOW) == {"active": True}
    assert statement(signed(aud=["x", "gate:way"]), "gate:way", ISSUER, NOW) == {"active": True}
    assert statement(signed("application/token-introspection+jwt"), "gate:way", ISSUER, NOW) == {"active": True}
    with refused(Reason.TOKEN_INACTIVE):
        statement(signed(token_introspection={"active": False}), "gate:way", ISSUER, NOW)


@pytest.mark.parametrize(
    ("typ", "changes"),
    [
        ("JWT", {}),
        ("at+jwt", {}),
        (None, {}),
        ("token-introspection+jwt", {"iss": "https://other.example"}),
        ("token-introspection+jwt", {"iss": ABSENT}),
        ("token-introspection+jwt", {"aud": "another"}),
        ("token-introspection+jwt", {"aud": ABSENT}),
        ("token-introspection+jwt", {"iat": ABSENT}),
        ("token-introspection+jwt", {"iat": None}),
        ("token-introspection+jwt", {"iat": True}),
        ("token-introspection+jwt", {"iat": str(NOW)}),
        ("token-introspection+jwt", {"iat": NOW - 61}),
        ("token-introspection+jwt", {"iat": NOW + 61}),
        ("token-introspection+jwt", {"iat": float("nan")}),
        ("token-introspection+jwt", {"token_introspection": ABSENT}),
        ("token-introspection+jwt", {"token_introspection": True}),
        ("token-introspection+jwt", {"token_introspection": {}}),
    ],
)
def test_any_other_signed_thing_is_no_answer(typ: str | None, changes: dict[str, Any]) -> None:
    """An access token above all: whoever holds one could otherwise have it taken for an answer about itself."""
    with pytest.raises(Unavailable):
        statement(signed(typ, **changes), "gate:way", ISSUER, NOW)


def test_a_statement_is_for_somebody_who_can_be_named() -> None:
    with pytest.raises(Unavailable, match="another client"):
        statement(signed(), None, ISSUER, NOW)


# How long an answer counts


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("", 60),
        ("max-age=10", 10),
        ("private, max-age=3600", 60),
        ("max-age=0", 0),
        ("no-store", 0),
        ("no-cache, no-store", 0),
        ("max-age=30, no-store", 0),
        ('max-age="20"', 20),
        ("x-max-age=5", 60),
        ("max-age=-1", 0),
        ("max-age=soon", 0),
        ("max-age", 0),
        ("max-age=600, max-age=0", 0),
        ("s-maxage=600, max-age=7", 7),
    ],
)
def test_both_sides_bound_it(cache_control: str, seconds: float) -> None:
    assert lifetime_s(cache_control, options(ttl_s=60)) == seconds


def test_no_store_is_passed_over_on_demand_alone() -> None:
    assert lifetime_s("no-store", options(ttl_s=60, ignore_no_store=True)) == 60
    assert lifetime_s("no-store, max-age=7", options(ttl_s=60, ignore_no_store=True)) == 7
    assert lifetime_s("no-cache, no-store, max-age=0", options(ttl_s=60, ignore_no_store=True)) == 60
    assert lifetime_s("max-age=0", options(ttl_s=60, ignore_no_store=True)) == 0


# Whom an active token speaks for

ANSWER = {"active": True, "client_id": "orders", "aud": "api://orders", "exp": NOW + 60, "token_type": "Bearer"}


def members(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**ANSWER, **changes}.items() if value is not ABSENT}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iss": ISSUER},
        {"iss": None, "nbf": None, "iat": None, "token_type": None, "jti": None},
        {"token_type": ABSENT},
        {"token_type": ABSENT, "sub": "orders"},
        {"sub": "ada"},
        {"token_type": ABSENT, "sub": "ada", "purpose": "access_token"},
        {"token_type": ABSENT, "sub": "ada", "token_use": "access"},
        {"token_type": "bearer"},
        {"aud": ["x", "api://orders"]},
    ],
    ids=repr,
)
def test_an_active_token_speaks_for_its_client(changes: dict[str, Any]) -> None:
    principal = judge_introspected(members(**changes), EXPECTED, NOW)
    assert (principal.client_id, principal.expires_at) == ("orders", NOW + 60)


def test_an_answer_may_name_no_end() -> None:
    assert judge_introspected(members(exp=ABSENT), EXPECTED, NOW).expires_at == float("inf")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://other.example"}, Reason.ISSUER_MISMATCH),
        ({"exp": NOW}, Reason.TOKEN_EXPIRED),
        ({"exp": str(NOW + 60)}, Reason.TOKEN_MALFORMED),
        ({"nbf": NOW + 1}, Reason.TOKEN_NOT_YET_VALID),
        ({"aud": "api://billing"}, Reason.AUDIENCE_MISMATCH),
        ({"aud": ABSENT}, Reason.AUDIENCE_MISMATCH),
        ({"client_id": ABSENT}, Reason.CLAIM_MISSING),
        ({"client_id": 7}, Reason.CLAIM_MISSING),
        ({"token_type": "DPoP"}, Reason.TOKEN_TYPE_WRONG),
        ({"token_type": "refresh_token"}, Reason.TOKEN_TYPE_WRONG),
        ({"typ": "Refresh"}, Reason.TOKEN_TYPE_WRONG),
        ({"typ": "refresh"}, Reason.TOKEN_TYPE_WRONG),
        ({"token_use": "refresh_token"}, Reason.TOKEN_TYPE_WRONG),
        ({"token_use": "id"}, Reason.TOKEN_TYPE_WRONG),
        ({"purpose": "refresh_token"}, Reason.TOKEN_TYPE_WRONG),
        ({"tokenName": "refresh_token"}, Reason.TOKEN_TYPE_WRONG),
        ({"at_hash": "x"}, Reason.TOKEN_TYPE_WRONG),
        ({"events": {}}, Reason.TOKEN_TYPE_WRONG),
        ({"token_type": ABSENT, "sub": "ada"}, Reason.TOKEN_TYPE_WRONG),
        ({"cnf": {"jkt": "x"}}, Reason.TOKEN_TYPE_WRONG),
        ({"jti": 7}, Reason.TOKEN_MALFORMED),
    ],
    ids=repr,
)
def test_an_active_token_that_is_not_for_us_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    with refused(reason):
        judge_introspected(members(**changes), EXPECTED, NOW)


def test_what_the_operator_demands_an_answer_must_say() -> None:
    """What the provider's tokens usually say, an answer about one may leave out."""
    usual = dataclasses.replace(EXPECTED, usual_claims={"purpose": "access_token"})
    assert judge_introspected(members(), usual, NOW).client_id == "orders"
    with refused(Reason.TOKEN_TYPE_WRONG, "purpose"):
        judge_introspected(members(purpose="other"), usual, NOW)
    demanded = dataclasses.replace(EXPECTED, required_claims={"tenant": "acme"})
    with refused(Reason.CLAIM_MISSING, "tenant"):
        judge_introspected(members(), demanded, NOW)
    assert judge_introspected(members(tenant="acme"), demanded, NOW).client_id == "orders"
