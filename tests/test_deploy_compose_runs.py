"""deploy/compose.yaml as plain processes: the commands, configurations and curl lines that stand there, with the
addresses and folders of this machine and the test gateway in Kong's place.

Law of this file: nothing is substituted but addresses and folders.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from gateway.gateway import Gateway, Route
from sidecar_process import ROOT, running

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


def curl(line: str, folder: Path) -> str:
    home = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    ran = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=folder, env=home, timeout=20, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def test_lines_of_the_header_show_an_allowed_a_denied_and_a_revoked_request() -> None:
    assert len(LINES) == 3
    with tempfile.TemporaryDirectory(prefix="compose-") as name:
        folder = Path(name)
        (folder / "compose").mkdir()
        made = folder / "compose" / "make-secrets"
        made.write_text((DEPLOY / "compose" / "make-secrets").read_text())
        await asyncio.to_thread(subprocess.run, ["sh", str(made)], check=True)
        config = (DEPLOY / "compose" / "validator.yaml").read_text()
        async with contextlib.AsyncExitStack() as stack:
            issuer = await stack.enter_async_context(container("idp"))
            service = await stack.enter_async_context(container("echo"))
            for there, here in (
                ("/run/secrets", f"{folder}/compose/secrets"),
                ("/run/validator", name),
                ("/var/lib/validator", name),
                ("0.0.0.0:8101", "127.0.0.1:0"),
                ("http://idp:9400", issuer),
            ):
                assert there in config
                config = config.replace(there, here)
            sidecar = await stack.enter_async_context(running(config, folder))
            (plugin,) = KONG["services"][0]["plugins"]
            route = Route(
                path=KONG["services"][0]["routes"][0]["paths"][0],
                service=KONG["services"][0]["name"],
                config=plugin["config"] | {"validator_url": sidecar.data},
            )
            gateway = Gateway([route], upstream_url=service)
            stack.callback(gateway.stop)
            await asyncio.to_thread(gateway.start)

            async def ask(line: str) -> str:
                own = line.replace("127.0.0.1:8000", f"127.0.0.1:{gateway.port}")
                return await asyncio.to_thread(curl, own.replace("127.0.0.1:8101", sidecar.control), folder)

            allowed, denied, revoked = [await ask(line) for line in LINES]
    assert allowed.startswith("HTTP/1.1 200 ")
    assert '["X-Application-Name", "Orders mobile"]' in allowed
    assert "development-secret" not in allowed
    assert denied.startswith("HTTP/1.1 403 ")
    assert '"reason":"not_registered"' in denied
    assert revoked.startswith("HTTP/1.1 401 ")
    assert '"reason":"revoked"' in revoked
