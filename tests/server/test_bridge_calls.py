"""Konnect's four calls over HTTP: what it sends arrives whole, and it is answered what it expects."""

import pytest
from blockbuster import blockbuster_ctx
from bridge_support import ADDED, APPLICATION, EVENT, KEY, SECRET, SERVED
from structlog.testing import capture_logs
from yarl import URL

from validator.dcr.plan import Credentials, Event, NewApplication


@pytest.fixture(params=SERVED)
async def bridge(request):
    with blockbuster_ctx("validator"):
        async with SERVED[request.param]() as asking:
            yield asking


def _wanted(**changes):
    values = {**APPLICATION, **changes}
    return NewApplication(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class TestCreate:
    @pytest.mark.parametrize("path", ["/dcr/", "/dcr", "/dcr/?from=konnect"])
    async def test_a_client(self, bridge, path):
        status, made = await bridge.ask("POST", path, APPLICATION)
        assert (status, made) == (
            201,
            {
                "client_id": "c1",
                "client_secret": SECRET,
                "client_id_issued_at": 1_700_825_336,
                "client_secret_expires_at": 0,
            },
        )
        assert bridge.stub.asked == [("create", _wanted())]

    async def test_a_provider_that_dates_nothing(self, bridge):
        bridge.stub.made = Credentials("c1", SECRET)
        _, made = await bridge.ask("POST", "/dcr/", APPLICATION)
        assert made["client_id_issued_at"] == int(bridge.clock.now())
        assert isinstance(made["client_id_issued_at"], int)

    async def test_unknown_members_are_ignored_and_ids_need_not_be_uuids(self, bridge):
        sent = {**APPLICATION, "portal_id": "portal 1", "developer_email": {"a": [1]}}
        assert (await bridge.ask("POST", "/dcr/", sent))[0] == 201
        assert bridge.stub.asked == [("create", _wanted(portal_id="portal 1"))]

    async def test_lists_may_be_empty_and_so_may_the_description(self, bridge):
        empty = {"redirect_uris": [], "grant_types": [], "scopes": [], "application_description": ""}
        assert (await bridge.ask("POST", "/dcr/", {**APPLICATION, **empty}))[0] == 201
        assert bridge.stub.asked == [("create", _wanted(**empty))]

    @pytest.mark.parametrize("kind", ["application/json", "application/json; charset=UTF-8", "Application/JSON"])
    async def test_media_types(self, bridge, kind):
        status, _ = await bridge.ask("POST", "/dcr/", APPLICATION, headers={"Content-Type": kind})
        assert status == 201


class TestOneClient:
    async def test_delete(self, bridge):
        assert await bridge.ask("DELETE", "/dcr/c1") == (204, b"")
        assert bridge.stub.asked == [("delete", "c1")]

    async def test_new_secret(self, bridge):
        bridge.stub.made = Credentials("c1", SECRET, 1_700_825_336, 1_800_000_000)
        status, made = await bridge.ask("POST", "/dcr/c1/new-secret")
        assert (status, made) == (
            200,
            {
                "client_id": "c1",
                "client_secret": SECRET,
                "client_id_issued_at": 1_700_825_336,
                "client_secret_expires_at": 1_800_000_000,
            },
        )
        assert bridge.stub.asked == [("new_secret", "c1")]

    async def test_new_secret_where_nobody_knows_when_the_client_was_made(self, bridge):
        bridge.stub.made = Credentials("c1", SECRET)
        _, made = await bridge.ask("POST", "/dcr/c1/new-secret")
        assert made == {"client_id": "c1", "client_secret": SECRET, "client_secret_expires_at": 0}

    @pytest.mark.parametrize(
        ("segment", "client_id"),
        [
            ("a%2Fb", "a/b"),
            ("a%20b", "a b"),
            ("%7Ba%7D", "{a}"),
            ("a%25b", "a%b"),
            ("a+b", "a+b"),
            ("%C3%A9", "é"),
            ("new-secret", "new-secret"),
            ("x" * 256, "x" * 256),
        ],
    )
    async def test_the_client_id_is_decoded_once(self, bridge, segment, client_id):
        url = URL(f"{bridge.url}/dcr/{segment}", encoded=True)
        async with bridge.client.delete(url, headers={"X-API-KEY": KEY}) as reply:
            assert reply.status == 204
        assert bridge.stub.asked == [("delete", client_id)]


class TestEvents:
    @pytest.mark.parametrize(
        ("more", "redirect_uris", "version"),
        [
            ({"event_type": "update_application", "redirect_uris": ["https://a.test"]}, ("https://a.test",), ""),
            ({"event_type": "update_application", "redirect_uris": []}, (), ""),
            ({"event_type": "add_registration", "api_product_version_id": "v1"}, (), "v1"),
            ({"event_type": "add_registration", "api_product_version_id": "v1", "audience": "api"}, (), "v1"),
            ({"event_type": "remove_registration", "api_product_version_id": "v1", "audience": None}, (), "v1"),
        ],
    )
    async def test_each_type(self, bridge, more, redirect_uris, version):
        assert await bridge.ask("POST", "/dcr/c1/event-hook", {**EVENT, **more, "more": 1}) == (200, b"")
        expected = Event(
            more["event_type"],
            "c1",
            EVENT["application_id"],
            "Orders",
            EVENT["auth_strategy_id"],
            redirect_uris,
            version,
        )
        assert bridge.stub.asked == [("event", expected)]

    async def test_a_guid_is_the_same_client_in_either_case(self, bridge):
        guid = "3f0c1c9e-aaaa-4000-8000-00000000000b"
        body = {**ADDED, "client_id": guid.upper()}
        assert (await bridge.ask("POST", f"/dcr/{guid}/event-hook", body))[0] == 200
        assert bridge.stub.asked[0][1].client_id == guid


async def test_each_call_is_one_line_and_no_line_has_a_key_or_a_secret(bridge):
    with capture_logs() as lines:
        await bridge.ask("POST", "/dcr/", APPLICATION)
        await bridge.ask("DELETE", "/dcr/c1")
        await bridge.ask("POST", "/dcr/c1/new-secret")
        await bridge.ask("POST", "/dcr/c1/event-hook", ADDED)
        await bridge.ask("POST", "/dcr/", {})
        await bridge.ask("GET", "/dcr/c1/nothing")
    assert [(line["event"], line["log_level"], line["status"], line["outcome"]) for line in lines] == [
        ("dcr_call", "info", 201, "created"),
        ("dcr_call", "info", 204, "deleted"),
        ("dcr_call", "info", 200, "secret_replaced"),
        ("dcr_call", "info", 200, "add_registration"),
        ("dcr_call", "warning", 400, "Bad Request"),
        ("dcr_call", "warning", 404, "Not Found"),
    ]
    assert [line.get("client_id") for line in lines] == ["c1", "c1", "c1", "c1", None, None]
    assert {line["remote"] for line in lines} == {"127.0.0.1"}
    assert "canary" not in repr(lines)
