"""The assembled sidecar asks once and answers many: signatures, keys and the identity provider are spared, and no
valid credential is denied while keys move or somebody floods it."""

import asyncio
import base64
import json

import pytest
from sidecar_support import SECRET, assembled, basic, bearer

from validator.model import Endpoint
from validator.testing import Fault


@pytest.fixture
async def running():
    async with assembled() as sidecar:
        yield sidecar


async def test_ten_thousand_requests_with_one_token_cost_one_signature_and_one_fetch(running):
    token = running.idp.token("orders")
    statuses = await running.burst([f"Bearer {token}"] * 10_000)
    assert statuses == [200] * 10_000
    assert await running.metric("validator_signature_verifications_total") == 1
    assert await running.metric("validator_idp_requests_total", endpoint="jwks") == 1
    assert running.idp.calls[Endpoint.JWKS] == 1
    assert await running.metric("validator_decisions_total", outcome="allowed", method="bearer") == 10_000
    assert await running.metric("validator_cache_hits_total", cache="replies") == 9_999


async def test_a_thousand_first_requests_with_one_pair_share_one_call(running):
    gate = asyncio.Event()
    running.idp.fail(Fault.slow(gate), Endpoint.TOKEN)
    asking = [asyncio.create_task(running.ask(basic("orders", SECRET))) for _ in range(1000)]
    await running.idp.wait_for_calls(Endpoint.TOKEN, 1)
    while len(running.sidecar.plane.connections) < 1000:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.005)
    gate.set()
    answers = await asyncio.gather(*asking)
    assert [answer.status for answer in answers] == [200] * 1000
    assert running.idp.calls[Endpoint.TOKEN] == 1
    assert len({answer.headers["X-Session-Id"] for answer in answers}) == 1


def unknown(token, number):
    """The token with another ``kid``; its signature is never looked at."""
    header, rest = token.split(".", 1)
    parsed = json.loads(base64.urlsafe_b64decode(header + "=="))
    changed = json.dumps({**parsed, "kid": f"random-{number}"}).encode()
    return f"{base64.urlsafe_b64encode(changed).rstrip(b'=').decode()}.{rest}"


async def test_ten_thousand_unknown_keys_cause_no_more_fetches_than_the_cooldown_allows(running):
    """And valid tokens pass meanwhile, seen before or not."""
    token = running.idp.token("orders")
    before = running.idp.calls[Endpoint.JWKS]
    good = [f"Bearer {running.idp.token('orders')}" for _ in range(20)]
    for turn in range(2):
        flood = [f"Bearer {unknown(token, turn * 5000 + number)}" for number in range(5000)]
        statuses, valid = await asyncio.gather(running.burst(flood), running.burst(good * 10, connections=1))
        assert statuses == [401] * 5000
        assert valid == [200] * 200
        assert running.idp.calls[Endpoint.JWKS] == before + turn + 1
        running.clock.advance(29.75)
        await running.ask(bearer(unknown(token, f"early-{turn}")))
        assert running.idp.calls[Endpoint.JWKS] == before + turn + 1
        running.clock.advance(0.25)
    assert await running.metric("validator_decisions_total", reason="key_unknown") == 10_002
    assert await running.metric("validator_cache_entries", cache="denials") <= 20_000
    assert await running.metric("validator_cache_entries", cache="replies") == 20


async def test_keys_rotate_under_load_and_no_valid_token_is_denied(running):
    """New keys sign at once, old ones stay published for as long as their tokens live."""
    held = [running.idp.token("orders")]
    statuses = []
    for _ in range(6):
        running.idp.mint.rotate()
        running.clock.advance(30)  # providers rotate far less often than the cooldown
        held += [running.idp.token("orders") for _ in range(10)]
        statuses += await running.burst([f"Bearer {token}" for token in held] * 5, connections=8)
    assert set(statuses) == {200}
    assert running.idp.calls[Endpoint.JWKS] <= 1 + 6


async def test_a_key_that_is_withdrawn_takes_its_tokens_along(running):
    token = running.idp.token("orders")
    assert (await running.ask(bearer(token))).status == 200
    running.idp.mint.rotate(retire=True)
    fresh = running.idp.token("orders")
    assert (await running.ask(bearer(fresh))).status == 200
    running.clock.advance(30)
    assert (await running.ask(bearer(token))).verdict == (401, "key_unknown")


async def test_unrelated_cookies_change_neither_the_decision_nor_the_cache_key(running):
    cookie = (await running.ask(bearer(running.idp.token("orders")))).cookie["Cookie"]
    for shape in ("{}", "a=b; {}", "{}; a=b", "x__Host-session=1; {}; theme=dark", '{}; big="' + "a" * 3000 + '"'):
        answer = await running.ask({"Cookie": shape.format(cookie)})
        assert (answer.status, answer.headers["X-Auth-Method"]) == (200, "session")
    assert await running.metric("validator_cache_hits_total", cache="replies") == 4
    assert (await running.ask({"Cookie": "theme=dark"})).verdict == (401, "no_credential")


async def test_each_method_says_whom_it_let_in(running):
    token = running.idp.token("orders")
    answers = {
        "bearer": await running.ask(bearer(token)),
        "client_credentials": await running.ask(basic("orders", SECRET)),
    }
    answers["session"] = await running.ask(answers["bearer"].cookie)
    for method, answer in answers.items():
        assert answer.status == 200
        assert answer.headers["X-Application-Id"] == "app-orders"
        assert answer.headers["X-Application-Name"] == "orders app"
        assert answer.headers["X-Credential-Identifier"] == "orders"
        assert answer.headers["X-Auth-Method"] == method
        assert answer.headers["Cache-Control"] == "private, max-age=30"
