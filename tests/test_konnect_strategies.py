"""The strategies that Konnect's documents print let applications in, with only their placeholders replaced."""

import json
from pathlib import Path
from typing import Any

import pytest
from identity_providers.gate import gate
from identity_providers.rows import API, GRAPH, GUID, SECRET, TENANT, granted
from imitations import Auth0Api, Auth0Imitation, EntraImitation
from sidecar_support import basic, bearer

from validator.settings import read_konnect
from validator.testing import ManualClock

PRINTED = Path(__file__).parent / "settings" / "konnect"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def strategy(name: str, issuer: str, **said: Any) -> dict[str, Any]:
    """The strategy of the body that the documents print, with an issuer that is there."""
    body = json.loads((PRINTED / f"{name}.json").read_text())
    body["configs"]["openid-connect"]["issuer"] = issuer
    return dict(read_konnect(json.dumps(body).encode(), name, **said).strategy)


async def test_the_documents_azure_strategy_proves_a_pair_by_graph(clock: ManualClock) -> None:
    async with (
        EntraImitation({GUID: SECRET}, tenant=TENANT, clock=clock) as tenant,
        gate({"s": strategy("azure-auth", tenant.base)}, GUID, clock=clock) as at,
    ):
        assert (await at.ask(basic(GUID, SECRET))).verdict == (200, "")
        assert (await at.ask(basic(GUID, "wrong"))).verdict == (401, "credentials_rejected")
        # The documents' own curl line for a bearer token asks for Graph's.
        form = {"client_id": GUID, "client_secret": SECRET, "scope": GRAPH}
        token = await granted(tenant.token_endpoint_v2, form)
        assert (await at.ask(bearer(token))).verdict == (401, "token_for_graph")


async def test_the_documents_okta_strategy_is_auth0s_with_the_issuer_that_it_means(clock: ManualClock) -> None:
    apis = {API: Auth0Api(profile="rfc9068")}
    async with Auth0Imitation({"orders": SECRET}, clock=clock, apis=apis) as tenant:
        printed = strategy("okta-auth", f"{tenant.issuer}api/v2/", idp="auth0")
        async with gate({"s": printed | {"audience": [API]}}, "orders", clock=clock) as at:
            assert (await at.ask(basic("orders", SECRET))).verdict == (200, "")
            form = {"client_id": "orders", "client_secret": SECRET, "audience": API}
            token = await granted(f"{tenant.issuer}oauth/token", form)
            assert (await at.ask(bearer(token))).verdict == (200, "")
