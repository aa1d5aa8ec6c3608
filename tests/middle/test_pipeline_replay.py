"""An answer is given again until something it rests on changed, and a change reaches the next request."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from support_http import JWKS, TOKEN, CannedIdp, turns, until
from support_pipeline import Kitchen, app, basic

from validator.model import Reason, RegistrationStatus, Revocation
from validator.testing import ManualClock

ORDERS = basic("orders", "s3cret")
BILLING = basic("billing", "b1lling")
APPLICATION = app("orders", "svc", "more")


def token(idp: CannedIdp, client_id: str = "orders", **claims: Any) -> str:
    return idp.mint.mint({"client_id": client_id, **claims})


def with_status(status: RegistrationStatus) -> Any:
    return replace(APPLICATION, registrations={"svc": status})


async def test_ten_thousand_requests_with_one_token_are_one_judgement(kitchen: Kitchen, idp: CannedIdp) -> None:
    presented = token(idp)
    for _ in range(10_000):
        assert (await kitchen.ask(presented)).status == 200
    assert (kitchen.judged, kitchen.replayed) == (1, 9_999)
    assert kitchen.verifications == {"plain": 1}
    assert idp.calls[JWKS] == 1


async def test_a_thousand_first_requests_with_one_pair_are_one_call(kitchen: Kitchen, idp: CannedIdp) -> None:
    seen = await asyncio.gather(*(kitchen.ask(ORDERS) for _ in range(1000)))
    assert {one.status for one in seen} == {200}
    assert idp.calls[TOKEN] == 1
    assert len({one.headers["x-session-id"] for one in seen}) == 1


async def test_a_caller_that_goes_away_takes_nobody_along(kitchen: Kitchen, idp: CannedIdp) -> None:
    gate = idp.gates[TOKEN] = asyncio.Event()
    gone = asyncio.ensure_future(kitchen.ask(ORDERS))
    await until(lambda: idp.calls[TOKEN] == 1)
    other = asyncio.ensure_future(kitchen.ask(ORDERS))
    await turns()
    gone.cancel()
    await turns()
    gate.set()
    assert (await other).status == 200
    assert idp.calls[TOKEN] == 1


async def test_two_services_with_one_token_are_one_signature(kitchen: Kitchen, idp: CannedIdp) -> None:
    presented = token(idp)
    assert (await kitchen.ask(presented)).status == 200
    assert (await kitchen.ask(presented, service="more")).status == 200
    assert (await kitchen.ask(presented, service="none")).reason == "not_registered"
    assert kitchen.verifications == {"plain": 1}
    assert (kitchen.judged, kitchen.caches.proof_hits) == (3, 2)


# Changes


CHANGES = {
    "client revoked": (Revocation("client_id", "orders"), "revoked"),
    "client revoked here": (Revocation("client_id", "orders", "plain"), "revoked"),
    "client revoked elsewhere": (Revocation("client_id", "orders", "other"), None),
    "application revoked": (Revocation("application_id", "app-plain-orders"), "revoked"),
    "token revoked": (Revocation("jti", "jti-1"), "revoked"),
    "other token revoked": (Revocation("jti", "jti-2"), None),
    "registration revoked": (with_status(RegistrationStatus.REVOKED), "not_registered"),
    "registration pending": (with_status(RegistrationStatus.PENDING), "not_registered"),
    "made inactive": (replace(APPLICATION, active=False), "application_inactive"),
    "moved to another client": (replace(APPLICATION, client_id="else"), "application_unknown"),
}


@pytest.mark.parametrize("presented", ["bearer", "basic", "cookie"])
@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_is_in_force_for_the_next_request_and_reaches_no_other_client(
    kitchen: Kitchen, idp: CannedIdp, presented: str, change: Any, reason: str | None
) -> None:
    idp.claims = {"jti": "jti-1"}
    first: Any = ORDERS if presented == "basic" else token(idp, jti="jti-1")
    ask: dict[str, Any] = {"authorization": first}
    if presented == "cookie":
        ask = {"cookie": (await kitchen.ask(first)).cookie}
    for request in (ask, {"authorization": BILLING}):
        assert (await kitchen.ask(**request)).status == 200
        assert (await kitchen.ask(**request)).status == 200
        idp.claims = {}
    judged, calls = kitchen.judged, dict(idp.calls)
    if isinstance(change, Revocation):
        kitchen.registry.revoke(change)
    else:
        kitchen.registry.apply(change)
    seen = await kitchen.ask(**ask)
    assert seen.reason == reason
    assert seen.status == (200 if reason is None else Reason(reason).status)
    assert kitchen.judged == judged + (reason is not None)
    for _ in range(3):
        assert (await kitchen.ask(authorization=BILLING)).status == 200
    assert kitchen.judged == judged + (reason is not None), "the other client's answer is the old one"
    if isinstance(change, Revocation):
        kitchen.registry.unrevoke(change)
    else:
        kitchen.registry.remove("app-plain-orders")
        kitchen.registry.apply(APPLICATION)
    assert (await kitchen.ask(**ask)).status == 200, "and so is its end"
    assert dict(idp.calls) == calls, "nobody was asked again"


async def test_an_answer_judged_while_its_client_changes_is_that_of_after(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    """Between the question to the identity provider and its answer the application is revoked."""
    gate = idp.gates[TOKEN] = asyncio.Event()
    asking = asyncio.ensure_future(kitchen.ask(ORDERS))
    await until(lambda: idp.calls[TOKEN] == 1)
    kitchen.registry.revoke(Revocation("client_id", "orders"))
    gate.set()
    assert (await asking).reason == "revoked"
    assert (await kitchen.ask(ORDERS)).reason == "revoked"
    kitchen.registry.unrevoke(Revocation("client_id", "orders"))
    assert (await kitchen.ask(ORDERS)).status == 200
    assert idp.calls[TOKEN] == 1


async def test_a_withdrawn_key_ends_what_it_verified(kitchen: Kitchen, idp: CannedIdp, clock: ManualClock) -> None:
    old = token(idp, exp=clock.now() + 7200)
    assert (await kitchen.ask(old)).status == 200
    idp.mint.rotate(retire=True)
    clock.advance(541)
    assert (await kitchen.ask(old)).status == 200, "not known yet"
    await kitchen.issuer.tend()
    assert (await kitchen.ask(old)).reason == "key_unknown"
    assert (await kitchen.ask(token(idp))).status == 200


async def test_a_key_set_swap_denies_no_valid_token(kitchen: Kitchen, idp: CannedIdp, clock: ManualClock) -> None:
    old = token(idp)
    await kitchen.ask(old)
    gate = idp.gates[JWKS] = asyncio.Event()
    idp.mint.rotate()
    clock.advance(541)
    fetching = asyncio.ensure_future(kitchen.issuer.tend())
    await until(lambda: idp.calls[JWKS] == 2)
    assert (await kitchen.ask(old)).status == 200
    unseen = idp.mint.mint({"client_id": "orders"}, key=idp.mint.keys[0])
    assert (await kitchen.ask(unseen)).status == 200
    newly = asyncio.ensure_future(kitchen.ask(token(idp)))
    await turns()
    gate.set()
    await fetching
    assert (await newly).status == 200
    assert (await kitchen.ask(old)).status == 200
    assert idp.calls[JWKS] == 2
