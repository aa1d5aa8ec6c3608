"""Failure drills: what requests get while something happens to real sidecars, in the test gateway.

Law of this file: no answer is ever wrong. With one sidecar a request is answered right or with the generic 503;
with a healthy one behind it every request is answered right, those in flight included.
"""

import asyncio
import base64
import contextlib
import itertools
import os
import resource
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from gateway.drill import (
    ONE,
    ONE_CACHED,
    PATHS,
    Connection,
    Counts,
    Drill,
    Question,
    allowed_as,
    lanes,
    summary,
)
from gateway.gateway import Gateway
from sidecar_process import SidecarProcess, configuration

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

TIMEOUT_MS = 1000
# An answer that takes longer hangs; what is more than the timeout is for a machine that is busy with other tests.
LIMIT_S = TIMEOUT_MS / 1000 + 0.9
SECRET = "drill-secret"
RESTARTS = 5
MANY_CONNECTIONS = 10_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def directory() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="drill-") as made:
        yield Path(made)


@dataclass(frozen=True, slots=True)
class Scene:
    """Two sidecars on Unix sockets, the gateway, and questions with the answers that both give."""

    sidecar: SidecarProcess
    fallback: SidecarProcess
    gateway: Gateway
    questions: list[Question]

    def drill(self) -> Drill:
        return Drill(self.gateway.port, PATHS, self.questions, limit_s=LIMIT_S)


def application(client_id: str, service: str) -> dict[str, object]:
    return {
        "id": f"app-{client_id}",
        "name": f"{client_id} app",
        "strategy": "plain",
        "client_id": client_id,
        "registrations": [service],
        "groups": ["gold", "internal"],
    }


def settings_of(directory: Path, name: str, issuer: str) -> dict[str, object]:
    strategy = {
        "idp": "generic",
        "issuer": issuer,
        "audience": ["api://default"],
        "upstream_headers": {"X-Claim-Tenant": "tenant"},
    }
    return configuration(
        issuer,
        listen={"data": f"unix:{directory}/{name}.sock", "control": "127.0.0.1:0"},
        strategies={"plain": strategy},
        applications=[application("orders", "orders"), application("billing", "billing")],
        session={"keys_file": str(directory / "session-keys")},
        throttle={"max_failures": 10_000},  # the wrong secret is one of the questions
    )


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def questions_for(idp: FakeIdp, socket_path: str) -> list[Question]:
    token, elsewhere = idp.token("orders", tenant="acme"), bearer(idp.token("billing"))
    forged = bearer(f"{token.rsplit('.', 1)[0]}.{'A' * 342}")
    async with (
        aiohttp.UnixConnector(socket_path) as connector,
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://sidecar/v1/authorize/plain/orders", headers=bearer(token)) as opened,
    ):
        cookie = {"Cookie": "theme=dark; " + opened.headers["Set-Cookie"].split(";")[0]}
    told = {"x_application_groups": "gold, internal"}
    # A token minted for Basic has no tenant.
    return [
        allowed_as("bearer", bearer(token), "orders", "bearer", x_claim_tenant="acme", **told),
        Question("registered elsewhere, bearer", elsewhere, 403, "not_registered"),
        allowed_as("basic", basic("orders", SECRET), "orders", "client_credentials", **told),
        Question("unknown application", bearer(idp.token("stranger")), 403, "application_unknown"),
        allowed_as("session", cookie, "orders", "session", x_claim_tenant="acme", **told),
        Question("wrong signature", forged, 401, "signature_invalid"),
        Question("registered elsewhere, basic", basic("billing", SECRET), 403, "not_registered"),
        Question("no credential", {}, 401, "no_credential"),
        Question("wrong secret", basic("orders", "wrong"), 401, "credentials_rejected"),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(directory: Path) -> AsyncIterator[Scene]:
    (directory / "session-keys").write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    (directory / "session-keys").chmod(0o600)
    async with FakeIdp({"orders": SECRET, "billing": SECRET}, clock=SystemClock()) as idp:
        sidecars = []
        for name in ("one", "two"):
            (directory / name).mkdir()
            sidecars.append(SidecarProcess(settings_of(directory, name, idp.issuer), directory / name))
        try:
            await asyncio.gather(*(asyncio.to_thread(sidecar.start) for sidecar in sidecars))
            first, second = sidecars
            routes = lanes(first.data, second.data, TIMEOUT_MS)
            gateway = Gateway(routes, worker_connections=MANY_CONNECTIONS + 4096)
            with more_files(MANY_CONNECTIONS * 2):
                await asyncio.to_thread(gateway.start)
            try:
                asked = await questions_for(idp, first.data.removeprefix("unix:"))
                yield Scene(first, second, gateway, asked)
            finally:
                await asyncio.to_thread(gateway.stop)
        finally:
            for sidecar in sidecars:
                await asyncio.to_thread(sidecar.stop)


@contextlib.contextmanager
def more_files(wanted: int) -> Iterator[int]:
    """Raises the limit of open files as far as it may be raised; what is started within inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield max(soft, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check(title: str, drill: Drill) -> None:
    print("\n" + drill.summary(title))  # noqa: T201  pytest -rP shows it
    assert drill.broken() == []


async def test_stopped(scene: Scene) -> None:
    async with scene.drill() as drill:
        await drill.phase("before", 100)
        await asyncio.to_thread(scene.sidecar.terminate)
        try:
            await drill.until_unavailable(ONE)
            await drill.until_unavailable(ONE_CACHED)
            down = await drill.phase("down", 100)
            assert (down[ONE].right, down[ONE_CACHED].right) == (0, 0)
        finally:
            await asyncio.to_thread(scene.sidecar.start)
        await drill.until_well()
    check("stopped", drill)


async def restart(drill: Drill, sidecar: SidecarProcess, number: signal.Signals) -> tuple[int, float]:
    """Under load; what was unavailable of the requests that began before the signal, and how long it was away."""
    up = await drill.phase("up", 60)
    await drill.phase("away", 0)
    began = time.monotonic()
    sidecar.signal(number)
    await asyncio.to_thread(sidecar.wait)
    await asyncio.to_thread(sidecar.start)
    away_s = time.monotonic() - began
    await drill.phase("back", 0)
    return up[ONE].unavailable, away_s


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
async def test_restarting_in_a_loop(scene: Scene, number: signal.Signals) -> None:
    async with scene.drill() as drill:
        restarts = [await restart(drill, scene.sidecar, number) for _ in range(RESTARTS)]
        await drill.until_well()
    check(f"restarted by {number.name}", drill)
    in_flight = sum(count for count, _ in restarts)
    away_s = sum(seconds for _, seconds in restarts)
    print(f"away for {away_s:.1f} s in all, of what was in flight unavailable {in_flight}")  # noqa: T201


async def test_both_restarted_in_turn(scene: Scene) -> None:
    """One of two is always up, and never the same one for long."""
    async with scene.drill() as drill:
        for sidecar in (scene.sidecar, scene.fallback) * 2:
            await restart(drill, sidecar, signal.SIGTERM)
        await drill.until_well()
    check("both in turn", drill)


async def test_paused(scene: Scene) -> None:
    async with scene.drill() as drill:
        await drill.phase("before", 100)
        for _ in range(2):
            scene.sidecar.signal(signal.SIGSTOP)
            try:
                await drill.phase("paused", 24)
            finally:
                scene.sidecar.signal(signal.SIGCONT)
            await drill.phase("continued", 100)
        await drill.until_well()
    check("paused", drill)
    assert drill.counts[ONE].unavailable > 0


def open_files(pid: str | None) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_ten_thousand_connections(scene: Scene) -> None:
    """All of them open at once. One of twenty asks every question; the others wait."""
    with contextlib.ExitStack() as opened:
        limit = opened.enter_context(more_files(MANY_CONNECTIONS * 2))
        assert limit >= MANY_CONNECTIONS + 1000, f"only {limit} files may be open here: raise ulimit -Hn"

        def open_all() -> list[socket.socket]:
            address = ("127.0.0.1", scene.gateway.port)
            made = (socket.create_connection(address, timeout=10) for _ in range(MANY_CONNECTIONS))
            return [opened.enter_context(contextlib.closing(each)) for each in made]

        sockets = await asyncio.to_thread(open_all)
        counts = {path: Counts("") for path in PATHS}

        async def ask(held: socket.socket, path: str) -> Connection:
            held.setblocking(False)
            connection = Connection(*await asyncio.open_connection(sock=held))
            for question in scene.questions:
                counts[path].judge(question, await connection.ask(path, question.headers))
            return connection

        sample = list(zip(sockets[::20], itertools.cycle(PATHS), strict=False))
        asked: list[Connection] = []
        for batch in range(0, len(sample), 50):
            asked += await asyncio.gather(*(ask(*each) for each in sample[batch : batch + 50]))
        held_by_nginx = await asyncio.to_thread(open_files, scene.gateway._worker())
        for connection in asked:
            await connection.close()
        assert held_by_nginx > MANY_CONNECTIONS
        for path, found in counts.items():
            print("\n" + summary(f"{len(sockets)} connections", path, found))  # noqa: T201
            assert (found.wrong, found.unavailable) == ([], 0)
            assert found.right == len(sample) // len(PATHS) * len(scene.questions)
