"""nginx's own ``auth_request`` in front of a service, without Lua: what the sidecar allows passes with its
identity, 401 and 403 reach the client as they are, and whatever else happens lets nobody through."""

import asyncio
import base64
import os
import pwd
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from gateway.gateway import find_nginx
from sidecar_process import configuration, running

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

pytestmark = pytest.mark.programs

START_WITHIN_S = 10.0
SECRET = "s:e%c+ret"

CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {directory}/client_body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /.up {{ return 204; }}
    location / {{
      auth_request /.judge/plain/svc;
      auth_request_set $application $upstream_http_x_application_id;
      auth_request_set $method $upstream_http_x_auth_method;
      auth_request_set $session $upstream_http_set_cookie;
      add_header Set-Cookie $session;
      proxy_set_header X-Application-Id $application;
      proxy_set_header X-Auth-Method $method;
      proxy_pass http://unix:{directory}/service.sock;
    }}
    location /other {{
      auth_request /.judge/plain/other;
      proxy_pass http://unix:{directory}/service.sock;
    }}
    location /misconfigured {{
      auth_request /.judge/unheard-of/svc;
      proxy_pass http://unix:{directory}/service.sock;
    }}
    location /.judge/ {{
      internal;
      rewrite ^/.judge/(.*)$ /v1/authorize/$1 break;
      proxy_pass http://{sidecar};
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }}
  }}
  server {{
    listen unix:{directory}/service.sock;
    location / {{ return 200 "$http_x_application_id $http_x_auth_method $request_method"; }}
  }}
}}
"""


def _start(directory: Path, sidecar: str) -> tuple[subprocess.Popen[bytes], int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # A worker of root's nginx would run as somebody who may not write here.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        CONFIG.format(user=user, directory=directory, port=port, sidecar=sidecar)
    )
    process = subprocess.Popen(
        [find_nginx()[0], "-p", str(directory), "-c", str(directory / "nginx.conf")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return process, port


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(START_WITHIN_S)


@asynccontextmanager
async def plain_nginx(directory: Path, sidecar: str) -> AsyncIterator[str]:
    process, port = await asyncio.to_thread(_start, directory, sidecar)
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(START_WITHIN_S), aiohttp.ClientSession() as session:
            up = False
            while not up:
                try:
                    async with session.get(f"{url}/.up") as reply:
                        up = reply.status == 204
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)
        yield url
    finally:
        await asyncio.to_thread(_stop, process)


async def test_auth_request_lets_through_what_is_allowed_and_passes_denials_on(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("sub")
    jar = aiohttp.DummyCookieJar()
    async with (
        FakeIdp({"orders": SECRET}, clock=SystemClock()) as idp,
        running(configuration(idp.issuer), directory) as sidecar,
        plain_nginx(directory, sidecar.data) as url,
        aiohttp.ClientSession(cookie_jar=jar) as client,
    ):

        async def ask(
            path: str, headers: Mapping[str, str], method: str = "GET", body: bytes | None = None
        ) -> tuple[int, str, Mapping[str, str]]:
            async with client.request(method, url + path, headers=headers, data=body) as reply:
                return reply.status, await reply.text(), reply.headers

        bearer = {"Authorization": f"Bearer {idp.token('orders')}"}
        status, service_saw, headers = await ask("/", {**bearer, "X-Application-Id": "evil"})
        assert (status, service_saw) == (200, "app-1 bearer GET")
        cookie = {"Cookie": headers["Set-Cookie"].partition(";")[0]}

        pair = base64.b64encode(f"orders:{SECRET}".encode()).decode()
        assert (await ask("/", {"Authorization": f"Basic {pair}"}))[1] == "app-1 client_credentials GET"
        assert (await ask("/", cookie))[1] == "app-1 session GET"
        assert (await ask("/", bearer, "POST", b"x" * 100_000))[1] == "app-1 bearer POST"

        status, _, headers = await ask("/", {})
        assert status == 401
        assert headers["WWW-Authenticate"] == 'Bearer realm="plain", Basic realm="plain", charset="UTF-8"'
        status, _, headers = await ask("/", {"Authorization": "Bearer garbage"})
        assert status == 401
        assert 'error="invalid_token"' in headers["WWW-Authenticate"]
        assert (await ask("/other", bearer))[0] == 403
        assert (await ask("/", {"Authorization": f"Bearer {idp.token('stranger')}"}))[0] == 403

        # nginx makes 500 of every other answer: closed, whatever it is.
        assert (await ask("/misconfigured", bearer))[0] == 500  # the sidecar said 404
        await idp.take_down()
        assert (await ask("/", {"Authorization": "Basic orders:never-seen"}))[0] == 500  # it said 503
        assert (await ask("/", bearer))[0] == 200  # proven before, and still is
        assert await asyncio.to_thread(sidecar.terminate) == 0
        assert (await ask("/", bearer))[0] == 500  # nobody there
