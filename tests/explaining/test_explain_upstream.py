"""What ``validator explain`` says of what upstreams are told: groups, claims, and a token that stays unseen."""

import io
from typing import Any

import pytest
from explain_support import CLOCK, Explainer, World, basic, plain, says

from validator import explain
from validator.model import Endpoint
from validator.settings import Settings
from validator.testing import Fault

HEADERS = {"X-Claim-Tenant": "ctx.tenant", "X-Claim-Roles": "roles"}


async def test_claims_that_are_there_and_that_are_not(world: World, explained: Explainer) -> None:
    token = world.plain.token("orders", ctx={"tenant": "acme"}, roles=["a,b"])
    told = await explained(token, plain(world, upstream_headers=HEADERS))
    says(told, 0, "X-Claim-Tenant: acme", "X-Claim-Roles: absent; the claim roles is missing", "200 allowed")


async def test_without_headers_nothing_is_said_of_them(world: World, explained: Explainer) -> None:
    told = await explained(world.plain.token("orders"), plain(world))
    assert "X-" not in told.text
    assert "groups" not in told.text


async def test_a_minted_token_is_said_to_go_on_and_not_shown(world: World, explained: Explainer) -> None:
    minted = {"access_token": "CanaryMinted", "token_type": "Bearer", "expires_in": 60}
    world.plain.fail(Fault.json_reply(minted, status=200), Endpoint.TOKEN)
    told = await explained(basic("orders"), plain(world, forward_minted_token=True))
    says(told, 0, "X-Access-Token: the token just minted, not shown (forward_minted_token)", "200 allowed")
    assert "Canary" not in told.text
    told = await explained(basic("orders"), plain(world))
    says(told, 0, "200 allowed")
    assert "X-Access-Token" not in told.text


async def test_groups_of_the_application(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    application: dict[str, Any] = {
        "id": "app-1",
        "strategy": "plain",
        "client_id": "orders",
        "registrations": ["svc"],
    }
    settings = Settings.model_validate(
        {"strategies": plain(world), "applications": [{**application, "groups": ["gold", "internal"]}]}
    )
    credential = io.BytesIO(world.plain.token("orders").encode())
    assert await explain.report(settings, credential, strategy=None, service="svc", clock=CLOCK) == 0
    assert "groups: gold, internal" in capsys.readouterr().out
