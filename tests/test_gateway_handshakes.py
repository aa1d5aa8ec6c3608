"""WebSocket handshakes, preflights and requests that pass as nobody's, in the test gateway.

Law of this file: whatever the method and the protocol, a request is judged, or the operator's configuration says
why it is not; and the upstream never believes the client about who it is.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.gateway import Route
from gateway.origin import Origin
from gateway.stage import BEARER, SPOOFED, Client, Places, Stage, is_unavailable, open_stage
from gateway.stub import IDENTITY, Play, StubSidecar, allowed, problem, reply

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

CHALLENGE = 'Bearer realm="plain", error="invalid_token"'
EXPIRED = problem("401 Unauthorized", "token_expired", f"WWW-Authenticate: {CHALLENGE}")
DENIALS = {
    401: (EXPIRED, ("WWW-Authenticate", CHALLENGE)),
    403: (problem("403 Forbidden", "not_registered"), ("Content-Type", "application/problem+json")),
    429: (problem("429 Slow", "too_many_attempts", "Retry-After: 17"), ("Retry-After", "17")),
}


def routes(places: Places) -> list[Route]:
    return [
        places.route("/open"),
        places.route("/anonymous", anonymous="nobody"),
        places.route("/preflight", run_on_preflight=False),
        places.route("/preflight-anonymous", run_on_preflight=False, anonymous="nobody"),
        places.route("/preflight-visible", run_on_preflight=False, hide_credentials=False),
        replace(places.route("/handshake"), handshake=True),
        replace(places.route("/handshake-anonymous", anonymous="nobody"), handshake=True),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BUILDS)
async def stage(request: pytest.FixtureRequest, origin: Origin) -> AsyncIterator[Stage]:
    async with open_stage(request.param, routes, upstream_url=origin.url) as opened:
        yield opened


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client


@pytest.fixture
def sidecar(stage: Stage) -> StubSidecar:
    return stage.sidecar


# WebSocket

HANDSHAKES = ["/open", "/handshake"]  # a service of the protocol http, or ws as in Kong Enterprise


async def shake_hands(stage: Stage, path: str, headers: dict[str, str] = BEARER) -> dict[str, str]:
    """What the upstream was told in the handshake.

    Raises:
        aiohttp.WSServerHandshakeError: it was denied.
    """
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{stage.gateway.url}{path}", headers={**SPOOFED, **headers}) as socket,
    ):
        seen = await socket.receive_json()
        return {name.lower().replace("_", "-"): value for name, value in seen["headers"]}


@pytest.mark.parametrize("path", HANDSHAKES)
async def test_allowed_handshake_reaches_the_upstream(stage: Stage, sidecar: StubSidecar, path: str) -> None:
    sidecar.play(allowed())
    seen = await shake_hands(stage, path)
    assert (seen["upgrade"], seen["x-application-id"]) == ("websocket", "app-1")
    assert "authorization" not in seen
    assert "evil" not in seen.values()


@pytest.mark.parametrize("path", HANDSHAKES)
async def test_allowed_handshake_may_open_a_session(stage: Stage, sidecar: StubSidecar, path: str) -> None:
    sidecar.play(allowed("Set-Cookie: __Host-session=1"))
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{stage.gateway.url}{path}", headers=BEARER) as socket,
    ):
        await socket.receive_json()
        assert socket._response.headers.getall("Set-Cookie") == ["__Host-session=1"]


@pytest.mark.parametrize("path", HANDSHAKES)
@pytest.mark.parametrize("status", DENIALS)
async def test_denied_handshake_says_why(
    stage: Stage, sidecar: StubSidecar, origin: Origin, path: str, status: int
) -> None:
    said, (name, value) = DENIALS[status]
    sidecar.play(said)
    origin.asked.clear()
    with pytest.raises(aiohttp.WSServerHandshakeError) as denied:
        await shake_hands(stage, path)
    assert denied.value.status == status
    assert denied.value.headers is not None
    assert denied.value.headers[name] == value
    assert origin.asked == []


async def test_anonymous_handshake(stage: Stage, sidecar: StubSidecar) -> None:
    sidecar.play(EXPIRED)
    seen = await shake_hands(stage, "/handshake-anonymous", {})
    assert seen["x-anonymous-consumer"] == "true"
    assert "evil" not in seen.values()


# OPTIONS

CREDENTIALS = {**BEARER, "Cookie": "a=1; __Host-session=s"}


@pytest.mark.parametrize("path", ["/preflight", "/preflight-anonymous", "/preflight-visible"])
async def test_preflight_that_is_not_judged(client: Client, sidecar: StubSidecar, path: str) -> None:
    sidecar.play(Play([b"garbage"]))
    answer = await client.get(path, {**CREDENTIALS, **SPOOFED}, method="OPTIONS")
    assert (answer.status, answer.upstream["method"]) == (200, "OPTIONS")
    assert sidecar.asked == []
    assert "evil" not in answer.body.decode()
    seen = answer.upstream_headers
    if path == "/preflight-visible":
        assert (seen["authorization"], seen["cookie"]) == (CREDENTIALS["Authorization"], CREDENTIALS["Cookie"])
    else:
        assert (seen.get("authorization"), seen["cookie"]) == (None, "a=1")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONSX"])
async def test_other_methods_are_judged_all_the_same(client: Client, sidecar: StubSidecar, method: str) -> None:
    sidecar.play(EXPIRED)
    answer = await client.get("/preflight", method=method)
    assert answer.status in (401, 400, 405)  # some are none to nginx
    if answer.status == 401:
        assert len(sidecar.asked) == 1


async def test_preflight_is_judged_by_default(client: Client, sidecar: StubSidecar, origin: Origin) -> None:
    sidecar.play(EXPIRED)
    origin.asked.clear()
    answer = await client.get("/open", {}, method="OPTIONS")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, CHALLENGE)
    assert origin.asked == []
    sidecar.play(allowed())
    assert (await client.get("/open", method="OPTIONS")).upstream_headers["x-application-id"] == "app-1"


# Anonymous


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_401_passes_as_anonymous_whatever_the_method(
    client: Client, sidecar: StubSidecar, origin: Origin, method: str
) -> None:
    sidecar.play(EXPIRED)
    origin.asked.clear()
    answer = await client.get("/anonymous", {**CREDENTIALS, **SPOOFED}, method=method)
    assert answer.status == 200
    assert "WWW-Authenticate" not in answer.headers
    (seen,) = origin.asked
    told = {name.lower(): value for name, value in seen["headers"]}
    assert (told["x-anonymous-consumer"], told["x-consumer-username"]) == ("true", "nobody")
    assert not {"authorization", "x-application-id"} & told.keys()
    assert "evil" not in str(seen)


async def test_malformed_credential_passes_as_anonymous(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    answer = await client.get("/anonymous", {f"X-{number}": "1" for number in range(101)} | SPOOFED)
    assert answer.identity["x-anonymous-consumer"] == "true"
    assert "evil" not in answer.body.decode()
    assert sidecar.asked == []


async def test_reply_without_identity_is_no_401(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(reply("200 OK", *IDENTITY[:3]))
    assert is_unavailable(await client.get("/anonymous"))
