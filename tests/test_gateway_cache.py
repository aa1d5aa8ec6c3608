"""The plugin's decision cache, in the test gateway.

Law of this file: a decision is reused for its own credential on its own route, and no longer than both the
sidecar and the operator allow. Each test brings a credential of its own, as the cache outlives it.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.gateway import Gateway
from gateway.stage import (
    SPOOFED,
    Client,
    Stage,
    is_unavailable,
    open_stage,
)
from gateway.stub import After, Play, StubSidecar, allowed, problem

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


def bearer(name: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}", **headers}


async def test_cached_decision_is_reused(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed("Cache-Control: private, max-age=30"))
    answers = [await client.get("/cached", bearer("reuse", Cookie=f"ga={turn}", **SPOOFED)) for turn in range(4)]
    assert len(sidecar.asked) == 1
    assert all(answer.identity == answers[0].identity for answer in answers)
    assert "evil" not in answers[3].body.decode()


async def test_cached_decision_lets_no_malformed_cookie_pass(
    client: Client, gateway: Gateway, sidecar: StubSidecar
) -> None:
    sidecar.play(allowed("Cache-Control: private, max-age=30"))
    assert (await client.get("/cached", bearer("cookie", Cookie="ga=1"))).status == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /cached HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
    writer.write(b"Authorization: Bearer cookie\r\nCookie: ga=\x01\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.split(b" ", 2)[1] in {b"400", b"401"}
    assert (await client.get("/cached", bearer("cookie", Cookie="ga=2"))).status == 200
    assert len(sidecar.asked) == 1


async def test_cached_decision_is_for_where_one_header_ends(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed("Cache-Control: private, max-age=30"))
    for _ in range(2):
        await client.get("/cached", bearer("border", Cookie="__Host-session=xyz"))
        await client.get("/cached", bearer("border__Host-session=xyz"))
    assert len(sidecar.asked) == 2


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/cached", bearer("key-b")),
        ("/cached", bearer("key-a", Cookie="__Host-session=s")),
        ("/cached", {"Cookie": "__Host-session=key-a"}),
        ("/cached-too", bearer("key-a")),
    ],
)
async def test_cached_decision_is_for_one_credential_on_one_route(
    client: Client, sidecar: StubSidecar, path: str, headers: dict[str, str]
) -> None:
    sidecar.play(allowed("Cache-Control: private, max-age=30"))
    await client.get("/cached", bearer("key-a"))
    sidecar.play(problem("403 Forbidden", "not_registered"))
    assert (await client.get(path, headers)).status == 403


async def test_cached_refusal_is_reused_whole(client: Client, sidecar: StubSidecar) -> None:
    challenge = 'WWW-Authenticate: Bearer error="invalid_token"'
    sidecar.play(problem("401 Unauthorized", "token_expired", challenge, "Cache-Control: max-age=30"))
    first, second = [await client.get("/cached", bearer("refused")) for _ in range(2)]
    assert len(sidecar.asked) == 1
    assert (first.status, first.body) == (second.status, second.body)
    assert second.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("no-store", ["Cache-Control: no-store"]),
        ("both", ["Cache-Control: private, max-age=30, no-store"]),
        ("two-lines", ["Cache-Control: max-age=30", "Cache-Control: no-store"]),
        ("zero", ["Cache-Control: max-age=0"]),
        ("silent", []),
        ("shared", ["Cache-Control: s-maxage=30"]),
    ],
)
async def test_what_may_not_be_stored_is_asked_every_time(
    client: Client, sidecar: StubSidecar, name: str, headers: list[str]
) -> None:
    sidecar.play(allowed(*headers))
    for _ in range(3):
        assert (await client.get("/cached", bearer(f"uncached-{name}"))).status == 200
    assert len(sidecar.asked) == 3


async def test_outage_is_never_cached(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(problem("503 Service Unavailable", "idp_unavailable", "Cache-Control: max-age=30"), allowed())
    assert (await client.get("/cached", bearer("outage"))).status == 503
    assert (await client.get("/cached", bearer("outage"))).status == 200


@pytest.mark.parametrize(
    ("path", "max_age", "longest_s"), [("/cached", 1, 1.0), ("/briefly", 60, 0.3)], ids=["max-age", "config"]
)
async def test_cached_decision_ends_in_time_and_is_never_revived(
    client: Client, sidecar: StubSidecar, path: str, max_age: int, longest_s: float
) -> None:
    headers = bearer(f"ends-{max_age}")
    sidecar.play(allowed(f"Cache-Control: private, max-age={max_age}"))
    await client.get(path, headers)
    stored_by = time.monotonic()
    sidecar.play(Play([], After.CLOSE))  # the sidecar answers nobody any more
    last_allowed, answer = time.monotonic(), await client.get(path, headers)
    assert answer.status == 200
    while answer.status == 200:
        assert last_allowed - stored_by < longest_s + 0.1  # asked then, and still allowed
        await asyncio.sleep(0.02)
        last_allowed, answer = time.monotonic(), await client.get(path, headers)
    assert is_unavailable(answer)
    for _ in range(5):
        assert is_unavailable(await client.get(path, headers))


async def test_parallel_first_requests_ask_once(client: Client, sidecar: StubSidecar) -> None:
    whole = allowed("Cache-Control: private, max-age=30")
    sidecar.play(Play([whole[:20], whole[20:]], pause_s=0.1))
    answers = await asyncio.gather(*(client.get("/cached", bearer("flight")) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert len(sidecar.asked) == 1


async def test_session_cookie_goes_to_one_request_alone(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed("Cache-Control: private, max-age=30", "Set-Cookie: __Host-session=s"))
    first, second = [await client.get("/cached", bearer("opens")) for _ in range(2)]
    assert len(sidecar.asked) == 1
    assert first.headers.getall("Set-Cookie") == ["__Host-session=s"]
    assert "Set-Cookie" not in second.headers
    assert second.identity == first.identity


async def test_reload_forgets_decisions_and_keeps_serving(
    client: Client, sidecar: StubSidecar, gateway: Gateway
) -> None:
    sidecar.play(allowed("Cache-Control: private, max-age=30"))
    await client.get("/cached", bearer("reload"))
    await asyncio.to_thread(gateway.reload)
    sidecar.play(problem("403 Forbidden", "not_registered"))
    assert (await client.get("/cached", bearer("reload"))).status == 403


async def test_a_cookie_of_another_name_is_not_shown_to_the_sidecar(client: Client, sidecar: StubSidecar) -> None:
    """It could be the sidecar's session, when the two disagree about the name, but is in no key."""
    sidecar.play(allowed("Cache-Control: private, max-age=30"))
    await client.get("/cached", {"Cookie": "sid=a-session; theme=dark", "X-Session-Id": "spoofed"})
    (asked,) = sidecar.asked
    assert {name for name, _ in asked.headers} == {"Host"}
