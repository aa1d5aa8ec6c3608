"""The plugin's builds, and the versions of Kong that they run in, in the test gateway.

Law of this file: both builds are what runs, and behave in every version as in the newest.
"""

import asyncio
import itertools
import json
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from gateway import builds
from gateway.gateway import Gateway, GatewayError, Route
from gateway.stage import CLAIM, SPOOFED, SPOOFED_CLAIM, Client, is_unavailable
from gateway.stub import IDENTITY, After, Play, StubSidecar, allowed, problem, reply

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

# Kong streams plugins from 3.15 on.
CELLS = [(builds.MODULES, version) for version in ("3.0.0", "3.2.2", "3.3.0", "3.6.0", "3.9.1", "3.15.0")]
CELLS += [(builds.STREAMED, "3.15.0")]
# Below it, an instance of a plugin has no id in its configuration, and only the key that Kong looks it up by.
PLUGIN_ID_SINCE = (3, 3)
UNSAMPLED_SPAN_SINCE = (3, 4)
ALICE = {"id": "5d8f4a4e-3a57-4a5e-8a94-0d3c5a3f7a01", "username": "alice", "custom_id": "app-1"}
KEPT = "Cache-Control: private, max-age=60"
TOLD = ("X-Application-Groups: gold, internal", f"{CLAIM}: t-1", KEPT)
BASIC = {"Authorization": "Basic b3JkZXJzLW1vYmlsZTpz"}

WITHOUT_PLUGIN_ID = """
local handler = (function(...)
%s
end)(...)
local access = handler.access
function handler:access(conf)
  if conf.__plugin_id then
    conf.__key__, conf.__plugin_id = "plugins:credential-validator:" .. conf.__plugin_id, nil
  end
  return access(self, conf)
end
return handler
"""

_names = itertools.count()


def credential() -> dict[str, str]:
    """One that nobody has asked about before."""
    return {"Authorization": f"Bearer credential-{next(_names)}"}


def copy_of(build: builds.Build, directory: Path) -> Path:
    """A plugin root that a test may write to."""
    shutil.copytree(build.plugin, builds.directory_in(directory))
    return directory


# Which files run


async def test_streamed_build_is_two_files_without_a_module_beside_them() -> None:
    with builds.opened(builds.STREAMED) as build:
        files = {str(path.relative_to(build.plugin)) for path in build.plugin_root.rglob("*") if path.is_file()}
        assert files == {"handler.lua", "schema.lua"}


@pytest.mark.parametrize("name", builds.BUILDS)
@pytest.mark.parametrize("file", ["handler.lua", "schema.lua"])
async def test_gateway_runs_the_files_of_the_build(tmp_path: Path, name: str, file: str) -> None:
    with builds.opened(name) as build:
        root = copy_of(build, tmp_path)
        written = builds.directory_in(root) / file
        written.write_text(f'error("it is this {name} {file}")\n{written.read_text()}')
        wrong = Gateway([Route("/", "orders")], plugin_root=root, sandboxed=build.sandboxed)
        said = ""
        try:
            await asyncio.to_thread(wrong.start)
        except GatewayError as error:
            said = str(error)  # what cannot be loaded before there is a worker
        else:
            said = wrong.error_log()
            await asyncio.to_thread(wrong.stop)
        assert f"it is this {name} {file}" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (builds.MODULES, "tls_client_certificate is no PEM certificate"),
        (builds.STREAMED, "client certificates need ngx.ssl, which a streamed plugin cannot have"),
    ],
)
async def test_streamed_build_runs_in_the_sandbox(name: str, said: str) -> None:
    """There is no ngx.ssl."""
    sidecar = StubSidecar()
    await sidecar.start()
    config = {
        "validator_url": sidecar.url.replace("http:", "https:"),
        "strategy": "plain",
        "tls_client_certificate": "none",
        "tls_client_key": "none",
    }
    try:
        with builds.opened(name) as build:
            gateway = Gateway(
                [Route("/", "orders", config)], plugin_root=build.plugin_root, sandboxed=build.sandboxed
            )
            await asyncio.to_thread(gateway.start)
            try:
                async with aiohttp.ClientSession() as session:
                    assert is_unavailable(await Client(session, gateway.url).get("/"))
                assert said in gateway.error_log()
            finally:
                await asyncio.to_thread(gateway.stop)
    finally:
        await sidecar.stop()


# Every version


@dataclass(frozen=True, slots=True)
class Scene:
    """One build in one version."""

    client: Client
    sidecar: StubSidecar
    version: tuple[int, ...]


def routes(url: str) -> list[Route]:
    def route(path: str, *, sampled: bool | None = None, **config: object) -> Route:
        defaults: dict[str, object] = {"validator_url": url, "strategy": "plain", "upstream_headers": [CLAIM]}
        return Route(path, "orders", defaults | config, sampled=sampled, log=True)

    return [
        route("/open", consumer_by="custom_id", forward_minted_token=True, realm="ours"),
        route("/cached", decision_cache_ttl_s=60),
        route("/cached-too", decision_cache_ttl_s=60),
        route("/briefly", decision_cache_ttl_s=0.3),
        route("/sampled", sampled=True),
        route("/unsampled", sampled=False),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=CELLS, ids="-".join)
async def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    name, version = request.param
    sidecar = StubSidecar()
    await sidecar.start()
    with builds.opened(name) as build:
        root = build.plugin_root
        numbers = tuple(int(part) for part in version.split("."))
        if numbers < PLUGIN_ID_SINCE:
            root = copy_of(build, tmp_path_factory.mktemp("old"))
            handler = builds.directory_in(root) / "handler.lua"
            handler.write_text(WITHOUT_PLUGIN_ID % handler.read_text())
        gateway = Gateway(
            routes(sidecar.url),
            consumers=[ALICE],
            plugin_root=root,
            sandboxed=build.sandboxed,
            kong_version=version,
        )
        try:
            await asyncio.to_thread(gateway.start)
            connector = aiohttp.TCPConnector(force_close=True)
            async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
                yield Scene(Client(session, gateway.url), sidecar, numbers)
        finally:
            await asyncio.to_thread(gateway.stop)
            await sidecar.stop()


async def test_request_is_judged(scene: Scene) -> None:
    basic = (*IDENTITY[:3], "X-Auth-Method: client_credentials", "X-Access-Token: minted", *TOLD)
    scene.sidecar.play(reply("200 OK", *basic, "Set-Cookie: __Host-session=s", "Set-Cookie: b=2"))
    answer = await scene.client.get("/open?set_cookie=a%3D1", {**SPOOFED, **SPOOFED_CLAIM, **BASIC})
    assert answer.identity == {
        "x-application-id": "app-1",
        "x-application-name": "Orders mobile",
        "x-credential-identifier": "orders-mobile",
        "x-auth-method": "client_credentials",
        "x-application-groups": "gold, internal",
        "x-claim-tenant": "t-1",
        "x-consumer-id": ALICE["id"],
        "x-consumer-username": "alice",
        "x-consumer-custom-id": "app-1",
    }
    assert answer.upstream_headers["authorization"] == "Bearer minted"
    assert answer.headers.getall("Set-Cookie") == ["a=1", "__Host-session=s", "b=2"]
    challenge = 'WWW-Authenticate: Bearer realm="plain"'
    scene.sidecar.play(problem("401 Unauthorized", "token_expired", challenge))
    answer = await scene.client.get("/open")
    assert (answer.status, json.loads(answer.body)["reason"]) == (401, "token_expired")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="ours"'


async def test_decision_is_reused_on_its_own_route_alone(scene: Scene) -> None:
    headers = credential()
    scene.sidecar.play(allowed(*TOLD))
    answers = [await scene.client.get("/cached", {**headers, **SPOOFED}) for _ in range(3)]
    assert len(scene.sidecar.asked) == 1
    assert answers[0].identity["x-application-groups"] == "gold, internal"
    assert all(answer.identity == answers[0].identity for answer in answers)
    scene.sidecar.play(problem("403 Forbidden", "not_registered", KEPT))
    assert [(await scene.client.get("/cached-too", headers)).status for _ in range(3)] == [403] * 3
    assert len(scene.sidecar.asked) == 1
    assert (await scene.client.get("/cached", headers)).status == 200


async def test_parallel_first_requests_ask_once(scene: Scene) -> None:
    headers, whole = credential(), allowed(KEPT)
    scene.sidecar.play(Play([whole[:20], whole[20:]], pause_s=0.1))
    answers = await asyncio.gather(*(scene.client.get("/cached", headers) for _ in range(10)))
    assert [answer.status for answer in answers] == [200] * 10
    assert len(scene.sidecar.asked) == 1


async def test_what_has_run_out_is_never_an_answer(scene: Scene) -> None:
    headers = credential()
    scene.sidecar.play(allowed(KEPT))
    assert (await scene.client.get("/briefly", headers)).status == 200
    stored_by = time.monotonic()
    scene.sidecar.play(Play([], After.CLOSE))
    asked_at, answer = stored_by, await scene.client.get("/briefly", headers)
    while answer.status == 200:
        assert asked_at - stored_by < 0.3 + 0.1
        asked_at, answer = time.monotonic(), await scene.client.get("/briefly", headers)
    for _ in range(20):  # within the moment for which Kong's cache revives it, and after
        assert is_unavailable(await scene.client.get("/briefly", headers))


async def test_outage_is_not_kept(scene: Scene) -> None:
    headers = credential()
    scene.sidecar.play(b"garbage")
    assert is_unavailable(await scene.client.get("/cached", headers))
    scene.sidecar.play(allowed(KEPT))
    assert (await scene.client.get("/cached", headers)).status == 200


async def test_sampled_request_is_traced(scene: Scene) -> None:
    for path, flags in (("/sampled", "01"), ("/unsampled", "00")):
        scene.sidecar.play(allowed())
        assert (await scene.client.get(path)).status == 200
        told = scene.sidecar.asked[0].header("traceparent")
        if path == "/unsampled" and scene.version < UNSAMPLED_SPAN_SINCE:
            assert told is None
        else:
            assert told is not None
            assert told.endswith(f"-{flags}")
