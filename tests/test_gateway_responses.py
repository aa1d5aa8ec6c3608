"""What the plugin adds to the responses of allowed requests, in the test gateway: the session's cookies.

Law of this file: a session's cookie reaches its own client on whatever that gets, and nobody else, whoever keeps
responses in between. The upstream answers as the query says.
"""

from collections.abc import AsyncIterator
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.drill import Connection
from gateway.gateway import Neighbour, Route
from gateway.origin import Origin
from gateway.stage import Answer, Client, Places, Stage, open_stage
from gateway.stub import Asked, Play, StubSidecar, allowed, problem

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

SESSION = "__Host-session=s1; Path=/; Secure; HttpOnly; SameSite=Lax"
SECOND, THIRD = "__Host-session-2=s2; Path=/; Secure", "hint=1; Path=/"
THEIRS = ["theirs=1; Path=/a", "other=2"]

ENDED = Neighbour("request-termination", {"status_code": 200, "body": "hello", "content_type": "text/plain"})


def routes(places: Places) -> list[Route]:
    def beside(path: str, name: str, **config: object) -> Route:
        return places.route(path, plugins=[Neighbour(name, config)])

    return [
        places.route("/open"),
        places.route("/decided", decision_cache_ttl_s=60),
        places.route("/anonymous", anonymous="nobody"),
        beside("/limited", "rate-limiting", minute=0),
        beside("/ended", "request-termination", status_code=451, message="no"),
        beside("/written", "request-termination", status_code=200, body="hello", content_type="text/plain"),
        beside("/broken", "broken"),
        beside("/cached", "proxy-cache"),
        beside("/refreshed", "proxy-cache", cache_ttl=-1),
        beside("/outdated", "proxy-cache", outdated=True),
        beside("/controlled", "proxy-cache", cache_control=True),
        beside("/hidden", "proxy-cache", response_headers={"age": True}),
        beside("/hidden-controlled", "proxy-cache", cache_control=True, response_headers={}),
        places.route("/hidden-ended", plugins=[Neighbour("proxy-cache", {"response_headers": {}}), ENDED]),
        places.route("/cached-ended", plugins=[Neighbour("proxy-cache"), ENDED]),
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


def opening(*cookies: str) -> bytes:
    """An allowance that opens sessions."""
    return allowed(*(f"Set-Cookie: {cookie}" for cookie in cookies))


def cookies_of(answer: Answer) -> list[str]:
    return answer.headers.getall("Set-Cookie", [])


# The session's cookies on every kind of response


@pytest.mark.parametrize("theirs", [[], THEIRS[:1], THEIRS], ids=["none", "one", "two"])
@pytest.mark.parametrize("ours", [[], [SESSION], [SESSION, SECOND, THIRD]], ids=["none", "one", "three"])
async def test_cookies_stand_behind_those_of_the_upstream(
    client: Client, sidecar: StubSidecar, theirs: list[str], ours: list[str]
) -> None:
    sidecar.play(opening(*ours))
    answer = await client.get("/open?" + urlencode([("set_cookie", cookie) for cookie in theirs]))
    assert answer.status == 200
    assert cookies_of(answer) == [*theirs, *ours]


async def test_cookie_comes_with_the_first_bytes_of_a_slow_response(
    stage: Stage, sidecar: StubSidecar, origin: Origin
) -> None:
    sidecar.play(opening(SESSION))
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{stage.gateway.url}/open?slow=1&set_cookie=theirs", headers={"Authorization": "Bearer x"}
        ) as got,
    ):
        assert got.headers.getall("Set-Cookie") == ["theirs", SESSION]
        assert got.headers["Transfer-Encoding"] == "chunked"
        first = await got.content.readany()
        assert first
        origin.release()
        assert (first + await got.read()).endswith(b"}")


@pytest.mark.parametrize("status", [201, 204, 302, 304, 404, 418, 500, 503])
async def test_cookie_on_any_status_of_the_upstream(client: Client, sidecar: StubSidecar, status: int) -> None:
    sidecar.play(opening(SESSION))
    answer = await client.get(f"/open?status={status}&set_cookie=theirs")
    assert (answer.status, cookies_of(answer)) == (status, ["theirs", SESSION])


@pytest.mark.parametrize(
    ("path", "status"), [("/limited", 429), ("/ended", 451), ("/written", 200), ("/broken", 500)]
)
async def test_cookie_on_the_answer_of_a_later_plugin(
    client: Client, sidecar: StubSidecar, path: str, status: int
) -> None:
    sidecar.play(opening(SESSION, SECOND))
    answer = await client.get(path)
    assert (answer.status, cookies_of(answer)) == (status, [SESSION, SECOND])
    assert answer.headers["Cache-Control"] == "private"
    assert len(answer.body) == int(answer.headers["Content-Length"])


@pytest.mark.parametrize("build", BUILDS)
async def test_cookie_on_the_gateways_own_error_page(build: str) -> None:
    async with open_stage(build, routes, upstream_url="http://127.0.0.1:1") as down:
        down.sidecar.play(opening(SESSION))
        answer = await down.client.get("/open")
    assert (answer.status, cookies_of(answer)) == (502, [SESSION])
    assert answer.headers["Cache-Control"] == "private"


async def test_head_has_the_cookie_of_a_get(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(opening(SESSION))
    answer = await client.get("/open?cache_control=public", method="HEAD")
    assert (answer.status, answer.body, cookies_of(answer)) == (200, b"", [SESSION])
    assert answer.headers["Cache-Control"] == "private"


async def test_no_cookie_stays_for_the_next_request_of_a_connection(stage: Stage, sidecar: StubSidecar) -> None:
    sidecar.play(
        opening(SESSION), allowed(), problem("403 Forbidden", "not_registered"), opening(SECOND), allowed()
    )
    connection = await Connection.open(stage.gateway.port)
    answers = [await connection.ask("/open", {"Authorization": "Bearer x"}) for _ in range(5)]
    await connection.close()
    assert [answer.status for answer in answers] == [200, 200, 403, 200, 200]
    assert [cookies_of(answer) for answer in answers] == [[SESSION], [], [], [SECOND], []]


async def test_kept_decision_brings_its_cookie_to_the_one_who_asked(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed("Cache-Control: private, max-age=60", f"Set-Cookie: {SESSION}"))
    answers = [await client.get("/decided?set_cookie=theirs") for _ in range(3)]
    assert len(sidecar.asked) == 1
    assert [cookies_of(answer) for answer in answers] == [["theirs", SESSION], ["theirs"], ["theirs"]]


@pytest.mark.parametrize("path", ["/open", "/anonymous"])
@pytest.mark.parametrize(
    "status", ["401 Unauthorized", "403 Forbidden", "429 Too Many", "503 Service Unavailable"]
)
async def test_refusal_opens_no_session(client: Client, sidecar: StubSidecar, path: str, status: str) -> None:
    sidecar.play(problem(status, "no_credential", f"Set-Cookie: {SESSION}"))
    answer = await client.get(path)
    assert cookies_of(answer) == []
    assert "Cache-Control" not in answer.headers


# Cache-Control


CACHE_CONTROL = {
    "none": ([], ["private"]),
    "public": (["public"], ["private"]),
    "an age": (["max-age=60"], ["private, max-age=60"]),
    "public with an age": (["public, max-age=60"], ["private, max-age=60"]),
    "an age of shared caches": (["max-age=60, s-maxage=600"], ["private, max-age=60"]),
    "private": (["private, max-age=60"], ["private, max-age=60"]),
    "private in capitals": (["Private"], ["Private"]),
    "a private header": (['private="x-a", max-age=60'], ['private, private="x-a", max-age=60']),
    "no-store": (["no-store"], ["no-store"]),
    "no-cache": (["no-cache"], ["private, no-cache"]),
    "several lines": (["public", "max-age=60", "s-maxage=5"], ["private, max-age=60"]),
    "no-store on the last of several": (
        ["public", "max-age=60", "no-store"],
        ["public", "max-age=60", "no-store"],
    ),
}


def asking_for(lines: list[str]) -> str:
    return urlencode([("cache_control", line) for line in lines])


@pytest.mark.parametrize("name", CACHE_CONTROL)
async def test_response_with_a_cookie_is_for_its_client_alone(
    client: Client, sidecar: StubSidecar, name: str
) -> None:
    theirs, wanted = CACHE_CONTROL[name]
    sidecar.play(opening(SESSION))
    answer = await client.get(f"/open?{asking_for(theirs)}")
    assert answer.headers.getall("Cache-Control") == wanted
    assert cookies_of(answer) == [SESSION]


@pytest.mark.parametrize("name", CACHE_CONTROL)
async def test_response_without_a_cookie_stays_what_it_is(client: Client, sidecar: StubSidecar, name: str) -> None:
    theirs, _ = CACHE_CONTROL[name]
    sidecar.play(allowed())
    answer = await client.get(f"/open?{asking_for(theirs)}&set_cookie=theirs")
    assert answer.headers.getall("Cache-Control", []) == theirs


async def test_no_store_is_kept_behind_however_many_headers(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(opening(SESSION))
    answer = await client.get("/open?others=120&cache_control=no-store")
    assert answer.headers.getall("Cache-Control") == ["no-store"]
    assert cookies_of(answer) == [SESSION]


# A cache for all clients, in the gateway itself


class Clients:
    """Clients of one route, to each of whom the sidecar gives a session of its own."""

    def __init__(self, client: Client, sidecar: StubSidecar) -> None:
        self._client = client
        sidecar.answer_by(self._allow)

    @staticmethod
    def _allow(asked: Asked) -> Play | bytes:
        name = (asked.header("Authorization") or "").removeprefix("Bearer ")
        return opening(f"__Host-session={name}")

    async def ask(
        self, name: str, target: str, method: str = "GET", **headers: str
    ) -> tuple[str | None, list[str]]:
        """What proxy-cache says, and the sessions that came."""
        answer = await self._client.get(target, {"Authorization": f"Bearer {name}", **headers}, method=method)
        assert answer.status == 200
        return answer.headers.get("X-Cache-Status"), [
            cookie.removeprefix("__Host-session=") for cookie in cookies_of(answer) if cookie != "theirs"
        ]


@pytest.fixture
def clients(client: Client, sidecar: StubSidecar) -> Clients:
    return Clients(client, sidecar)


async def test_miss_and_hit_in_proxy_cache(clients: Clients) -> None:
    target = "/cached?set_cookie=theirs&cache_control=public"
    assert await clients.ask("ann", target) == ("Miss", [])
    assert await clients.ask("bob", target) == ("Hit", ["bob"])
    assert await clients.ask("ann", target) == ("Hit", ["ann"])
    assert await clients.ask("cid", target, method="HEAD") == ("Miss", [])


async def test_hit_is_for_its_client_alone(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(opening(SESSION))
    stored, replayed = [await client.get("/cached/age?cache_control=public,max-age=60") for _ in range(2)]
    assert (stored.headers["Cache-Control"], cookies_of(stored)) == ("public,max-age=60", [])
    assert (replayed.headers["Cache-Control"], cookies_of(replayed)) == ("private, max-age=60", [SESSION])
    sidecar.play(allowed())
    without = await client.get("/cached/age?cache_control=public,max-age=60")
    assert (without.headers["Cache-Control"], cookies_of(without)) == ("public,max-age=60", [])


async def test_refresh_in_proxy_cache(clients: Clients) -> None:
    assert await clients.ask("ann", "/refreshed") == ("Miss", [])
    assert await clients.ask("bob", "/refreshed") == ("Refresh", [])
    assert await clients.ask("cid", "/refreshed") == ("Refresh", [])


async def test_what_another_version_stored_is_replaced_without_a_cookie(clients: Clients) -> None:
    assert await clients.ask("ann", "/outdated") == ("Miss", [])
    assert await clients.ask("bob", "/outdated") == ("Bypass", [])


@pytest.mark.parametrize("path", ["/cached", "/controlled"])
async def test_request_that_passes_proxy_cache_by(clients: Clients, path: str) -> None:
    assert await clients.ask("ann", f"{path}?by", method="POST") == ("Bypass", ["ann"])
    assert await clients.ask("bob", f"{path}?by", method="POST") == ("Bypass", ["bob"])


async def test_proxy_cache_that_heeds_cache_control(clients: Clients) -> None:
    target = "/controlled?set_cookie=theirs&cache_control=public,max-age=60"
    assert await clients.ask("ann", target, **{"Cache-Control": "no-store"}) == ("Bypass", ["ann"])
    assert await clients.ask("ann", target) == ("Miss", [])
    assert await clients.ask("bob", target) == ("Hit", ["bob"])
    assert await clients.ask("cid", target, **{"Cache-Control": "min-fresh=600"}) == ("Refresh", [])
    assert await clients.ask("dan", target) == ("Hit", ["dan"])


@pytest.mark.parametrize("said", ["private, max-age=60", "no-store", "max-age=0"])
async def test_response_that_proxy_cache_may_not_store(clients: Clients, said: str) -> None:
    for name in ("ann", "bob"):
        status, sessions = await clients.ask(name, f"/controlled?cache_control={said}")
        assert status == "Bypass"
        assert sessions in ([], [name])


@pytest.mark.parametrize(
    "target",
    [
        "/hidden",
        "/hidden?x_cache_status=HIT",
        "/hidden-controlled?cache_control=max-age=60",
        "/hidden-ended",
        "/cached-ended",
        "/cached?x_cache_status=HIT",
    ],
)
async def test_no_session_is_stored_whatever_proxy_cache_says(clients: Clients, target: str) -> None:
    for name in ("ann", "bob", "cid"):
        _, sessions = await clients.ask(name, target)
        assert sessions in ([], [name])
