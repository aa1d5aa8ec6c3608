"""Several workers are one sidecar: each goes by every write when its caller has the answer, and what they count is
one sum."""

import asyncio
from pathlib import Path

import pytest
from sidecar_process import command, configuration, write_config
from workers_support import Connection, basic, crew, crew_config, until

from validator.model import Endpoint

pytestmark = pytest.mark.programs

LATER = {"id": "later", "strategy": "plain", "client_id": "later", "registrations": ["svc"]}


async def everywhere(
    connections: dict[int, Connection], headers: dict[str, str], service: str = "svc"
) -> set[int]:
    return {await connection.ask(headers, service) for connection in connections.values()}


async def test_all_workers_serve_and_their_connections_are_shared(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=3) as sidecar:
        assert len(sidecar.pids()) == 3
        connections = await sidecar.on_each()
        assert len(connections) == 3
        assert await everywhere(connections, sidecar.token) == {200}
        assert await sidecar.metric("validator_workers") == 3
        assert await sidecar.metric("validator_worker_restarts_total") == 0


async def test_a_revocation_is_in_force_in_each_worker_when_the_call_returns(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        connections = await sidecar.on_each()
        for _ in range(20):
            assert await everywhere(connections, sidecar.token) == {200}  # and is replayed from now on
            assert (await sidecar.control("POST", "/v1/revocations", {"client_id": "orders"}))[0] == 201
            assert await everywhere(connections, sidecar.token) == {401}
            assert (await sidecar.control("DELETE", "/v1/revocations", {"client_id": "orders"}))[0] == 204


async def test_the_registry_is_the_same_in_each_worker_when_the_call_returns(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        later = {"Authorization": f"Bearer {sidecar.idp.token('later')}"}
        connections = await sidecar.on_each()
        for _ in range(10):
            assert await everywhere(connections, later) == {403}
            assert (await sidecar.control("POST", "/v1/applications", LATER))[0] == 201
            assert await everywhere(connections, later) == {200}
            place = "/v1/applications/later/registrations/other"
            assert (await sidecar.control("PUT", place, {"status": "approved"}))[0] == 200
            assert await everywhere(connections, later, "other") == {200}
            assert (await sidecar.control("DELETE", "/v1/applications/later"))[0] == 204


async def test_clearing_the_cache_reaches_each_worker(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        connections = await sidecar.on_each()
        for _ in range(2):
            assert await everywhere(connections, basic()) == {200}
        asked = sidecar.idp.calls[Endpoint.TOKEN]
        assert (await sidecar.control("DELETE", "/v1/cache"))[0] == 204
        assert await sidecar.metric("validator_cache_entries", cache="replies") == 0
        assert await everywhere(connections, basic()) == {200}
        assert sidecar.idp.calls[Endpoint.TOKEN] == asked + len(connections)


async def test_a_session_opened_at_one_worker_is_one_at_all_without_configured_keys(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        connections = await sidecar.on_each()
        first = next(iter(connections.values()))
        assert await first.ask(basic()) == 200
        cookie = {"Cookie": first.headers["Set-Cookie"].split(";")[0]}
        assert await everywhere(connections, cookie) == {200}


async def test_what_workers_count_is_one_sum(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        connections = await sidecar.on_each()
        before = await sidecar.metric("validator_decisions_total", outcome="allowed")
        for _ in range(10):
            assert await everywhere(connections, sidecar.token) == {200}
        assert await sidecar.metric("validator_decisions_total", outcome="allowed") == before + 30
        assert await sidecar.metric("validator_connections") == 3


async def test_failed_tries_are_counted_for_all_workers_together(tmp_path: Path) -> None:
    """Guesses that are spread over the workers are no more guesses."""
    async with crew(tmp_path, throttle={"max_failures": 6}) as sidecar:
        connections = list((await sidecar.on_each()).values())
        statuses = [await connections[n % 3].ask(basic(secret=f"guess {n}")) for n in range(18)]
        assert statuses.count(401) <= 8  # those that were under way when another one was told
        assert statuses[-6:] == [429] * 6


async def test_connections_are_bounded_for_all_workers_together(tmp_path: Path) -> None:
    async with crew(tmp_path, limits={"max_connections": 10}) as sidecar:
        connections = [await sidecar.connect() for _ in range(30)]
        statuses = await asyncio.gather(*(c.ask(sidecar.token) for c in connections), return_exceptions=True)
        assert statuses.count(200) == 10


async def test_readiness_names_the_worker_that_misses_something(tmp_path: Path) -> None:
    async with crew(tmp_path) as sidecar:
        config = crew_config("http://127.0.0.1:9")
        await sidecar.reload(config)

        async def unready() -> bool:
            status, body = await sidecar.control("GET", "/readyz")
            return status == 503 and all(f"worker {n}: strategy plain" in str(body["missing"]) for n in (1, 2, 3))

        await until(unready)


@pytest.mark.parametrize("workers", ["0", "65", "-1", "many", "1.5", ""])
def test_a_number_of_workers_that_cannot_be_is_wrong_usage(tmp_path: Path, workers: str) -> None:
    file = write_config(tmp_path / "validator.yaml", configuration("http://127.0.0.1:9"))
    ran = command("serve", "--config", str(file), f"--workers={workers}")
    assert ran.code == 2
    assert "--workers: must be a whole number from 1 to 64" in ran.err


def test_a_worker_started_by_hand_says_what_it_is(tmp_path: Path) -> None:
    ran = command("worker", "0")
    assert ran.code == 2
    assert "serve --workers" in ran.err
    assert "worker " not in command("--help").out.partition("commands:")[2]
