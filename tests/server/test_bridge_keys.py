"""Who may call the bridge: the key decides, before anything else is said, and it decides nothing but that."""

import aiohttp
import pytest
from aiohttp import web
from blockbuster import blockbuster_ctx
from bridge_support import APPLICATION, KEY, SECOND_KEY, SERVED, WRONG_KEY, Asking, on_control
from control_support import TOKEN, raw
from structlog.testing import capture_logs

from validator.server.bridge import bridge_application


@pytest.fixture(params=SERVED)
async def bridge(request):
    with blockbuster_ctx("validator"):
        async with SERVED[request.param]() as asking:
            yield asking


CALLS = [
    ("POST", "/dcr/"),
    ("POST", "/dcr"),
    ("DELETE", "/dcr/c1"),
    ("POST", "/dcr/c1/new-secret"),
    ("POST", "/dcr/c1/event-hook"),
    ("GET", "/dcr/"),
    ("PUT", "/dcr/c1"),
    ("OPTIONS", "/dcr/"),
    ("POST", "/dcr/c1/nothing"),
    ("POST", "/dcr//"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_nothing_without_a_key(bridge, method, path):
    assert await bridge.ask(method, path, key=None) == (401, WRONG_KEY)
    assert bridge.stub.asked == []


@pytest.mark.parametrize(
    "key",
    ["", KEY[:-1], f"{KEY}x", KEY.upper(), f"{KEY},{SECOND_KEY}", f"Bearer {KEY}", "k\u00e9y", TOKEN, "x" * 7000],
)
async def test_a_wrong_key(bridge, key):
    assert await bridge.ask("DELETE", "/dcr/c1", key=key) == (401, WRONG_KEY)
    assert bridge.stub.asked == []


@pytest.mark.parametrize(("key", "status"), [(KEY, b"204"), (TOKEN, b"401")])
@pytest.mark.parametrize("path", ["/%64cr/c1", "/dc%72/c1", "http://sidecar.test/dcr/c1"])
async def test_another_spelling_of_the_path_is_the_same_path(bridge, path, key, status):
    head = f"DELETE {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n"
    answer = await raw(bridge, f"{head}X-API-KEY: {key}\r\n\r\n".encode())
    assert answer.split(b" ")[1] == status
    assert bridge.stub.asked == ([("delete", "c1")] if key == KEY else [])


async def test_the_key_is_asked_for_whatever_runs_the_application():
    asking = Asking()
    served = web.AppRunner(bridge_application(asking.stub, lambda: asking.keys))
    await served.setup()
    await web.TCPSite(served, "127.0.0.1", 0).start()
    asking.url = f"http://127.0.0.1:{served.addresses[0][1]}"
    async with aiohttp.ClientSession() as asking.client:
        for path in ("/dcr/c1", "/elsewhere"):
            assert await asking.ask("DELETE", path, key=None) == (401, WRONG_KEY)
        assert (await asking.ask("DELETE", "/dcr/c1"))[0] == 204
    await served.cleanup()


async def test_a_repeated_key_is_none(bridge):
    assert await bridge.ask("DELETE", "/dcr/c1", headers=[("X-API-KEY", KEY)]) == (401, WRONG_KEY)


@pytest.mark.parametrize("key", [KEY, SECOND_KEY])
async def test_every_configured_key_opens(bridge, key):
    assert (await bridge.ask("DELETE", "/dcr/c1", key=key))[0] == 204


async def test_the_keys_of_now_count_and_an_empty_one_opens_nothing(bridge):
    bridge.keys = ["another_key_1"]
    assert (await bridge.ask("DELETE", "/dcr/c1"))[0] == 401
    assert (await bridge.ask("DELETE", "/dcr/c1", key="another_key_1"))[0] == 204
    for keys in ([], [""]):
        bridge.keys = keys
        assert (await bridge.ask("DELETE", "/dcr/c1", key=""))[0] == 401
        assert (await bridge.ask("DELETE", "/dcr/c1", key=None))[0] == 401


@pytest.mark.parametrize(
    "more",
    [
        b"Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx",
        b"Content-Type: application/json\r\nContent-Length: 9999999\r\n\r\n",
        b"Expect: a-miracle\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_the_key_is_asked_for_before_the_body_is_judged(bridge, more):
    answer = await raw(bridge, b"POST /dcr/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + more)
    assert answer.split(b" ")[1] == b"401"
    assert b'{"error":"Wrong API-Key","error_description":"wrong x-api-key header"}' in answer


async def test_wrong_keys_write_a_line_now_and_then(bridge):
    with capture_logs() as lines:
        for _ in range(3):
            await bridge.ask("DELETE", "/dcr/c1", key="canary_wrong")
        bridge.clock.advance(9.9)
        await bridge.ask("DELETE", "/dcr/c1", key="canary_wrong")
        assert len(lines) == 1
        bridge.clock.advance(0.1)
        await bridge.ask("POST", "/dcr/", key=None)
    assert [(line["event"], line["log_level"], line["untold"]) for line in lines] == [
        ("dcr_denied", "warning", 0),
        ("dcr_denied", "warning", 3),
    ]
    assert lines[0]["remote"] == "127.0.0.1"
    assert "canary" not in repr(lines)


class TestOnTheControlPlane:
    """The token stays the others' key, and the bridge's opens nothing but the bridge."""

    async def test_the_token_is_not_asked_for_and_opens_nothing(self):
        async with on_control() as bridge:
            assert (await bridge.ask("DELETE", "/dcr/c1"))[0] == 204
            authorization = {"Authorization": f"Bearer {TOKEN}"}
            assert await bridge.ask("DELETE", "/dcr/c1", key=None, headers=authorization) == (401, WRONG_KEY)

    @pytest.mark.parametrize("path", ["/v1/applications", "/metrics", "/dcrx", "/nowhere", "/DCR/", "//dcr/"])
    async def test_the_key_opens_no_other_path(self, path):
        async with on_control() as bridge:
            assert (await bridge.control.ask("GET", path, headers={"X-API-KEY": KEY}))[0] == 401

    @pytest.mark.parametrize("path", ["/dcr/../v1/applications", "/dcr/%2e%2e/v1/applications", "/v1/../dcr/c1"])
    async def test_no_path_leads_around(self, path):
        async with on_control() as bridge:
            request = f"GET {path} HTTP/1.1\r\nHost: h\r\nX-API-KEY: {KEY}\r\nConnection: close\r\n\r\n"
            assert (await raw(bridge, request.encode())).split(b" ")[1] in {b"404", b"401"}

    async def test_other_paths_keep_the_token_and_their_problem_documents(self):
        async with on_control() as bridge:
            assert (await bridge.control.ask("GET", "/v1/applications"))[0] == 401
            headers = {"Authorization": f"Bearer {TOKEN}"}
            assert (await bridge.control.ask("GET", "/v1/applications", headers=headers))[0] == 200
            assert (await bridge.control.ask("GET", "/nowhere", headers=headers))[0] == 404
            assert (await bridge.control.ask("GET", "/healthz"))[0] == 200
            answer = await raw(
                bridge, b"GET /v1/cache HTTP/1.1\r\nHost: h\r\nExpect: x\r\nConnection: close\r\n\r\n"
            )
            assert b"application/problem+json" in answer

    async def test_the_guard_against_browsers_is_the_others_alone(self):
        async with on_control(token=None) as bridge:
            foreign = {"Origin": "https://portal.test", "Host": "sidecar.test"}
            assert (await bridge.ask("POST", "/dcr/", APPLICATION, headers=foreign))[0] == 201
            assert (await bridge.control.ask("GET", "/v1/applications", headers=foreign))[0] == 403
