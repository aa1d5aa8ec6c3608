"""What the upstream is told about the caller, in the test gateway.

Law of this file: identity headers come from a well-formed 200 or from an operator's anonymous consumer, never
from the client; credentials and cookies go no further than they should.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.gateway import Gateway
from gateway.stage import (
    BEARER,
    NOBODY,
    SPOOFED,
    Client,
    Stage,
    open_stage,
)
from gateway.stub import StubSidecar, allowed, problem
from multidict import CIMultiDict

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BUILDS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with open_stage(request.param) as opened:
        yield opened


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client


@pytest.fixture
def sidecar(stage: Stage) -> StubSidecar:
    return stage.sidecar


@pytest.fixture
def gateway(stage: Stage) -> Gateway:
    return stage.gateway


# Spoofed identity


async def test_gateway_alone_lets_spoofed_headers_through(client: Client) -> None:
    answer = await client.get("/plain", SPOOFED)
    sent = [name for name, value in answer.upstream["headers"] if value == "evil"]
    assert len(sent) == len(SPOOFED) == 52  # so the tests below can fail


async def test_spoofed_headers_of_an_allowed_request(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    answer = await client.get("/allowed", {**BEARER, **SPOOFED})
    assert set(answer.identity.values()) == {"app-1", "Orders mobile", "orders-mobile", "bearer"}
    assert "evil" not in answer.body.decode()


async def test_spoofed_headers_of_an_anonymous_request(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(problem("401 Unauthorized", "token_expired"))
    answer = await client.get("/anonymous", {**BEARER, **SPOOFED})
    assert answer.identity == {
        "x-anonymous-consumer": "true",
        "x-consumer-id": NOBODY["id"],
        "x-consumer-custom-id": "nobody-1",
        "x-consumer-username": "nobody",
    }
    assert answer.upstream["consumer"] == "nobody"
    assert "authorization" not in answer.upstream_headers


async def test_spoofed_headers_beside_another_plugins_identity(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    answer = await client.get("/other", {name: value for name, value in SPOOFED.items() if "Consumer" not in name})
    assert answer.identity == {"x-credential-identifier": "key-1", "x-consumer-username": "alice"}
    assert answer.upstream["credential"] == "key-1"
    assert sidecar.asked == []


@pytest.mark.parametrize("path", ["/allowed", "/anonymous"])
async def test_spoofed_headers_behind_a_hundred_others(client: Client, sidecar: StubSidecar, path: str) -> None:
    sidecar.play(allowed())
    padding = {f"X-Pad-{number}": "1" for number in range(150)}
    answer = await client.get(path, {**padding, **BEARER, **SPOOFED})
    assert sidecar.asked == []  # what cannot be read whole is not judged
    if path == "/allowed":
        assert (answer.status, json.loads(answer.body)["reason"]) == (401, "malformed_credential")
    else:
        assert answer.identity["x-anonymous-consumer"] == "true"
        assert "evil" not in answer.body.decode()


# Anonymous


@pytest.mark.parametrize(
    "bytes_",
    [
        problem("403 Forbidden", "not_registered"),
        problem("429 Too Many Requests", "too_many_attempts"),
        problem("503 Service Unavailable", "idp_unavailable"),
    ],
    ids=["403", "429", "503"],
)
async def test_only_a_missing_credential_makes_a_request_anonymous(
    client: Client, sidecar: StubSidecar, bytes_: bytes
) -> None:
    sidecar.play(bytes_)
    assert (await client.get("/anonymous")).status == int(bytes_[9:12])


async def test_anonymous_route_still_judges(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    answer = await client.get("/anonymous")
    assert answer.identity["x-application-id"] == "app-1"
    assert "x-anonymous-consumer" not in answer.identity


async def test_missing_anonymous_consumer(client: Client, sidecar: StubSidecar, gateway: Gateway) -> None:
    sidecar.play(problem("401 Unauthorized", "no_credential"))
    answer = await client.get("/lost", {})
    assert answer.status == 500
    assert json.loads(answer.body)["status"] == 500
    assert "anonymous consumer 'missing' is configured but does not exist" in gateway.error_log()


# Credentials and cookies


async def test_two_authorization_headers_are_denied(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    two = CIMultiDict([("Authorization", "Bearer a"), ("Authorization", "Bearer b")])
    answer = await client.get("/allowed", two)
    assert answer.status in {400, 401}  # newer nginx answers by itself
    assert sidecar.asked == []
    if answer.status == 401:
        assert json.loads(answer.body)["reason"] == "multiple_credentials"
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_request"'


async def test_two_cookie_headers_are_denied(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    two = CIMultiDict([("Cookie", "__Host-session=a"), ("Cookie", "__Host-session=b")])
    answer = await client.get("/allowed", two)
    assert (answer.status, json.loads(answer.body)["reason"]) == (401, "malformed_credential")
    assert sidecar.asked == []


@pytest.mark.parametrize("path", [b"/allowed", b"/cached"])
@pytest.mark.parametrize("name", ["Authorization", "Cookie"])
@pytest.mark.parametrize("byte", [b"\x01", b"\x0b", b"\x1f", b"\x7f", b"\x00", b"\r"])
async def test_control_characters_never_reach_the_sidecar(
    client: Client, gateway: Gateway, sidecar: StubSidecar, name: str, byte: bytes, path: bytes
) -> None:
    sidecar.play(allowed("Cache-Control: max-age=30"))
    for _ in range(2):  # a cache has nothing to say about it either
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        writer.write(name.encode() + b": Bearer a" + byte + b"X-Evil: 1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.split(b" ", 2)[1] in {b"400", b"401"}
    assert sidecar.asked == []


async def test_hidden_credentials_leave_other_cookies_alone(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    cookies = "a=1; __Host-session=s;b=2; __Host-session=t; x__Host-session=3"
    answer = await client.get("/allowed", {**BEARER, "Cookie": cookies})
    assert answer.upstream_headers["cookie"] == "a=1; b=2; x__Host-session=3"
    assert "authorization" not in answer.upstream_headers


async def test_cookie_header_with_nothing_left_is_removed(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    answer = await client.get("/allowed", {"Cookie": "__Host-session=s"})
    assert "cookie" not in answer.upstream_headers


async def test_visible_credentials_reach_the_upstream(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    answer = await client.get("/visible", {**BEARER, "Cookie": "a=1; __Host-session=s"})
    assert answer.upstream_headers["cookie"] == "a=1; __Host-session=s"
    assert answer.upstream_headers["authorization"] == BEARER["Authorization"]


@pytest.mark.parametrize("status", [200, 500])
async def test_session_cookie_joins_those_of_the_upstream(
    client: Client, sidecar: StubSidecar, status: int
) -> None:
    sidecar.play(allowed("Set-Cookie: __Host-session=s; Secure; HttpOnly"))
    answer = await client.get(f"/allowed?status={status}&set_cookie=a%3D1&set_cookie=b%3D2")
    assert answer.status == status
    assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2", "__Host-session=s; Secure; HttpOnly"]
    alone = await client.get("/allowed")
    assert alone.headers.getall("Set-Cookie") == ["__Host-session=s; Secure; HttpOnly"]


@pytest.mark.parametrize(
    "connection",
    [
        "x-application-id",
        "close, X_Application_Id",
        "X-Consumer-Groups",
        "Authorization",
        "te,x-anonymous-consumer",
    ],
)
@pytest.mark.parametrize("path", ["/allowed", "/anonymous", "/other", "/cached"])
async def test_client_cannot_have_identity_removed_as_hop_by_hop(
    gateway: Gateway, sidecar: StubSidecar, path: str, connection: str
) -> None:
    sidecar.play(allowed())
    answer = await _raw(gateway, path, f"Connection: {connection}", "Authorization: Bearer t")
    assert answer.split(b" ", 2)[1] == b"400"
    assert b'"status":400' in answer
    assert sidecar.asked == []


async def test_what_else_connection_names_goes_no_further(gateway: Gateway, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    answer = await _raw(gateway, "/allowed", "Connection: X-Hop, close", "X-Hop: 1", "Authorization: Bearer t")
    assert answer.split(b" ", 2)[1] == b"200"
    assert b"X-Hop" not in answer
    assert b"app-1" in answer


async def _raw(gateway: Gateway, path: str, *headers: str) -> bytes:
    """The whole answer, by its Content-Length or its chunks' end, to exactly these header lines."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers]).encode() + b"\r\n\r\n")
    answer = await reader.readuntil(b"\r\n\r\n")
    answer += await reader.readuntil(b"}")
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("lines", [5, 130])
async def test_session_cookie_is_hidden_where_another_plugin_has_passed_the_request(
    client: Client, sidecar: StubSidecar, lines: int
) -> None:
    sidecar.play(allowed())
    padding = {f"X-Pad-{number}": "1" for number in range(lines)}
    headers = {**padding, **BEARER, "Cookie": "a=1; __Host-session=s"}
    answer = await client.get("/other", headers)
    assert answer.upstream_headers["cookie"] == "a=1"
    assert answer.upstream_headers["authorization"] == BEARER["Authorization"]  # what the other one has judged


async def test_session_cookie_is_hidden_behind_a_hundred_headers(client: Client, sidecar: StubSidecar) -> None:
    padding = {f"X-Pad-{number}": "1" for number in range(130)}
    sidecar.play(problem("401 Unauthorized", "no_credential"))
    answer = await client.get("/anonymous", {**padding, "Cookie": "a=1; __Host-session=s"})
    assert answer.upstream_headers["cookie"] == "a=1"
    assert answer.identity["x-anonymous-consumer"] == "true"
