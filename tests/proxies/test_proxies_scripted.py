"""nginx, Envoy and Traefik with the files of deploy/, before a sidecar that plays exact bytes.

Law of this file: what each of them asks, and that nothing but a well-formed 200 of a sidecar lets anybody through.
"""

import json
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from gateway.stage import Answer
from gateway.stub import IDENTITY, After, Play, allowed, problem, reply
from proxies.proxy import PROXIES, Proxy
from proxies.scene import SPOOFED, Scripted, open_front, open_scripted

from validator.testing.echo import Echo

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

BEARER = {"Authorization": "Bearer canary-4f1d"}
TARGET = "/v1/authorize/plain/orders"
ASKED_WITH = {"host", "connection", "authorization", "cookie", "traceparent", "content-length"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PROXIES, ids=[proxy.name for proxy in PROXIES])
async def scripted(request: pytest.FixtureRequest) -> AsyncIterator[Scripted]:
    async with open_scripted(request.param) as opened:
        yield opened


# What it asks


async def test_only_the_credential_and_the_trace_are_asked_with(scripted: Scripted) -> None:
    scripted.sidecar.play(allowed())
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {**BEARER, **SPOOFED, "Cookie": "a=1; __Host-session=s", "traceparent": trace, "X-Secret": "1"}
    await scripted.front.ask(sent, method="POST", body=b"x" * 50_000)
    (asked,) = scripted.sidecar.asked
    names = {name.lower() for name, _ in asked.headers}
    assert names <= ASKED_WITH | scripted.front.proxy.asks_also_with
    assert asked.header("Authorization") == BEARER["Authorization"]
    assert asked.header("Cookie") == "a=1; __Host-session=s"
    assert asked.header("traceparent") == trace
    assert asked.header("Content-Length") in {None, "0"}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/orders",
        "/a%2f..%2fbilling",
        "/..%2f..%2fbilling",
        "/%2e%2e/billing",
        "//billing//",
        "/a/../billing",
        "/?service=billing",
        "/v1/authorize/plain/billing",
        "/.validator/orders",
        "/.validator/refused",
        "/a%3Fb",
        "/a;b",
        "/a%00b",
        "/" + "a" * 6000,
    ],
)
async def test_no_path_asks_for_another_service(scripted: Scripted, path: str) -> None:
    scripted.sidecar.play(problem("403 Forbidden", "not_registered"))
    before = scripted.front.service.requests
    answer = await scripted.front.ask(BEARER, path=path)
    assert [asked.line.split(" ")[1] for asked in scripted.sidecar.asked] in ([TARGET], [])
    assert answer.status in ({403} if scripted.sidecar.asked else {400, 404})
    assert scripted.front.service.requests == before


@pytest.mark.parametrize("path", ["/a%20b?c=%2f&d", "/a;b?x=1"])
async def test_path_and_query_reach_the_service_as_they_are(scripted: Scripted, path: str) -> None:
    scripted.sidecar.play(allowed())
    assert (await scripted.front.ask(BEARER, path=path)).upstream["uri"] == path


async def test_connections_to_the_sidecar_are_kept(scripted: Scripted) -> None:
    scripted.sidecar.play(allowed())
    for _ in range(5):
        assert (await scripted.front.ask(BEARER)).status == 200
    assert len({asked.connection for asked in scripted.sidecar.asked}) == 1


async def test_connection_that_the_sidecar_closed_costs_no_request(scripted: Scripted) -> None:
    scripted.sidecar.play(Play([allowed()], After.CLOSE))
    for _ in range(5):
        assert (await scripted.front.ask(BEARER)).status == 200
    assert len({asked.connection for asked in scripted.sidecar.asked}) == 5


async def test_connection_that_ends_in_the_place_of_an_answer_costs_no_request(scripted: Scripted) -> None:
    scripted.sidecar.play(allowed(), Play([b""], After.CLOSE), allowed())
    assert [(await scripted.front.ask(BEARER)).status for _ in range(3)] == [200, 200, 200]
    assert len(scripted.sidecar.asked) == 4


# What the service sees


async def test_all_facts_and_no_others_are_passed_on(scripted: Scripted) -> None:
    scripted.sidecar.play(
        allowed("X-Application-Groups: gold, internal", "X-Session-Id: s-1", "X-Access-Token: t")
    )
    told = (await scripted.front.ask({**BEARER, **SPOOFED})).upstream_headers
    assert {name: value for name, value in told.items() if name.startswith("x-") and "forwarded" not in name} == {
        "x-application-id": "app-1",
        "x-application-name": "Orders mobile",
        "x-credential-identifier": "orders-mobile",
        "x-auth-method": "bearer",
        "x-application-groups": "gold, internal",
        "x-session-id": "s-1",
        **{name: value for name, value in told.items() if name in scripted.front.proxy.adds},
    }


@pytest.mark.parametrize("name", SPOOFED)
async def test_spelling_that_comes_alone_goes_no_further(scripted: Scripted, name: str) -> None:
    scripted.sidecar.play(allowed())
    answer = await scripted.front.ask({**BEARER, name: "evil"})
    assert answer.status == 200
    assert "evil" not in answer.body.decode()


async def test_fact_that_the_sidecar_left_out_is_not_the_clients(scripted: Scripted) -> None:
    scripted.sidecar.play(allowed())
    told = (await scripted.front.ask({**BEARER, **SPOOFED})).upstream_headers
    assert "x-application-groups" not in told
    assert "x-session-id" not in told


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        ("a=1; __Host-session=s; b=2", "a=1; b=2"),
        ("__Host-session=s; a=1; b=2", "a=1; b=2"),
        ("a=1; b=2; __Host-session=s", "a=1; b=2"),
        ("__Host-session=s", None),
        ("  __Host-session=s", None),
        ("a=1; x__Host-session=3; __Host-session2=4", "a=1; x__Host-session=3; __Host-session2=4"),
        ("a=__Host-session=s", "a=__Host-session=s"),
        ("a=1;\t__Host-session=s", "a=1"),
        ("a=1;;__Host-session=s;", "a=1"),
    ],
)
async def test_our_cookie_alone_is_cut(scripted: Scripted, sent: str, passed: str | None) -> None:
    scripted.sidecar.play(allowed())
    told = (await scripted.front.ask({**BEARER, "Cookie": sent})).upstream_headers
    if scripted.front.proxy.cuts_cookies:
        assert told.get("cookie", "").rstrip("; ") == (passed or "")
        assert ("cookie" in told) is (passed is not None)


@pytest.mark.parametrize(
    "sent", ["__Host-session=s; __Host-session=t", "a=1;__Host-session=s; b=2;__Host-session=t; c=3"]
)
async def test_second_session_cookie_goes_no_further_either(scripted: Scripted, sent: str) -> None:
    scripted.sidecar.play(allowed())
    told = (await scripted.front.ask({**BEARER, "Cookie": sent})).upstream_headers
    if scripted.front.proxy.cuts_cookies:
        assert "__Host-session" not in told.get("cookie", "")


# What lets nobody through


def assert_unavailable(proxy: Proxy, answer: Answer) -> None:
    if proxy.one_503:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert json.loads(answer.body)["status"] == 503
    assert answer.status not in range(200, 300)


NAMELESS = [line for line in IDENTITY if not line.startswith("X-Application-Name")]
UNFIT = {
    "garbage": Play([b"\x00\x01 no HTTP at all\r\n\r\n"], After.CLOSE),
    "closed": Play([b""], After.CLOSE),
    "half a head": Play([b"HTTP/1.1 200 OK\r\nX-Appl"], After.CLOSE),
    "stalled": Play([b"HTTP/1.1 200 OK\r\nX-Appl"], After.STALL),
    "silent": Play([b""], After.STALL),
    "200 of something else": reply("200 OK", "Content-Type: text/html", body=b"<h1>It works!</h1>"),
    "200 with a fact missing": reply("200 OK", *NAMELESS),
    "200 with a fact empty": reply("200 OK", *NAMELESS, "X-Application-Name: "),
    "404": problem("404 Not Found", "strategy_unknown"),
    "400": reply("400 Bad Request"),
    "414": reply("414 URI Too Long"),
    "500": reply("500 Internal Server Error"),
    "503": problem("503 Service Unavailable", "idp_unavailable", "Retry-After: 7"),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "302": reply("302 Found", "Location: http://127.0.0.1:9/"),
    "999": reply("999 Beyond", *IDENTITY),
}


@pytest.mark.parametrize("bytes_", UNFIT.values(), ids=UNFIT)
async def test_whatever_is_no_decision_is_503(scripted: Scripted, bytes_: Play | bytes) -> None:
    scripted.sidecar.play(bytes_)
    before = scripted.front.service.requests
    answer = await scripted.front.ask({**BEARER, **SPOOFED}, method="POST", body=b"x")
    assert scripted.front.service.requests == before
    assert_unavailable(scripted.front.proxy, answer)


async def test_206_is_no_200(scripted: Scripted) -> None:
    scripted.sidecar.play(reply("206 Partial Content", *IDENTITY))
    if scripted.front.proxy.one_503:
        assert_unavailable(scripted.front.proxy, await scripted.front.ask(BEARER))


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "429 Too Many Requests"])
async def test_refusal_reaches_the_client_as_it_is(scripted: Scripted, status: str) -> None:
    bytes_ = problem(status, "some_reason", "Retry-After: 7", 'WWW-Authenticate: Bearer realm="plain"')
    scripted.sidecar.play(bytes_)
    for method in ("GET", "PUT", "OPTIONS"):
        answer = await scripted.front.ask(BEARER, method=method, body=b"x" * 5000)
        assert answer.status == int(status[:3])
        assert answer.headers.getall("Retry-After") == ["7"]
        assert answer.headers.getall("WWW-Authenticate") == ['Bearer realm="plain"']
        assert answer.body == bytes_.partition(b"\r\n\r\n")[2]
    assert len(scripted.sidecar.asked) == 3  # asked once for each


async def test_refusal_of_one_request_is_not_anothers(scripted: Scripted) -> None:
    scripted.sidecar.play(problem("403 Forbidden", "not_registered"), allowed())
    assert (await scripted.front.ask(BEARER)).status == 403
    assert (await scripted.front.ask(BEARER)).status == 200


@pytest.mark.parametrize("proxy", PROXIES, ids=[proxy.name for proxy in PROXIES])
async def test_sidecar_down_is_503(proxy: Proxy) -> None:
    with tempfile.TemporaryDirectory(prefix="px-") as folder, socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # taken, and nobody listens
        down = [f"127.0.0.1:{holder.getsockname()[1]}"]
        if proxy.unix:
            down.append(f"unix:{Path(folder) / 'data.sock'}")
        for address in down:
            async with open_front(proxy, address) as front:
                answer = await front.ask({**BEARER, **SPOOFED})
                assert front.service.requests == 0
                assert_unavailable(proxy, answer)


async def test_service_alone_would_be_told_what_the_client_says() -> None:
    """So the tests above can fail."""
    async with (
        Echo() as service,
        aiohttp.ClientSession() as http,
        http.get(f"http://{service.address}/", headers=SPOOFED) as got,
    ):
        seen = await got.json()
    assert sum(value == "evil" for _, value in seen["headers"]) == len(SPOOFED) == 30
