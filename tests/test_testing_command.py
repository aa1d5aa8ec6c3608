"""``python -m validator.testing``: what it refuses, and what it serves until it is told to stop."""

import asyncio
import sys

import aiohttp
import pytest
from sidecar_process import ROOT
from yarl import URL

from validator.testing import Echo
from validator.testing.__main__ import main

COMMAND = [sys.executable, "-m", "validator.testing"]
IDP = ["idp", "--client", "orders:secret"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*IDP, "--listen", "0.0.0.0:0"], "0.0.0.0 is not loopback, and this guards nothing"),
        (["echo", "--listen", "192.0.2.1:0"], "add --development-network"),
        ([*IDP, "--listen", "localhost:9400"], "write an IPv4 address and a port"),
        ([*IDP, "--listen", "127.0.0.1:65536"], "write a port from 0 to 65535"),
        ([*IDP, "--listen", "127.0.0.1:"], "write a port from 0 to 65535"),
        ([*IDP, "--origin", "http://idp:9400/path"], "write a URL without a path"),
        (["idp"], "--client"),
        (["idp", "--client", "orders"], "write a client id and its secret"),
        ([], "command"),
    ],
)
def test_it_refuses_what_it_should_not_serve(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.programs
async def test_port_that_is_taken_is_told() -> None:
    async with Echo() as taken:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "echo", "--listen", taken.address, cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().startswith(f"cannot listen on {taken.address}: ")


@pytest.mark.programs
async def test_it_issues_tokens_under_the_origin_that_it_was_given() -> None:
    origin = ["--origin", "http://idp.test:9400", "--development-network", "--listen", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *IDP, *origin, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        said = ""
        while "FOR DEVELOPMENT ONLY" not in said:
            said += (await process.stderr.readline()).decode()
        process.terminate()
        assert await process.wait() == 0
    assert "http://idp.test:9400" in said


async def test_echo_tells_every_line_by_its_own_spelling() -> None:
    async with Echo() as echo, aiohttp.ClientSession() as http:
        sent = {"X_Odd": "1", "x-odd": "2"}
        url = URL(f"{echo.origin}/a%2fb?status=418&set_cookie=a", encoded=True)
        async with http.post(url, headers=sent, data=b"xyz") as got:
            told = await got.json()
    assert (got.status, got.headers.getall("Set-Cookie")) == (418, ["a"])
    assert (told["method"], told["uri"], told["body_bytes"]) == ("POST", "/a%2fb?status=418&set_cookie=a", 3)
    assert [pair for pair in told["headers"] if "odd" in pair[0].lower()] == [["X_Odd", "1"], ["x-odd", "2"]]
    assert echo.requests == 1
