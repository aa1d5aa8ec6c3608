"""Spoofed identity headers, in every spelling and on every path of a request, in the test gateway.

Law of this file: what an upstream reads of a caller is what a sidecar, an operator's consumer or another plugin of
the route said, and what is not let through does not reach it at all.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.gateway import Gateway, Route
from gateway.stage import BEARER, CLAIM, NOBODY, Places, open_stage, spellings
from gateway.stub import IDENTITY, Asked, StubSidecar, allowed, problem, reply
from gateway.upstream import Upstream
from gateway.waves import CASES, HTTP2_WAVES, NAMES, WAVES, Wave

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

ALICE = {"id": "5d8f4a4e-3a57-4a5e-8a94-0d3c5a3f7a01", "username": "alice", "custom_id": "app-1"}


# The paths of a request


@dataclass(frozen=True, slots=True)
class Path:
    """A route, named as its service, and what comes of every request to it.

    Attributes:
        status: what the client gets.
        told: all that the upstream is told of the caller; ``None`` where no request may reach it.
        config: the plugin's.
        many_status, many_told: the same for a request with too many headers to be judged; by default refused.
        asked: whether a sidecar is asked about every request.
        method, headers: of the request.
        authenticated: what another plugin has set.
        left: identity headers that the other plugin takes care of.
        database: whether Kong's works.
    """

    name: str
    status: int
    told: Mapping[str, str] | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    many_status: int = 401
    many_told: Mapping[str, str] | None = None
    asked: bool = True
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=lambda: BEARER)
    authenticated: Mapping[str, object] | None = None
    left: frozenset[str] = frozenset()
    database: bool = True

    def __str__(self) -> str:
        return self.name


FACTS = {
    "x-application-id": "app-1",
    "x-application-name": "Orders mobile",
    "x-credential-identifier": "orders-mobile",
    "x-auth-method": "bearer",
}
TOLD = FACTS | {"x-application-groups": "gold, internal", "x-claim-tenant": "t-1"}
CONSUMER = {"x-consumer-id": ALICE["id"], "x-consumer-username": "alice", "x-consumer-custom-id": "app-1"}
ANONYMOUS = {
    "x-anonymous-consumer": "true",
    "x-consumer-id": NOBODY["id"],
    "x-consumer-custom-id": "nobody-1",
    "x-consumer-username": "nobody",
}
MINTED = FACTS | {"x-auth-method": "client_credentials"}
BASIC = {"Authorization": "Basic b3JkZXJzLW1vYmlsZTpz"}
SESSION = {"Cookie": "__Host-session=s"}
# As Kong's own: it sets or clears each of the consumer's headers, and clears X-Anonymous-Consumer.
OTHER = {
    "credential": {"id": "key-1"},
    "consumer": ALICE,
    "headers": {
        "X-Consumer-ID": ALICE["id"],
        "X-Consumer-Username": "alice",
        "X-Consumer-Custom-ID": "app-1",
        "X-Credential-Identifier": "key-1",
    },
}
BY_OTHER = CONSUMER | {"x-credential-identifier": "key-1"}
PASSED = Path(
    "passed",
    200,
    BY_OTHER,
    {"anonymous": "nobody"},
    many_status=200,
    many_told=BY_OTHER,
    asked=False,
    authenticated=OTHER,
    left=frozenset({"x-anonymous-consumer"}),
)
PREFLIGHT = Path(
    "preflight",
    200,
    {},
    {"run_on_preflight": False},
    many_status=200,
    many_told={},
    asked=False,
    method="OPTIONS",
)
FOR_NOBODY: dict[str, object] = {"anonymous": "nobody"}
CACHED: dict[str, object] = {"decision_cache_ttl_s": 3600}
NOBODY_CALLS = Path("anonymous", 200, ANONYMOUS, FOR_NOBODY, many_status=200, many_told=ANONYMOUS)
KEPT = "Cache-Control: private, max-age=3600"
PATHS = [
    Path("asked", 200, TOLD),
    Path("asked-bare", 200, FACTS),
    Path("session", 200, FACTS | {"x-auth-method": "session"}, headers=SESSION),
    Path("cached", 200, TOLD, CACHED, asked=False),
    Path("fallback", 200, TOLD, {"validator_url": "down", "fallback_validator_urls": ["sidecar"]}),
    Path("minted", 200, MINTED, {"forward_minted_token": True}, headers=BASIC),
    Path("mapped", 200, TOLD | CONSUMER, {"consumer_by": "custom_id"}),
    Path("optional", 200, TOLD, {"consumer_by": "username", "consumer_optional": True}),
    Path("missing", 403, None, {"consumer_by": "username"}),
    Path("visible", 200, TOLD, {"hide_credentials": False}),
    NOBODY_CALLS,
    replace(NOBODY_CALLS, name="anonymous-cached", config=FOR_NOBODY | CACHED, asked=False),
    replace(NOBODY_CALLS, name="anonymous-judged", told=TOLD),
    PASSED,
    replace(PASSED, name="passed-preflight", config={"run_on_preflight": False}, method="OPTIONS"),
    PREFLIGHT,
    Path("refused-401", 401),
    Path("refused-401-cached", 401, config=CACHED, asked=False),
    Path("refused-403", 403),
    Path("refused-429", 429),
    Path("refused-403-anonymous", 403, None, FOR_NOBODY, many_status=200, many_told=ANONYMOUS),
    Path("garbage", 503),
    Path("ill-claim", 503),
    Path("unavailable", 503),
    Path("unknown-strategy", 503),
    Path("no-token", 503, config={"forward_minted_token": True}, headers=BASIC),
    Path("down", 503, config={"validator_url": "down"}, asked=False),
    Path(
        "down-anonymous",
        503,
        config=FOR_NOBODY | {"validator_url": "down"},
        asked=False,
        many_status=200,
        many_told=ANONYMOUS,
    ),
    Path("lost", 500, config={"anonymous": "missing"}, many_status=500),
    # Of names that nobody asks for while it works: what Kong has found before needs no database.
    Path("broken-mapped", 503, config={"consumer_by": "custom_id"}, database=False),
    Path("broken-optional", 503, config={"consumer_by": "custom_id", "consumer_optional": True}, database=False),
    Path("broken-anonymous", 503, config={"anonymous": "stranger"}, many_status=503, database=False),
]

_numbers = itertools.count()


def answer(asked: Asked) -> bytes:
    """The sidecar's, by the service that it is asked about."""
    service = asked.line.split(" ")[1].rpartition("/")[2]
    told = ("X-Application-Groups: gold, internal", f"{CLAIM}: t-1")
    basic = (*IDENTITY[:3], "X-Auth-Method: client_credentials")
    if service.startswith("broken-") and service != "broken-anonymous":
        return reply("200 OK", f"X-Application-Id: app-{next(_numbers)}-new", *IDENTITY[1:], *told)
    unauthorized = problem(
        "401 Unauthorized", "token_expired", 'WWW-Authenticate: Bearer realm="plain"', KEPT, *told
    )
    return {
        "asked-bare": allowed(),
        "session": reply("200 OK", *IDENTITY[:3], "X-Auth-Method: session", "X-Session-Id: s-1"),
        "minted": reply("200 OK", *basic, "X-Access-Token: minted", "Cache-Control: no-store"),
        "no-token": reply("200 OK", *basic),
        "anonymous": unauthorized,
        "anonymous-cached": unauthorized,
        "refused-401": unauthorized,
        "refused-401-cached": unauthorized,
        "refused-403": problem("403 Forbidden", "not_registered", *told),
        "refused-403-anonymous": problem("403 Forbidden", "not_registered", *told),
        "refused-429": problem("429 Too Many Requests", "too_many_attempts", "Retry-After: 9", *told),
        "garbage": b"garbage",
        "ill-claim": allowed(*told, f"{CLAIM}: t-2"),
        "unavailable": problem("503 Service Unavailable", "idp_unavailable", *told),
        "unknown-strategy": problem("404 Not Found", "strategy_unknown", *told),
        "lost": unauthorized,
        "broken-anonymous": unauthorized,
    }.get(service, allowed(*told, KEPT))


def routes(places: Places) -> list[Route]:
    def filled(config: Mapping[str, object]) -> dict[str, object]:
        known = {"down": places.down, "sidecar": places.sidecar.url}
        urls = {name: known[str(config[name])] for name in ("validator_url",) if name in config}
        if "fallback_validator_urls" in config:
            urls["fallback_validator_urls"] = [places.sidecar.url]  # type: ignore[assignment]
        return {**config, **urls}

    judged = [
        places.route(f"/{path}/", path.name, **filled(path.config), authenticated=path.authenticated)
        for path in PATHS
    ]
    return [*judged, Route("/plain/", "orders")]


# The stage


@dataclass(frozen=True, slots=True)
class Stand:
    """The gateway between an upstream that remembers and a sidecar that answers by the service."""

    gateway: Gateway
    sidecar: StubSidecar
    upstream: Upstream

    async def send(self, path: str, method: str, headers: Mapping[str, str], wave: Wave) -> int:
        """Over HTTP/1.1; the status of the answer."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (*headers.items(), *wave.lines))
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{lines}\r\n".encode())
        got = await reader.read()
        writer.close()
        await writer.wait_closed()
        return int(got.split(b" ", 2)[1])

    async def send_http2(self, path: str, method: str, headers: Mapping[str, str], wave: Wave) -> int:
        """The same over HTTP/2."""
        lines = [part for name, value in (*headers.items(), *wave.lines) for part in ("-H", f"{name}: {value}")]
        reach = ["--http2-prior-knowledge", "--unix-socket", str(self.gateway.http2_socket), "--max-time", "10"]
        said = ["-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
        process = await asyncio.create_subprocess_exec(
            "curl", *said, *reach, "-X", method, *lines, f"http://gateway{path}", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        version, status = out.split()
        assert version == b"2"
        return int(status)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BUILDS)
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    upstream = Upstream()
    await upstream.start()
    try:
        async with open_stage(
            request.param, routes, consumers=[NOBODY, ALICE], upstream_url=upstream.url
        ) as opened:
            opened.sidecar.answer_by(answer)
            yield Stand(opened.gateway, opened.sidecar, upstream)
    finally:
        await upstream.stop()


def folded(lines: list[tuple[str, str]]) -> dict[str, str]:
    """As a CGI or WSGI upstream reads them: identity headers alone, the values of one name joined."""
    told: dict[str, str] = {}
    known = {name.lower() for name in NAMES}
    for name, value in lines:
        key = name.lower().replace("_", "-")
        if key in known:
            told[key] = f"{told[key]}, {value}" if key in told else value
    return told


@dataclass(slots=True)
class Count:
    """What was tried on a path, and what of it came through."""

    requests: int = 0
    spoofed: int = 0
    reached: int = 0
    wrong: list[str] = field(default_factory=list)


def judge(path: Path, wave: Wave, status: int, seen: list[list[tuple[str, str]]], count: Count) -> None:
    count.requests += 1
    count.spoofed += wave.spoofed
    count.reached += len(seen)
    right, told = (path.many_status, path.many_told) if wave.many else (path.status, path.told)
    expected = [] if told is None else [told]
    if status != right or [folded(lines) for lines in seen] != expected or "evil" in str(seen):
        count.wrong.append(f"{status} for {wave.lines[-3:]}: {seen}")


async def run(stand: Stand, path: Path, chosen: list[Wave], *, http2: bool) -> Count:
    send = stand.send_http2 if http2 else stand.send
    count = Count()
    for wave in chosen:
        lines = tuple((name, value) for name, value in wave.lines if name.lower() not in path.left)
        sent = Wave(lines, many=wave.many)
        if sent.spoofed:
            stand.upstream.seen = []
            status = await send(f"/{path}/", path.method, path.headers, sent)
            judge(path, sent, status, stand.upstream.seen, count)
    return count


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("path", PATHS, ids=str)
async def test_no_spoofed_header_reaches_the_upstream(stand: Stand, path: Path, *, http2: bool) -> None:
    if path.database:
        await stand.send(f"/{path}/", path.method, path.headers, Wave(()))  # what can be kept is kept from now on
    else:
        await asyncio.to_thread(stand.gateway.break_database, "[postgres] connection refused")
    stand.sidecar.asked.clear()
    try:
        count = await run(stand, path, HTTP2_WAVES if http2 else WAVES, http2=http2)
    finally:
        await asyncio.to_thread(stand.gateway.break_database, None)
    print(  # noqa: T201  pytest -rP shows it
        f"{path.name:<22} {'HTTP/2' if http2 else 'HTTP/1.1':<8} {count.requests:>4} requests  {count.spoofed:>4} "
        f"spoofed headers  {count.reached:>4} requests reached the upstream  {len(count.wrong)} wrong"
    )
    assert count.wrong == []
    judged = sum(not wave.many for wave in (HTTP2_WAVES if http2 else WAVES))
    assert len(stand.sidecar.asked) == (judged if path.asked else 0)


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
async def test_gateway_alone_lets_every_spelling_through(stand: Stand, *, http2: bool) -> None:
    """So the test above can fail."""
    send = stand.send_http2 if http2 else stand.send
    for wave in HTTP2_WAVES if http2 else WAVES:
        stand.upstream.seen = []
        assert await send("/plain/", "GET", {}, wave) == 200
        (seen,) = stand.upstream.seen
        assert sum(value.startswith("evil") for _, value in seen) == wave.spoofed


async def test_every_identity_header_is_tried_in_every_spelling() -> None:
    tried = {name for wave in WAVES for name, value in wave.lines if value == "evil"}
    assert {case(spelled) for name in NAMES for spelled in spellings(name) for case in CASES} <= tried
    assert sum(wave.many for wave in HTTP2_WAVES) > 0
