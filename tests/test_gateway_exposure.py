"""The plugin's decision cache against what changes in the sidecar, in the test gateway.

Law of this file: from T on, when a change has been acknowledged, no request that starts later than
T + decision_cache_ttl_s gets the old answer, whatever the sidecar's own decision_ttl_s is.
"""

import asyncio
import base64
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from gateway.drill import Connection
from gateway.gateway import Gateway, Route
from gateway.stub import Play, StubSidecar, allowed, problem
from sidecar_process import SidecarProcess, configuration

from validator.adapters.clock import SystemClock
from validator.testing import FakeClient, FakeIdp

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

TTL_S = 1.0
TTLS = {"/asked/": 0.0, "/kept/": TTL_S}
LONG_TTL_S = 60
SECRET = "exposure-secret"
CLIENTS = 2  # on each route, each on a connection of its own
ENOUGH = 3  # answers that each of them gets before the change and after the promise counts
PATIENCE_S = 25.0

Change = Callable[[], Awaitable[None]]


def routes(url: str) -> list[Route]:
    def route(path: str, ttl_s: float) -> Route:
        config = {"validator_url": url, "strategy": "plain", "timeout_ms": 3000, "decision_cache_ttl_s": ttl_s}
        return Route(path, "orders", config)

    kept = [route(path, ttl_s) for path, ttl_s in TTLS.items()]
    return [*kept, route("/long/", LONG_TTL_S), route("/long-too/", LONG_TTL_S)]


@asynccontextmanager
async def gateway_before(url: str) -> AsyncIterator[Gateway]:
    gateway = Gateway(routes(url))
    await asyncio.to_thread(gateway.start)
    try:
        yield gateway
    finally:
        await asyncio.to_thread(gateway.stop)


@asynccontextmanager
async def sidecar_of(idp: FakeIdp) -> AsyncIterator[SidecarProcess]:
    """It reuses its own decisions for so long that only the plugin's limit can be what ends them."""
    with tempfile.TemporaryDirectory(prefix="exposure-") as directory:
        config = configuration(
            idp.issuer,
            listen={"data": f"unix:{directory}/data.sock", "control": "127.0.0.1:0"},
            applications=[],
            cache={"decision_ttl_s": 300, "negative_ttl_s": 300},
        )
        sidecar = SidecarProcess(config, Path(directory))
        await asyncio.to_thread(sidecar.start)
        try:
            yield sidecar
        finally:
            await asyncio.to_thread(sidecar.stop)


class Scene:
    """A sidecar, the gateway before it, and what is changed through the control plane."""

    def __init__(
        self, idp: FakeIdp, sidecar: SidecarProcess, gateway: Gateway, session: aiohttp.ClientSession
    ) -> None:
        self._session = session
        self.idp = idp
        self.sidecar = sidecar
        self.gateway = gateway

    async def control(self, method: str, path: str, body: object = None) -> None:
        url = f"http://{self.sidecar.control}{path}"
        async with self._session.request(method, url, json=body) as reply:
            assert reply.status in {200, 201, 204}, await reply.text()

    async def register(self, client_id: str, status: str = "approved") -> None:
        self.idp.clients[client_id] = FakeClient(SECRET)
        registrations = [{"service": "orders", "status": status}]
        application = {"id": f"app-{client_id}", "name": client_id, "strategy": "plain", "client_id": client_id}
        await self.control("POST", "/v1/applications", application | {"registrations": registrations})

    async def open_session(self, token: str) -> tuple[dict[str, str], str]:
        """The cookie and its id."""
        connector = aiohttp.UnixConnector(self.sidecar.data.removeprefix("unix:"))
        async with (
            connector,
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://sidecar/v1/authorize/plain/orders", headers=bearer(token)) as opened,
        ):
            return {"Cookie": opened.headers["Set-Cookie"].split(";")[0]}, opened.headers["X-Session-Id"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    async with (
        FakeIdp({}, clock=SystemClock()) as idp,
        sidecar_of(idp) as sidecar,
        gateway_before(sidecar.data) as gateway,
        aiohttp.ClientSession() as session,
    ):
        yield Scene(idp, sidecar, gateway, session)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(client_id: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{SECRET}".encode()).decode()}


@dataclass(slots=True)
class Try:
    """One credential that is asked about without pause while something about it changes.

    Attributes:
        before, after: the statuses that are right before and after the change.
        old: by path, seconds after the change at which the last request began that got the old answer.
        late: those that began after the promise counted and did not get the new one.
    """

    name: str
    headers: Mapping[str, str]
    before: int
    after: int
    change: Change
    old: dict[str, float] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)

    async def run(self, port: int, warm: int) -> None:
        changed_at: list[float] = []
        heard: dict[str, list[tuple[float, int]]] = {path: [] for path in TTLS}

        async def ask(path: str) -> None:
            remaining = ENOUGH
            async with await Connection.open(port) as connection:
                while remaining:
                    began = time.monotonic()
                    answer = await connection.ask(path, self.headers)
                    heard[path].append((began, answer.status))
                    remaining -= bool(changed_at) and began > changed_at[0] + TTLS[path]

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            for path in [*TTLS] * CLIENTS:
                group.create_task(ask(path))
            while min(map(len, heard.values())) < warm:  # noqa: ASYNC110  each answer is a turn of the loop
                await asyncio.sleep(0)
            first = {path: {status for _, status in answers} for path, answers in heard.items()}
            await self.change()
            changed_at.append(time.monotonic())
        assert first == {path: {self.before} for path in TTLS}, self.name
        for path, answers in heard.items():
            since = [(began - changed_at[0], status) for began, status in answers]
            self.old[path] = max((after for after, status in since if status == self.before), default=0.0)
            self.late += [
                f"{path}: {status} {after:.3f} s after the change"
                for after, status in since
                if after > TTLS[path] and status != self.after
            ]


async def run_all(port: int, tries: Iterable[Try]) -> None:
    """All at once; each begins to change things at another moment of its decision's life."""
    chance, tries = random.Random(11), list(tries)
    await asyncio.gather(*(each.run(port, chance.randrange(ENOUGH, 120)) for each in tries))
    print()  # noqa: T201  pytest -rP shows it
    for each in tries:
        old = "  ".join(f"{path} {max(after, 0):.3f} s" for path, after in each.old.items())
        print(f"{each.name:<40} {each.before} -> {each.after}  old answer until {old}")  # noqa: T201
    assert {each.name: each.late for each in tries if each.late} == {}
    # Otherwise nothing was reused, and nothing was tested.
    assert max(each.old["/kept/"] for each in tries) > TTL_S / 2


REGISTRATION = "/v1/applications/app-{0}/registrations/orders"
# What ends the right, what is sent, and the status from then on. {0}: client id, {1}: session id.
ENDS = {
    "client_id revoked": ("POST", "/v1/revocations", {"client_id": "{0}"}, 401),
    "application_id revoked": ("POST", "/v1/revocations", {"application_id": "app-{0}"}, 401),
    "jti revoked": ("POST", "/v1/revocations", {"jti": "jti-{0}"}, 401),
    "session_id revoked": ("POST", "/v1/revocations", {"session_id": "{1}"}, 401),
    "registration revoked": ("PUT", REGISTRATION, {"status": "revoked"}, 403),
    "registration deleted": ("DELETE", REGISTRATION, None, 403),
    "application deleted": ("DELETE", "/v1/applications/app-{0}", None, 403),
}
TIMES = {"jti revoked": ["bearer", "session", "bearer"], "session_id revoked": ["session"] * 3}
METHODS = ["bearer", "basic", "session"]


async def ending(scene: Scene, number: int, kind: str, method: str) -> Try:
    client_id = f"ending-{number}"
    await scene.register(client_id)
    token = scene.idp.token(client_id, jti=f"jti-{client_id}")
    cookie, session_id = await scene.open_session(token)
    verb, path, body, after = ENDS[kind]
    path = path.format(client_id)
    sent = body and {name: value.format(client_id, session_id) for name, value in body.items()}
    headers = {"bearer": bearer(token), "basic": basic(client_id), "session": cookie}[method]

    async def change() -> None:
        await scene.control(verb, path, sent)

    return Try(f"{kind}, {method}", headers, 200, after, change)


async def test_revocation_holds_no_later_than_the_configured_time(scene: Scene) -> None:
    planned = [(kind, method) for kind in ENDS for method in TIMES.get(kind, METHODS)]
    tries = [await ending(scene, number, *plan) for number, plan in enumerate(planned)]
    assert len(tries) >= 20
    await run_all(scene.gateway.port, tries)


async def test_refusal_ends_no_later_than_the_configured_time(scene: Scene) -> None:
    async def approve(client_id: str) -> None:
        await scene.control("PUT", REGISTRATION.format(client_id), {"status": "approved"})

    async def lift(client_id: str) -> None:
        await scene.control("DELETE", "/v1/revocations", {"client_id": client_id})

    async def register(client_id: str) -> None:
        await scene.register(client_id)

    tries = []
    for number, (kind, before, change) in enumerate(
        [("approved", 403, approve), ("revocation lifted", 401, lift), ("registered", 403, register)] * 2
    ):
        client_id = f"beginning-{number}"
        if change is not register:
            await scene.register(client_id, "pending" if change is approve else "approved")
        if change is lift:
            await scene.control("POST", "/v1/revocations", {"client_id": client_id})
        headers = bearer(scene.idp.token(client_id))
        tries.append(Try(kind, headers, before, 200, partial(change, client_id)))
    await run_all(scene.gateway.port, tries)


async def test_nothing_stale_is_served_once_the_sidecar_is_gone(scene: Scene) -> None:
    async with (
        sidecar_of(scene.idp) as sidecar,
        gateway_before(sidecar.data) as gateway,
        aiohttp.ClientSession() as session,
    ):
        other = Scene(scene.idp, sidecar, gateway, session)
        await other.register("gone")

        async def kill() -> None:
            await asyncio.to_thread(sidecar.kill)

        gone = Try("sidecar killed", bearer(scene.idp.token("gone")), 200, 503, kill)
        await gone.run(gateway.port, ENOUGH)
        assert gone.late == []
        assert gone.old["/kept/"] > 0


async def test_another_instance_of_the_plugin_shares_nothing(scene: Scene) -> None:
    await scene.register("shared")
    credential = bearer(scene.idp.token("shared"))
    async with await Connection.open(scene.gateway.port) as connection:
        assert (await connection.ask("/long/", credential)).status == 200
        await scene.control("POST", "/v1/revocations", {"client_id": "shared"})
        assert (await connection.ask("/long/", credential)).status == 200
        assert (await connection.ask("/long-too/", credential)).status == 401


# A sidecar that plays bytes


@asynccontextmanager
async def played() -> AsyncIterator[tuple[StubSidecar, Gateway]]:
    stub = StubSidecar()
    await stub.start()
    try:
        async with gateway_before(stub.url) as gateway:
            yield stub, gateway
    finally:
        await stub.stop()


async def test_time_counts_from_the_question_and_not_from_an_answer_that_was_long_under_way() -> None:
    """The sidecar decides, then something is revoked, then its answer arrives."""
    whole = allowed("Cache-Control: private, max-age=300")
    async with (
        played() as (stub, gateway),
        await Connection.open(gateway.port) as connection,
        asyncio.timeout(PATIENCE_S),
    ):
        stub.play(Play([whole[:20], whole[20:]], pause_s=TTL_S * 0.8), problem("401 Unauthorized", "revoked"))
        first = asyncio.create_task(connection.ask("/kept/", bearer("slow")))
        while not stub.asked:  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0)
        revoked_at = last_allowed = time.monotonic()
        assert (await first).status == 200
        began, status = time.monotonic(), 200
        while status == 200:
            began, status = time.monotonic(), (await connection.ask("/kept/", bearer("slow"))).status
            last_allowed = began if status == 200 else last_allowed
        old = last_allowed - revoked_at
        print(f"\nits answer 0.8 s under way: old answer until {old:.3f} s")  # noqa: T201
        assert status == 401
        assert old <= TTL_S


async def test_fifty_first_requests_of_one_credential_are_one_question() -> None:
    async with played() as (stub, gateway):
        stub.play(Play([b"", allowed("Cache-Control: private, max-age=300")], pause_s=0.5))

        async def ask() -> int:
            async with await Connection.open(gateway.port) as connection:
                return (await connection.ask("/long/", bearer("same"))).status

        assert await asyncio.gather(*(ask() for _ in range(50))) == [200] * 50
        assert len(stub.asked) == 1
