"""How long an answer is kept, for whom, and what forgetting everything means to what is under way."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from support_http import TOKEN, CannedIdp, until
from support_pipeline import RULES, Kitchen, app, basic, proof, scripted

from validator.core.oauth import GrantOptions
from validator.model import Method
from validator.pipeline import Lifetimes
from validator.testing import ManualClock

ORDERS = basic("orders", "s3cret")


def token(idp: CannedIdp, client_id: str = "orders", **claims: Any) -> str:
    return idp.mint.mint({"client_id": client_id, **claims})


# Deadlines


@pytest.mark.parametrize(
    ("life_s", "lasts_s"), [(3600, 30), (30, 30), (10, 10), (0.5, 0.5)], ids="a token of {} s".format
)
async def test_an_allow_lasts_for_its_time_and_never_beyond_the_token(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock, life_s: float, lasts_s: float
) -> None:
    presented = token(idp, exp=clock.now() + life_s)
    assert (await kitchen.ask(presented)).status == 200
    clock.advance(lasts_s - 0.001)
    assert (await kitchen.ask(presented)).status == 200
    assert (kitchen.judged, kitchen.replayed) == (1, 1)
    clock.advance(0.001)
    seen = await kitchen.ask(presented)
    assert seen.reason == ("token_expired" if lasts_s == life_s else None)
    assert kitchen.judged == 2
    assert kitchen.verifications == {"plain": 1}


async def test_a_pair_is_proved_anew_when_its_proof_ends(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock
) -> None:
    await kitchen.ask(ORDERS)
    clock.advance(299.999)
    assert (await kitchen.ask(ORDERS)).status == 200
    assert idp.calls[TOKEN] == 1
    idp.clients["orders"] = "changed"
    clock.advance(0.001)
    assert (await kitchen.ask(ORDERS)).reason == "credentials_rejected"


async def test_a_pair_whose_token_has_no_life_counts_once(kitchen: Kitchen, idp: CannedIdp) -> None:
    idp.grant = {"expires_in": 0}
    for count in (1, 2):
        seen = await kitchen.ask(ORDERS)
        assert seen.status == 200
        assert "set-cookie" not in seen.headers, "a session without a life is none"
        assert idp.calls[TOKEN] == count


@pytest.mark.parametrize(
    ("claims", "reason"),
    [({"aud": "api://x"}, "audience_mismatch"), ({"client_id": "nobody"}, "application_unknown")],
    ids=["of the token", "of the registry"],
)
async def test_a_denial_lasts_for_its_time(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock, claims: dict[str, str], reason: str
) -> None:
    presented = token(idp, **claims)
    assert (await kitchen.ask(presented)).reason == reason
    clock.advance(4.999)
    assert (await kitchen.ask(presented)).reason == reason
    assert kitchen.judged == 1
    clock.advance(0.001)
    assert (await kitchen.ask(presented)).reason == reason
    assert kitchen.judged == 2


@pytest.mark.parametrize("leeway_s", [0, 10])
@pytest.mark.parametrize("ahead_s", [2, 4.5])
async def test_a_token_of_the_future_passes_from_its_moment_on(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock, leeway_s: float, ahead_s: float
) -> None:
    """A denial that time alone lifts is not kept beyond that time."""
    kitchen.reload({"plain": {"rules": replace(RULES, leeway_s=leeway_s)}})
    presented = token(idp, nbf=clock.now() + ahead_s + leeway_s)
    assert (await kitchen.ask(presented)).reason == "token_not_yet_valid"
    clock.advance(ahead_s - 0.01)
    assert (await kitchen.ask(presented)).reason == "token_not_yet_valid"
    clock.advance(0.01)
    assert (await kitchen.ask(presented)).status == 200


async def test_without_lifetimes_nothing_is_kept(clock: ManualClock, idp: CannedIdp) -> None:
    kitchen = Kitchen(clock, idp, lifetimes=Lifetimes(0, 0))
    for count in (1, 2, 3):
        await kitchen.ask(token(idp))
        await kitchen.ask()
        assert (kitchen.judged, kitchen.replayed) == (2 * count, 0)


# Apart


async def test_two_strategies_share_neither_proofs_nor_replies(clock: ManualClock, idp: CannedIdp) -> None:
    """Even with the same rules and the same application behind them."""
    kitchen = Kitchen(
        clock, idp, applications=[app(), app(strategy="other")], strategies={"plain": {}, "other": {}}
    )
    presented = token(idp)
    for strategy in ("plain", "other"):
        for authorization in (presented, ORDERS):
            seen = await kitchen.ask(authorization, strategy=strategy)
            assert seen.headers["x-application-id"] == f"app-{strategy}-orders"
    assert kitchen.verifications == {"plain": 2, "other": 2}, "the token, and that which proved the pair"
    assert idp.calls[TOKEN] == 2
    assert (kitchen.replayed, kitchen.caches.proof_hits) == (0, 0)


async def test_a_service_name_that_runs_into_the_credential_is_another_question(kitchen: Kitchen) -> None:
    assert (await kitchen.ask(b"orders:s3cret", service="svcBasic ")).reason == "method_not_enabled"
    assert (await kitchen.ask(b"Basic orders:s3cret", service="svc")).status == 200
    assert (await kitchen.ask(b"asic orders:s3cret", service="svcB")).reason == "method_not_enabled"


async def test_a_cookie_and_a_header_of_the_same_bytes_are_two_questions(kitchen: Kitchen) -> None:
    assert (await kitchen.ask(ORDERS)).status == 200
    assert (await kitchen.ask(cookie=ORDERS)).reason == "session_invalid"


async def test_other_rules_meet_no_proof_of_the_old_ones(kitchen: Kitchen, idp: CannedIdp) -> None:
    presented = token(idp)
    assert (await kitchen.ask(presented)).status == 200
    assert (await kitchen.ask(ORDERS)).status == 200
    stricter = replace(RULES, audiences=frozenset({"api://new"}))
    options = GrantOptions("client_secret_post", ("new",))
    kitchen.reload({"plain": {"rules": stricter, "options": options, "fingerprint": b"two"}})
    assert (await kitchen.ask(presented)).reason == "audience_mismatch"
    assert (await kitchen.ask(ORDERS)).reason == "audience_mismatch"
    assert idp.calls[TOKEN] == 2
    kitchen.reload({"plain": {"methods": frozenset({Method.BEARER}), "fingerprint": b"three"}})
    assert (await kitchen.ask(ORDERS)).reason == "method_not_enabled"


# Forgetting everything


@pytest.mark.parametrize("secret", ["s3cret", "wrong"], ids=["an allow", "a denial"])
async def test_what_is_forgotten_is_asked_for_again(kitchen: Kitchen, idp: CannedIdp, secret: str) -> None:
    status = (await kitchen.ask(basic("orders", secret))).status
    kitchen.caches.forget()
    assert (await kitchen.ask(basic("orders", secret))).status == status
    assert idp.calls[TOKEN] == 2


@pytest.mark.parametrize("secret", ["s3cret", "wrong"], ids=["an allow", "a denial"])
async def test_what_was_begun_before_everything_was_forgotten_answers_only_who_asked_before(
    kitchen: Kitchen, idp: CannedIdp, secret: str
) -> None:
    presented = basic("orders", secret)
    gate = idp.gates[TOKEN] = asyncio.Event()
    before = asyncio.ensure_future(kitchen.ask(presented))
    await until(lambda: idp.calls[TOKEN] == 1)
    kitchen.caches.forget()
    after = asyncio.ensure_future(kitchen.ask(presented))
    await until(lambda: idp.calls[TOKEN] == 2)
    del idp.gates[TOKEN]
    gate.set()
    status = 200 if secret == "s3cret" else 401
    assert [(await one).status for one in (before, after)] == [status, status]
    assert (await kitchen.ask(presented)).status == status
    assert idp.calls[TOKEN] == 2, "what was asked after is kept"


@pytest.mark.parametrize("secret", ["s3cret", "wrong"], ids=["an allow", "a denial"])
async def test_an_answer_of_before_is_not_kept_afterwards(kitchen: Kitchen, idp: CannedIdp, secret: str) -> None:
    presented = basic("orders", secret)
    gate = idp.gates[TOKEN] = asyncio.Event()
    before = asyncio.ensure_future(kitchen.ask(presented))
    await until(lambda: idp.calls[TOKEN] == 1)
    kitchen.caches.forget()
    gate.set()
    await before
    await kitchen.ask(presented)
    assert idp.calls[TOKEN] == 2


async def test_a_flood_of_denials_makes_no_good_answer_cold(kitchen: Kitchen, idp: CannedIdp) -> None:
    good = token(idp)
    await kitchen.ask(good)
    for number in range(3000):
        await kitchen.ask(b"Bearer rubbish-%d" % number)
    judged = kitchen.judged
    assert (await kitchen.ask(good)).status == 200
    assert kitchen.judged == judged


async def test_a_proof_that_ended_while_it_was_found_is_not_kept(kitchen: Kitchen, clock: ManualClock) -> None:
    scripted(kitchen, None, proof(clock, good_until=clock.now()))
    seen = await kitchen.ask("token")
    assert seen.reply.deadline <= clock.now()
    assert len(kitchen.caches.proofs) == len(kitchen.caches.replies) == 0
