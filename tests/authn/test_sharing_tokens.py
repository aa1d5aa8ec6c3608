"""Tokens that only their issuer can read are asked about by one member of a fleet; those that are read here are
shared by nobody."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support_fleet import FakeShared, Member, ask_all, close_all
from support_http import ISSUER, CannedIdp, json_reply, until
from support_pipeline import app

from validator.core.introspection import IntrospectionOptions
from validator.model import ClientCredentials, HttpReply, HttpRequest
from validator.testing import ABSENT, ManualClock

INTROSPECTION = f"{ISSUER}/introspect"
TTL_S = 60.0
GATEWAY = ClientCredentials("gateway", "g4teway")


def says(idp: CannedIdp, clock: ManualClock, said: Mapping[str, Any], **headers: str) -> None:
    def answer(_: HttpRequest) -> HttpReply:
        about = {"client_id": "orders", "aud": "api://default", "exp": clock.now() + 3600, **said}
        return json_reply(about, content_type="application/json", **headers)

    idp.metadata["introspection_endpoint"] = INTROSPECTION
    idp.table[INTROSPECTION] = answer


def says_signed(idp: CannedIdp, clock: ManualClock) -> None:
    def answer(_: HttpRequest) -> HttpReply:
        about = {"active": True, "client_id": "orders", "aud": "api://default", "exp": clock.now() + 3600}
        claims = {"aud": "gateway", "exp": ABSENT, "token_introspection": about}
        token = idp.mint.mint(claims, header={"typ": "token-introspection+jwt"})
        return HttpReply(200, {"content-type": "application/token-introspection+jwt"}, token.encode())

    idp.metadata["introspection_endpoint"] = INTROSPECTION
    idp.table[INTROSPECTION] = answer


Make = Callable[..., list[Member]]


@pytest.fixture
async def make(clock: ManualClock, idp: CannedIdp, shared: FakeShared) -> Any:
    made: list[Member] = []

    def members(**options: Any) -> list[Member]:
        asking = IntrospectionOptions(GATEWAY, **{"ttl_s": TTL_S, **options})
        strategies = {"plain": {"introspection": asking}}
        made.extend(Member(clock, idp, shared, applications=[app()], strategies=strategies) for _ in range(6))
        return made

    yield members
    await close_all(made)


async def test_an_active_token_is_asked_about_once(make: Make, idp: CannedIdp, clock: ManualClock) -> None:
    says(idp, clock, {"active": True})
    assert {one.status for one in await ask_all(make(), "opaque", 1000)} == {200}
    assert idp.calls[INTROSPECTION] == 1


async def test_an_inactive_one_too(make: Make, idp: CannedIdp, clock: ManualClock) -> None:
    says(idp, clock, {"active": False})
    assert {one.said for one in await ask_all(make(), "opaque", 1000)} == {(401, "token_inactive")}
    assert idp.calls[INTROSPECTION] == 1


async def test_an_outage_too(make: Make, idp: CannedIdp, clock: ManualClock) -> None:
    says(idp, clock, {})
    idp.fail(INTROSPECTION)
    assert {one.status for one in await ask_all(make(), "opaque", 1000)} == {503}
    assert idp.calls[INTROSPECTION] == 1


async def test_what_the_issuer_does_not_want_stored_is_not_shared(
    make: Make, idp: CannedIdp, clock: ManualClock, shared: FakeShared
) -> None:
    says(idp, clock, {"active": True}, cache_control="no-store")
    one, other = make()[:2]
    assert ((await one.ask("opaque")).status, (await other.ask("opaque")).status) == (200, 200)
    assert idp.calls[INTROSPECTION] == 2
    assert not [name for name in shared.held if name.endswith("answer")]


async def test_an_answer_lasts_no_longer_elsewhere(make: Make, idp: CannedIdp, clock: ManualClock) -> None:
    says(idp, clock, {"active": True})
    one, other = make()[:2]
    await one.ask("opaque")
    clock.advance(TTL_S - 1)
    await other.ask("opaque")
    assert idp.calls[INTROSPECTION] == 1
    clock.advance(1)
    says(idp, clock, {"active": False})
    assert (await other.ask("opaque")).status == 401


async def test_what_is_no_token_is_shown_to_nobody(make: Make, idp: CannedIdp, shared: FakeShared) -> None:
    assert (await make()[0].ask("token{")).said == (401, "token_malformed")
    assert not shared.calls


async def test_a_token_that_is_read_here_is_not_shared(make: Make, idp: CannedIdp, shared: FakeShared) -> None:
    assert {one.status for one in await ask_all(make(), idp.mint.mint({"client_id": "orders"}), 60)} == {200}
    assert not shared.calls


async def test_a_client_that_was_forgotten_is_asked_about_anew(
    make: Make, idp: CannedIdp, clock: ManualClock
) -> None:
    says(idp, clock, {"active": True})
    members = make()
    await members[0].ask("opaque")
    for member in members:
        member.forget("orders")
    says(idp, clock, {"active": False})
    assert (await members[1].ask("opaque")).status == 401


async def test_a_client_that_was_forgotten_while_it_was_asked_about_is_not_shared(
    make: Make, idp: CannedIdp, clock: ManualClock, shared: FakeShared
) -> None:
    says(idp, clock, {"active": True})
    one = make()[0]
    idp.gates[INTROSPECTION] = asyncio.Event()
    asking = asyncio.create_task(one.ask("opaque"))
    await until(lambda: idp.calls[INTROSPECTION] == 1)
    one.forget("orders")
    idp.gates[INTROSPECTION].set()
    assert (await asking).status == 200
    assert not [name for name in shared.held if name.endswith("answer")]


async def test_a_signed_answer_counts_where_its_key_is_known(
    make: Make, idp: CannedIdp, clock: ManualClock
) -> None:
    says_signed(idp, clock)
    knows, knows_too, new = make(response="jwt")[:3]
    for member in (knows, knows_too):
        await member.issuer.tend()
    assert [(await member.ask("opaque")).status for member in (knows, knows_too)] == [200, 200]
    assert idp.calls[INTROSPECTION] == 1
    assert (await new.ask("opaque")).status == 200  # it has to ask for the keys, and so asks all
    assert idp.calls[INTROSPECTION] == 2


async def test_a_key_that_was_withdrawn_counts_nowhere(make: Make, idp: CannedIdp, clock: ManualClock) -> None:
    says_signed(idp, clock)
    one, other = make(response="jwt")[:2]
    await one.ask("opaque")
    idp.mint.rotate(retire=True)
    await other.issuer.tend()
    idp.fail(INTROSPECTION)
    assert (await other.ask("opaque")).status == 503
