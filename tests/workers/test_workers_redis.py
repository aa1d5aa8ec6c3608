"""A sidecar, with workers and without, beside a real Redis: what is told of it, and what is served without it."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_process import RedisServer, free_port, one
from sidecar_process import SidecarProcess, command, configuration, write_config
from workers_support import Crew, basic, children, crew, kill, until

from validator.model import Endpoint

pytestmark = pytest.mark.programs

KEYS = [base64.b64encode(b"k" * 32).decode()]
WORKERS = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with one() as server:
        yield server


def sharing(url: str, **more: object) -> dict[str, object]:
    return {"redis": {"url": url, **more}, "session": {"keys": KEYS}}


async def readiness(sidecar: Crew, path: str = "/readyz") -> tuple[int, str]:
    status, body = await sidecar.control("GET", path)
    return status, json.dumps(body)


@WORKERS
async def test_following_is_told_in_the_metrics(tmp_path: Path, redis: RedisServer, workers: int) -> None:
    async with crew(tmp_path, workers=workers, **sharing(redis.url)) as sidecar:
        assert await sidecar.metric("validator_redis_up") == 1
        assert await sidecar.metric("validator_redis_stale_seconds") == 0
        assert await sidecar.metric("validator_redis_calls_total", call="state", outcome="ok") > 0
        assert (await sidecar.control("POST", "/v1/revocations", {"jti": "x"}))[0] == 201
        assert await sidecar.metric("validator_redis_calls_total", call="append", outcome="ok") == 1


async def test_what_one_worker_found_out_is_known_to_the_others(tmp_path: Path, redis: RedisServer) -> None:
    async with crew(tmp_path, **sharing(redis.url)) as sidecar:
        for connection in (await sidecar.on_each()).values():
            assert await connection.ask(basic()) == 200
        assert sidecar.idp.calls[Endpoint.TOKEN] == 1
        assert await sidecar.metric("validator_redis_calls_total", call="proofs_begin") >= 3


@WORKERS
async def test_readiness_names_a_redis_that_is_away_for_too_long_unless_it_is_left_out(
    tmp_path: Path, redis: RedisServer, workers: int
) -> None:
    async with crew(tmp_path, workers=workers, **sharing(redis.url, max_stale_s=1)) as sidecar:
        redis.kill()

        async def stale() -> bool:
            return (await readiness(sidecar))[0] == 503

        await until(stale)
        assert "redis" in (await readiness(sidecar))[1]
        assert (await readiness(sidecar, "/readyz?exclude=redis"))[0] == 200
        assert await sidecar.ask(sidecar.token) == 200  # and it serves what it knows
        assert await sidecar.metric("validator_redis_up") == 0
        redis.restart()

        async def back() -> bool:
            return (await readiness(sidecar))[0] == 200

        await until(back)
        assert await sidecar.metric("validator_redis_losses_total") >= 1


@WORKERS
async def test_refusing_when_stale_reaches_the_requests_and_ends_by_itself(
    tmp_path: Path, redis: RedisServer, workers: int
) -> None:
    shared = sharing(redis.url, max_stale_s=1, when_stale="refuse")
    async with crew(tmp_path, workers=workers, **shared) as sidecar:
        assert await sidecar.ask(sidecar.token) == 200
        redis.kill()

        async def refused() -> bool:
            return await sidecar.ask(sidecar.token) == 503

        await until(refused)
        redis.restart()

        async def allowed() -> bool:
            return await sidecar.ask(sidecar.token) == 200

        await until(allowed)


@WORKERS
async def test_a_start_without_redis_waits_as_long_as_it_may_and_then_serves(tmp_path: Path, workers: int) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    began = time.monotonic()
    async with crew(tmp_path, workers=workers, **sharing(url, start_timeout_s=1)) as sidecar:
        assert time.monotonic() - began >= 1
        assert await sidecar.ask(sidecar.token) == 200  # of the file
        stranger = {"Authorization": f"Bearer {sidecar.idp.token('nobody')}"}
        assert await sidecar.ask(stranger) == 503  # others may have registered it
        assert (await sidecar.control("POST", "/v1/applications", {"strategy": "plain", "client_id": "x"}))[
            0
        ] == 503
        await sidecar.said("redis not followed yet")


async def test_a_worker_that_comes_later_knows_how_far_it_may_deny(tmp_path: Path, redis: RedisServer) -> None:
    async with crew(tmp_path, workers=2, **sharing(redis.url)) as sidecar:
        stranger = {"Authorization": f"Bearer {sidecar.idp.token('nobody')}"}
        assert await sidecar.ask(stranger) == 403
        redis.kill()

        async def lost() -> bool:
            return await sidecar.metric("validator_redis_up") == 0

        await until(lost)
        before = sidecar.pids()
        for pid in before:
            kill(pid)

        async def others() -> bool:
            return not set(before) & set(sidecar.pids())

        await until(others)
        await sidecar.full()
        for connection in (await sidecar.on_each()).values():
            assert await connection.ask(stranger) == 503
            assert await connection.ask(sidecar.token) == 200


@WORKERS
def test_files_for_tls_that_cannot_be_used_end_the_start(tmp_path: Path, workers: int) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    broken.chmod(0o600)
    config = configuration("http://127.0.0.1:9", redis={"url": "rediss://127.0.0.1:1", "ca_file": str(broken)})
    sidecar = SidecarProcess(config, tmp_path, arguments=["--workers", str(workers)])
    sidecar.launch()
    assert sidecar.wait() == 1
    assert "redis.ca_file" in sidecar.said()
    assert "Traceback" not in sidecar.said()


@WORKERS
async def test_another_redis_waits_for_the_next_start(tmp_path: Path, redis: RedisServer, workers: int) -> None:
    async with crew(tmp_path, workers=workers, **sharing(redis.url)) as sidecar:
        other = configuration(sidecar.idp.issuer, **sharing(f"redis://127.0.0.1:{free_port()}"))
        await sidecar.reload(other)
        assert (await sidecar.said("reloaded"))["needs_restart"] == ["redis"]
        assert (await sidecar.control("POST", "/v1/revocations", {"jti": "x"}))[0] == 201


async def test_explaining_asks_no_redis_and_disturbs_nobody(tmp_path: Path, redis: RedisServer) -> None:
    store = {"path": str(tmp_path / "state.db")}
    async with crew(tmp_path, workers=2, store=store, **sharing(redis.url)) as sidecar:
        config = configuration(sidecar.idp.issuer, store=store, **sharing(redis.url))
        (tmp_path / "explained").mkdir()
        file = write_config(tmp_path / "explained" / "validator.yaml", config)
        before = len(children(sidecar.sidecar.pid))
        credential = sidecar.token["Authorization"].encode()
        ran = await asyncio.to_thread(
            command, "explain", "--config", str(file), "--service", "svc", stdin=credential
        )
        assert ran.code == 0, ran.out + ran.err
        assert len(children(sidecar.sidecar.pid)) == before
