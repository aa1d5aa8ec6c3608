"""A client that is made and not recorded does not remain, and a request told twice makes one client."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from dcr_support import (
    STRATEGY_ID,
    WANTED,
    House,
    ScriptedRegistrar,
    down,
    event,
    plan,
    until,
)

from validator.dcr.plan import BridgeRefused, Credentials, Registering, grant_types
from validator.errors import Unavailable
from validator.testing import ManualClock

Line = Mapping[str, Any]


def said(lines: list[Any], name: str) -> list[Line]:
    return [line for line in lines if line["event"] == name]


# What is asked for


@pytest.mark.parametrize(
    ("asked", "redirects", "granted"),
    [
        (("client_credentials",), (), ("client_credentials",)),
        (("bearer",), ("https://a.test/cb",), ("client_credentials",)),
        (("authorization_code", "bearer"), ("https://a.test/cb",), ("client_credentials",)),
        (
            ("authorization_code", "refresh_token", "implicit"),
            ("https://a.test/cb",),
            ("client_credentials", "authorization_code", "refresh_token"),
        ),
        (("authorization_code",), (), ("client_credentials",)),
        (("implicit", "refresh_token"), ("https://a.test/cb",), ("client_credentials",)),
        ((), (), ("client_credentials",)),
    ],
    ids=repr,
)
def test_konnects_grants_become_those_of_the_standard(
    asked: tuple[str, ...], redirects: tuple[str, ...], granted: tuple[str, ...]
) -> None:
    assert grant_types(asked, redirects) == granted


@pytest.mark.parametrize(
    ("asked", "own", "sent"),
    [
        ((), (), ()),
        ((), ("read",), ()),
        (("openid",), ("read",), ()),
        (("openid", "orders", "orders"), ("read",), ("orders", "read")),
    ],
    ids=repr,
)
def test_scopes_of_users_are_not_asked_for_and_ours_are(
    asked: tuple[str, ...], own: tuple[str, ...], sent: tuple[str, ...]
) -> None:
    registering = Registering(ScriptedRegistrar(), "client_secret_basic", own)
    client = replace(WANTED, scopes=asked).client(registering)
    assert client.scopes == sent
    assert client.auth_method == "client_secret_basic"  # ours, whatever Konnect says


# Made and recorded


async def test_a_client_is_made_and_its_application_may_call_nothing(home: House) -> None:
    made = await home.create()
    assert (made.client_id, made.client_secret) == ("client-1", "secret-1-of-client-1")
    assert (made.issued_at, made.expires_at) == (1_800_000_000, 0)
    application = home.application("client-1")
    assert application is not None
    assert (application.name, dict(application.registrations)) == ("Orders mobile", {})
    (record,) = await home.store.records("client-1")
    assert (record.strategy, record.adopted, record.deleted) == ("plain", False, False)
    assert record.application_id == application.id


async def test_konnects_strategy_decides_ours(home: House) -> None:
    home.plan = plan(home.registrar, strategies={STRATEGY_ID: "azure"})
    made = await home.create()
    assert home.application(made.client_id, "azure") is not None
    assert home.application(made.client_id) is None


@pytest.mark.parametrize("default", [None, "gone"])
async def test_a_strategy_that_nobody_mapped_is_a_mistake(home: House, default: str | None) -> None:
    home.plan = replace(home.plan, default=default)
    with pytest.raises(BridgeRefused) as caught:
        await home.create()
    assert (caught.value.status, caught.value.error) == (400, "unknown_auth_strategy")
    assert "dcr.strategies" in caught.value.description
    assert home.registrar.calls == []


# The same again


async def test_the_same_at_the_same_time_makes_one_client(home: House, registrar: ScriptedRegistrar) -> None:
    gate = registrar.gates["create"] = asyncio.Event()
    calls = [asyncio.create_task(home.create()) for _ in range(5)]
    await until(lambda: bool(registrar.calls))
    gate.set()
    answers = await asyncio.gather(*calls)
    assert len({(a.client_id, a.client_secret) for a in answers}) == 1
    assert registrar.calls == [("create", "Orders mobile")]


async def test_the_same_within_the_window_brings_the_same_and_after_it_another(
    home: House, clock: ManualClock
) -> None:
    first = await home.create()
    clock.advance(119)
    assert await home.create() == first
    clock.advance(1)
    assert (await home.create()).client_id == "client-2"


async def test_a_window_of_its_own(home: House, clock: ManualClock) -> None:
    home.bridge = home.new_bridge(retry_window_s=10.0)
    first = await home.create()
    clock.advance(9)
    assert await home.create() == first
    clock.advance(1)
    assert (await home.create()).client_id == "client-2"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_name": "Orders mobile 2"},
        {"developer_id": "1f0c1c9e-0000-4000-8000-000000000009"},
        {"scopes": ("orders",)},
        {"redirect_uris": ("https://a.test/cb",)},
    ],
    ids=repr,
)
async def test_another_request_makes_another_client(home: House, changes: dict[str, Any]) -> None:
    assert (await home.create()).client_id != (await home.create(**changes)).client_id


@pytest.mark.parametrize("call", ["event", "new_secret", "delete"])
async def test_once_a_call_named_the_client_the_same_request_makes_another(home: House, call: str) -> None:
    first = await home.create()
    if call == "event":
        await home.bridge.event(event("add_registration", first.client_id))
    elif call == "new_secret":
        await home.bridge.new_secret(first.client_id)
    else:
        await home.bridge.delete(first.client_id)
    assert (await home.create()).client_id != first.client_id


async def test_naming_an_earlier_client_forgets_no_later_answer(home: House) -> None:
    first = await home.create()
    await home.store.delete(home.application(first.client_id).id)  # type: ignore[union-attr]
    second = await home.create()
    assert second.client_id != first.client_id
    await home.bridge.delete(first.client_id)
    assert await home.create() == second


async def test_of_an_application_deleted_meanwhile_no_answer_is_given_again(home: House) -> None:
    first = await home.create()
    application = home.application(first.client_id)
    assert application is not None
    await home.store.delete(application.id)
    assert (await home.create()).client_id == "client-2"


async def test_a_failure_is_not_remembered(home: House, registrar: ScriptedRegistrar) -> None:
    registrar.fails["create"] = down()
    with pytest.raises(Unavailable):
        await home.create()
    del registrar.fails["create"]
    assert (await home.create()).client_id == "client-1"


async def test_many_answers_are_remembered_in_bounded_memory(home: House) -> None:
    creation = home.bridge._creation
    for number in range(1005):
        creation._remember(number.to_bytes(4, "big"), "plain", Credentials(f"c{number}", "s"))
    assert len(creation._answered) == 1000
    for number in range(1005, 3200):
        creation._remember(number.to_bytes(4, "big"), "plain", Credentials(f"c{number}", "s"))
    assert len(creation._answered) <= 1000
    assert len(creation._by_client) <= 2000


# Who goes away leaves no half of it


async def test_a_caller_who_goes_away_leaves_a_whole_client(home: House, registrar: ScriptedRegistrar) -> None:
    gate = registrar.gates["create"] = asyncio.Event()
    call = asyncio.create_task(home.create())
    await until(lambda: bool(registrar.calls))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.set()
    await home.bridge.close()
    assert home.application("client-1") is not None
    assert (await home.create()).client_id == "client-1"
