"""A new secret ends what rested on the former one, and how a client is managed is never lost nor shown."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from dcr_support import (
    KEY,
    OTHER_KEY,
    House,
    ScriptedRegistrar,
    down,
    event,
    house,
    plan,
    refused,
    store_down,
    until,
)
from structlog.testing import capture_logs

from validator.core.registration import RegistrationRefused
from validator.dcr.plan import BridgeRefused
from validator.errors import Unavailable
from validator.model import Method, Proof, Session
from validator.testing import ManualClock


def session_covered(home: House, client_id: str, opened_at: float, strategy: str = "plain") -> bool:
    opened = Session("s", strategy, client_id, opened_at, opened_at, 9e9)
    proof = Proof(strategy, Method.SESSION, client_id, 9e9, 9e9, session=opened)
    return home.memory.covers(proof, home.application(client_id))


async def test_another_secret_ends_proofs_and_sessions_of_this_client_alone(
    home: House, clock: ManualClock
) -> None:
    made = await home.adopted()
    before = clock.now()
    clock.advance(10)
    renewed = await home.bridge.new_secret(made.client_id)
    assert renewed.client_id == made.client_id
    assert renewed.client_secret not in {made.client_secret, ""}
    assert home.purged == [("plain", made.client_id)]
    assert session_covered(home, made.client_id, before)
    assert session_covered(home, made.client_id, clock.now())
    assert session_covered(home, made.client_id, clock.now() + 0.001)  # opened by a clock that was set back since
    clock.advance(1)
    assert not session_covered(home, made.client_id, clock.now())
    assert not session_covered(home, "another", before)
    assert not session_covered(home, made.client_id, before, "azure")
    assert not home.memory.covers(Proof("plain", Method.BEARER, made.client_id, 9e9, 9e9), None)


async def test_sessions_stay_ended_until_none_can_be_left(home: House, clock: ManualClock) -> None:
    made = await home.adopted()
    opened = clock.now()
    await home.bridge.new_secret(made.client_id)
    clock.advance(365 * 86400 - 0.1)
    assert session_covered(home, made.client_id, opened)
    clock.advance(0.1)
    assert not session_covered(home, made.client_id, opened)  # no session can be configured to last so long


async def test_an_answer_that_is_lost_ends_the_sessions_all_the_same(
    home: House, registrar: ScriptedRegistrar, clock: ManualClock
) -> None:
    made = await home.adopted()
    opened = clock.now()
    registrar.lost["rotate_secret"] = down(sent=True)
    with pytest.raises(Unavailable):
        await home.bridge.new_secret(made.client_id)
    assert session_covered(home, made.client_id, opened)


async def test_each_new_secret_moves_the_end_of_sessions(home: House, clock: ManualClock) -> None:
    made = await home.adopted()
    await home.bridge.new_secret(made.client_id)
    clock.advance(50)
    opened = clock.now()
    clock.advance(50)
    await home.bridge.new_secret(made.client_id)
    assert session_covered(home, made.client_id, opened)


@pytest.mark.parametrize("error", [refused(), down()], ids=["refused", "unreachable"])
@pytest.mark.parametrize("when", ["fails", "lost"])
async def test_whatever_goes_wrong_the_former_secret_is_proved_anew(
    home: House, registrar: ScriptedRegistrar, error: Exception, when: str
) -> None:
    made = await home.adopted()
    getattr(registrar, when)["rotate_secret"] = error
    with pytest.raises((RegistrationRefused, Unavailable)):
        await home.bridge.new_secret(made.client_id)
    assert home.purged == [("plain", made.client_id)]
    getattr(registrar, when).clear()
    assert (await home.bridge.new_secret(made.client_id)).client_secret == registrar.secrets[made.client_id]


async def test_a_secret_that_could_not_end_the_sessions_is_not_handed_out(
    home: House, registrar: ScriptedRegistrar, clock: ManualClock
) -> None:
    made = await home.adopted()
    opened = clock.now()
    home.store.fails["revoke sessions_of"] = store_down()
    with pytest.raises(Unavailable):
        await home.bridge.new_secret(made.client_id)
    home.store.fails.clear()
    renewed = await home.bridge.new_secret(made.client_id)
    assert renewed.client_secret == registrar.secrets[made.client_id]
    assert session_covered(home, made.client_id, opened)


async def test_two_at_once_leave_one_that_holds(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    answers = await asyncio.gather(*(home.bridge.new_secret(made.client_id) for _ in range(3)))
    assert len({a.client_secret for a in answers}) == 3
    assert answers[-1].client_secret == registrar.secrets[made.client_id]


async def test_nobodys_client(home: House) -> None:
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.new_secret("nobody")
    assert caught.value.status == 404


async def test_a_strategy_that_the_bridge_serves_no_more(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    home.plan = replace(home.plan, registering={}, default=None)
    for call in (home.bridge.new_secret(made.client_id), home.bridge.delete(made.client_id)):
        with pytest.raises(BridgeRefused) as caught:
            await call
        assert caught.value.error == "unknown_auth_strategy"
    assert home.application(made.client_id) is not None


# How a client is managed


async def test_a_replaced_token_is_on_the_disk_before_the_answer(path: Path, clock: ManualClock) -> None:
    async with house(path, clock) as first:
        first.registrar.renews = True
        made = await first.adopted()
        await first.bridge.new_secret(made.client_id)
        assert first.bridge._records._unsaved == {}
        registrar = first.registrar
    async with house(path, clock) as second:
        second.serve(registrar)
        await second.bridge.new_secret(made.client_id)
        await second.bridge.delete(made.client_id)
        assert registrar.secrets == {}


async def test_a_token_that_the_disk_did_not_take_is_kept_for_the_next_call(
    home: House, registrar: ScriptedRegistrar
) -> None:
    made = await home.adopted()
    registrar.renews = True
    home.store.fails["reseal"] = store_down()
    with capture_logs() as lines, pytest.raises(Unavailable):
        await home.bridge.new_secret(made.client_id)
    assert "dcr_management_not_stored" in [line["event"] for line in lines]
    registrar.renews = False
    asked = len(registrar.calls)
    with pytest.raises(Unavailable):  # not before it is stored
        await home.bridge.new_secret(made.client_id)
    assert len(registrar.calls) == asked
    home.store.fails.clear()
    renewed = await home.bridge.new_secret(made.client_id)
    assert renewed.client_secret == registrar.secrets[made.client_id]
    home.bridge = home.new_bridge()  # the disk has it as well
    await home.bridge.delete(made.client_id)
    assert registrar.secrets == {}


async def test_a_token_that_the_disk_did_not_take_is_enough_to_delete(
    home: House, registrar: ScriptedRegistrar
) -> None:
    made = await home.adopted()
    registrar.renews = True
    home.store.fails["reseal"] = store_down()
    with pytest.raises(Unavailable):
        await home.bridge.new_secret(made.client_id)
    await home.bridge.delete(made.client_id)
    assert registrar.secrets == {}
    assert home.bridge._records._unsaved == {}


async def test_a_crash_between_the_provider_and_the_answer(path: Path, clock: ManualClock) -> None:
    async with house(path, clock) as first:
        made = await first.adopted()
        opened = clock.now()
        first.store.fails["revoke sessions_of"] = store_down()
        with pytest.raises(Unavailable):
            await first.bridge.new_secret(made.client_id)
        registrar = first.registrar
    async with house(path, clock) as second:
        second.serve(registrar)
        renewed = await second.bridge.new_secret(made.client_id)
        assert renewed.client_secret == registrar.secrets[made.client_id]
        assert session_covered(second, made.client_id, opened)


async def test_keys_can_be_rotated(home: House, registrar: ScriptedRegistrar) -> None:
    made = await home.adopted()
    home.plan = plan(registrar, keys=[OTHER_KEY, KEY])
    registrar.renews = True
    await home.bridge.new_secret(made.client_id)  # sealed by the first key from now on
    home.plan = plan(registrar, keys=[OTHER_KEY])
    await home.bridge.delete(made.client_id)
    assert registrar.secrets == {}


async def test_without_its_key_a_client_can_be_told_from_a_damaged_one_and_lives_on(
    home: House, registrar: ScriptedRegistrar
) -> None:
    made = await home.adopted()
    home.plan = plan(registrar, keys=[OTHER_KEY])
    for call in (
        home.bridge.delete(made.client_id),
        home.bridge.new_secret(made.client_id),
        home.bridge.event(event("update_application", made.client_id)),
    ):
        with pytest.raises(BridgeRefused) as caught:
            await call
        assert (caught.value.status, caught.value.error) == (400, "sealed_by_another_key")
        assert "dcr.sealing_keys_file" in caught.value.description
        assert "is not configured any more" in caught.value.description
    assert home.application(made.client_id) is not None
    assert not home.blocked(made.client_id)
    await home.bridge.event(event("remove_registration", made.client_id))  # needs no key


async def test_a_record_moved_to_another_client_opens_nothing(home: House, registrar: ScriptedRegistrar) -> None:
    one, two = await home.adopted(), await home.create(client_name="Two")
    (record,) = await home.store.records(one.client_id)
    await home.store.reseal("plain", two.client_id, record.sealed)
    with pytest.raises(BridgeRefused) as caught:
        await home.bridge.delete(two.client_id)
    assert "belongs to something else" in caught.value.description
    assert two.client_id in registrar.secrets


async def test_nothing_secret_is_on_the_disk_in_a_log_or_in_words(
    home: House, registrar: ScriptedRegistrar, path: Path
) -> None:
    registrar.renews = True
    with capture_logs() as lines:
        made = await home.adopted()
        renewed = await home.bridge.new_secret(made.client_id)
        await home.bridge.event(event("update_application", made.client_id))
        home.store.fails["reseal"] = store_down()
        with pytest.raises(Unavailable) as caught:
            await home.bridge.new_secret(made.client_id)
        home.store.fails["record"] = store_down()
        registrar.fails["delete"] = down()
        with pytest.raises(Unavailable):
            await home.create(client_name="Never recorded")
        await until(lambda: "dcr_orphan" in [line["event"] for line in lines])
    home.store.fails.clear()
    await home.create(client_name="Told again")
    secrets = ["secret-", "management-"]  # what every secret of this registrar begins with
    records = await home.store.records(made.client_id)
    words = repr((lines, made, renewed, records, caught.value, str(caught.value), home.plan, registrar.changes))
    for haystack in (words.encode(), *(file.read_bytes() for file in path.parent.iterdir())):
        for secret in secrets:
            assert secret.encode() not in haystack
