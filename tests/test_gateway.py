"""The Kong plugin in the test gateway, against a sidecar that plays exact bytes.

Law of this file: whatever the sidecar does, the client gets a right answer, and none that the sidecar did not
state in a well-formed reply.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.gateway import Gateway, GatewayError, Route
from gateway.stage import (
    BEARER,
    CANARY,
    SPOOFED,
    STALL_TIMEOUT_MS,
    Client,
    Stage,
    is_unavailable,
    open_stage,
)
from gateway.stub import IDENTITY, After, Play, StubSidecar, allowed, problem, reply

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


# What a client is answered


async def test_allowed_request_reaches_the_upstream_with_its_identity(
    client: Client, sidecar: StubSidecar
) -> None:
    sidecar.play(allowed())
    answer = await client.get("/allowed/1?x=y")
    assert answer.status == 200
    assert answer.identity == {
        "x-application-id": "app-1",
        "x-application-name": "Orders mobile",
        "x-credential-identifier": "orders-mobile",
        "x-auth-method": "bearer",
    }
    assert answer.upstream["credential"] == "orders-mobile"  # what rate-limiting by credential would count
    assert answer.upstream["uri"] == "/allowed/1?x=y"


async def test_sidecar_is_asked_once_and_told_no_more_than_it_needs(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    await client.get("/allowed", {**BEARER, "Cookie": "a=1; __Host-session=s", "X-Other": "1"})
    (asked,) = sidecar.asked
    assert asked.line == "GET /v1/authorize/plain/orders HTTP/1.1"
    assert {name for name, _ in asked.headers} == {"Host", "Authorization", "Cookie"}
    assert asked.header("Authorization") == BEARER["Authorization"]
    assert asked.header("Cookie") == "__Host-session=s"  # what is judged is what the decision cache is keyed by


async def test_strategy_and_service_are_percent_encoded(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    await client.get("/encoded")
    assert sidecar.asked[0].line == "GET /v1/authorize/%C3%A9%25/a%2Fb%20c%3Fd HTTP/1.1"


@pytest.mark.parametrize(
    ("status", "reason", "name", "value"),
    [
        ("401 Unauthorized", "token_expired", "WWW-Authenticate", 'Bearer error="invalid_token"'),
        ("403 Forbidden", "not_registered", "X-None", None),
        ("429 Too Many Requests", "too_many_attempts", "Retry-After", "17"),
    ],
)
async def test_refusal_is_passed_on(
    client: Client, sidecar: StubSidecar, status: str, reason: str, name: str, value: str | None
) -> None:
    sidecar.play(problem(status, reason, *([f"{name}: {value}"] if value else []), "X-Inside: secret"))
    answer = await client.get("/allowed")
    assert answer.status == int(status[:3])
    assert json.loads(answer.body)["reason"] == reason
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers.get(name) == value
    assert "X-Inside" not in answer.headers
    assert len(sidecar.asked) == 1


async def test_two_challenges_both_reach_the_client(client: Client, sidecar: StubSidecar) -> None:
    challenges = ("WWW-Authenticate: Bearer", 'WWW-Authenticate: Basic realm="x"')
    sidecar.play(problem("401 Unauthorized", "no_credential", *challenges))
    answer = await client.get("/allowed", {})
    assert answer.headers.getall("WWW-Authenticate") == ['Bearer, Basic realm="x"']


async def test_outage_of_the_identity_provider_is_said(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(problem("503 Service Unavailable", "idp_unavailable", "Retry-After: 9"))
    answer = await client.get("/allowed")
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "9"
    assert json.loads(answer.body)["reason"] == "idp_unavailable"


@pytest.mark.parametrize(
    "bytes_",
    [
        problem("503 Service Unavailable", "store_unavailable"),
        problem("404 Not Found", "strategy_unknown"),
    ],
    ids=["503", "404"],
)
async def test_other_failures_of_the_sidecar_are_not_told(
    client: Client, sidecar: StubSidecar, bytes_: bytes
) -> None:
    sidecar.play(bytes_)
    assert is_unavailable(await client.get("/allowed"))


@pytest.mark.parametrize("path", ["/nameless", "/dots"])
async def test_route_without_a_usable_service_is_unavailable(
    client: Client, sidecar: StubSidecar, path: str
) -> None:
    sidecar.play(allowed())
    assert is_unavailable(await client.get(path))
    assert sidecar.asked == []


# A sidecar in trouble


@pytest.mark.parametrize("path", ["/down", "/down-anonymous"])
async def test_sidecar_down(client: Client, path: str) -> None:
    assert is_unavailable(await client.get(path, {**BEARER, **SPOOFED}))


@pytest.mark.parametrize(
    "pieces",
    [[], [allowed()[:40]], [allowed("X-Pad: 1")[:-1]]],
    ids=["nothing", "half a header", "all but a byte"],
)
async def test_stalled_sidecar_costs_no_more_than_the_timeout(
    client: Client, sidecar: StubSidecar, pieces: list[bytes]
) -> None:
    sidecar.play(Play(pieces, After.STALL))
    started = time.monotonic()
    assert is_unavailable(await client.get("/impatient"))
    assert STALL_TIMEOUT_MS / 1000 - 0.05 < time.monotonic() - started < 5
    assert len(sidecar.asked) == 1


async def test_dripping_sidecar_costs_no_more_than_the_timeout(client: Client, sidecar: StubSidecar) -> None:
    dripping = [bytes([byte]) for byte in allowed()]
    sidecar.play(Play(dripping, pause_s=STALL_TIMEOUT_MS / 1000 / 3))
    started = time.monotonic()
    assert is_unavailable(await client.get("/impatient"))
    assert time.monotonic() - started < STALL_TIMEOUT_MS / 1000 * len(dripping) / 6


NOT_WELL_FORMED = {
    "garbage": b"\x00\xff garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/1.0": allowed().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "bare line feeds": allowed().replace(b"\r\n", b"\n"),
    "status 500": problem("500 Oops", "x"),
    "status 302": reply("302 Found", "Location: http://evil.example/"),
    "status 204": reply("204 No Content", *IDENTITY),
    "status 2000": allowed().replace(b"200 OK", b"2000 OK"),
    "no identity": reply("200 OK"),
    "no method": reply("200 OK", *IDENTITY[:3]),
    "unknown method": reply("200 OK", *IDENTITY[:3], "X-Auth-Method: magic"),
    "empty identifier": reply("200 OK", *IDENTITY[:2], "X-Credential-Identifier:", IDENTITY[3]),
    "repeated identity": allowed("x-application-id: app-2"),
    "oversized identity": reply("200 OK", f"X-Application-Id: {'a' * 1025}", *IDENTITY[1:]),
    "control character in an identity": reply("200 OK", "X-Application-Id: app\x01", *IDENTITY[1:]),
    "tab in an identity": reply("200 OK", "X-Application-Id: app\t1", *IDENTITY[1:]),
    "carriage return in an identity": reply("200 OK", "X-Application-Id: app\rX-Evil: 1", *IDENTITY[1:]),
    "NUL in a cookie": allowed("Set-Cookie: a=\x00"),
    "folded header": allowed("X-Folded: 1\r\n 2"),
    "line without a colon": allowed("nonsense"),
    "space before the colon": allowed("X-Spaced : 1"),
    "too many lines": allowed(*(f"X-{number}: 1" for number in range(80))),
    "too long a head": allowed(*(f"X-{number}: {'a' * 1000}" for number in range(40))),
    "no Content-Length": allowed().replace(b"Content-Length: 0\r\n", b""),
    "two Content-Lengths": allowed("Content-Length: 0"),
    "negative Content-Length": reply("200 OK", *IDENTITY, length="-1"),
    "huge Content-Length": reply("200 OK", *IDENTITY, length=10**9),
    "chunked": allowed("Transfer-Encoding: chunked"),
    "longer than its Content-Length": reply("200 OK", *IDENTITY, body=b"abc", length=2),
    "two replies": allowed() + allowed(),
    "Retry-After that is no number": problem("429 Too Many", "too_many_attempts", "Retry-After: soon"),
}


@pytest.mark.parametrize("path", ["/allowed", "/anonymous", "/cached"])
@pytest.mark.parametrize("name", NOT_WELL_FORMED)
async def test_reply_that_is_not_well_formed(client: Client, sidecar: StubSidecar, name: str, path: str) -> None:
    sidecar.play(NOT_WELL_FORMED[name])
    assert is_unavailable(await client.get(path, {**BEARER, **SPOOFED}))
    assert len(sidecar.asked) == 1


async def test_reply_shorter_than_its_content_length(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(Play([reply("200 OK", *IDENTITY, body=b"abc", length=4)], After.CLOSE))
    assert is_unavailable(await client.get("/allowed"))


async def test_reply_split_at_every_byte(client: Client, sidecar: StubSidecar) -> None:
    whole = problem("403 Forbidden", "not_registered")
    for at in range(1, len(whole)):
        sidecar.play(Play([whole[:at], whole[at:]], pause_s=0.001))
        answer = await client.get("/allowed")
        assert (answer.status, answer.body) == (403, whole.partition(b"\r\n\r\n")[2]), at
        assert len(sidecar.asked) == 1


async def test_reply_byte_by_byte(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(Play([bytes([byte]) for byte in allowed()], pause_s=0.0001))
    answer = await client.get("/allowed")
    assert answer.identity["x-application-id"] == "app-1"


# Connections


async def test_connection_is_kept_and_used_again(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    for _ in range(5):
        await client.get("/allowed")
    assert len({asked.connection for asked in sidecar.asked}) == 1


async def test_connection_that_the_sidecar_closes_is_not_used_again(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed("Connection: close"))
    answers = [await client.get("/allowed") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len({asked.connection for asked in sidecar.asked}) == 3


async def test_whole_reply_counts_though_the_connection_ends_with_it(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(Play([allowed()], After.CLOSE))
    answers = [await client.get("/allowed") for _ in range(30)]
    assert {answer.status for answer in answers} == {200}


async def test_stale_connection_is_tried_again_once(client: Client, sidecar: StubSidecar) -> None:
    whole = allowed()
    sidecar.play(Play([whole[:20], whole[20:]], pause_s=0.05))
    await asyncio.gather(*(client.get("/allowed") for _ in range(5)))  # several connections in the pool
    pooled = {asked.connection for asked in sidecar.asked}
    sidecar.play(Play([], After.CLOSE), allowed())
    assert (await client.get("/allowed")).status == 200
    first, second = sidecar.asked
    assert first.connection in pooled
    assert second.connection not in pooled
    assert (first.line, first.headers) == (second.line, second.headers)


async def test_never_a_second_retry(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    await client.get("/allowed")
    sidecar.play(Play([], After.CLOSE))
    assert is_unavailable(await client.get("/allowed"))
    assert len(sidecar.asked) == 2


async def test_no_retry_once_a_byte_has_come(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    await client.get("/allowed")
    sidecar.play(Play([b"H"], After.CLOSE), allowed())
    assert is_unavailable(await client.get("/allowed"))
    assert len(sidecar.asked) == 1


async def test_unix_socket_and_no_retry_on_a_fresh_connection(client: Client, stage: Stage) -> None:
    unix_sidecar = stage.unix_sidecar
    unix_sidecar.play(Play([], After.CLOSE), allowed())
    assert is_unavailable(await client.get("/fresh/1"))
    assert len(unix_sidecar.asked) == 1
    assert (await client.get("/fresh/2")).identity["x-application-id"] == "app-1"
    assert (await client.get("/fresh/3")).status == 200
    assert len({asked.connection for asked in unix_sidecar.asked}) == 2


# The log, and a wrong configuration


async def test_credentials_are_in_no_log(client: Client, sidecar: StubSidecar, gateway: Gateway) -> None:
    headers = {**BEARER, "Cookie": f"__Host-session={CANARY}"}
    for bytes_ in (allowed(), b"garbage", problem("404 Not Found", "strategy_unknown")):
        sidecar.play(bytes_)
        for path in ("/allowed", "/cached", "/anonymous", "/down"):
            await client.get(path, headers)
    log = gateway.error_log()
    assert ": the reply is not well-formed: not HTTP/1.1" in log
    assert ": connecting failed" in log
    assert CANARY not in log


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"strategy": "s"}, "config.validator_url: required field missing"),
        ({"validator_url": "https://x", "strategy": "s"}, "expected http://host:port, https://host:port or"),
        ({"validator_url": "unix:data.sock", "strategy": "s"}, "unix:/path, for example"),
        ({"validator_url": "http://x:1", "strategy": "s", "tpyo": 1}, "config.tpyo: unknown field"),
        (
            {"validator_url": "http://x:1", "strategy": "s", "decision_cache_ttl_s": 3601},
            "between 0 and 3600",
        ),
    ],
)
async def test_wrong_configuration_is_refused_with_words(config: dict[str, object], said: str) -> None:
    wrong = Gateway([Route("/", "orders", config)])
    with pytest.raises(GatewayError, match=said):
        await asyncio.to_thread(wrong.start)
