"""A minted token that is forwarded goes to whoever asked for it, and to no log, metric, listing, file of ours, or
what ``explain`` prints."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from canary import CONTROL, MINTED, basic, leaks
from sidecar_process import command, configuration, running, write_config

from validator.adapters.clock import SystemClock
from validator.model import Endpoint
from validator.testing import FakeIdp, Fault

pytestmark = pytest.mark.programs

TOO_LONG = MINTED.plain * 400
UNFIT = f"{MINTED.core} {MINTED.core}"


async def test_it_is_in_the_answer_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    async with FakeIdp({"orders": "s3cret"}, clock=SystemClock()) as idp:
        strategy = {"idp": "generic", "issuer": idp.issuer, "audience": ["api://default"]}
        config = configuration(
            idp.issuer,
            strategies={"plain": {**strategy, "forward_minted_token": True}},
            control={"token": CONTROL.plain},
            store={"path": str(tmp_path / "state" / "state.db")},
            cache={"proof_ttl_s": 0},
            log={"level": "debug"},
        )
        heard: list[str] = []
        async with running(config, tmp_path) as sidecar, aiohttp.ClientSession() as http:
            for token, forwarded in ((MINTED.plain, True), (TOO_LONG, False), (UNFIT, False)):
                reply = {"access_token": token, "token_type": "Bearer", "expires_in": 600}
                idp.fail(Fault.json_reply(reply, status=200), Endpoint.TOKEN)
                for service, status in (("svc", 200), ("none", 403)):
                    url = f"http://{sidecar.data}/v1/authorize/plain/{service}"
                    async with http.get(url, headers=basic("orders", "s3cret")) as answer:
                        assert answer.status == status
                        assert answer.headers.get("X-Access-Token") == (
                            token if forwarded and status == 200 else None
                        )
                        if status == 200 and forwarded:
                            assert answer.headers["Cache-Control"] == "no-store"
                        else:
                            heard.append(f"{dict(answer.headers)} {await answer.text()}")
            for path in ("/metrics", "/v1/applications", "/v1/revocations", "/readyz", "/openapi.json"):
                headers = {"Authorization": f"Bearer {CONTROL.plain}"}
                async with http.get(f"http://{sidecar.control}{path}", headers=headers) as answer:
                    heard.append(await answer.text())
            assert await asyncio.to_thread(sidecar.terminate) == 0
        assert (
            sidecar.said().count("minted token not forwarded") == 4
        )  # a proof of no length is made for each request
        file = str(await asyncio.to_thread(write_config, tmp_path / "explained.yaml", config))
        idp.fail(Fault.json_reply({"access_token": MINTED.plain, "expires_in": 600}, status=200), Endpoint.TOKEN)
        explain = ("explain", "--config", file, "--service", "svc")
        ran = await asyncio.to_thread(command, *explain, stdin=basic("orders", "s3cret")["Authorization"].encode())
    assert "X-Access-Token: the token just minted, not shown" in ran.out
    kept = b"".join(file.read_bytes() for file in sorted((tmp_path / "state").iterdir()))
    assert kept
    assert len(heard) > 5  # what is searched is what was said and written
    for said in (sidecar.said(), "\n".join(heard), ran.out + ran.err, kept):
        assert not leaks(said, [MINTED.core])
