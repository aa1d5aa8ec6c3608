"""deploy/compose.yaml as plain processes: the commands, configurations and curl lines that stand there, with the
addresses and folders of this machine and the test gateway in Kong's place; Redis and both sidecars are real.

Law of this file: nothing is substituted but addresses and folders.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml
from gateway.gateway import Gateway, Route
from redis_process import free_port
from sidecar_process import ROOT, SidecarProcess, running

pytestmark = pytest.mark.programs

DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
KONG = yaml.safe_load((DEPLOY / "compose" / "kong.yaml").read_text())
LINES = re.findall(r"^#   ((?:printf .* \| )?curl .*)$", TEXT, re.MULTILINE)
START_WITHIN_S = 20.0


@asynccontextmanager
async def container(name: str) -> AsyncIterator[str]:
    """The service's own command; the address that it says it listens on."""
    program, *module = SERVICES[name]["entrypoint"]
    assert program == "python"
    listens = re.compile(r"--listen=0\.0\.0\.0:\d+")
    words = [listens.sub("--listen=127.0.0.1:0", word) for word in SERVICES[name]["command"]]
    words = [word for word in words if not word.startswith("--origin=")]  # a name that is not known here
    process = await asyncio.create_subprocess_exec(
        sys.executable, *module, *words, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_WITHIN_S):
            said = ""
            while "FOR DEVELOPMENT ONLY" not in said:
                line = (await process.stderr.readline()).decode()
                assert line, f"{name} ended"
                said += line
        yield said.split()[-1]
    finally:
        process.terminate()
        assert await process.wait() == 0


@asynccontextmanager
async def redis_server(folder: Path, port: int) -> AsyncIterator[str]:
    """The service's own command; yields the one that says whether it is healthy."""

    def here(word: str) -> str:
        return word.replace("/run/secrets", f"{folder}/compose/secrets")

    words = [here(word) for word in SERVICES["redis"]["command"]]
    kind, health = SERVICES["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    health = here(health).replace("$$", "$").replace("redis-cli ", f"redis-cli -p {port} ")
    data = folder / "data"
    data.mkdir()
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(data), "--logfile", str(data / "log")]
    process = await asyncio.create_subprocess_exec(*words, *place)
    try:
        await until(lambda: shell(health, folder).returncode == 0, "a healthy Redis")
        yield health
    finally:
        process.terminate()
        await process.wait()


def shell(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    home = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=folder, env=home, timeout=20, check=False
    )


def curl(line: str, folder: Path) -> str:
    ran = shell(line, folder)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while not await asyncio.to_thread(reached):
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Composed:
    """What runs."""

    folder: Path
    sidecars: list[SidecarProcess]
    gateway: Gateway

    async def curl(self, line: str) -> str:
        """A line of the file, with the addresses that these have here."""
        for port, here in (
            ("127.0.0.1:8000", f"127.0.0.1:{self.gateway.port}"),
            ("127.0.0.1:8101", self.sidecars[0].control),
            ("127.0.0.1:8102", self.sidecars[1].control),
        ):
            line = line.replace(port, here)
        return await asyncio.to_thread(curl, line, self.folder)

    async def judged_by(self, number: int) -> int:
        """The status that this sidecar itself answers, as Kong would ask it."""
        socket = self.sidecars[number].data.removeprefix("unix:")
        service = KONG["services"][0]["name"]
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as http:
            sent = {"Authorization": aiohttp.encode_basic_auth("orders-mobile", "development-secret")}
            async with http.get(f"http://sidecar/v1/authorize/plain/{service}", headers=sent) as reply:
                return reply.status


@asynccontextmanager
async def place() -> AsyncIterator[Path]:
    """A folder with the secrets in it."""
    with tempfile.TemporaryDirectory(prefix="compose-") as name:
        made = Path(name) / "compose" / "make-secrets"
        made.parent.mkdir()
        made.write_text((DEPLOY / "compose" / "make-secrets").read_text())
        await asyncio.to_thread(subprocess.run, ["sh", str(made)], check=True)
        yield Path(name)


@pytest.fixture
async def composed() -> AsyncIterator[Composed]:
    async with place() as folder, contextlib.AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(container("idp"))
        service = await stack.enter_async_context(container("echo"))
        port = free_port()
        await stack.enter_async_context(redis_server(folder, port))
        sidecars = []
        for own in ("1", "2"):
            (folder / own).mkdir()
            config = (DEPLOY / "compose" / "validator.yaml").read_text()
            for there, here in (
                ("/run/secrets", f"{folder}/compose/secrets"),
                ("/run/validator", f"{folder}/{own}"),
                ("/var/lib/validator", f"{folder}/{own}"),
                ("0.0.0.0:8101", "127.0.0.1:0"),
                ("http://idp:9400", issuer),
                ("redis://redis:6379", f"redis://127.0.0.1:{port}"),
            ):
                assert there in config
                config = config.replace(there, here)
            sidecars.append(await stack.enter_async_context(running(config, folder / own)))
        (plugin,) = KONG["services"][0]["plugins"]
        urls = {"validator_url": sidecars[0].data, "fallback_validator_urls": [sidecars[1].data]}
        route = Route(
            path=KONG["services"][0]["routes"][0]["paths"][0],
            service=KONG["services"][0]["name"],
            config=plugin["config"] | urls,
        )
        gateway = Gateway([route], upstream_url=service)
        stack.callback(gateway.stop)
        await asyncio.to_thread(gateway.start)
        yield Composed(folder, sidecars, gateway)


async def test_lines_of_the_header_show_an_allowed_a_denied_and_a_revoked_request(composed: Composed) -> None:
    assert len(LINES) == 3
    allowed, denied, revoked = [await composed.curl(line) for line in LINES]
    assert allowed.startswith("HTTP/1.1 200 ")
    assert '["X-Application-Name", "Orders mobile"]' in allowed
    assert "development-secret" not in allowed
    assert denied.startswith("HTTP/1.1 403 ")
    assert '"reason":"not_registered"' in denied
    assert revoked.startswith("HTTP/1.1 401 ")
    assert '"reason":"revoked"' in revoked


async def test_what_is_revoked_at_one_sidecar_is_revoked_at_the_other(composed: Composed) -> None:
    assert [await composed.judged_by(number) for number in (0, 1)] == [200, 200]
    revoking, _, asking = LINES[2].partition(" && ")
    await composed.curl(revoking.replace("127.0.0.1:8101", "127.0.0.1:8102"))
    assert await composed.judged_by(1) == 401
    deadline = time.monotonic() + START_WITHIN_S
    while await composed.judged_by(0) != 401:
        assert time.monotonic() < deadline
    assert '"reason":"revoked"' in await composed.curl(asking)


async def test_kong_asks_the_second_sidecar_where_the_first_is_gone(composed: Composed) -> None:
    await asyncio.to_thread(composed.sidecars[0].kill)
    assert (await composed.curl(LINES[0])).startswith("HTTP/1.1 200 ")


async def test_the_healthcheck_of_redis_sees_a_wrong_password() -> None:
    async with place() as folder, redis_server(folder, free_port()) as health:
        right = await asyncio.to_thread(shell, health, folder)
        (folder / "compose" / "secrets" / "redis-password").write_text("wrong\n")
        wrong = await asyncio.to_thread(shell, health, folder)
    assert [right.returncode, wrong.returncode] == [0, 1]
