"""A client that is made and not recorded does not remain, and one that is there already is not taken over."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from dcr_support import (
    House,
    ScriptedRegistrar,
    down,
    plan,
    refused,
    store_down,
    until,
)
from structlog.testing import capture_logs

from validator.core.registration import RegistrationRefused
from validator.dcr.plan import BridgeRefused
from validator.dcr.registrar import UnusableClient
from validator.errors import Unavailable
from validator.model import Application, Revocation

Line = Mapping[str, Any]


def said(lines: list[Any], name: str) -> list[Line]:
    return [line for line in lines if line["event"] == name]


# The provider does not make it


async def test_a_refusal_leaves_nothing_and_reaches_the_admin(home: House, registrar: ScriptedRegistrar) -> None:
    registrar.fails["create"] = refused()
    with pytest.raises(RegistrationRefused) as caught:
        await home.create()
    assert caught.value.error == "invalid_client_metadata"
    assert home.memory.list() == []


@pytest.mark.parametrize("when", ["fails", "lost"])
async def test_an_outcome_that_nobody_knows_is_in_the_log(
    home: House, registrar: ScriptedRegistrar, when: str
) -> None:
    getattr(registrar, when)["create"] = down(sent=True)
    with capture_logs() as lines, pytest.raises(Unavailable):
        await home.create()
    (line,) = said(lines, "dcr_outcome_unknown")
    assert (line["client_name"], line["log_level"]) == ("Orders mobile", "error")
    assert home.memory.list() == []


async def test_what_was_never_sent_leaves_nothing_to_tell(home: House, registrar: ScriptedRegistrar) -> None:
    registrar.fails["create"] = down()
    with capture_logs() as lines, pytest.raises(Unavailable):
        await home.create()
    assert not said(lines, "dcr_outcome_unknown")


@pytest.mark.parametrize(("client_id", "named"), [("odd id", "client 'odd id' of"), (None, "A client of")])
async def test_an_unusable_client_that_stays_is_told_to_admin_and_operator(
    home: House, registrar: ScriptedRegistrar, client_id: str | None, named: str
) -> None:
    registrar.fails["create"] = UnusableClient(client_id, "the reply needs client_secret")
    with capture_logs() as lines, pytest.raises(BridgeRefused) as caught:
        await home.create()
    assert caught.value.error == "invalid_registration_reply"
    assert named in caught.value.description
    assert said(lines, "dcr_orphan")[0]["client_id"] == client_id


# Made, and not recorded


async def test_what_cannot_be_recorded_is_deleted_again(home: House, registrar: ScriptedRegistrar) -> None:
    home.store.fails["record"] = store_down()
    with capture_logs() as lines, pytest.raises(Unavailable):
        await home.create()
    assert registrar.secrets == {}
    assert said(lines, "dcr_undone")
    assert not said(lines, "dcr_orphan")
    assert home.pauses == []
    home.store.fails.clear()
    assert (await home.create()).client_id == "client-2"  # nothing of the first is answered


async def test_deleting_it_again_is_tried_until_it_works(home: House, registrar: ScriptedRegistrar) -> None:
    home.store.fails["record"] = store_down()
    registrar.fails["delete"] = down()
    paused, go_on = asyncio.Event(), asyncio.Event()

    async def pause(seconds: float) -> None:
        home.pauses.append(seconds)
        paused.set()
        await go_on.wait()

    home.bridge = home.new_bridge(pause=pause)
    with capture_logs() as lines:
        with pytest.raises(Unavailable):  # answered before the second attempt
            await home.create()
        await asyncio.wait_for(paused.wait(), 5)
        assert list(registrar.secrets) == ["client-1"]
        del registrar.fails["delete"]
        go_on.set()
        await until(lambda: not registrar.secrets)
        await until(lambda: bool(said(lines, "dcr_undone")))
    assert home.pauses == [1.0]
    assert not said(lines, "dcr_orphan")


async def test_what_cannot_be_deleted_again_is_named_as_an_orphan(
    home: House, registrar: ScriptedRegistrar
) -> None:
    home.store.fails["record"] = store_down()
    registrar.fails["delete"] = down()
    with capture_logs() as lines:
        with pytest.raises(Unavailable):
            await home.create()
        await until(lambda: bool(said(lines, "dcr_orphan")))
    (line,) = said(lines, "dcr_orphan")
    assert (line["strategy"], line["client_id"]) == ("plain", "client-1")
    assert home.pauses == [1.0, 5.0, 30.0, 120.0]
    assert [name for name, _ in registrar.calls] == ["create"] + ["delete"] * 5


async def test_a_refused_deletion_is_an_orphan_at_once(home: House, registrar: ScriptedRegistrar) -> None:
    home.store.fails["record"] = store_down()
    registrar.fails["delete"] = refused("access_denied")
    with capture_logs() as lines, pytest.raises(Unavailable):
        await home.create()
    assert len(said(lines, "dcr_orphan")) == 1
    assert home.pauses == []


@pytest.mark.parametrize("begun", [True, False], ids=["waiting", "not even begun"])
async def test_who_stops_meanwhile_names_the_orphan(
    home: House, registrar: ScriptedRegistrar, begun: bool
) -> None:
    home.store.fails["record"] = store_down()
    registrar.fails["delete"] = down()

    async def for_ever(seconds: float) -> None:
        home.pauses.append(seconds)
        await asyncio.Event().wait()

    home.bridge = home.new_bridge(pause=for_ever)
    with capture_logs() as lines:
        with pytest.raises(Unavailable):
            await home.create()
        if begun:
            await until(lambda: bool(home.pauses))
        async with asyncio.timeout(5):
            await home.bridge.close()
    assert len(said(lines, "dcr_orphan")) == 1


# A client id that is there already


@pytest.mark.parametrize("of_the_file", [False, True], ids=["of the API", "of the file"])
async def test_an_id_handed_out_again_takes_nobodys_application_over(
    home: House, registrar: ScriptedRegistrar, of_the_file: bool
) -> None:
    theirs = Application("theirs", "Theirs", "plain", "client-of-theirs")
    if of_the_file:
        home.from_file(theirs)
    else:
        await home.store.create(theirs)
    registrar.ids = ["client-of-theirs"]
    with capture_logs() as lines, pytest.raises(BridgeRefused) as caught:
        await home.create()
    assert caught.value.error == "client_id_taken"
    assert ("delete", "client-of-theirs") not in registrar.calls  # it may be theirs
    held = home.application("client-of-theirs")
    assert held is not None
    assert (held.id, held.name) == ("theirs", "Theirs")
    assert await home.store.records("client-of-theirs") == []
    assert said(lines, "dcr_client_id_taken")


async def test_an_id_of_a_bridged_client_handed_out_again_changes_nothing(
    home: House, registrar: ScriptedRegistrar
) -> None:
    first = await home.adopted()
    before = await home.store.records(first.client_id)
    registrar.ids = [first.client_id]
    with pytest.raises(BridgeRefused):
        await home.create(client_name="Another")
    assert [r.sealed for r in await home.store.records(first.client_id)] == [r.sealed for r in before]


async def test_an_id_of_a_deleted_client_handed_out_again_is_refused_and_deleted_again(
    home: House, registrar: ScriptedRegistrar
) -> None:
    """Tokens and sessions of the one that had it may live on, and would be the new one's."""
    first = await home.adopted()
    await home.bridge.delete(first.client_id)
    registrar.ids = [first.client_id]
    with pytest.raises(BridgeRefused) as caught:
        await home.create()
    assert caught.value.error == "client_id_taken"
    assert registrar.secrets == {}
    assert home.blocked(first.client_id)
    assert home.application(first.client_id) is None


async def test_an_id_that_an_operator_has_blocked_stays_blocked(home: House, registrar: ScriptedRegistrar) -> None:
    await home.store.revoke(Revocation("client_id", "client-1", "plain"))
    with pytest.raises(BridgeRefused):
        await home.create()
    assert registrar.secrets == {}
    assert home.blocked("client-1")


async def test_an_id_that_another_strategy_has_is_refused_and_deleted_again(
    home: House, registrar: ScriptedRegistrar
) -> None:
    """Konnect names a client by its id alone."""
    registrar.ids = ["twin", "twin"]
    await home.create()
    home.plan = plan(registrar, default="azure")
    with pytest.raises(BridgeRefused) as caught:
        await home.create(client_name="Twin")
    assert caught.value.error == "client_id_taken"
    assert home.application("twin", "azure") is None
    assert home.application("twin") is not None


async def test_an_id_blocked_under_every_strategy_is_too(home: House, registrar: ScriptedRegistrar) -> None:
    await home.store.revoke(Revocation("client_id", "client-1"))
    with pytest.raises(BridgeRefused):
        await home.create()
    assert registrar.secrets == {}
    assert [r.strategy for r in home.memory.revocations()] == [None]
