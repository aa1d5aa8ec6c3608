"""Guesses spread over a fleet are bounded as at one sidecar, and lock nobody out who knows the secret."""

import asyncio

import pytest
from support_fleet import FakeShared, Member, ask_all, close_all, fleet
from support_http import TOKEN, CannedIdp, until
from support_pipeline import app, basic

from validator.errors import Unavailable
from validator.model import ClientCredentials, Method, Reason
from validator.testing import ManualClock

RIGHT = basic("orders", "s3cret")
MAX, MAX_UNREGISTERED, WINDOW_S = 10, 100, 60.0


async def guess(members: list[Member], count: int, client_id: str = "orders", *, first: int = 0) -> list[int]:
    """The answers to so many different secrets, one after the other, at one member after the other."""
    return [
        (await members[n % len(members)].ask(basic(client_id, f"guess-{first + n}"))).status for n in range(count)
    ]


async def test_guesses_at_all_members_are_bounded_as_at_one(members: list[Member], idp: CannedIdp) -> None:
    assert await guess(members[:3], 15) == [401] * MAX + [429] * 5
    assert idp.calls[TOKEN] == MAX


async def test_so_are_guesses_at_once(members: list[Member], idp: CannedIdp) -> None:
    seen = await asyncio.gather(*(members[n % 3].ask(basic("orders", f"guess-{n}")) for n in range(100)))
    assert sorted(one.status for one in seen) == [401] * MAX + [429] * 90
    assert idp.calls[TOKEN] == MAX


async def test_they_are_told_when_the_window_ends(members: list[Member], clock: ManualClock) -> None:
    await guess(members, MAX)
    clock.advance(WINDOW_S - 20)
    seen = await members[0].ask(basic("orders", "another"))
    assert (seen.said, seen.headers["retry-after"]) == ((429, "too_many_attempts"), "20")
    clock.advance(20)
    assert (await members[0].ask(basic("orders", "another"))).status == 401


async def test_another_client_is_another_count(members: list[Member]) -> None:
    await guess(members, MAX)
    assert (await members[0].ask(basic("billing", "guess"))).status == 401


async def test_invented_ids_share_a_bound(members: list[Member], idp: CannedIdp) -> None:
    seen = [
        (await members[n % 3].ask(basic(f"invented-{n}", "guess"))).status for n in range(MAX_UNREGISTERED + 5)
    ]
    assert seen == [401] * MAX_UNREGISTERED + [429] * 5
    assert (await members[0].ask(RIGHT)).status == 200


async def test_a_proof_passes_whoever_guesses(members: list[Member]) -> None:
    await members[0].ask(RIGHT)
    await guess(members[1:], MAX + 1)
    assert (await members[1].ask(RIGHT)).status == 200


async def test_who_proved_right_elsewhere_is_asked_about_whoever_guesses(
    members: list[Member], idp: CannedIdp, clock: ManualClock
) -> None:
    await members[0].ask(RIGHT)
    clock.advance(300)  # the proof is over
    await guess(members[1:2], MAX + 1)
    calls = idp.calls[TOKEN]
    assert (await members[1].ask(RIGHT)).status == 200
    assert idp.calls[TOKEN] == calls + 1


async def test_who_proved_right_elsewhere_is_let_through_also_when_nobody_can_be_asked_any_more(
    members: list[Member], shared: FakeShared, clock: ManualClock
) -> None:
    await members[0].ask(RIGHT)
    await members[1].ask(RIGHT)
    shared.down = True
    clock.advance(300)
    await guess(members[1:2], MAX + 1)
    assert (await members[1].ask(RIGHT)).status == 200


async def test_who_proved_right_before_it_was_changed_is_a_guess_after(
    members: list[Member], idp: CannedIdp, clock: ManualClock
) -> None:
    await members[0].ask(RIGHT)
    idp.clients["orders"] = "changed"
    clock.advance(300)
    await guess(members, MAX - 1)
    assert (await members[1].ask(RIGHT)).status == 401
    clock.advance(5)
    assert (await members[2].ask(RIGHT)).status == 429


async def test_a_pair_that_was_just_made_is_no_guess_anywhere(members: list[Member], idp: CannedIdp) -> None:
    await guess(members, MAX)
    idp.clients["orders"] = "made"
    basic_of = members[0].strategy("plain").authenticators[Method.CLIENT_CREDENTIALS]
    calls = members[0]._shared.calls  # type: ignore[attr-defined]
    basic_of.vouch(ClientCredentials("orders", "made"))  # type: ignore[attr-defined]
    await until(lambda: calls["vouch"] == 1)
    assert (await members[1].ask(basic("orders", "made"))).status == 200


async def test_that_nobody_can_be_told_so_is_no_error(members: list[Member], shared: FakeShared) -> None:
    shared.down = True
    basic_of = members[0].strategy("plain").authenticators[Method.CLIENT_CREDENTIALS]
    basic_of.vouch(ClientCredentials("orders", "s3cret"))  # type: ignore[attr-defined]
    await until(lambda: shared.calls["vouch"] == 1)


async def test_vouching_needs_no_registry(
    members: list[Member], shared: FakeShared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> None:
        raise Unavailable(Reason.STORE_UNAVAILABLE)

    basic_of = members[0].strategy("plain").authenticators[Method.CLIENT_CREDENTIALS]
    monkeypatch.setattr(members[0].registry, "find", unreadable)
    basic_of.vouch(ClientCredentials("orders", "s3cret"))  # type: ignore[attr-defined]
    assert not shared.calls


@pytest.mark.parametrize("down", [False, True], ids=["right", "outage"])
async def test_what_was_no_failure_is_given_back(members: list[Member], idp: CannedIdp, down: bool) -> None:
    for n in range(MAX * 2):
        idp.clients["orders"] = f"guess-{n}"
        if down:
            idp.fail(TOKEN)
        seen = await members[n % 3].ask(basic("orders", f"guess-{n}"))
        assert seen.status == (503 if down else 200)
    idp.well()
    idp.clients["orders"] = "s3cret"
    assert await guess(members[:3], MAX + 1, first=1000) == [401] * MAX + [429]


async def test_a_refusal_of_our_own_count_is_not_told_to_others(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    members = fleet(2, clock, idp, lambda: shared, [app()])
    shared.down = True
    await guess(members[:1], MAX)
    shared.down = False
    assert (await members[0].ask(RIGHT)).status == 429
    assert (await members[1].ask(RIGHT)).status == 200
    await close_all(members)


async def test_one_wrong_pair_counts_once_however_often_it_is_asked(members: list[Member]) -> None:
    await ask_all(members, basic("orders", "guess"), 600)
    assert await guess(members, MAX) == [401] * (MAX - 1) + [429]
