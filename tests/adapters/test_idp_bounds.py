"""The way to the identity provider keeps its bounds: rate limit, circuit breaker, parallel calls."""

import asyncio
import datetime as dt
from email.utils import format_datetime

import pytest
from idp_calls import (
    RESET_S,
    THRESHOLD,
    MakeClient,
    Observed,
    jwks_request,
    refusal,
    token_request,
)

from validator.adapters.breaker import BreakerState, CircuitBreaker
from validator.errors import Unavailable
from validator.model import Endpoint
from validator.testing import FakeIdp, Fault, ManualClock

# -- rate limit ----------------------------------------------------------------------------------------------


def http_date(now: float) -> str:
    return format_datetime(dt.datetime.fromtimestamp(now, dt.UTC), usegmt=True)


NOW = ManualClock().now()


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": http_date(NOW + 9)}, 9),
        ({"X-Rate-Limit-Reset": str(int(NOW) + 11)}, 11),
        ({"X-RateLimit-Reset": str(int(NOW) + 12)}, 12),
        ({"Retry-After": "3", "X-Rate-Limit-Reset": str(int(NOW) + 99)}, 3),
        ({"Retry-After": "soon", "X-Rate-Limit-Reset": str(int(NOW) + 13)}, 13),
        ({"Retry-After": "999999"}, 300),
        ({"Retry-After": http_date(NOW + 86400)}, 300),
        ({"Retry-After": http_date(NOW - 60)}, 1),
        ({"Retry-After": "-5"}, 1),
        ({"Retry-After": "9" * 400}, 1),
        ({"Retry-After": "Fri, 99 Zzz 2026 00:00:00 GMT"}, 1),
        ({"X-Rate-Limit-Reset": "nan"}, 1),
        ({}, 1),
    ],
)
async def test_429_holds_further_calls_back_for_as_long_as_asked(
    idp: FakeIdp,
    make: MakeClient,
    clock: ManualClock,
    observed: Observed,
    headers: dict[str, str],
    wait_s: int,
) -> None:
    client = make()
    idp.fail(Fault.rate_limited(headers))
    assert (await refusal(client, token_request(idp))).retry_after_s == wait_s
    idp.heal()
    clock.advance(wait_s - 0.25)
    error = await refusal(client, token_request(idp))
    assert error.retry_after_s == 0.25
    assert "rate limit" in error.detail
    assert idp.calls[Endpoint.TOKEN] == 1, "the second was not sent"
    clock.advance(0.25)
    assert (await client.send(token_request(idp))).status == 200
    assert [outcome for _, outcome in observed] == ["rate_limited", "rate_limited", "ok"]


async def test_a_limited_token_endpoint_leaves_the_keys_alone(idp: FakeIdp, make: MakeClient) -> None:
    client = make()
    idp.fail(Fault.rate_limited({"Retry-After": "60"}), Endpoint.TOKEN)
    await refusal(client, token_request(idp))
    assert (await client.send(jwks_request(idp.jwks_uri))).status == 200


async def test_whoever_waited_is_held_back_by_a_429_that_came_meanwhile(idp: FakeIdp, make: MakeClient) -> None:
    client, gate = make(max_concurrent=1), asyncio.Event()
    idp.fail(Fault(status=429, headers={"Retry-After": "60"}, gate=gate))
    calls = [asyncio.create_task(client.send(token_request(idp))) for _ in range(5)]
    await idp.wait_for_calls(Endpoint.TOKEN, 1)
    gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert idp.calls[Endpoint.TOKEN] == 1


async def test_429_is_no_failure_for_the_breaker(idp: FakeIdp, make: MakeClient) -> None:
    client = make()
    idp.fail(Fault.rate_limited({"Retry-After": "0"}))
    for _ in range(THRESHOLD + 1):
        await refusal(client, token_request(idp))
    assert idp.calls[Endpoint.TOKEN] == THRESHOLD + 1
    assert client.breaker_state is BreakerState.CLOSED


# -- circuit breaker -----------------------------------------------------------------------------------------


async def test_the_breaker_opens_and_one_probe_closes_it(
    idp: FakeIdp, make: MakeClient, clock: ManualClock, observed: Observed
) -> None:
    client = make()
    idp.fail(Fault.server_error(503))
    for _ in range(THRESHOLD):
        await refusal(client, jwks_request(idp.jwks_uri))
    assert client.breaker_state is BreakerState.OPEN
    idp.heal()
    clock.advance(4)
    error = await refusal(client, jwks_request(idp.jwks_uri))
    assert (error.retry_after_s, idp.calls[Endpoint.JWKS]) == (RESET_S - 4, THRESHOLD)
    clock.advance(RESET_S - 4)
    assert (await client.send(jwks_request(idp.jwks_uri))).status == 200
    assert client.breaker_state is BreakerState.CLOSED
    assert [outcome for _, outcome in observed] == [*["server_error"] * 3, "refused_by_breaker", "ok"]


async def test_the_failure_that_opens_it_says_for_how_long(idp: FakeIdp, make: MakeClient) -> None:
    client = make()
    idp.fail(Fault.server_error())
    waits = [(await refusal(client, jwks_request(idp.jwks_uri))).retry_after_s for _ in range(THRESHOLD)]
    assert waits == [5.0, 5.0, RESET_S]


async def test_answers_below_500_are_no_failures(idp: FakeIdp, make: MakeClient) -> None:
    client = make()
    idp.fail(Fault.oauth_error("invalid_client", status=401))
    for _ in range(THRESHOLD + 1):
        assert (await client.send(token_request(idp))).status == 401
    assert client.breaker_state is BreakerState.CLOSED


async def test_while_the_probe_is_out_others_are_refused(
    idp: FakeIdp, make: MakeClient, clock: ManualClock
) -> None:
    client, gate = make(), asyncio.Event()
    idp.fail(Fault.server_error())
    for _ in range(THRESHOLD):
        await refusal(client, jwks_request(idp.jwks_uri))
    clock.advance(RESET_S)
    idp.fail(Fault.slow(gate))
    probe = asyncio.create_task(client.send(jwks_request(idp.jwks_uri)))
    await idp.wait_for_calls(Endpoint.JWKS, THRESHOLD + 1)
    error = await refusal(client, jwks_request(idp.jwks_uri))
    assert "breaker" in error.detail
    assert error.retry_after_s is not None
    assert error.retry_after_s > 0
    gate.set()
    assert (await probe).status == 200
    assert client.breaker_state is BreakerState.CLOSED


async def test_a_cancelled_probe_does_not_wedge_the_breaker(
    idp: FakeIdp, make: MakeClient, clock: ManualClock, observed: Observed
) -> None:
    client = make()
    idp.fail(Fault.server_error())
    for _ in range(THRESHOLD):
        await refusal(client, jwks_request(idp.jwks_uri))
    clock.advance(RESET_S)
    idp.fail(Fault.stall())
    probe = asyncio.create_task(client.send(jwks_request(idp.jwks_uri)))
    await idp.wait_for_calls(Endpoint.JWKS, THRESHOLD + 1)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert len(observed) == THRESHOLD, "a cancelled call is not told"
    idp.heal()
    assert (await client.send(jwks_request(idp.jwks_uri))).status == 200


async def test_whoever_waited_is_refused_when_the_breaker_opened_meanwhile(
    idp: FakeIdp, make: MakeClient, clock: ManualClock
) -> None:
    client, gate = (
        make(max_concurrent=1, breaker=CircuitBreaker(clock, threshold=1, reset_s=RESET_S)),
        asyncio.Event(),
    )
    idp.fail(Fault(status=500, gate=gate))
    calls = [asyncio.create_task(client.send(jwks_request(idp.jwks_uri))) for _ in range(5)]
    await idp.wait_for_calls(Endpoint.JWKS, 1)
    gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert idp.calls[Endpoint.JWKS] == 1


# -- parallel calls ------------------------------------------------------------------------------------------


async def test_no_more_calls_are_in_flight_than_allowed_and_all_get_their_turn(
    idp: FakeIdp, make: MakeClient
) -> None:
    client, gate = make(max_concurrent=2), asyncio.Event()
    idp.fail(Fault.slow(gate))
    calls = [asyncio.create_task(client.send(jwks_request(idp.jwks_uri))) for _ in range(7)]
    await idp.wait_for_calls(Endpoint.JWKS, 2)
    with pytest.raises(TimeoutError):
        await idp.wait_for_calls(Endpoint.JWKS, 3, timeout_s=0.05)
    gate.set()
    assert [reply.status for reply in await asyncio.gather(*calls)] == [200] * 7


async def test_a_full_queue_refuses_at_once(idp: FakeIdp, make: MakeClient, observed: Observed) -> None:
    client, gate = make(max_concurrent=1), asyncio.Event()
    idp.fail(Fault.slow(gate))
    calls = [asyncio.create_task(client.send(jwks_request(idp.jwks_uri))) for _ in range(17)]
    await idp.wait_for_calls(Endpoint.JWKS, 1)
    error = await refusal(client, jwks_request(idp.jwks_uri))
    assert "waiting for a free slot" in error.detail
    assert observed == [(Endpoint.JWKS, "refused_by_bound")]
    gate.set()
    assert len(await asyncio.gather(*calls)) == 17


async def test_waiting_for_a_slot_is_bounded_and_no_failure_of_the_provider(
    idp: FakeIdp, make: MakeClient, clock: ManualClock, observed: Observed
) -> None:
    client = make(max_concurrent=1, total_timeout_s=0.2, breaker=CircuitBreaker(clock, threshold=2))
    idp.fail(Fault.stall())
    first = asyncio.create_task(client.send(jwks_request(idp.jwks_uri)))
    await idp.wait_for_calls(Endpoint.JWKS, 1)
    # The slot is held by a call that began earlier and has as long; so these find it free or wait in vain.
    rest = [asyncio.create_task(client.send(jwks_request(idp.jwks_uri))) for _ in range(5)]
    results = await asyncio.gather(first, *rest, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    outcomes = [outcome for _, outcome in observed]
    assert outcomes.count("refused_by_bound") >= 3
    assert len(outcomes) == 6


async def test_a_cancelled_call_frees_its_slot(idp: FakeIdp, make: MakeClient, observed: Observed) -> None:
    client = make(max_concurrent=1)
    idp.fail(Fault.stall())
    for count in range(1, THRESHOLD + 2):
        call = asyncio.create_task(client.send(jwks_request(idp.jwks_uri)))
        await idp.wait_for_calls(Endpoint.JWKS, count)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    idp.heal()
    assert (await client.send(jwks_request(idp.jwks_uri))).status == 200
    assert client.breaker_state is BreakerState.CLOSED
    assert observed == [(Endpoint.JWKS, "ok")]


async def test_a_cancelled_waiter_frees_its_place_in_the_queue(idp: FakeIdp, make: MakeClient) -> None:
    client, gate = make(max_concurrent=1), asyncio.Event()
    idp.fail(Fault.slow(gate))
    first = asyncio.create_task(client.send(jwks_request(idp.jwks_uri)))
    await idp.wait_for_calls(Endpoint.JWKS, 1)
    waiters = [asyncio.create_task(client.send(jwks_request(idp.jwks_uri))) for _ in range(16)]
    await asyncio.sleep(0)  # each runs until it waits
    assert "waiting for a free slot" in (await refusal(client, jwks_request(idp.jwks_uri))).detail
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    last = asyncio.create_task(client.send(jwks_request(idp.jwks_uri)))
    gate.set()
    assert [(await call).status for call in (first, last)] == [200, 200]
