"""Which strategy an application of Konnect's belongs to, as the settings of the bridge say it: asked of a sidecar
that serves them."""

import uuid

import aiohttp
import pytest
from sidecar_support import assembled

KEY = "CANARY_api_key_0"
MAPPED, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


async def refusal(dcr: dict[str, object], auth_strategy_id: str) -> str:
    """The ``error`` of an application's creation, "" where there was none."""
    body = {
        "client_name": "Orders",
        "redirect_uris": [],
        "grant_types": ["client_credentials"],
        "scopes": [],
        "token_endpoint_auth_method": "client_secret_post",
        "application_description": "",
        "auth_strategy_id": auth_strategy_id,
    } | dict.fromkeys(("portal_id", "organization_id", "developer_id", "dcr_provider_id"), str(uuid.UUID(int=3)))
    async with assembled(dcr={"api_keys": [KEY], **dcr}) as running, aiohttp.ClientSession() as konnect:
        url = f"http://{running.sidecar.control_address}/dcr/"
        async with konnect.post(url, json=body, headers={"X-API-KEY": KEY}) as reply:
            return str((await reply.json()).get("error", ""))


@pytest.mark.parametrize(
    ("dcr", "auth_strategy_id", "belongs"),
    [
        ({}, OTHER, True),
        ({"strategies": {}}, OTHER, True),
        ({"strategies": {MAPPED: "plain"}}, MAPPED, True),
        ({"strategies": {MAPPED: "plain"}}, OTHER, False),
        ({"strategies": {MAPPED: "plain"}, "strategy": "plain"}, OTHER, True),
    ],
    ids=["the only one", "mapping nothing", "mapped", "not mapped", "said for all others"],
)
async def test_the_only_strategy_is_the_default_where_nothing_is_mapped(
    dcr: dict[str, object], auth_strategy_id: str, belongs: bool
) -> None:
    assert (await refusal(dcr, auth_strategy_id) != "unknown_auth_strategy") is belongs
