"""The whole way: client, gateway with the plugin's own Lua, sidecar process, and an identity provider that nobody
here wrote. What is valid and registered passes with its identity; nothing else does; and nothing valid is denied
while keys rotate or the sidecar restarts."""

import asyncio
import base64
import json
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from gateway.gateway import Gateway, Route
from gateway.stage import SPOOFED, Answer, Client
from oidc_provider.provider import Client as IdpClient
from oidc_provider.provider import OidcProvider, Resource
from sidecar_process import SidecarProcess, running

pytestmark = [pytest.mark.programs, pytest.mark.asyncio(loop_scope="module")]

SECRET = "s3cret:with%and+"
COOKIE = "__Host-session"
BRIEF = Resource(indicator="https://api.example/brief", ttl_s=1)
OPAQUE = Resource(indicator="https://api.example/opaque", format="opaque")
ELSEWHERE = Resource(indicator="https://api.example/elsewhere", audience="api://elsewhere")
EVERY_METHOD = ["client_credentials", "bearer", "session"]


@dataclass(slots=True)
class Scene:
    """Everything that takes part, running."""

    provider: OidcProvider
    sidecar: SidecarProcess
    gateway: Gateway
    client: Client
    http: aiohttp.ClientSession
    socket: Path

    def token(self, client_id: str, resource: Resource | None = None) -> str:
        """An access token, straight from the identity provider; blocks."""
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": SECRET}
        form |= {"resource": resource.indicator} if resource else {}
        with urllib.request.urlopen(  # noqa: S310 - the provider's own http URL
            self.provider.token_endpoint, urlencode(form).encode(), timeout=10
        ) as reply:
            token: str = json.load(reply)["access_token"]
            return token

    async def bearer(self, client_id: str, resource: Resource | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {await asyncio.to_thread(self.token, client_id, resource)}"}

    async def control(self, method: str, path: str, body: object = None) -> int:
        async with self.http.request(method, f"http://{self.sidecar.control}{path}", json=body) as reply:
            return reply.status


def _application(client_id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"app-{client_id}", "name": f"The {client_id}", "strategy": "plain", "client_id": client_id,
        "registrations": ["orders"], **more,
    }  # fmt: skip


def _config(provider: OidcProvider, listen: str) -> dict[str, Any]:
    strategy = {"idp": "generic", "issuer": provider.issuer, "audience": ["api://default"]}
    pending = [{"service": "orders", "status": "pending"}]
    return {
        "listen": {"data": listen, "control": "127.0.0.1:0"},
        "strategies": {"plain": {**strategy, "auth_methods": EVERY_METHOD}},
        "applications": [
            _application("mobile"),
            _application("opaque"),
            _application("restful"),
            _application("waiting", registrations=pending),
        ],
        "keys": {"unknown_key_cooldown_s": 1},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    directory = tmp_path_factory.mktemp("scene")
    clients = [IdpClient(name, SECRET) for name in ("mobile", "restful", "waiting", "stranger")]
    clients.append(IdpClient("opaque", SECRET, default_resource=OPAQUE.indicator))
    resources = [Resource(), BRIEF, OPAQUE, ELSEWHERE]
    provider = OidcProvider(clients, resources=resources)
    await asyncio.to_thread(provider.start)
    try:
        async with running(_config(provider, "127.0.0.1:0"), directory) as sidecar:
            socket = directory / "data.sock"
            defaults = {"strategy": "plain", "timeout_ms": 3000}
            tcp, unix = f"http://{sidecar.data}", f"unix:{socket}"
            routes = [
                Route("/orders", "orders", defaults | {"validator_url": tcp}),
                Route("/billing", "billing", defaults | {"validator_url": tcp}),
                Route("/by-socket", "orders", defaults | {"validator_url": unix}),
            ]
            gateway = await asyncio.to_thread(Gateway, routes)
            await asyncio.to_thread(gateway.start)
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            jar = aiohttp.DummyCookieJar()
            try:
                async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as http:
                    yield Scene(provider, sidecar, gateway, Client(http, gateway.url), http, socket)
            finally:
                await asyncio.to_thread(gateway.stop)
    finally:
        await asyncio.to_thread(provider.stop)


def encoded(client_id: str, secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def identity(client_id: str, method: str) -> dict[str, str]:
    return {
        "x-application-id": f"app-{client_id}",
        "x-application-name": f"The {client_id}",
        "x-credential-identifier": client_id,
        "x-auth-method": method,
    }


def reason(answer: Answer) -> str:
    return str(json.loads(answer.body)["reason"])


def cookie_of(answer: Answer) -> str:
    """What a browser sends back; it heeds the attributes, which belong to the promise."""
    (line,) = answer.headers.getall("Set-Cookie")
    pair, *attributes = line.split("; ")
    assert pair.startswith(f"{COOKIE}=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} == set(attributes)
    return pair


async def until(
    scene: Scene, path: str, headers: Mapping[str, str], wanted: Callable[[Answer], bool], within_s: float = 10
) -> list[Answer]:
    """Asks until an answer is wanted; all the answers."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    answers = [await scene.client.get(path, headers)]
    while not wanted(answers[-1]):
        assert loop.time() < deadline, f"still {answers[-1].status}: {answers[-1].body!r}"
        await asyncio.sleep(0.02)
        answers.append(await scene.client.get(path, headers))
    return answers


PASSES = [
    ("a bearer token", "mobile", "bearer", lambda s: s.bearer("mobile")),
    ("Basic, encoded", "mobile", "client_credentials", encoded("mobile")),
    (
        "Basic, as the documents print it",
        "mobile",
        "client_credentials",
        {"Authorization": f"Basic mobile:{SECRET}"},
    ),
    ("Basic, scheme in lower case", "mobile", "client_credentials", {"authorization": f"basic mobile:{SECRET}"}),
    ("Basic, minting an opaque token", "opaque", "client_credentials", encoded("opaque")),
]


@pytest.mark.parametrize(
    ("client_id", "method", "given"), [row[1:] for row in PASSES], ids=[row[0] for row in PASSES]
)
async def test_a_valid_credential_reaches_the_upstream_with_its_identity_and_without_itself(
    scene: Scene, client_id: str, method: str, given: Any
) -> None:
    headers = given if isinstance(given, dict) else await given(scene)
    for _ in range(2):  # judged, then replayed
        answer = await scene.client.get("/orders/7?x=y", {**SPOOFED, **headers})
        assert answer.status == 200, answer.body
        assert answer.identity == identity(client_id, method)  # and none of what the client pretended
        assert answer.upstream["uri"] == "/orders/7?x=y"
        assert "authorization" not in answer.upstream_headers
        assert SECRET not in answer.body.decode()


async def test_the_session_cookie_of_an_answer_opens_the_same_door(scene: Scene) -> None:
    opened = await scene.client.get("/orders", await scene.bearer("mobile"))
    headers = {"Cookie": f"theme=dark; {cookie_of(opened)}; a=b", **SPOOFED}
    answer = await scene.client.get("/orders", headers)
    assert answer.status == 200
    assert answer.identity == identity("mobile", "session")
    assert answer.upstream_headers["cookie"] == "theme=dark; a=b"  # the upstream's own, and not ours
    denied = await scene.client.get("/billing", headers)
    assert (denied.status, reason(denied)) == (403, "not_registered")


async def _garbled(scene: Scene) -> dict[str, str]:
    token = (await scene.bearer("mobile"))["Authorization"]
    head, _, signature = token.rpartition(".")
    return {"Authorization": f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"}


async def _flipped(scene: Scene) -> dict[str, str]:
    pair = cookie_of(await scene.client.get("/orders", await scene.bearer("mobile")))
    return {"Cookie": pair[:-3] + ("A" if pair[-3] != "A" else "B") + pair[-2:]}


DENIALS: list[tuple[str, int, str, Any]] = [
    ("no credential", 401, "no_credential", {}),
    ("another scheme", 401, "method_not_enabled", {"Authorization": "Digest abc"}),
    ("a garbage token", 401, "token_malformed", {"Authorization": "Bearer garbage"}),
    ("an opaque bearer token", 401, "token_malformed", lambda s: s.bearer("mobile", OPAQUE)),
    ("a token with another signature", 401, "signature_invalid", _garbled),
    ("a token for another audience", 401, "audience_mismatch", lambda s: s.bearer("mobile", ELSEWHERE)),
    ("a wrong secret", 401, "credentials_rejected", encoded("mobile", "wrong")),
    ("a wrong secret, un-encoded", 401, "credentials_rejected", {"Authorization": "Basic mobile:wrong"}),
    ("an unheard-of client", 401, "credentials_rejected", encoded("nobody")),
    ("Basic that is no base64", 401, "malformed_credential", {"Authorization": "Basic %%%"}),
    ("a cookie with one bit flipped", 401, "session_invalid", _flipped),
    ("a token of no application", 403, "application_unknown", lambda s: s.bearer("stranger")),
    ("a pair of no application", 403, "application_unknown", encoded("stranger")),
    ("a token of a pending application", 403, "not_registered", lambda s: s.bearer("waiting")),
]


@pytest.mark.parametrize(("status", "why", "given"), [row[1:] for row in DENIALS], ids=[row[0] for row in DENIALS])
async def test_anything_else_is_denied_and_says_so(scene: Scene, status: int, why: str, given: Any) -> None:
    headers = given if isinstance(given, dict) else await given(scene)
    for _ in range(2):
        answer = await scene.client.get("/orders", {**SPOOFED, **headers})
        assert (answer.status, reason(answer)) == (status, why)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
        assert "Set-Cookie" not in answer.headers


async def test_a_token_is_denied_from_its_expiry_on_though_it_was_cached(scene: Scene) -> None:
    answers = await until(
        scene, "/orders", await scene.bearer("mobile", BRIEF), lambda answer: answer.status != 200
    )
    assert answers[0].status == 200
    assert (answers[-1].status, reason(answers[-1])) == (401, "token_expired")


async def test_a_registration_made_and_taken_back_is_seen_by_the_very_next_request(scene: Scene) -> None:
    headers = await scene.bearer("stranger")
    assert (await scene.client.get("/orders", headers)).status == 403
    new = {"id": "late", "strategy": "plain", "client_id": "stranger", "registrations": ["orders"]}
    assert await scene.control("POST", "/v1/applications", new) == 201
    assert (await scene.client.get("/orders", headers)).status == 200
    path = "/v1/applications/late/registrations/orders"
    assert await scene.control("PUT", path, {"status": "revoked"}) == 200
    answer = await scene.client.get("/orders", headers)
    assert (answer.status, reason(answer)) == (403, "not_registered")
    assert await scene.control("DELETE", "/v1/applications/late") == 204
    answer = await scene.client.get("/orders", headers)
    assert (answer.status, reason(answer)) == (403, "application_unknown")


async def test_a_revoked_client_is_refused_at_the_very_next_request_whatever_it_holds(scene: Scene) -> None:
    bearer, basic = await scene.bearer("restful"), encoded("restful")
    cookie = {"Cookie": cookie_of(await scene.client.get("/orders", bearer))}
    for headers in (bearer, basic, cookie):
        assert (await scene.client.get("/orders", headers)).status == 200
    assert await scene.control("POST", "/v1/revocations", {"client_id": "restful"}) == 201
    for headers in (bearer, basic, cookie):
        answer = await scene.client.get("/orders", headers)
        assert (answer.status, reason(answer)) == (401, "revoked")
    assert await scene.control("DELETE", "/v1/revocations", {"client_id": "restful"}) == 204
    assert (await scene.client.get("/orders", bearer)).status == 200


async def test_nothing_valid_is_denied_while_keys_rotate_under_load(scene: Scene) -> None:
    held = [await scene.bearer("mobile")]
    statuses: list[int] = []
    enough = asyncio.Event()

    async def load(worker: int) -> None:
        while not enough.is_set():
            answer = await scene.client.get("/orders", held[worker % len(held)])
            statuses.append(answer.status)

    workers = [asyncio.create_task(load(number)) for number in range(6)]
    await asyncio.to_thread(scene.provider.rotate)
    held.extend([await scene.bearer("mobile") for _ in range(5)])  # signed by a key that the sidecar never saw
    fresh = await asyncio.gather(*(scene.client.get("/orders", headers) for headers in held))
    for headers in held * 10:
        assert (await scene.client.get("/orders", headers)).status == 200
    enough.set()
    await asyncio.gather(*workers)
    assert {answer.status for answer in fresh} == {200}
    assert set(statuses) == {200}


async def test_a_sidecar_over_a_unix_socket_answers_alike(scene: Scene, tmp_path: Path) -> None:
    headers = await scene.bearer("mobile")
    assert (await scene.client.get("/by-socket", headers)).status == 503  # nobody there yet: closed, not open
    async with running(_config(scene.provider, f"unix:{scene.socket}"), tmp_path):
        answers = await until(scene, "/by-socket", headers, lambda answer: answer.status == 200)
        assert answers[-1].identity == identity("mobile", "bearer")
        denied = await scene.client.get("/by-socket")
        assert (denied.status, reason(denied)) == (401, "token_malformed")
    assert (await scene.client.get("/by-socket", headers)).status == 503


async def test_a_restarted_sidecar_costs_503_meanwhile_and_then_all_is_well_by_itself(scene: Scene) -> None:
    headers = await scene.bearer("mobile")
    assert (await scene.client.get("/orders", headers)).status == 200
    address = scene.sidecar.data
    assert await asyncio.to_thread(scene.sidecar.terminate) == 0
    answer = await scene.client.get("/orders", headers)
    assert answer.status == 503
    assert answer.headers["Retry-After"].isdigit()
    await asyncio.to_thread(scene.sidecar.start, _config(scene.provider, address))
    answers = await until(scene, "/orders", headers, lambda answer: answer.status == 200)
    assert {answer.status for answer in answers} <= {200, 503}  # never a denial while it starts
