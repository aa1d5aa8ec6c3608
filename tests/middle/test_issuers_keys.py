"""Unknown keys, outages and changes: one fetch at a time, behind a cooldown, and never at the expense of a
token whose key is known."""

import asyncio

import pytest
from structlog.testing import capture_logs
from support_http import (
    DISCOVERY,
    JWKS,
    Answer,
    CannedIdp,
    down,
    json_reply,
    turns,
    until,
)
from support_issuers import ALG, issuer_over, known, refusal

from validator.core.jwks import VerificationKey
from validator.errors import Denied, Unavailable
from validator.issuers import Issuer
from validator.model import HttpReply, Reason
from validator.testing import ManualClock

# Unknown keys


@pytest.mark.parametrize(("after_s", "fetches"), [(29.9, 1), (30, 2)])
async def test_an_unknown_key_causes_one_fetch_in_a_cooldown(
    idp: CannedIdp, issuer: Issuer, clock: ManualClock, after_s: float, fetches: int
) -> None:
    assert (await refusal(issuer)).reason is Reason.KEY_UNKNOWN
    assert idp.calls[JWKS] == 2
    clock.advance(after_s)
    for kid in ("second", "third"):
        assert (await refusal(issuer, kid)).reason is Reason.KEY_UNKNOWN
    assert idp.calls[JWKS] == 1 + fetches


async def test_ten_thousand_random_keys_cause_one_fetch_and_stop_nobody(idp: CannedIdp, issuer: Issuer) -> None:
    idp.gates[JWKS] = asyncio.Event()
    asking = [asyncio.ensure_future(issuer.fetch_key(f"random-{n}", ALG)) for n in range(10_000)]
    await until(lambda: idp.calls[JWKS] == 2)
    assert issuer.key(known(idp), ALG) is not None
    idp.gates[JWKS].set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Denied}
    assert issuer.key(known(idp), ALG) is not None
    assert idp.calls[JWKS] == 2


async def test_all_who_wait_for_a_new_key_share_the_fetch_that_brings_it(idp: CannedIdp, issuer: Issuer) -> None:
    new = idp.mint.rotate()
    found = await asyncio.gather(*(issuer.fetch_key(new.kid, ALG) for _ in range(100)))
    assert {key.kid for key in found} == {new.kid}
    assert idp.calls[JWKS] == 2


async def test_a_fetch_that_brought_new_keys_starts_no_cooldown(idp: CannedIdp, issuer: Issuer) -> None:
    for count in (2, 3):
        new = idp.mint.rotate(kid=f"rotation-{count}")
        assert (await issuer.fetch_key(new.kid, ALG)).kid == new.kid
        await turns()
        assert idp.calls[JWKS] == count


async def test_a_failed_fetch_is_an_outage_and_no_denial(
    idp: CannedIdp, issuer: Issuer, clock: ManualClock
) -> None:
    """Whether the key is a new one cannot be known, for as long as nobody may ask again."""
    idp.fail(JWKS)
    for after_s in (0.0, 29.9):
        clock.advance(after_s)
        error = await refusal(issuer)
        assert isinstance(error, Unavailable)
        assert error.retry_after_s is not None
        assert error.retry_after_s >= 1
        await turns()
    assert idp.calls[JWKS] == 2
    assert issuer.key(known(idp), ALG) is not None
    idp.well()
    clock.advance(0.2)
    assert (await refusal(issuer)).reason is Reason.KEY_UNKNOWN
    assert (await refusal(issuer)).reason is Reason.KEY_UNKNOWN, "the outage is over for those in the cooldown too"


async def test_who_asks_in_the_turn_in_which_a_fetch_ends_is_no_outage(idp: CannedIdp, issuer: Issuer) -> None:
    """The fetch is over and still stands in the table of flights: no one may be told of an outage after it."""
    gate = idp.gates[JWKS] = asyncio.Event()
    first = asyncio.ensure_future(issuer.fetch_key("first", ALG))
    await until(lambda: idp.calls[JWKS] == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    gate.set()
    # Wakes up right behind the fetch, in the same turn of the loop.
    late = [asyncio.ensure_future(_when(gate, issuer, f"late-{n}")) for n in range(5)]
    outcomes = await asyncio.gather(first, *late, return_exceptions=True)
    await turns()
    assert {type(outcome) for outcome in outcomes} == {Denied}
    assert (await refusal(issuer)).reason is Reason.KEY_UNKNOWN


async def _when(gate: asyncio.Event, issuer: Issuer, kid: str) -> VerificationKey:
    await gate.wait()
    return await issuer.fetch_key(kid, ALG)


# Outages


GARBAGE: dict[str, Answer] = {
    "no keys": json_reply({"keys": []}),
    "not a key set": json_reply({"error": "sorry"}),
    "no JSON": HttpReply(200, {}, b"\x00\xff<html>"),
    "nothing": HttpReply(200, {}, b""),
    "only keys for encryption": json_reply({"keys": [{"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}]}),
    "500": HttpReply(500, {}, b""),
    "304": HttpReply(304, {}, b""),
    "nobody": down(),
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_no_key_set_replaces_none(
    idp: CannedIdp, issuer: Issuer, clock: ManualClock, answer: Answer
) -> None:
    idp.table[JWKS] = answer
    clock.advance(541)
    with capture_logs() as logs:
        await issuer.tend()
    assert idp.calls[JWKS] == 2
    assert issuer.key(known(idp), ALG) is not None
    assert issuer.missing() is None
    assert issuer.keys_age_s == 541
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["issuer unreachable"]


@pytest.mark.parametrize(("age_s", "good"), [(3600, True), (3600.1, False)])
async def test_the_last_good_keys_serve_up_to_their_age(
    idp: CannedIdp, issuer: Issuer, clock: ManualClock, age_s: float, good: bool
) -> None:
    idp.fail()
    clock.advance(age_s)
    await issuer.tend()
    assert (issuer.missing() is None) is good
    if good:
        assert issuer.key(known(idp), ALG) is not None
        return
    with pytest.raises(Unavailable):
        issuer.key(known(idp), ALG)
    idp.well()
    clock.advance(1)
    await issuer.tend()
    assert issuer.key(known(idp), ALG) is not None


async def test_down_at_the_start_it_heals_by_itself(idp: CannedIdp, clock: ManualClock) -> None:
    idp.fail()
    issuer = issuer_over(idp, clock)
    await issuer.tend()
    assert "connection refused" in (issuer.missing() or "")
    assert isinstance(await refusal(issuer, known(idp)), Unavailable)
    with pytest.raises(Unavailable):
        await issuer.known()
    idp.well()
    clock.advance(issuer.wait_s())
    await issuer.tend()
    assert issuer.missing() is None
    assert issuer.key(known(idp), ALG) is not None


async def test_failures_are_spaced_out_and_requests_do_not_press(idp: CannedIdp, clock: ManualClock) -> None:
    idp.fail()
    issuer = issuer_over(idp, clock)
    waits = []
    for count in range(1, 9):
        await issuer.tend()
        waits.append(issuer.wait_s())
        assert idp.calls[DISCOVERY] == count
        for kid in ("one", "two"):
            assert isinstance(await refusal(issuer, kid), Unavailable)
        clock.advance(issuer.wait_s())
        await turns()
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    idp.well()
    await issuer.tend()
    assert issuer.wait_s() == pytest.approx(540)
    idp.fail()
    clock.advance(540)
    await issuer.tend()
    assert issuer.wait_s() == 1, "an outage of its own"


async def test_keys_that_have_moved_are_found_by_asking_discovery_anew(
    idp: CannedIdp, issuer: Issuer, clock: ManualClock
) -> None:
    idp.metadata["jwks_uri"] = "https://keys.test/"
    idp.table["https://keys.test/"] = idp.table.pop(JWKS)
    clock.advance(541)
    await issuer.tend()
    assert issuer.keys_age_s == 541
    clock.advance(issuer.wait_s())
    await issuer.tend()
    assert issuer.keys_age_s == 0


async def test_a_first_request_before_any_fetch_asks_and_is_served(idp: CannedIdp, clock: ManualClock) -> None:
    issuer = issuer_over(idp, clock)
    assert issuer.missing() == "its keys have not been fetched yet"
    assert issuer.key(known(idp), ALG) is None
    assert (await issuer.fetch_key(known(idp), ALG)).kid == known(idp)


# Change


async def test_a_withdrawn_key_no_longer_holds_and_the_change_is_told(idp: CannedIdp, clock: ManualClock) -> None:
    told: list[bool] = []
    issuer = issuer_over(idp, clock, changed=lambda: told.append(issuer.holds(old.thumbprint)))
    old = await issuer.fetch_key(known(idp), ALG)
    assert issuer.holds(old.thumbprint)
    assert told == [], "the first keys change nothing"
    idp.mint.rotate()
    clock.advance(541)
    await issuer.tend()
    assert issuer.holds(old.thumbprint)
    idp.mint.retire(old.kid or "")
    clock.advance(541)
    await issuer.tend()
    assert not issuer.holds(old.thumbprint)
    assert told == [True, False], "told once for each change, after it"
    clock.advance(541)
    await issuer.tend()
    assert len(told) == 2


async def test_closing_gives_up_what_is_under_way(idp: CannedIdp, clock: ManualClock) -> None:
    idp.gates[DISCOVERY] = asyncio.Event()
    issuer = issuer_over(idp, clock)
    asking = asyncio.ensure_future(issuer.fetch_key(known(idp), ALG))
    await until(lambda: idp.calls[DISCOVERY] == 1)
    await issuer.close()
    with pytest.raises(Unavailable):
        await asking


async def test_a_known_key_is_found_without_waiting_for_a_fetch_that_is_under_way(
    idp: CannedIdp, issuer: Issuer
) -> None:
    """As a token that was just minted asks for it; the fetch may stall, or fail."""
    idp.gates[JWKS] = asyncio.Event()
    asking = asyncio.ensure_future(issuer.fetch_key("nobody's", ALG))
    await until(lambda: idp.calls[JWKS] == 2)
    async with asyncio.timeout(5):
        assert (await issuer.fetch_key(known(idp), ALG)).kid == known(idp)
    assert not asking.done()
    idp.fail(JWKS)
    idp.gates[JWKS].set()
    with pytest.raises(Unavailable):
        await asking
