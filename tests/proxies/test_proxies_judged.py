"""nginx, Envoy and Traefik with the files of deploy/, before the real sidecar.

Law of this file: one table of cases, the same for each of them; where one differs, its class in ``proxy`` says so.
"""

import base64
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from proxies.proxy import PROXIES
from proxies.scene import IDENTITY_HEADERS, MAX_FAILURES, SECRET, SPOOFED, Judged, open_judged

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

WAYS = [(proxy, unix) for proxy in PROXIES for unix in (False, True) if proxy.unix or not unix]
ORDERS = {
    "x-application-id": "app-orders",
    "x-application-name": "orders app",
    "x-credential-identifier": "orders",
    "x-application-groups": "gold, internal",
}


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=WAYS, ids=[f"{p.name}-{'unix' if u else 'tcp'}" for p, u in WAYS]
)
async def judged(request: pytest.FixtureRequest) -> AsyncIterator[Judged]:
    proxy, unix = request.param
    async with open_judged(proxy, unix=unix) as opened:
        yield opened


def identity(headers: dict[str, str]) -> dict[str, str]:
    names = {name.lower() for name in IDENTITY_HEADERS}
    return {name: value for name, value in headers.items() if name in names}


async def test_bearer_token_passes_with_its_identity_and_without_itself(judged: Judged) -> None:
    answer = await judged.front.ask({**judged.bearer(), "X-Other": "1"})
    assert answer.status == 200, answer.body
    told = answer.upstream_headers
    session = told["x-session-id"]
    assert session
    assert identity(told) == {**ORDERS, "x-auth-method": "bearer", "x-session-id": session}
    assert told["x-other"] == "1"
    assert "authorization" not in told


async def test_client_id_and_secret_pass(judged: Judged) -> None:
    answer = await judged.front.ask(basic("orders", SECRET))
    assert answer.status == 200
    assert answer.upstream_headers["x-auth-method"] == "client_credentials"
    assert "authorization" not in answer.upstream_headers


async def test_session_cookie_is_set_and_opens_the_door(judged: Judged) -> None:
    opened = await judged.front.ask(judged.bearer(), path="/?set_cookie=a%3D1&set_cookie=b%3D2")
    cookies = opened.headers.getall("Set-Cookie")
    ours = [cookie for cookie in cookies if cookie.startswith("__Host-session=")]
    assert len(ours) == 1
    assert sorted(cookie for cookie in cookies if cookie not in ours) == ["a=1", "b=2"]
    assert all(attribute in ours[0] for attribute in ("Path=/", "Secure", "HttpOnly", "SameSite=Lax"))
    pair = ours[0].partition(";")[0]
    answer = await judged.front.ask({"Cookie": f"a=1; {pair}; b=2"})
    assert answer.status == 200
    assert identity(answer.upstream_headers)["x-auth-method"] == "session"
    if judged.front.proxy.cuts_cookies:
        assert answer.upstream_headers["cookie"] == "a=1; b=2"
    alone = await judged.front.ask({"Cookie": pair})
    assert alone.status == 200
    if judged.front.proxy.cuts_cookies:
        assert "cookie" not in alone.upstream_headers


@pytest.mark.parametrize("status", [200, 204, 401, 403, 404, 429, 500, 502, 503])
async def test_answer_of_the_service_is_its_own(judged: Judged, status: int) -> None:
    answer = await judged.front.ask(judged.bearer(), path=f"/?status={status}&set_cookie=a%3D1")
    assert answer.status == status
    cookies = answer.headers.getall("Set-Cookie")
    assert "a=1" in cookies
    assert sum(cookie.startswith("__Host-session=") for cookie in cookies) == 1
    if status != 204:
        assert answer.upstream["uri"].startswith("/?status")
        assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("headers", "reason", "challenge"),
    [
        ({}, "no_credential", 'Bearer realm="plain", Basic realm="plain", charset="UTF-8"'),
        ({"Authorization": "Bearer a.b.c"}, "token_malformed", 'error="invalid_token"'),
        ({"Authorization": "Bearer "}, "malformed_credential", 'error="invalid_request"'),
        ({"Cookie": "__Host-session=nonsense"}, "session_invalid", "Bearer realm"),
    ],
    ids=["nothing", "token", "empty", "cookie"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_401_reaches_the_client_whole(
    judged: Judged, headers: dict[str, str], reason: str, challenge: str, method: str
) -> None:
    before = judged.front.service.requests
    answer = await judged.front.ask({**headers, **SPOOFED}, method=method, body=b"x" * 10_000)
    assert answer.status == 401
    assert len(answer.headers.getall("WWW-Authenticate")) == 1
    assert challenge in answer.headers["WWW-Authenticate"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body)["reason"] == reason
    assert judged.front.service.requests == before


async def test_403_reaches_the_client_whole(judged: Judged) -> None:
    before = judged.front.service.requests
    for headers, reason in (
        (judged.bearer("billing"), "not_registered"),
        (judged.bearer("stranger"), "application_unknown"),
    ):
        answer = await judged.front.ask({**headers, **SPOOFED})
        assert (answer.status, json.loads(answer.body)["reason"]) == (403, reason)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert judged.front.service.requests == before


async def test_429_reaches_the_client_whole(judged: Judged) -> None:
    answers = [await judged.front.ask(basic("billing", f"guess-{n}")) for n in range(MAX_FAILURES + 1)]
    assert [answer.status for answer in answers] == [401] * MAX_FAILURES + [429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert json.loads(answers[-1].body)["reason"] == "too_many_attempts"
    assert answers[-1].headers["Content-Type"] == "application/problem+json"


async def test_spoofed_headers_never_reach_the_service(judged: Judged) -> None:
    answer = await judged.front.ask({**judged.bearer(), **SPOOFED})
    assert answer.status == 200
    assert "evil" not in answer.body.decode()
    assert identity(answer.upstream_headers)["x-application-id"] == "app-orders"


@pytest.mark.parametrize("good_first", [True, False])
async def test_two_credentials_are_none(judged: Judged, *, good_first: bool) -> None:
    before = judged.front.service.requests
    values = [judged.bearer()["Authorization"], "Bearer a.b.c"]
    lines = "".join(f"Authorization: {value}\r\n" for value in (values if good_first else values[::-1]))
    answer = await judged.front.raw(f"GET / HTTP/1.1\r\nHost: front\r\nConnection: close\r\n{lines}\r\n".encode())
    assert answer.split(b" ", 2)[1] in {b"400", b"401"}
    assert judged.front.service.requests == before


@pytest.mark.parametrize("name", IDENTITY_HEADERS)
async def test_client_cannot_have_the_identity_dropped_as_hop_by_hop(judged: Judged, name: str) -> None:
    head = f"GET / HTTP/1.1\r\nHost: front\r\nAuthorization: {judged.bearer()['Authorization']}\r\n"
    answer = await judged.front.raw(f"{head}Connection: close, {name}\r\n\r\n".encode())
    status, _, body = answer.partition(b"\r\n\r\n")
    if status.split(b" ", 2)[1] == b"200":
        assert f'"{name.lower()}"'.encode() in body.lower()


async def test_head_and_post_pass_with_their_method_and_body(judged: Judged) -> None:
    answer = await judged.front.ask(judged.bearer(), method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    answer = await judged.front.ask(judged.bearer(), method="POST", body=b"x" * 100_000)
    assert (answer.upstream["method"], answer.upstream["body_bytes"]) == ("POST", 100_000)
    answer = await judged.front.ask({}, method="HEAD")
    assert (answer.status, answer.body) == (401, b"")


async def test_websocket_is_denied_before_any_upgrade(judged: Judged) -> None:
    before = judged.front.service.requests
    answer = await judged.front.raw(
        b"GET / HTTP/1.1\r\nHost: front\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        b"GET / HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert judged.front.service.requests == before


async def test_websocket_passes_with_the_identity(judged: Judged) -> None:
    async with judged.front.http.ws_connect("http://front/", headers={**judged.bearer(), **SPOOFED}) as opened:
        seen = await opened.receive_json()
    told = {name.lower(): value for name, value in seen["headers"]}
    assert identity(told)["x-application-id"] == "app-orders"
    assert "evil" not in json.dumps(seen)
    assert "authorization" not in told


async def test_identity_provider_down_is_503_and_no_denial(judged: Judged) -> None:
    known = judged.bearer()
    assert (await judged.front.ask(known)).status == 200
    await judged.idp.take_down()
    try:
        answer = await judged.front.ask(basic("orders", "never-seen"))
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/problem+json"
        if judged.front.proxy.passes_reason_of_503:
            assert json.loads(answer.body)["reason"] == "idp_unavailable"
        assert (await judged.front.ask(known)).status == 200
    finally:
        await judged.idp.bring_back()
