"""The assembled sidecar with TLS: what it serves with, and what SIGHUP makes of the files."""

import asyncio
import contextlib
import ssl

import aiohttp
import pytest
from sidecar_support import TIMEOUT_S, assembled, bearer, settings_for
from support_http import until
from tls_support import Authority

from validator.wiring import Sidecar

OURS, NEXT, GATEWAYS = Authority("ours"), Authority("next"), Authority("gateways")
NAME = "validator.test"


def listen(directory, **more):
    files = {"certificate_file": str(directory / "data.crt"), "key_file": str(directory / "data.key"), **more}
    return {"data": "127.0.0.1:0", "control": "127.0.0.1:0", "data_tls": files}


@pytest.fixture
async def running(tmp_path):
    OURS.issue(NAME).write(tmp_path, "data")
    async with assembled(listen=listen(tmp_path)) as sidecar:
        yield sidecar


async def ask(running, ca, pair=None):
    """Over a connection of its own."""
    context = ssl.create_default_context(cadata=ca.certificate.decode())
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    url = f"https://{running.sidecar.data_address}/v1/authorize/plain/orders"
    headers = bearer(running.idp.token("orders"))
    async with (
        asyncio.timeout(TIMEOUT_S),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(url, headers=headers) as reply,
    ):
        return reply.status


async def reload(running, **more):
    await running.sidecar.reload(settings_for(running.idp.issuer, **more))


async def test_a_request_over_tls(running):
    assert await ask(running, OURS) == 200
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await ask(running, NEXT)


async def test_a_reload_reads_the_files_again(running, tmp_path):
    NEXT.issue(NAME).write(tmp_path, "data")
    assert await ask(running, OURS) == 200
    await reload(running, listen=listen(tmp_path))
    assert await ask(running, NEXT) == 200
    assert running.logs[-1] == {"event": "reloaded", "needs_restart": [], "log_level": "info"}


async def test_a_reload_demands_certificates_from_now_on(running, tmp_path):
    ca = tmp_path / "ca.crt"
    ca.write_bytes(GATEWAYS.certificate)
    await reload(running, listen=listen(tmp_path, client_ca_file=str(ca)))
    assert running.logs[-1]["needs_restart"] == []
    with pytest.raises((aiohttp.ClientError, OSError)):
        await ask(running, OURS)
    assert await ask(running, OURS, GATEWAYS.issue("kong").write(tmp_path, "kong")) == 200


async def test_handshakes_that_fail_are_exposed(running):
    _, writer = await asyncio.open_connection(*running.sidecar.data_address.split(":"))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: [line for line in running.logs if line["event"] == "tls handshake failed"])
    writer.close()
    exposed = running.sidecar.metrics.exposition()[0].decode()
    assert 'validator_tls_handshake_failures_total{cause="tls"} 1.0' in exposed
    assert 'validator_tls_handshake_failures_total{cause="timeout"} 0.0' in exposed
    (told,) = [line for line in running.logs if line["event"] == "tls handshake failed"]
    assert told == {
        "event": "tls handshake failed", "cause": "tls", "why": "HTTP_REQUEST", "count": 1,
        "log_level": "warning",
    }  # fmt: skip


async def test_bad_files_change_nothing(running, tmp_path):
    NEXT.issue(NAME).write(tmp_path, "data")
    OURS.issue(NAME).write(tmp_path, "other").key.rename(tmp_path / "data.key")
    with pytest.raises(ValueError, match="the key is not the certificate's"):
        await reload(running, listen=listen(tmp_path), applications=[])
    assert await ask(running, OURS) == 200


async def test_tls_is_switched_by_a_restart_alone(running, tmp_path):
    await reload(running)
    assert running.logs[-1]["needs_restart"] == ["listen"]
    assert await ask(running, OURS) == 200
    NEXT.issue(NAME).write(tmp_path, "data")
    await reload(running, listen=listen(tmp_path))
    assert await ask(running, NEXT) == 200


async def test_a_plane_in_clear_stays_so_until_a_restart(tmp_path):
    OURS.issue(NAME).write(tmp_path, "data")
    async with assembled() as running:
        for _ in range(2):
            await reload(running, listen=listen(tmp_path))
            assert (await running.ask(bearer(running.idp.token("orders")))).status == 200


async def test_bad_files_fail_the_start_before_anything_is_listened_on(tmp_path):
    OURS.issue(NAME).write(tmp_path, "data")
    OURS.issue(NAME).write(tmp_path, "other").key.rename(tmp_path / "data.key")
    sidecar = Sidecar(settings_for("https://idp.example.com", listen=listen(tmp_path)))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(sidecar.stop)
        with pytest.raises(ValueError, match=r"listen.data_tls: .* the key is not the certificate's"):
            await sidecar.start()
    assert sidecar.data_address == ""
