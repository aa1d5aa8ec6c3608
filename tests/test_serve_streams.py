"""``validator serve`` started without some of its standard streams, as some supervisors of processes do."""

import asyncio
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from sidecar_process import ROOT, START_WITHIN_S, STOP_WITHIN_S, configuration, write_config

pytestmark = pytest.mark.programs

ISSUER = "http://127.0.0.1:9"  # nobody is there, and nobody needs to be


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
async def test_it_serves_and_ends_without_standard_streams(tmp_path: Path, workers: int, closed: str) -> None:
    address = tmp_path / "data.sock"
    listen = {"data": f"unix:{address}", "control": "127.0.0.1:0"}
    file = write_config(tmp_path / "validator.yaml", configuration(ISSUER, listen=listen))
    command = [sys.executable, "-m", "validator", "serve", "--config", str(file), "--workers", str(workers)]
    process = _started(f"exec {shlex.join(command)} {closed}")
    try:
        assert await _status(address, process) == 401
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, STOP_WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()


def _started(line: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sh", "-c", line], cwd=ROOT)


async def _status(address: Path, process: "subprocess.Popen[bytes]") -> int:
    """Of a request without a credential, once somebody answers."""
    until = time.monotonic() + START_WITHIN_S
    timeout = aiohttp.ClientTimeout(total=START_WITHIN_S)
    while True:
        try:
            connector = aiohttp.UnixConnector(str(address))
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
                http.get("http://validator/v1/authorize/plain/svc") as reply,
            ):
                return reply.status
        except aiohttp.ClientError:
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < until, "nobody answers"
            await asyncio.sleep(0.05)
