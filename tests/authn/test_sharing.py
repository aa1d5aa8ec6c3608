"""What was expensive to find out is found out by one member of a fleet; without anything to share by, each finds
out for itself, and every decision is the same."""

import asyncio

import pytest
from support_fleet import LEASE_S, NEGATIVE_S, FakeShared, Member, ask_all, fleet
from support_http import TOKEN, CannedIdp, turns, until
from support_pipeline import Seen, app, basic

from validator.authn.basic import BasicRules
from validator.testing import ManualClock

RIGHT = basic("orders", "s3cret")
WRONG = basic("orders", "guess")
PROOF_S = 300.0


def reasons(seen: list[Seen]) -> set[tuple[int, str | None]]:
    return {one.said for one in seen}


# One member asks


async def test_a_thousand_first_requests_ask_once(members: list[Member], idp: CannedIdp) -> None:
    assert reasons(await ask_all(members, RIGHT, 1000)) == {(200, None)}
    assert idp.calls[TOKEN] == 1


async def test_a_thousand_wrong_ones_ask_once(members: list[Member], idp: CannedIdp) -> None:
    assert reasons(await ask_all(members, WRONG, 1000)) == {(401, "credentials_rejected")}
    assert idp.calls[TOKEN] == 1


async def test_who_waited_for_an_outage_does_not_ask_again(members: list[Member], idp: CannedIdp) -> None:
    idp.fail(TOKEN)
    seen = await ask_all(members, RIGHT, 1000)
    assert reasons(seen) == {(503, "idp_unavailable")}
    assert idp.calls[TOKEN] == 1


async def test_who_comes_after_an_outage_asks_again(members: list[Member], idp: CannedIdp) -> None:
    idp.fail(TOKEN)
    await members[0].ask(RIGHT)
    idp.well()
    assert (await members[1].ask(RIGHT)).status == 200


async def test_an_outage_that_was_over_before_the_wait_began_says_nothing(
    members: list[Member], idp: CannedIdp
) -> None:
    idp.fail(TOKEN)
    await members[0].ask(RIGHT)
    idp.well()
    idp.gates[TOKEN] = asyncio.Event()
    asking = asyncio.create_task(members[1].ask(RIGHT))
    await until(lambda: idp.calls[TOKEN] == 2)
    waiting = asyncio.create_task(members[2].ask(RIGHT))
    await turns()
    idp.gates[TOKEN].set()
    assert ((await asking).status, (await waiting).status) == (200, 200)
    assert idp.calls[TOKEN] == 2


async def test_each_member_opens_a_session_of_its_own(members: list[Member]) -> None:
    one, other = [members[n].opened(await members[n].ask(RIGHT)) for n in (0, 1)]
    assert one.id != other.id
    assert (one.client_id, one.ends_at) == (other.client_id, other.ends_at)


async def test_what_is_shared_ends_with_the_proof(
    members: list[Member], idp: CannedIdp, clock: ManualClock
) -> None:
    await members[0].ask(RIGHT)
    clock.advance(PROOF_S - 1)
    await members[1].ask(RIGHT)
    assert idp.calls[TOKEN] == 1
    clock.advance(1)
    await members[2].ask(RIGHT)
    assert idp.calls[TOKEN] == 2


async def test_nobody_keeps_a_refusal_for_longer_than_who_was_told(
    members: list[Member], idp: CannedIdp, clock: ManualClock
) -> None:
    await members[0].ask(WRONG)
    clock.advance(NEGATIVE_S - 1)
    await members[1].ask(WRONG)
    assert idp.calls[TOKEN] == 1
    idp.clients["orders"] = "guess"
    clock.advance(0.5)
    assert (await members[1].ask(WRONG)).status == 401
    clock.advance(0.5)
    assert (await members[1].ask(WRONG)).status == 200


async def test_a_forwarded_token_reaches_the_others(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    rules = BasicRules(PROOF_S, NEGATIVE_S, forward_minted_token=True)
    one, other = fleet(2, clock, idp, lambda: shared, [app()], basic=rules)
    first, second = await one.ask(RIGHT), await other.ask(RIGHT)
    assert first.headers["x-access-token"] == second.headers["x-access-token"]
    assert idp.calls[TOKEN] == 1


async def test_who_gives_up_lets_the_next_one_ask(members: list[Member], idp: CannedIdp) -> None:
    idp.gates[TOKEN] = asyncio.Event()
    asking = asyncio.create_task(members[0].ask(RIGHT))
    await until(lambda: idp.calls[TOKEN] == 1)
    await members[0].flight.close()
    assert (await asking).said == (503, "idp_unavailable")
    idp.gates[TOKEN].set()
    assert (await members[1].ask(RIGHT)).status == 200


# Waiting


async def test_who_waits_for_a_dead_member_asks_once_its_lease_is_over(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)
        await asyncio.sleep(0)

    dead, one, other = fleet(3, clock, idp, lambda: shared, [app()], sleep=sleep)
    idp.gates[TOKEN] = asyncio.Event()
    asking = asyncio.create_task(dead.ask(RIGHT))
    await until(lambda: idp.calls[TOKEN] == 1)
    began = clock.monotonic()
    waiting = [asyncio.create_task(member.ask(RIGHT)) for member in (one, other)]
    await until(lambda: idp.calls[TOKEN] > 1, turns=10_000)
    assert clock.monotonic() - began >= LEASE_S
    idp.gates.pop(TOKEN).set()
    assert [(await task).status for task in waiting] == [200, 200]
    assert max(slept) <= 0.1
    assert idp.calls[TOKEN] <= 3
    await asking


async def test_nobody_waits_for_longer_than_a_lease(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        for name in [name for name in shared.held if name.endswith("asking")]:
            shared.put(name, "somebody", LEASE_S)  # one after the other takes it
        await asyncio.sleep(0)

    one, other = fleet(2, clock, idp, lambda: shared, [app()], sleep=sleep)
    idp.gates[TOKEN] = asyncio.Event()
    asking = asyncio.create_task(one.ask(RIGHT))
    await until(lambda: idp.calls[TOKEN] == 1)
    began = clock.monotonic()
    waiting = asyncio.create_task(other.ask(RIGHT))
    await until(lambda: idp.calls[TOKEN] == 2, turns=10_000)
    assert clock.monotonic() - began == pytest.approx(LEASE_S)
    idp.gates[TOKEN].set()
    assert ((await asking).status, (await waiting).status) == (200, 200)


async def test_where_it_falls_silent_during_the_wait_each_goes_on_alone(
    members: list[Member], idp: CannedIdp, shared: FakeShared
) -> None:
    idp.gates[TOKEN] = asyncio.Event()
    asking = [asyncio.create_task(member.ask(RIGHT)) for member in members[:2]]
    await until(lambda: idp.calls[TOKEN] == 1)
    shared.down = True
    await until(lambda: idp.calls[TOKEN] == 2)
    idp.gates[TOKEN].set()
    assert [(await task).status for task in asking] == [200, 200]


# Without anything to share by


async def test_while_nothing_can_be_shared_all_is_decided_here(
    members: list[Member], idp: CannedIdp, shared: FakeShared
) -> None:
    shared.down = True
    assert reasons(await ask_all(members, RIGHT, 60)) == {(200, None)}
    assert reasons(await ask_all(members, WRONG, 60)) == {(401, "credentials_rejected")}
    assert idp.calls[TOKEN] == 2 * len(members)
    assert shared.calls["begin"] == shared.calls["settle"] == 2 * len(members)  # two looks at it for each question


async def test_while_nothing_can_be_shared_tries_are_counted_here(
    members: list[Member], idp: CannedIdp, shared: FakeShared
) -> None:
    shared.down = True
    seen = [await members[0].ask(basic("orders", f"guess-{n}")) for n in range(15)]
    assert [one.status for one in seen] == [401] * 10 + [429] * 5
    assert idp.calls[TOKEN] == 10


@pytest.mark.parametrize("garbage", ["", "x", "AQ", "é", "A" * 100, "A" * 100_000])
async def test_what_does_not_open_counts_for_nothing(
    members: list[Member], idp: CannedIdp, shared: FakeShared, garbage: str
) -> None:
    await members[0].ask(RIGHT)
    for name in [name for name in shared.held if name.endswith("answer")]:
        shared.put(name, garbage, PROOF_S)
    assert (await members[1].ask(RIGHT)).status == 200
    assert idp.calls[TOKEN] == 2
    assert (await members[2].ask(RIGHT)).status == 200
    assert idp.calls[TOKEN] == 2  # what the second found out is there again


# Forgetting


async def test_what_was_forgotten_is_asked_for_anew(members: list[Member], idp: CannedIdp) -> None:
    await members[0].ask(RIGHT)
    for member in members:
        member.forget("orders")
    assert reasons(await ask_all(members, RIGHT, 60)) == {(200, None)}
    assert idp.calls[TOKEN] == 2


async def test_a_refusal_that_was_forgotten_is_asked_for_anew(members: list[Member], idp: CannedIdp) -> None:
    await members[0].ask(WRONG)
    idp.clients["orders"] = "guess"  # a new secret, and somebody was too early with it
    for member in members:
        member.forget("orders")
    assert (await members[1].ask(WRONG)).status == 200


async def test_who_has_not_heard_yet_is_not_believed_by_who_has(members: list[Member], idp: CannedIdp) -> None:
    early, late = members[:2]
    early.forget("orders")
    idp.clients["orders"] = "anew"
    late.caches.proofs.clear()
    assert (await early.ask(RIGHT)).status == 401
    idp.clients["orders"] = "s3cret"
    assert (await late.ask(RIGHT)).status == 200
    idp.clients["orders"] = "anew"
    early.clock.advance(NEGATIVE_S)
    assert (await early.ask(RIGHT)).status == 401


async def test_what_was_forgotten_while_it_was_asked_is_not_shared(
    members: list[Member], idp: CannedIdp, shared: FakeShared
) -> None:
    idp.gates[TOKEN] = asyncio.Event()
    asking = asyncio.create_task(members[0].ask(RIGHT))
    await until(lambda: idp.calls[TOKEN] == 1)
    members[0].forget("orders")
    idp.gates[TOKEN].set()
    assert (await asking).status == 200
    assert not [name for name in shared.held if name.endswith("answer")]


async def test_who_waited_since_before_does_not_believe_it(members: list[Member], idp: CannedIdp) -> None:
    idp.gates[TOKEN] = asyncio.Event()
    asking = [asyncio.create_task(member.ask(RIGHT)) for member in members[:2]]
    await until(lambda: idp.calls[TOKEN] == 1)
    await turns()
    members[1].forget("orders")
    idp.gates[TOKEN].set()
    await asyncio.gather(*asking)
    assert idp.calls[TOKEN] == 2


# Keys


async def test_members_whose_keys_differ_share_nothing_and_decide_the_same(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    old, new = b"1" * 32, b"2" * 32
    orders = [(old,), (old, new), (new, old), (new,)]
    members = [Member(clock, idp, shared, keys=keys, applications=[app()]) for keys in orders]
    assert reasons(await ask_all(members, RIGHT, 100)) == {(200, None)}
    assert idp.calls[TOKEN] == 2  # one for each first key
    assert reasons(await ask_all(members, WRONG, 100)) == {(401, "credentials_rejected")}
    assert idp.calls[TOKEN] == 4


async def test_members_of_other_rules_share_nothing(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    members = [
        Member(clock, idp, shared, fingerprint=fingerprint, applications=[app()])
        for fingerprint in (b"one", b"two")
    ]
    await ask_all(members, RIGHT, 10)
    assert idp.calls[TOKEN] == 2
