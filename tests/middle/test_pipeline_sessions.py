"""A session is opened once for a credential, goes on while it is used, ends when it must, and by its id alone."""

from typing import Any

import pytest
from support_http import TOKEN, CannedIdp
from support_pipeline import RING, Kitchen, Seen, app, basic, proof, scripted

from validator.core.sessions import KeyRing, SessionRules
from validator.model import Method, Revocation
from validator.pipeline import Lifetimes
from validator.testing import ManualClock

ORDERS = basic("orders", "s3cret")
IDLE_S = 900.0
RENEW_S = 90.0  # a tenth of it


def token(idp: CannedIdp, **claims: Any) -> str:
    return idp.mint.mint({"client_id": "orders", **claims})


def renewed(seen: Seen) -> bool:
    assert seen.status == 200
    return "set-cookie" in seen.headers


async def test_a_session_is_opened_once_for_a_credential(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock
) -> None:
    """Over services, over judgements, and until the credential's end."""
    presented = token(idp, jti="jti-1")
    first = await kitchen.ask(presented)
    session = kitchen.opened(first)
    assert (session.strategy, session.client_id, session.token_id) == ("plain", "orders", "jti-1")
    assert (session.opened_at, session.seen_at, session.ends_at) == (clock.now(), clock.now(), clock.now() + 3600)
    assert first.headers["x-session-id"] == session.id
    for _ in range(4):
        clock.advance(31)
        for service in ("svc", "more"):
            again = kitchen.opened(await kitchen.ask(presented, service=service))
            assert (again.id, again.opened_at, again.ends_at) == (session.id, session.opened_at, session.ends_at)
            assert again.seen_at == clock.now(), "a judgement seals it anew"
    assert kitchen.verifications == {"plain": 1}


async def test_other_credentials_open_other_sessions(kitchen: Kitchen, idp: CannedIdp) -> None:
    seen = [await kitchen.ask(presented) for presented in (token(idp), token(idp), ORDERS)]
    assert len({kitchen.opened(one).id for one in seen}) == 3


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_refused_request_opens_none(kitchen: Kitchen, idp: CannedIdp, allowed: bool) -> None:
    seen = await kitchen.ask(token(idp), service="svc" if allowed else "none")
    assert ("set-cookie" in seen.headers) is allowed


async def test_where_sessions_are_off_none_is_opened_and_none_counts(kitchen: Kitchen, idp: CannedIdp) -> None:
    cookie = (await kitchen.ask(token(idp))).cookie
    kitchen.reload({"plain": {"methods": frozenset({Method.BEARER}), "fingerprint": b"without"}})
    seen = await kitchen.ask(token(idp))
    assert seen.status == 200
    assert not {"set-cookie", "x-session-id"} & set(seen.headers)
    assert (await kitchen.ask(cookie=cookie)).reason == "method_not_enabled"


async def test_a_session_passes_for_every_service_of_its_application(kitchen: Kitchen) -> None:
    cookie = (await kitchen.ask(ORDERS)).cookie
    for service, status in (("svc", 200), ("more", 200), ("none", 403)):
        seen = await kitchen.ask(cookie=cookie, service=service)
        assert seen.status == status
        if status == 200:
            assert seen.headers["x-auth-method"] == "session"


async def test_a_session_asks_nobody(kitchen: Kitchen, idp: CannedIdp) -> None:
    cookie = (await kitchen.ask(ORDERS)).cookie
    idp.fail()
    for _ in range(3):
        assert (await kitchen.ask(cookie=cookie)).status == 200
    assert idp.calls[TOKEN] == 1
    assert kitchen.verifications == {"plain": 1}


async def test_it_is_sealed_anew_after_a_tenth_of_its_idle_time(kitchen: Kitchen, clock: ManualClock) -> None:
    cookie = (await kitchen.ask(ORDERS)).cookie
    before = RING.open(cookie, "plain")
    clock.advance(RENEW_S - 0.001)
    assert not renewed(await kitchen.ask(cookie=cookie))
    clock.advance(0.001)
    seen = await kitchen.ask(cookie=cookie)
    assert renewed(seen), "also where the answer of before would have lasted longer"
    after = kitchen.opened(seen)
    assert (after.id, after.opened_at, after.ends_at) == (before.id, before.opened_at, before.ends_at)
    assert after.seen_at == clock.now()
    clock.advance(1)
    assert (await kitchen.ask(cookie=cookie)).cookie == seen.cookie, "replayed, not sealed for each request"
    assert not renewed(await kitchen.ask(cookie=seen.cookie))


async def test_used_it_lasts_and_unused_it_ends(kitchen: Kitchen, clock: ManualClock) -> None:
    cookie = (await kitchen.ask(ORDERS)).cookie
    for _ in range(3):
        clock.advance(IDLE_S - 1)
        seen = await kitchen.ask(cookie=cookie)
        assert renewed(seen)
        old, cookie = cookie, seen.cookie
    assert (await kitchen.ask(cookie=old)).status == 200
    clock.advance(1)
    assert (await kitchen.ask(cookie=old)).reason == "session_expired"
    clock.advance(IDLE_S - 1.001)
    assert (await kitchen.ask(cookie=cookie)).status == 200
    clock.advance(0.001)
    assert (await kitchen.ask(cookie=cookie)).reason == "session_expired", "though the answer was cached just now"


@pytest.mark.parametrize(
    ("absolute_s", "outlive", "lasts_s"),
    [(86400, False, 3600), (600, False, 600), (7200, True, 7200)],
    ids=["the token's end", "its own end", "beyond the token"],
)
async def test_no_use_moves_the_absolute_end(
    clock: ManualClock, idp: CannedIdp, absolute_s: float, outlive: bool, lasts_s: float
) -> None:
    kitchen = Kitchen(clock, idp, session=SessionRules(IDLE_S, absolute_s, outlive))
    seen = await kitchen.ask(token(idp))
    cookie = seen.cookie
    left_s = lasts_s
    while left_s > 500:
        clock.advance(500)
        left_s -= 500
        seen = await kitchen.ask(cookie=cookie)
        assert renewed(seen)
        cookie = seen.cookie
    clock.advance(left_s - 0.001)
    seen = await kitchen.ask(cookie=cookie)
    assert seen.status == 200
    clock.advance(0.001)
    for last in (cookie, seen.cookie if renewed(seen) else cookie):
        assert (await kitchen.ask(cookie=last)).reason == "session_expired"


@pytest.mark.parametrize("idle_s", [1.0, 20.0, 900.0])
async def test_no_replayed_answer_hands_out_a_cookie_that_is_due_for_renewal(
    clock: ManualClock, idp: CannedIdp, idle_s: float
) -> None:
    kitchen = Kitchen(clock, idp, session=SessionRules(idle_s, 86400.0), lifetimes=Lifetimes(300.0, 5.0))
    presented = token(idp)
    for _ in range(400):
        seen = await kitchen.ask(presented)
        assert not renewed(await kitchen.ask(cookie=seen.cookie))
        clock.advance(0.7)
        if kitchen.replayed > 20 and kitchen.judged > 20:
            break


async def test_a_revoked_session_ends_and_its_credential_opens_another(kitchen: Kitchen, idp: CannedIdp) -> None:
    presented = token(idp)
    first = await kitchen.ask(presented)
    revoked = kitchen.opened(first)
    assert (await kitchen.ask(cookie=first.cookie)).status == 200
    kitchen.registry.revoke(Revocation("session_id", revoked.id))
    assert (await kitchen.ask(cookie=first.cookie)).said == (401, "revoked")
    second = await kitchen.ask(presented)
    assert second.status == 200, "the token was not revoked"
    assert kitchen.opened(second).id != revoked.id
    assert second.headers["x-session-id"] == kitchen.opened(second).id
    assert (await kitchen.ask(cookie=second.cookie)).status == 200
    kitchen.registry.revoke(Revocation("session_id", kitchen.opened(second).id))
    assert (await kitchen.ask(cookie=second.cookie)).reason == "revoked"
    assert kitchen.opened(await kitchen.ask(presented)).id not in {revoked.id, kitchen.opened(second).id}


@pytest.mark.parametrize("opened_by", ["bearer", "basic"])
async def test_revoking_the_token_ends_its_session(kitchen: Kitchen, idp: CannedIdp, opened_by: str) -> None:
    idp.claims = {"jti": "jti-1"}
    cookie = (await kitchen.ask(ORDERS if opened_by == "basic" else token(idp, jti="jti-1"))).cookie
    assert (await kitchen.ask(cookie=cookie)).status == 200
    kitchen.registry.revoke(Revocation("jti", "jti-1"))
    assert (await kitchen.ask(cookie=cookie)).said == (401, "revoked")


async def test_a_session_is_worth_nothing_under_another_strategy(clock: ManualClock, idp: CannedIdp) -> None:
    applications = [app(), app(strategy="other")]
    kitchen = Kitchen(clock, idp, applications=applications, strategies={"plain": {}, "other": {}})
    cookie = (await kitchen.ask(ORDERS)).cookie
    assert (await kitchen.ask(cookie=cookie, strategy="other")).reason == "session_invalid"


async def test_rotated_keys_log_nobody_out_and_retired_ones_do(kitchen: Kitchen) -> None:
    old, new = bytes(range(32)), b"n" * 32
    cookie = (await kitchen.ask(ORDERS)).cookie
    for keys, status in (([new, old], 200), ([new], 401)):
        kitchen.reload({"plain": {"ring": KeyRing(keys)}})
        kitchen.caches.epoch.touch_all()  # as a reload does
        assert (await kitchen.ask(cookie=cookie)).status == status


async def test_a_credential_whose_session_has_ended_opens_another(clock: ManualClock, idp: CannedIdp) -> None:
    kitchen = Kitchen(clock, idp, session=SessionRules(IDLE_S, 600.0))
    presented = token(idp)
    first = kitchen.opened(await kitchen.ask(presented))
    clock.advance(600)
    second = kitchen.opened(await kitchen.ask(presented))
    assert second.id != first.id
    assert second.ends_at == clock.now() + 600


async def test_a_credential_that_ends_now_opens_none(kitchen: Kitchen, clock: ManualClock) -> None:
    end = clock.now()
    scripted(kitchen, proof(clock, good_until=end, ends_at=end))
    seen = await kitchen.ask("token")
    assert seen.status == 200
    assert "set-cookie" not in seen.headers
