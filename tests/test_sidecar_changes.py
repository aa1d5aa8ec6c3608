"""What is changed counts for the very next request, however hot the caches are; and what fails at the identity
provider is never held against a credential."""

import asyncio

import pytest
from sidecar_support import CLIENTS, SECRET, applications, assembled, basic, bearer, settings_for

from validator.model import Endpoint
from validator.testing import Fault

NEW = {"id": "app-new", "name": "New", "strategy": "plain", "client_id": "stranger", "registrations": ["orders"]}


@pytest.fixture
async def running():
    async with assembled(applications=[]) as sidecar:
        application = {**NEW, "id": "app-orders", "client_id": "orders"}
        assert (await sidecar.control("POST", "/v1/applications", application))[0] == 201
        yield sidecar


async def every_way(running, token):
    """The same client by each method."""
    opened = await running.ask(bearer(token))
    return [bearer(token), basic("orders", SECRET), opened.cookie], opened.headers["X-Session-Id"]


async def verdicts(running, ways):
    return [(await running.ask(way)).verdict for way in ways]


async def test_a_revoked_registration_closes_the_door_at_once(running):
    ways, _ = await every_way(running, running.idp.token("orders"))
    calls = running.idp.calls.copy()
    for _ in range(3):
        assert await verdicts(running, ways) == [(200, "")] * 3
    path = "/v1/applications/app-orders/registrations/orders"
    for status, expected in (
        ("revoked", (403, "not_registered")),
        ("approved", (200, "")),
        ("pending", (403, "not_registered")),
        ("rejected", (403, "not_registered")),
        ("approved", (200, "")),
    ):
        assert (await running.control("PUT", path, {"status": status}))[0] == 200
        assert await verdicts(running, ways) == [expected] * 3
    assert (await running.control("DELETE", path))[0] == 204
    assert await verdicts(running, ways) == [(403, "not_registered")] * 3
    assert (await running.control("DELETE", "/v1/applications/app-orders"))[0] == 204
    assert await verdicts(running, ways) == [(403, "application_unknown")] * 3
    assert running.idp.calls[Endpoint.TOKEN] == calls[Endpoint.TOKEN] + 1  # the pair was proved once


@pytest.mark.parametrize(
    ("kind", "ended"),
    [
        pytest.param("client_id", [True, True, True], id="client_id"),
        pytest.param("application_id", [True, True, True], id="application_id"),
        pytest.param("jti", [True, False, True], id="jti: the token and the session that it opened"),
        pytest.param("session_id", [False, False, True], id="session_id: the session alone"),
    ],
)
async def test_a_revocation_counts_for_the_next_request_until_it_is_lifted(running, kind, ended):
    ways, session_id = await every_way(running, running.idp.token("orders", jti="the-token"))
    assert await verdicts(running, ways) == [(200, "")] * 3
    values = {
        "client_id": "orders",
        "application_id": "app-orders",
        "jti": "the-token",
        "session_id": session_id,
    }
    status, made = await running.control("POST", "/v1/revocations", {kind: values[kind]})
    assert (status, made[kind]) == (201, values[kind])
    assert await verdicts(running, ways) == [(401, "revoked") if end else (200, "") for end in ended]
    assert (await running.control("DELETE", "/v1/revocations", {kind: values[kind]}))[0] == 204
    assert await verdicts(running, ways) == [(200, "")] * 3


async def test_forgetting_the_cache_has_everything_proved_anew(running):
    ways, _ = await every_way(running, running.idp.token("orders"))
    await verdicts(running, ways)
    proved = await running.metric("validator_signature_verifications_total")
    assert (await running.control("DELETE", "/v1/cache"))[0] == 204
    assert await verdicts(running, ways) == [(200, "")] * 3
    assert await running.metric("validator_signature_verifications_total") == proved + 2
    assert running.idp.calls[Endpoint.TOKEN] == 2


async def test_an_outage_of_the_provider_is_never_held_against_a_credential(running):
    ways, _ = await every_way(running, running.idp.token("orders"))
    await verdicts(running, ways)
    unseen = running.idp.token("orders")
    await running.idp.take_down()
    assert await verdicts(running, [*ways, bearer(unseen)]) == [(200, "")] * 4
    running.idp.mint.rotate()
    of_a_new_key = bearer(running.idp.token("orders"))
    for doubtful in (basic("billing", CLIENTS["billing"]), basic("orders", "wrong"), of_a_new_key):
        answer = await running.ask(doubtful)
        assert answer.verdict == (503, "idp_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    await running.idp.bring_back()
    running.clock.advance(31)  # beyond the breaker's pause and the cooldown
    assert (await running.ask(of_a_new_key)).status == 200
    assert (await running.ask(basic("billing", CLIENTS["billing"]))).verdict == (403, "application_unknown")
    assert (await running.ask(basic("orders", "wrong"))).verdict == (401, "credentials_rejected")


async def test_a_provider_that_is_down_at_the_start_does_not_stop_it():
    async with assembled(up=False) as running:
        token = running.idp.token("orders")
        answer = await running.ask(bearer(token))
        assert answer.verdict == (503, "idp_unavailable")
        status, body = await running.control("GET", "/readyz")
        assert (status, body["status"]) == (503, "unready")
        assert body["missing"][0].startswith("strategy plain: ")
        assert await running.metric("validator_ready") == 0
        await running.idp.bring_back()
        running.clock.advance(60)
        await running.until_ready()
        assert (await running.ask(bearer(token))).status == 200
        assert await running.metric("validator_ready") == 1


async def test_a_reload_swaps_the_configuration_and_drops_no_request():
    async with assembled() as running:
        token, issuer = running.idp.token("orders"), running.idp.issuer
        stranger = bearer(running.idp.token("stranger"))
        assert (await running.ask(stranger)).verdict == (403, "application_unknown")
        more = [*applications(), NEW]
        load = asyncio.create_task(running.burst([f"Bearer {token}"] * 5000))
        for turn in range(10):
            await running.sidecar.reload(settings_for(issuer, applications=more if turn % 2 else applications()))
            await asyncio.sleep(0)
        assert await load == [200] * 5000
        assert (await running.ask(stranger)).status == 200
        await running.sidecar.reload(settings_for(issuer, applications=more[1:]))
        assert (await running.ask(bearer(token))).verdict == (403, "application_unknown")
        other = {"other": {"idp": "generic", "issuer": issuer, "audience": ["api://default"]}}
        await running.sidecar.reload(settings_for(issuer, strategies=other, applications=[]))
        assert (await running.ask(bearer(token))).verdict == (404, "strategy_unknown")
        assert (await running.ask(bearer(token), strategy="other")).verdict == (403, "application_unknown")


@pytest.mark.parametrize("endpoint", [Endpoint.TOKEN, Endpoint.JWKS])
async def test_a_reload_that_replaces_an_issuer_leaves_nobody_unanswered(endpoint):
    """Who waits for the provider while its client is replaced gets an answer, and never a denial."""
    async with assembled() as running:
        gate = asyncio.Event()
        running.idp.fail(Fault.slow(gate), endpoint)
        asked = running.idp.calls[endpoint]
        if endpoint is Endpoint.JWKS:
            running.idp.mint.rotate()
        by_token = bearer(running.idp.token("orders"))
        waiting = asyncio.create_task(running.ask(basic("orders", SECRET) if endpoint == "token" else by_token))
        await running.idp.wait_for_calls(endpoint, asked + 1)
        await running.sidecar.reload(settings_for(running.idp.issuer, outbound={"timeout_s": 4}))
        gate.set()
        answer = await asyncio.wait_for(waiting, 5)
        assert answer.status == 200
