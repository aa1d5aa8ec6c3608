"""What a deleted client proved by is refused when the call returns; a repeated call completes a broken one."""

import asyncio

import pytest
from dcr_support import House, ScriptedRegistrar, down, event, house, refused, store_down, until
from structlog.testing import capture_logs

from validator.core.registration import RegistrationRefused
from validator.dcr.plan import BridgeRefused
from validator.errors import Unavailable
from validator.model import Application, Method, Proof, Revocation
from validator.testing import ManualClock


def covered(home: House, client_id: str) -> bool:
    """Whether a proof of the client, were one at hand, is refused as revoked."""
    proof = Proof("plain", Method.BEARER, client_id, 9e9, 9e9)
    return home.memory.covers(proof, home.application(client_id))


async def test_a_deleted_client_is_gone_everywhere(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    await home.bridge.delete(made.client_id)
    assert registrar.secrets == {}
    assert home.application(made.client_id) is None
    assert covered(home, made.client_id)
    assert set(home.purged) == {("plain", made.client_id)}
    (record,) = await home.store.records(made.client_id)
    assert (record.deleted, record.sealed) == (True, "")


async def test_it_is_blocked_and_purged_before_the_provider_is_asked(
    home: House, registrar: ScriptedRegistrar
) -> None:
    made = await home.adopted()
    gate = registrar.gates["delete"] = asyncio.Event()
    call = asyncio.create_task(home.bridge.delete(made.client_id))
    await until(lambda: registrar.calls[-1][0] == "delete")
    assert covered(home, made.client_id)
    assert home.purged
    gate.set()
    await call


async def test_deleting_twice_is_as_deleting_once(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    await home.bridge.delete(made.client_id)
    await home.bridge.delete(made.client_id)
    assert [name for name, _ in registrar.calls].count("delete") == 1


async def test_two_at_once_ask_the_provider_once(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    await asyncio.gather(*(home.bridge.delete(made.client_id) for _ in range(4)))
    assert [name for name, _ in registrar.calls].count("delete") == 1


async def test_nobodys_client(home: House) -> None:
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.delete("nobody")
    assert (caught.value.status, caught.value.error) == (404, "client_not_found")


async def test_an_application_that_the_bridge_did_not_make_is_not_its_to_delete(home: House) -> None:
    await home.store.create(Application("a", "A", "plain", "by-hand"))
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.delete("by-hand")
    assert caught.value.status == 404
    assert "control plane" in caught.value.description
    assert home.application("by-hand") is not None


@pytest.mark.parametrize("registered", [False, True], ids=["never the bridge's", "the bridge's before"])
async def test_an_application_of_the_file_is_changed_there(
    home: House, registrar: ScriptedRegistrar, registered: bool
) -> None:
    client_id = (await home.adopted()).client_id if registered else "filed"
    home.from_file(Application("f", "F", "plain", client_id))
    for call in (
        home.bridge.delete(client_id),
        home.bridge.new_secret(client_id),
        home.bridge.event(event("add_registration", client_id)),
        home.bridge.event(event("remove_registration", client_id)),
    ):
        with pytest.raises(BridgeRefused) as caught:
            await call
        assert (caught.value.status, caught.value.error) == (400, "read_only")
    assert not covered(home, client_id)
    assert {name for name, _ in registrar.calls} <= {"create"}


# Half-way


@pytest.mark.parametrize("error", [refused(), down()], ids=["refused", "unreachable"])
async def test_where_the_provider_does_not_delete_it_the_client_goes_on(
    home: House, registrar: ScriptedRegistrar, error: Exception
) -> None:
    made = await home.adopted()
    registrar.fails["delete"] = error
    with pytest.raises((RegistrationRefused, Unavailable)):
        await home.bridge.delete(made.client_id)
    assert home.application(made.client_id) is not None
    assert not covered(home, made.client_id)
    assert home.purged  # proved anew, that is all
    del registrar.fails["delete"]
    await home.bridge.delete(made.client_id)
    assert covered(home, made.client_id)


async def test_an_operators_block_is_not_lifted_with_ours(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    await home.store.revoke(Revocation("client_id", made.client_id, "plain"))
    registrar.fails["delete"] = down()
    with pytest.raises(Unavailable):
        await home.bridge.delete(made.client_id)
    assert covered(home, made.client_id)


async def test_a_lost_reply_is_completed_by_the_repeated_call(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    registrar.lost["delete"] = down()
    with pytest.raises(Unavailable):
        await home.bridge.delete(made.client_id)
    assert len(home.purged) == 2  # also of what was proved while it was asked
    registrar.lost.clear()
    with capture_logs() as lines:
        await home.bridge.delete(made.client_id)
    assert "dcr_gone_already" in [line["event"] for line in lines]
    assert home.application(made.client_id) is None
    assert covered(home, made.client_id)


async def test_a_block_that_cannot_be_lifted_is_told(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    registrar.fails["delete"] = down()
    home.store.fails["unrevoke"] = store_down()
    with capture_logs() as lines, pytest.raises(Unavailable):
        await home.bridge.delete(made.client_id)
    assert "dcr_block_not_lifted" in [line["event"] for line in lines]
    assert covered(home, made.client_id)


async def test_without_a_block_nothing_is_deleted(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    home.store.fails["revoke client_id"] = store_down()
    with pytest.raises(Unavailable):
        await home.bridge.delete(made.client_id)
    assert made.client_id in registrar.secrets


async def test_deleted_there_and_not_forgotten_here_stays_blocked(
    home: House, registrar: ScriptedRegistrar
) -> None:
    made = await home.adopted()
    home.store.fails["forget"] = store_down()
    with pytest.raises(Unavailable):
        await home.bridge.delete(made.client_id)
    assert registrar.secrets == {}
    assert covered(home, made.client_id)
    home.store.fails.clear()
    await home.bridge.delete(made.client_id)
    assert home.application(made.client_id) is None


@pytest.mark.parametrize("gone_there", [False, True], ids=["before the provider", "after it"])
async def test_after_a_crash_the_repeated_call_completes_it(path: object, gone_there: bool) -> None:
    async with house(path) as first:  # type: ignore[arg-type]
        made = await first.adopted()
        first.store.fails["forget" if gone_there else "unrevoke"] = store_down()
        if not gone_there:
            first.registrar.fails["delete"] = down()
        with pytest.raises(Unavailable):
            await first.bridge.delete(made.client_id)
        registrar = first.registrar
    registrar.fails.clear()
    async with house(path) as second:  # type: ignore[arg-type]
        second.serve(registrar)
        assert covered(second, made.client_id)
        assert second.application(made.client_id) is not None
        await second.bridge.delete(made.client_id)
        assert second.application(made.client_id) is None
        assert registrar.secrets == {}
    async with house(path) as third:  # type: ignore[arg-type]
        third.serve(registrar)
        assert covered(third, made.client_id)
        await third.bridge.delete(made.client_id)


# Behind the bridge's back


async def test_an_application_deleted_by_hand_takes_its_client_with_it(
    home: House, registrar: ScriptedRegistrar
) -> None:
    made = await home.adopted()
    await home.store.delete(home.application(made.client_id).id)  # type: ignore[union-attr]
    await home.bridge.delete(made.client_id)
    assert registrar.secrets == {}
    assert covered(home, made.client_id)


async def test_an_application_that_became_another_clients_is_left_alone(home: House) -> None:
    made = await home.adopted()
    application = home.application(made.client_id)
    assert application is not None
    await home.store.delete(application.id)
    await home.store.create(Application(application.id, "Another", "plain", "by-hand"))
    await home.bridge.delete(made.client_id)
    assert home.application("by-hand") is not None


async def test_the_same_id_under_another_strategy_is_left_alone(home: House) -> None:
    made = await home.adopted()
    await home.store.create(Application("other", "Other", "azure", made.client_id))
    await home.bridge.delete(made.client_id)
    assert home.application(made.client_id, "azure") is not None
    assert not home.blocked(made.client_id, "azure")


async def test_an_operators_block_meanwhile_is_not_ours_to_lift(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    gate = registrar.gates["delete"] = asyncio.Event()
    registrar.fails["delete"] = refused()
    call = asyncio.create_task(home.bridge.delete(made.client_id))
    await until(lambda: registrar.calls[-1][0] == "delete")
    await home.store.revoke(Revocation("client_id", made.client_id, "plain"))
    gate.set()
    with pytest.raises(RegistrationRefused):
        await call
    assert home.blocked(made.client_id)


async def test_also_a_shorter_one(home: House, registrar: ScriptedRegistrar, clock: ManualClock) -> None:
    made = await home.adopted()
    gate = registrar.gates["delete"] = asyncio.Event()
    registrar.fails["delete"] = refused()
    call = asyncio.create_task(home.bridge.delete(made.client_id))
    await until(lambda: registrar.calls[-1][0] == "delete")
    clock.advance(1)
    now = clock.now()
    await home.store.revoke(Revocation("client_id", made.client_id, "plain", now, now + 60))
    gate.set()
    with pytest.raises(RegistrationRefused):
        await call
    assert home.blocked(made.client_id)


async def test_a_client_that_may_be_deleted_stays_blocked_until_the_call_is_repeated(
    home: House, registrar: ScriptedRegistrar
) -> None:
    made = await home.adopted()
    registrar.lost["delete"] = down(sent=True)
    with pytest.raises(Unavailable):
        await home.bridge.delete(made.client_id)
    assert home.blocked(made.client_id)
    registrar.lost.clear()
    await home.bridge.delete(made.client_id)
    assert home.application(made.client_id) is None


async def test_and_no_longer_than_until_the_provider_refuses_the_repeated_call(
    home: House, registrar: ScriptedRegistrar, clock: ManualClock
) -> None:
    made = await home.adopted()
    registrar.fails["delete"] = down(sent=True)
    with pytest.raises(Unavailable):
        await home.bridge.delete(made.client_id)
    clock.advance(30)
    registrar.fails["delete"] = refused()
    with pytest.raises(RegistrationRefused):
        await home.bridge.delete(made.client_id)
    assert not home.blocked(made.client_id)


async def test_calls_for_one_client_do_not_pile_up(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    gate = registrar.gates["rotate_secret"] = asyncio.Event()
    calls = [asyncio.create_task(home.bridge.new_secret(made.client_id)) for _ in range(30)]
    await until(lambda: sum(call.done() for call in calls) == 22)
    closing = asyncio.create_task(home.bridge.close())
    gate.set()
    await closing
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, Unavailable) for one in done) == 29  # one was under way, the others were not begun
    assert [name for name, *_ in registrar.calls].count("rotate_secret") == 1


# A client deleted is a client no call reaches


async def test_of_a_deleted_client_there_is_no_secret_and_no_registration(home: House) -> None:
    made = await home.adopted()
    await home.bridge.delete(made.client_id)
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.new_secret(made.client_id)
    assert caught.value.status == 404
    for kind in ("add_registration", "update_application"):
        with pytest.raises(BridgeRefused) as caught:
            await home.bridge.event(event(kind, made.client_id))
        assert caught.value.status == 404
    await home.bridge.event(event("remove_registration", made.client_id))  # so it is
    assert home.application(made.client_id) is None


@pytest.mark.parametrize("first", ["delete", "new_secret", "add_registration"])
async def test_calls_for_one_client_run_one_after_the_other(
    home: House, registrar: ScriptedRegistrar, first: str
) -> None:
    made = await home.adopted()
    calls = {
        "delete": lambda: home.bridge.delete(made.client_id),
        "new_secret": lambda: home.bridge.new_secret(made.client_id),
        "add_registration": lambda: home.bridge.event(
            event("add_registration", made.client_id, api_product_version_id="billing")
        ),
    }
    order = [first, *(name for name in calls if name != first)]
    tasks = {name: asyncio.create_task(calls[name]()) for name in order}
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    after_deletion = order[order.index("delete") + 1 :]
    for name, task in tasks.items():
        assert (task.exception() is not None) == (name in after_deletion)
    assert registrar.secrets == {}
    assert home.application(made.client_id) is None
    assert covered(home, made.client_id)


async def test_another_client_does_not_wait(home: House, registrar: ScriptedRegistrar) -> None:
    one, two = await home.adopted(), await home.create(client_name="Two")
    gate = registrar.gates["delete"] = asyncio.Event()
    call = asyncio.create_task(home.bridge.delete(one.client_id))
    await until(lambda: registrar.calls[-1][0] == "delete")
    async with asyncio.timeout(5):
        await home.bridge.new_secret(two.client_id)
    gate.set()
    await call


async def test_a_caller_who_goes_away_leaves_a_whole_deletion(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    gate = registrar.gates["delete"] = asyncio.Event()
    call = asyncio.create_task(home.bridge.delete(made.client_id))
    await until(lambda: registrar.calls[-1][0] == "delete")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.set()
    await home.bridge.close()
    assert home.application(made.client_id) is None
    assert registrar.secrets == {}
