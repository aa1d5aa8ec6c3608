"""Events keep the application as Konnect has it, once or told again, and touch nobody else's."""

import asyncio
from dataclasses import replace

import pytest
from dcr_support import (
    APPLICATION_ID,
    VERSION_ID,
    House,
    ScriptedRegistrar,
    down,
    event,
    refused,
    store_down,
    until,
)

from validator.core.registration import RegistrationRefused
from validator.dcr.plan import BridgeRefused
from validator.dcr.registrar import Changes
from validator.errors import Unavailable
from validator.model import Application, Method, Proof, RegistrationStatus, Revocation

APPROVED, PENDING = RegistrationStatus.APPROVED, RegistrationStatus.PENDING
ANOTHER_ID = "3f0c1c9e-0000-4000-8000-000000000002"


def registrations(home: House, client_id: str) -> dict[str, RegistrationStatus]:
    application = home.application(client_id)
    assert application is not None
    return dict(application.registrations)


# Registrations


async def test_a_registration_comes_and_goes_under_konnects_own_id(home: House) -> None:
    made = await home.create()
    await home.bridge.event(event("add_registration", made.client_id))
    application = home.application(made.client_id)
    assert application is not None
    assert (application.id, application.name) == (APPLICATION_ID, "Orders mobile")
    assert registrations(home, made.client_id) == {VERSION_ID: APPROVED}
    assert [a.id for a in home.memory.list()] == [APPLICATION_ID]  # not under two ids
    await home.bridge.event(event("remove_registration", made.client_id))
    assert registrations(home, made.client_id) == {}


async def test_each_told_again_changes_nothing(home: House) -> None:
    made = await home.create()
    for kind in ("add_registration", "add_registration", "remove_registration", "remove_registration"):
        await home.bridge.event(event(kind, made.client_id))
    assert registrations(home, made.client_id) == {}


async def test_a_product_version_is_mapped_to_a_service(home: House) -> None:
    home.plan = replace(home.plan, services={VERSION_ID: "orders"})
    made = await home.adopted()
    assert registrations(home, made.client_id) == {"orders": APPROVED}
    await home.bridge.event(event("add_registration", made.client_id, api_product_version_id="billing"))
    await home.bridge.event(event("remove_registration", made.client_id))
    assert registrations(home, made.client_id) == {"billing": APPROVED}


async def test_pending_where_somebody_is_to_approve(home: House) -> None:
    home.plan = replace(home.plan, status=PENDING)
    made = await home.adopted()
    assert registrations(home, made.client_id) == {VERSION_ID: PENDING}
    await home.store.set_registration(APPLICATION_ID, VERSION_ID, APPROVED)
    await home.bridge.event(event("add_registration", made.client_id))
    assert registrations(home, made.client_id) == {VERSION_ID: APPROVED}


@pytest.mark.parametrize("shut", [RegistrationStatus.REVOKED, RegistrationStatus.REJECTED])
async def test_what_an_operator_shut_no_event_opens(home: House, shut: RegistrationStatus) -> None:
    made = await home.adopted()
    await home.store.set_registration(APPLICATION_ID, VERSION_ID, shut)
    for kind in ("add_registration", "remove_registration", "add_registration"):
        await home.bridge.event(event(kind, made.client_id))
        assert registrations(home, made.client_id) == {VERSION_ID: shut}


@pytest.mark.parametrize("method", ["records", "adopt", "set_registration"])
async def test_an_event_that_the_store_did_not_take_can_be_told_again(home: House, method: str) -> None:
    made = await home.create()
    home.store.fails[method] = store_down()
    with pytest.raises(Unavailable):
        await home.bridge.event(event("add_registration", made.client_id))
    home.store.fails.clear()
    await home.bridge.event(event("add_registration", made.client_id))
    assert registrations(home, made.client_id) == {VERSION_ID: APPROVED}


@pytest.mark.parametrize("kind", ["add_registration", "remove_registration"])
async def test_removed_by_hand_at_the_same_moment(home: House, kind: str) -> None:
    made = await home.adopted()
    gate = home.store.gates["set_registration"] = asyncio.Event()
    told = event(kind, made.client_id, api_product_version_id="billing" if kind.startswith("add") else VERSION_ID)
    call = asyncio.create_task(home.bridge.event(told))
    await until(lambda: home.store.waiting == ["set_registration"])
    await home.store.delete(APPLICATION_ID)
    gate.set()
    if kind == "remove_registration":
        await call
    else:
        with pytest.raises(BridgeRefused) as caught:
            await call
        assert (caught.value.status, caught.value.error) == (400, "application_changed")


# Whose event it is


async def test_an_unknown_kind_names_those_that_are_known(home: House) -> None:
    made = await home.create()
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.event(event("rename", made.client_id))
    assert caught.value.status == 400
    assert "update_application, add_registration, remove_registration" in caught.value.description


@pytest.mark.parametrize("kind", ["update_application", "add_registration", "remove_registration"])
async def test_nobodys_client(home: House, kind: str) -> None:
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.event(event(kind, "nobody"))
    assert caught.value.status == 404


@pytest.mark.parametrize("kind", ["update_application", "add_registration", "remove_registration"])
async def test_an_event_for_another_application_touches_neither(
    home: House, registrar: ScriptedRegistrar, kind: str
) -> None:
    made = await home.adopted()
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.event(event(kind, made.client_id, application_id=ANOTHER_ID))
    assert caught.value.error == "another_application"
    assert registrations(home, made.client_id) == {VERSION_ID: APPROVED}
    assert ("update", made.client_id) not in registrar.calls


@pytest.mark.parametrize("of_the_file", [False, True], ids=["of the API", "of the file"])
async def test_an_id_that_another_application_has_is_not_taken(home: House, of_the_file: bool) -> None:
    theirs = Application(APPLICATION_ID, "Theirs", "plain", "theirs")
    if of_the_file:
        home.from_file(theirs)
    else:
        await home.store.create(theirs)
    made = await home.create()
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.event(event("add_registration", made.client_id))
    assert (caught.value.status, caught.value.error) == (400, "application_id_taken")
    assert registrations(home, "theirs") == {}
    assert registrations(home, made.client_id) == {}


async def test_a_removed_registration_is_gone_under_the_name_it_had_before_it_was_mapped(home: House) -> None:
    made = await home.adopted()
    assert registrations(home, made.client_id) == {VERSION_ID: APPROVED}
    home.plan = replace(home.plan, services={VERSION_ID: "orders"})
    await home.bridge.event(event("remove_registration", made.client_id))
    assert registrations(home, made.client_id) == {}


async def test_a_strategy_that_is_not_served_any_more_gets_no_registration(home: House) -> None:
    made = await home.create()
    home.plan = replace(home.plan, registering={}, default=None)
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.event(event("add_registration", made.client_id))
    assert caught.value.error == "unknown_auth_strategy"
    assert registrations(home, made.client_id) == {}


async def test_a_revocation_of_the_application_follows_it_to_its_new_id(home: House) -> None:
    made = await home.create()
    before = home.application(made.client_id)
    assert before is not None
    await home.store.revoke(Revocation("application_id", before.id))
    await home.bridge.event(event("add_registration", made.client_id))
    after = home.application(made.client_id)
    assert after is not None
    assert after.id == APPLICATION_ID
    assert home.memory.covers(Proof("plain", Method.BEARER, made.client_id, 9e9, 9e9), after)


async def test_an_application_deleted_behind_the_bridges_back(home: House) -> None:
    made = await home.adopted()
    await home.store.delete(APPLICATION_ID)
    for kind in ("update_application", "add_registration", "remove_registration"):
        with pytest.raises(BridgeRefused) as caught:
            await home.bridge.event(event(kind, made.client_id))
        assert (caught.value.status, caught.value.error) == (404, "application_not_found")


# Updates


async def test_an_update_reaches_the_provider_and_the_registry(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    told = event(
        "update_application", made.client_id, application_name="Orders 2", redirect_uris=("https://a.test/cb",)
    )
    for _ in range(2):
        await home.bridge.event(told)
    assert registrar.changes == [Changes("Orders 2", ("https://a.test/cb",))] * 2
    application = home.application(made.client_id)
    assert application is not None
    assert (application.id, application.name) == (APPLICATION_ID, "Orders 2")
    assert registrations(home, made.client_id) == {VERSION_ID: APPROVED}
    assert home.purged  # the provider may have replaced the secret, whatever it says


async def test_an_update_that_comes_first_adopts_too(home: House) -> None:
    made = await home.create()
    await home.bridge.event(event("update_application", made.client_id, application_name="New"))
    application = home.application(made.client_id)
    assert application is not None
    assert (application.id, application.name) == (APPLICATION_ID, "New")


@pytest.mark.parametrize("error", [refused(), down()], ids=["refused", "unreachable"])
async def test_an_update_that_the_provider_does_not_take_renames_nothing(
    home: House, registrar: ScriptedRegistrar, error: Exception
) -> None:
    made = await home.adopted()
    registrar.fails["update"] = error
    with pytest.raises((RegistrationRefused, Unavailable)):
        await home.bridge.event(event("update_application", made.client_id, application_name="New"))
    application = home.application(made.client_id)
    assert application is not None
    assert application.name == "Orders mobile"


async def test_after_a_lost_reply_the_secret_is_proved_anew(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    registrar.lost["update"] = down()
    with pytest.raises(Unavailable):
        await home.bridge.event(event("update_application", made.client_id))
    assert home.purged == [("plain", made.client_id)]


async def test_an_update_that_cost_the_secret_is_told(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    registrar.keeps_secret = False
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.event(event("update_application", made.client_id, application_name="New"))
    assert caught.value.error == "secret_replaced"
    assert "request a new secret" in caught.value.description
    assert home.purged == [("plain", made.client_id)]
    application = home.application(made.client_id)
    assert application is not None
    assert application.name == "New"
