"""What only the issuer can read is believed as long as the token, the issuer and we allow, and no longer; an
outage says nothing about it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from support_http import ISSUER, Answer, CannedIdp, down, json_reply, until
from support_pipeline import Kitchen, basic

from validator.core.introspection import IntrospectionOptions
from validator.model import ClientCredentials, HttpReply, HttpRequest, Revocation
from validator.testing import ABSENT, ManualClock

INTROSPECTION = f"{ISSUER}/introspect"
GATEWAY = ClientCredentials("gateway", "g4teway")
OPAQUE = "opaque-token"
TTL_S = 60.0
EXP_S = 3600.0


class Issuer(CannedIdp):
    """Knows one opaque token.

    Attributes:
        members: changes to what is said of it; ``ABSENT`` removes one.
        cache_control: of the answers.
    """

    def __init__(self, clock: ManualClock, **mint: Any) -> None:
        self.members: dict[str, Any] = {}
        self.cache_control = ""
        self.clock = clock
        super().__init__(clock, **mint)
        self.metadata["introspection_endpoint"] = INTROSPECTION
        self.opaque = True

    def well(self) -> None:
        super().well()
        self.table[INTROSPECTION] = self._say

    def _about(self) -> dict[str, Any]:
        now = self.clock.now()
        said = {"active": True, "client_id": "orders", "aud": "api://default", "exp": now + EXP_S, **self.members}
        return {name: value for name, value in said.items() if value is not ABSENT}

    def _say(self, request: HttpRequest) -> HttpReply:
        known = f"token={OPAQUE}&" in request.body.decode()
        document = self._about() if known else {"active": False}
        headers = {"content-type": "application/json", "cache-control": self.cache_control}
        return HttpReply(200, headers, json_reply(document).body)

    def signed(self, header: Mapping[str, Any] | None = None, **envelope: Any) -> Answer:
        """RFC 9701."""

        def say(_: HttpRequest) -> HttpReply:
            claims = {"aud": "gateway", "exp": ABSENT, "token_introspection": self._about(), **envelope}
            token = self.mint.mint(claims, header={"typ": "token-introspection+jwt", **(header or {})})
            return HttpReply(200, {"content-type": "application/token-introspection+jwt"}, token.encode())

        return say

    def phantom(self, **claims: Any) -> Answer:
        def say(_: HttpRequest) -> HttpReply:
            token = self.mint.mint({"client_id": "orders", **claims})
            headers = {"content-type": "application/jwt", "cache-control": self.cache_control}
            return HttpReply(200, headers, token.encode())

        return say


@pytest.fixture
def issuer(clock: ManualClock) -> Issuer:
    return Issuer(clock)


def kitchen_over(issuer: Issuer, clock: ManualClock, **options: Any) -> Kitchen:
    options = {"ttl_s": TTL_S, **options}
    return Kitchen(
        clock, issuer, strategies={"plain": {"introspection": IntrospectionOptions(GATEWAY, **options)}}
    )


async def test_an_opaque_token_is_asked_about_once(issuer: Issuer, clock: ManualClock) -> None:
    kitchen = kitchen_over(issuer, clock)
    for _ in range(3):
        assert (await kitchen.ask(OPAQUE)).status == 200
    answers = await asyncio.gather(*(kitchen.ask(OPAQUE, service=f"s{n}") for n in range(20)))
    assert {seen.status for seen in answers} == {403}
    assert issuer.calls[INTROSPECTION] == 1


async def test_a_hundred_first_requests_ask_once(issuer: Issuer, clock: ManualClock) -> None:
    kitchen = kitchen_over(issuer, clock)
    answers = await asyncio.gather(*(kitchen.ask(OPAQUE) for _ in range(100)))
    assert {seen.status for seen in answers} == {200}
    assert issuer.calls[INTROSPECTION] == 1


@pytest.mark.parametrize(
    ("members", "cache_control", "seconds"),
    [
        ({}, "", TTL_S),
        ({}, "max-age=20", 20),
        ({}, "max-age=600", TTL_S),
        ({"exp": ABSENT}, "", TTL_S),
        ({"exp": ABSENT}, "max-age=20", 20),
    ],
)
async def test_an_answer_counts_as_long_as_both_sides_allow(
    issuer: Issuer, clock: ManualClock, members: dict[str, Any], cache_control: str, seconds: float
) -> None:
    issuer.members, issuer.cache_control = members, cache_control
    kitchen = kitchen_over(issuer, clock)
    assert (await kitchen.ask(OPAQUE)).status == 200
    clock.advance(seconds - 0.5)
    assert (await kitchen.ask(OPAQUE)).status == 200
    assert issuer.calls[INTROSPECTION] == 1
    issuer.members = {"active": False}
    clock.advance(0.5)
    assert (await kitchen.ask(OPAQUE)).reason == "token_inactive"
    assert issuer.calls[INTROSPECTION] == 2


async def test_what_may_not_be_stored_is_asked_every_time(issuer: Issuer, clock: ManualClock) -> None:
    issuer.cache_control = "no-store"
    kitchen = kitchen_over(issuer, clock)
    for count in (1, 2):
        assert (await kitchen.ask(OPAQUE)).status == 200
        assert issuer.calls[INTROSPECTION] == count
    issuer.members = {"active": False}
    assert (await kitchen.ask(OPAQUE)).reason == "token_inactive"


async def test_the_token_ends_when_it_says(issuer: Issuer, clock: ManualClock) -> None:
    ends = clock.now() + 30
    issuer.members = {"exp": ends}
    kitchen = kitchen_over(issuer, clock)
    assert (await kitchen.ask(OPAQUE)).status == 200
    clock.advance(29.9)
    assert (await kitchen.ask(OPAQUE)).status == 200
    clock.advance(0.1)
    assert (await kitchen.ask(OPAQUE)).reason == "token_expired"


async def test_an_inactive_token_stays_so_for_a_moment(issuer: Issuer, clock: ManualClock) -> None:
    kitchen = kitchen_over(issuer, clock)
    for _ in range(3):
        assert (await kitchen.ask("another")).reason == "token_inactive"
    assert issuer.calls[INTROSPECTION] == 1
    clock.advance(5)
    await kitchen.ask("another")
    assert issuer.calls[INTROSPECTION] == 2


async def test_an_outage_says_nothing_and_what_is_known_goes_on(issuer: Issuer, clock: ManualClock) -> None:
    kitchen = kitchen_over(issuer, clock)
    assert (await kitchen.ask(OPAQUE)).status == 200
    issuer.fail(INTROSPECTION)
    assert (await kitchen.ask(OPAQUE, service="svc")).status == 200
    assert (await kitchen.ask("another")).reason == "idp_unavailable"
    clock.advance(TTL_S)
    assert (await kitchen.ask(OPAQUE)).reason == "idp_unavailable"
    issuer.well()
    assert (await kitchen.ask(OPAQUE)).status == 200


async def test_a_token_that_can_be_read_is_read(issuer: Issuer, clock: ManualClock) -> None:
    kitchen = kitchen_over(issuer, clock)
    assert (await kitchen.ask(issuer.mint.mint({"client_id": "orders"}))).status == 200
    assert issuer.calls[INTROSPECTION] == 0


async def test_one_that_is_encrypted_is_opaque(issuer: Issuer, clock: ManualClock) -> None:
    kitchen = kitchen_over(issuer, clock)
    assert (await kitchen.ask("eyJ.a.b.c.d")).reason == "token_inactive"


async def test_without_introspection_the_operator_reads_what_to_do(issuer: Issuer, clock: ManualClock) -> None:
    kitchen = Kitchen(clock, issuer)
    assert (await kitchen.ask(OPAQUE)).reason == "token_malformed"
    assert issuer.calls[INTROSPECTION] == 0


async def test_an_issuer_without_the_endpoint_is_no_denial(issuer: Issuer, clock: ManualClock) -> None:
    del issuer.metadata["introspection_endpoint"]
    kitchen = kitchen_over(issuer, clock)
    assert (await kitchen.ask(OPAQUE)).reason == "idp_unavailable"


async def test_a_revoked_jti_is_revoked(issuer: Issuer, clock: ManualClock) -> None:
    issuer.members = {"jti": "t-1"}
    kitchen = kitchen_over(issuer, clock)
    assert (await kitchen.ask(OPAQUE)).status == 200
    kitchen.registry.revoke(Revocation("jti", "t-1"))
    assert (await kitchen.ask(OPAQUE)).reason == "revoked"


# Signed answers


async def test_a_signed_answer_falls_with_its_key(issuer: Issuer, clock: ManualClock) -> None:
    issuer.table[INTROSPECTION] = issuer.signed()
    kitchen = kitchen_over(issuer, clock, response="jwt")
    assert (await kitchen.ask(OPAQUE)).status == 200
    issuer.mint.rotate(retire=True)
    clock.advance(599)
    await kitchen.issuer.tend()
    issuer.fail(INTROSPECTION)
    assert (await kitchen.ask(OPAQUE)).reason == "idp_unavailable"


@pytest.mark.parametrize(
    "envelope",
    [
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": "JWT"}},
        {"header": {"kid": "nobody's"}},
        {"header": {"alg": "none"}},
        {"iss": "https://other.test"},
        {"aud": "another"},
        {"token_introspection": ABSENT},
    ],
    ids=repr,
)
async def test_any_other_signed_thing_says_nothing(
    issuer: Issuer, clock: ManualClock, envelope: dict[str, Any]
) -> None:
    issuer.table[INTROSPECTION] = issuer.signed(**envelope)
    kitchen = kitchen_over(issuer, clock, response="jwt")
    assert (await kitchen.ask(OPAQUE)).reason == "idp_unavailable"


async def test_an_access_token_of_the_callers_own_is_no_answer_about_it(
    issuer: Issuer, clock: ManualClock
) -> None:
    """Its claims could otherwise be chosen by whoever may mint."""
    issuer.table[INTROSPECTION] = issuer.phantom()
    kitchen = kitchen_over(issuer, clock, response="jwt")
    assert (await kitchen.ask(OPAQUE)).reason == "idp_unavailable"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, None),
        ({"client_id": ABSENT}, "claim_missing"),
        ({"aud": "api://other"}, "audience_mismatch"),
        ({"iss": "https://other.test"}, "issuer_mismatch"),
    ],
)
async def test_a_phantom_token_is_judged_like_any(
    issuer: Issuer, clock: ManualClock, claims: dict[str, Any], reason: str | None
) -> None:
    issuer.table[INTROSPECTION] = issuer.phantom(**claims)
    kitchen = kitchen_over(issuer, clock, response="phantom")
    assert (await kitchen.ask(OPAQUE)).reason == reason


async def test_a_phantom_token_that_nobody_can_verify_says_nothing_about_the_caller(
    issuer: Issuer, clock: ManualClock
) -> None:
    issuer.table[INTROSPECTION] = HttpReply(200, {"content-type": "application/jwt"}, b"ey.not.jwt")
    kitchen = kitchen_over(issuer, clock, response="phantom")
    assert (await kitchen.ask(OPAQUE)).reason == "idp_unavailable"


# Client credentials whose token is opaque


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, None),
        ({"client_id": "billing"}, "credentials_rejected"),
        ({"aud": "api://other"}, "audience_mismatch"),
        ({"active": False}, "idp_unavailable"),
    ],
)
async def test_an_opaque_minted_token_is_asked_about_too(
    issuer: Issuer, clock: ManualClock, members: dict[str, Any], reason: str | None
) -> None:
    issuer.members = members
    kitchen = kitchen_over(issuer, clock)
    assert (await kitchen.ask(basic("orders", "s3cret"))).reason == reason
    assert issuer.calls[INTROSPECTION] == 1


async def test_everything_forgotten_includes_answers(issuer: Issuer, clock: ManualClock) -> None:
    kitchen = kitchen_over(issuer, clock)
    gate = issuer.gates[INTROSPECTION] = asyncio.Event()
    early = asyncio.create_task(kitchen.ask(OPAQUE))
    await until(lambda: issuer.calls[INTROSPECTION] == 1)
    kitchen.caches.forget()
    gate.set()
    assert (await early).status == 200
    issuer.members = {"active": False}
    assert (await kitchen.ask(OPAQUE)).reason == "token_inactive"


async def test_down_is_down(issuer: Issuer, clock: ManualClock) -> None:
    issuer.table[INTROSPECTION] = down()
    kitchen = kitchen_over(issuer, clock)
    seen = await kitchen.ask(OPAQUE)
    assert (seen.status, seen.reason) == (503, "idp_unavailable")


# Tokens that somebody invents


@pytest.mark.parametrize("token", ["to ken", "tok\u00e9n", "token;", "=", "tok=en", '"token"'])
async def test_what_can_be_no_token_is_asked_about_nowhere(issuer: Issuer, clock: ManualClock, token: str) -> None:
    kitchen = kitchen_over(issuer, clock)
    seen = await kitchen.ask(b"Bearer " + token.encode())
    assert (seen.status, seen.reason in ("token_malformed", "malformed_credential")) == (401, True)
    assert issuer.calls[INTROSPECTION] == 0


async def test_inventing_tokens_is_bounded_and_known_ones_go_on(issuer: Issuer, clock: ManualClock) -> None:
    options = IntrospectionOptions(GATEWAY, ttl_s=TTL_S)
    kitchen = Kitchen(clock, issuer, strategies={"plain": {"introspection": options, "max_inactive": 5}})
    assert (await kitchen.ask(OPAQUE)).status == 200
    for n in range(5):
        assert (await kitchen.ask(f"invented{n}")).reason == "token_inactive"
    seen = await kitchen.ask("invented6")
    assert (seen.status, seen.reason) == (429, "too_many_attempts")
    assert 1 <= int(seen.headers["retry-after"]) <= 60
    assert issuer.calls[INTROSPECTION] == 6
    assert (await kitchen.ask(OPAQUE)).status == 200
    clock.advance(60)
    assert (await kitchen.ask("invented6")).reason == "token_inactive"


async def test_an_outage_counts_as_nobodys_invention(issuer: Issuer, clock: ManualClock) -> None:
    options = IntrospectionOptions(GATEWAY, ttl_s=TTL_S)
    kitchen = Kitchen(clock, issuer, strategies={"plain": {"introspection": options, "max_inactive": 2}})
    issuer.fail(INTROSPECTION)
    for n in range(5):
        assert (await kitchen.ask(f"token{n}")).reason == "idp_unavailable"
    issuer.well()
    assert (await kitchen.ask(OPAQUE)).status == 200


# Sessions


async def test_a_session_lasts_no_longer_than_the_answer_that_opened_it(
    issuer: Issuer, clock: ManualClock
) -> None:
    kitchen = kitchen_over(issuer, clock)
    cookie = (await kitchen.ask(OPAQUE)).cookie
    clock.advance(TTL_S - 0.5)
    assert (await kitchen.ask(cookie=cookie)).status == 200
    clock.advance(0.5)
    assert (await kitchen.ask(cookie=cookie)).reason == "session_expired"


async def test_what_may_not_be_stored_opens_no_session(issuer: Issuer, clock: ManualClock) -> None:
    issuer.cache_control = "no-store"
    assert "set-cookie" not in (await kitchen_over(issuer, clock).ask(OPAQUE)).headers


async def test_a_statement_is_believed_while_it_is_new(issuer: Issuer, clock: ManualClock) -> None:
    issuer.table[INTROSPECTION] = issuer.signed(iat=clock.now() - 61)
    kitchen = kitchen_over(issuer, clock, response="jwt")
    assert (await kitchen.ask(OPAQUE)).reason == "idp_unavailable"
