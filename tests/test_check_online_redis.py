"""What ``validator check --online`` says of Redis: what it found, what that means, and why it was not reached."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis_servers import RedisServer, one
from tls_support import Authority

from validator import checking
from validator.adapters.clock import SystemClock
from validator.settings import Settings
from validator.testing import FakeIdp

pytestmark = pytest.mark.programs

SECRET = "s3cret-of-redis"


@pytest.fixture
async def idp() -> AsyncIterator[FakeIdp]:
    async with FakeIdp({}, clock=SystemClock()) as running:
        yield running


class Checker:
    """Runs the command for a Redis."""

    def __init__(self, idp: FakeIdp, capsys: pytest.CaptureFixture[str]) -> None:
        self._strategy = {"idp": "generic", "issuer": idp.issuer, "audience": "x", "auth_methods": ["bearer"]}
        self._capsys = capsys

    async def __call__(self, url: str, *, store: str | None = None, **redis: Any) -> tuple[int, str]:
        settings = Settings.model_validate(
            {
                "strategies": {"main": self._strategy},
                "redis": {"url": url, **redis},
                "store": {} if store is None else {"path": store},
            }
        )
        self._capsys.readouterr()
        code = await checking.report(settings, Path("f.yaml"), online=True)
        printed = self._capsys.readouterr().out
        assert SECRET not in printed
        return code, printed


@pytest.fixture
def check(idp: FakeIdp, capsys: pytest.CaptureFixture[str]) -> Checker:
    return Checker(idp, capsys)


def changed(server: RedisServer) -> object:
    return server.ask("DBSIZE"), server.info("persistence")["rdb_changes_since_last_save"]


async def test_what_is_found(check: Checker) -> None:
    with one(password=SECRET, appendonly=True, save="3600 1", maxmemory="64mb") as server:
        before = changed(server)
        code, told = await check(server.url)
        assert changed(server) == before == (0, 0)
    assert code == 0
    assert f"redis 127.0.0.1:{server.port} (one server, no TLS)\n  version " in told
    assert ", role master, 0 connected replicas\n" in told
    assert "  persistence: appendonly on, save 3600 1\n  memory: " in told
    assert "used of 64.00M, policy noeviction\n" in told
    assert "note:" not in told.partition("redis 127")[2]


async def test_a_password_of_its_own_and_a_socket(check: Checker) -> None:
    with one(password=SECRET, save="3600 1") as server:
        code, told = await check(f"unix://{server.unix_path}", password=SECRET)
    assert (code, f"redis {server.unix_path} (one server" in told) == (0, True)
    assert "appendonly off, save 3600 1" in told


@pytest.mark.parametrize(
    ("store", "words"),
    [(None, "and no sidecar keeps any either: set store.path"), ("x.db", "sidecars restore it from their stores")],
)
async def test_without_persistence(check: Checker, store: str | None, words: str) -> None:
    with one() as server:
        code, told = await check(server.url, store=store)
    assert code == 0
    assert "persistence: appendonly off, save off\n    note: a restart of Redis loses what is shared" in told
    assert words in told


async def test_a_policy_that_drops_the_registry(check: Checker) -> None:
    with one(appendonly=True, maxmemory="64mb", settings={"maxmemory-policy": "allkeys-lru"}) as server:
        code, told = await check(server.url)
    assert code == 0
    assert "policy allkeys-lru\n    note: under that policy Redis drops the registry" in told
    assert "volatile-ttl" in told


async def test_who_may_not_look_at_the_configuration(check: Checker) -> None:
    with one(acl=[f"user validator on >{SECRET} ~* +@all -config"]) as server:
        code, told = await check(f"redis://{server.host}", username="validator", password=SECRET)
    assert code == 0
    assert "appendonly off, save not to be seen with this user's rights\n    note: if save is off too" in told


async def test_a_wrong_password(check: Checker) -> None:
    with one(password="another") as server:
        code, told = await check(server.url.replace("another", SECRET))
    assert code == 1
    assert "  NOT REACHED: Redis at 127.0.0.1:" in told
    assert "but not everything would work: redis" in told


async def test_who_may_not_look_at_anything(check: Checker) -> None:
    with one(acl=[f"user validator on >{SECRET} ~* +get"]) as server:
        code, told = await check(f"redis://{server.host}", username="validator", password=SECRET)
    assert code == 1
    assert "NOT REACHED: " in told
    assert "info" in told


async def test_nobody_there(check: Checker) -> None:
    with one() as server:
        server.stop()
        code, told = await check(server.url)
    assert (code, "NOT REACHED: " in told) == (1, True)


async def test_a_replica(check: Checker) -> None:
    with one() as master, one(settings={"replicaof": f"127.0.0.1 {master.port}"}) as replica:
        code, told = await check(replica.url)
    assert code == 1
    assert ", role replica, " in told
    assert "NOT A MASTER: " in told


async def test_a_node_of_a_cluster_by_itself(check: Checker) -> None:
    with one(settings={"cluster-enabled": "yes"}) as server:
        server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        code, told = await check(server.url)
    assert code == 1
    assert "PART OF A CLUSTER: its keys are on several nodes; write redis+cluster://" in told


async def test_another_authority(check: Checker) -> None:
    with tempfile.TemporaryDirectory() as name:
        files = Authority("ours").issue("127.0.0.1").write(Path(name), "redis")
        other = Path(name) / "other.crt"
        other.write_bytes(Authority("other").certificate)
        with one(tls=files) as server:
            code, told = await check(server.url, ca_file=str(other))
        assert code == 1
        assert "TLS)\n  NOT REACHED: " in told
        other.unlink()
        code, told = await check(server.url, ca_file=str(other))
        assert code == 1
        assert "NOT REACHED: redis.ca_file cannot be used" in told
