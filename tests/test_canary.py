"""No secret gets out of the running program: neither right nor wrong ones, in no position of a request, under no
failure of the identity provider, through no command; not in a log line, metric, body, listing or file, and not
in another spelling."""

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from canary import BEARER, CONTROL, COOKIE, CORES, KEY, MINTED, RIGHT, WRONG, basic, leaks
from sidecar_process import SidecarProcess, command, configuration, running, write_config

from validator.adapters.clock import SystemClock
from validator.model import Endpoint
from validator.testing import FakeIdp, Fault

pytestmark = pytest.mark.programs

serial = itertools.count()


@pytest.fixture
async def idp() -> AsyncIterator[FakeIdp]:
    async with FakeIdp({"orders": RIGHT.secret}, clock=SystemClock()) as running_idp:
        yield running_idp


def config_of(idp: FakeIdp, directory: Path, **sections: Any) -> dict[str, Any]:
    """Everything that may be secret in files of its own; bounds wide enough that every failure is met."""
    for name, content in (("token", CONTROL.plain), ("keys", base64.b64encode(KEY).decode())):
        file = directory / name
        file.write_text(content)
        file.chmod(0o600)
    (directory / "state").mkdir(exist_ok=True)
    return configuration(
        idp.issuer,
        **{
            "control": {"token_file": str(directory / "token")},
            "session": {"keys_file": str(directory / "keys")},
            "store": {"path": str(directory / "state" / "state.db")},
            "log": {"level": "debug"},
            "outbound": {"timeout_s": 0.3, "connect_timeout_s": 0.3, "breaker_failures": 1000},
            "throttle": {"max_failures": 10_000},
            "keys": {"unknown_key_cooldown_s": 1},
            **sections,
        },
    )


def faults() -> Iterator[Fault]:
    """Every kind, and where a provider says anything, it says what it should not."""
    echo = f"{RIGHT.secret} {WRONG.secret} {MINTED.plain}"
    yield Fault.stall()
    yield Fault.garbage(echo.encode())
    yield Fault.server_error()
    yield Fault(503, echo.encode(), {"Content-Type": "text/plain"})
    yield Fault.rate_limited({"Retry-After": "0", "X-Echo": WRONG.plain})
    yield Fault.rate_limited({"Retry-After": WRONG.plain})
    yield Fault.redirect(f"http://127.0.0.1:9/?client_secret={quote(RIGHT.secret)}")
    yield Fault.oversized(2_000_000)
    yield Fault.oauth_error("invalid_client", echo, status=401)
    yield Fault.oauth_error("invalid_scope", echo)
    yield Fault.oauth_error("server_error", echo)
    yield Fault.json_reply({"error_description": echo}, status=400)
    yield Fault.json_reply({"access_token": MINTED.plain, "token_type": "Bearer", "expires_in": 60})
    yield Fault.json_reply({"access_token": MINTED.plain, "token_type": "mac", "expires_in": "soon"})
    yield Fault.json_reply({"access_token": {"x": MINTED.plain}})
    yield Fault.json_reply(
        {"keys": [{"kty": "oct", "k": MINTED.plain, "alg": "HS256"}, {"kty": "RSA", "d": echo}]}
    )


class Caller:
    """Asks both planes, and keeps every word that comes back."""

    def __init__(self, http: aiohttp.ClientSession, sidecar: SidecarProcess) -> None:
        self._http = http
        self._sidecar = sidecar
        self.heard: list[str] = []

    async def ask(self, headers: Mapping[str, str], path: str = "/v1/authorize/plain/svc") -> tuple[int, str]:
        """The status, and the cookie, which alone may hold what was sealed."""
        async with self._http.get(f"http://{self._sidecar.data}{path}", headers=headers) as reply:
            cookie = reply.headers.get("Set-Cookie", "").partition(";")[0]
            told = {name: value for name, value in reply.headers.items() if name != "Set-Cookie"}
            self.heard.append(f"{reply.status} {told} {await reply.text()}")
            return reply.status, cookie

    async def control(self, method: str, path: str, token: str = CONTROL.plain, body: object = None) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://{self._sidecar.control}{path}"
        async with self._http.request(method, url, headers=headers, json=body) as reply:
            self.heard.append(f"{reply.status} {dict(reply.headers)} {await reply.text()}")
            return reply.status

    async def raw(self, octets: bytes) -> None:
        host, _, port = self._sidecar.data.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(octets)
        writer.write_eof()
        self.heard.append((await reader.read()).decode("utf-8", "replace"))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _ordinary(caller: Caller, idp: FakeIdp) -> list[str]:
    """What is right, wrong and malformed; the parts of tokens and cookies that must not be seen again."""
    token = idp.token("orders")
    forged = f"{token.rpartition('.')[0]}.{base64.urlsafe_b64encode(BEARER.plain.encode()).decode().rstrip('=')}"
    status, cookie = await caller.ask({"Authorization": f"Bearer {token}"})
    assert status == 200
    assert (await caller.ask({"Cookie": cookie}))[0] == 200
    assert (await caller.ask(basic("orders", RIGHT.secret)))[0] == 200
    sealed = cookie.partition("=")[2]
    for headers in (
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": f"Bearer {forged}"},
        {"Authorization": f"Bearer {BEARER.plain}"},
        {"Authorization": f"Bearer {BEARER.plain} {BEARER.plain}"},
        {"Authorization": f"{BEARER.plain} x"},
        {"Authorization": f"{BEARER.plain}"},
        {"Authorization": "Bearer " + BEARER.plain * 700},
        {"Authorization": f"Basic {BEARER.core}"},
        {"Authorization": f"Basic orders:{WRONG.plain}"},
        basic("orders", WRONG.secret),
        basic("nobody", WRONG.secret),
        basic(WRONG.core, "orders"),  # the two swapped
        basic("orders", "\x01" + WRONG.secret),
        {"Cookie": f"__Host-session={COOKIE.plain}"},
        {"Cookie": f"__Host-session={COOKIE.plain}; __Host-session={COOKIE.plain}"},
        {"Cookie": f"{cookie[:-6]}AAAAAA"},
        {"X-Other": BEARER.plain, "Proxy-Authorization": f"Bearer {BEARER.plain}"},
    ):
        assert (await caller.ask(headers))[0] in {401, 403}
    assert (await caller.ask({}, f"/v1/authorize/plain/svc?access_token={BEARER.core}"))[0] == 401
    for octets in (
        f"GET /?token={BEARER.core} HTTP/9.9\r\n\r\n",
        f"{BEARER.core} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /v1/authorize/plain/svc HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer {BEARER.core}\r\n\r\n",
        f"GET /v1/authorize/plain/svc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {BEARER.core * 4000}\r\n\r\n",
        f"GET /v1/authorize/plain/svc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {BEARER.core}",
        "GET /v1/authorize/plain/svc HTTP/1.1\r\nHost: x\r\n"
        + f"Authorization: Bearer {BEARER.core}\r\n" * 2
        + "\r\n",
    ):
        await caller.raw(octets.encode())
    assert await caller.control("GET", "/v1/applications", CONTROL.plain[:-1]) in {401, 403}
    strange = {"strategy": "plain", "client_id": "new", "client_secret": RIGHT.secret}
    assert await caller.control("POST", "/v1/applications", body=strange) == 400
    assert await caller.control("POST", "/v1/applications", body={"strategy": "plain", "client_id": "new"}) == 201
    assert await caller.control("POST", "/v1/revocations", body={"client_id": "new"}) == 201
    signature = token.rpartition(".")[2]
    return [signature[:24], signature[-24:], sealed[:24], sealed[-24:]]


async def _failing(caller: Caller, idp: FakeIdp, sidecar: SidecarProcess, config: dict[str, Any]) -> None:
    """Every fault at every endpoint, met by requests and by a reload, for which all is fetched anew."""
    for fault in faults():
        idp.fail(fault, Endpoint.TOKEN)
        for secret in (f"{WRONG.secret}{next(serial)}", f"{RIGHT.secret}{next(serial)}"):
            assert (await caller.ask(basic("orders", secret)))[0] in {200, 401, 503}
        idp.fail(fault)
        elsewhere = {"jwks_uri": f"{idp.jwks_uri}?n={next(serial)}", "discovery": True}  # nothing known is kept
        changed = {**config, "strategies": {"plain": {**config["strategies"]["plain"], **elsewhere}}}
        before = await asyncio.to_thread(sidecar.reconfigure, changed)
        await asyncio.to_thread(sidecar.wait_for, lambda event: event["event"] == "reloaded", after=before)
        for headers in (
            {"Authorization": f"Bearer {idp.token('orders')}"},
            basic("orders", f"{RIGHT.secret}{next(serial)}"),
        ):
            assert (await caller.ask(headers))[0] == 503
        await caller.control("GET", "/readyz")
        idp.heal()


async def test_nothing_that_the_running_sidecar_says_or_writes_holds_a_secret(
    idp: FakeIdp, tmp_path: Path
) -> None:
    config = await asyncio.to_thread(config_of, idp, tmp_path)
    jar = aiohttp.DummyCookieJar()
    async with running(config, tmp_path) as sidecar, aiohttp.ClientSession(cookie_jar=jar) as http:
        caller = Caller(http, sidecar)
        pieces = await _ordinary(caller, idp)
        await _failing(caller, idp, sidecar, config)
        for broken in (
            {**config, "control": {"token": f"{CONTROL.core}\n"}},
            {**config, "control": CONTROL.core},
            {**config, "session": {"keys": [RIGHT.core]}},
            {**config, "session": {"keys_file": COOKIE.core}},
            {**config, "client_secret": RIGHT.secret},
        ):
            before = await asyncio.to_thread(sidecar.reconfigure, broken)
            await asyncio.to_thread(
                sidecar.wait_for, lambda event: event["event"] == "configuration refused", after=before
            )
        for path in ("/metrics", "/v1/applications", "/v1/revocations", "/readyz", "/healthz", "/openapi.json"):
            assert await caller.control("GET", path) in {200, 503}
        while_running = await asyncio.to_thread(_files, tmp_path / "state")
        assert await asyncio.to_thread(sidecar.terminate) == 0
    after = await asyncio.to_thread(_files, tmp_path / "state")
    needles = [*CORES, KEY, *pieces]
    assert len(sidecar.lines) > 50
    assert not leaks(sidecar.said(), needles)
    assert not leaks("\n".join(caller.heard), needles)
    assert b"plain" in while_running + after  # what is searched is what was written
    assert not leaks(while_running + after, needles)


def _files(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(directory.iterdir()))


async def test_nothing_that_a_command_prints_holds_a_secret(idp: FakeIdp, tmp_path: Path) -> None:
    config = await asyncio.to_thread(config_of, idp, tmp_path)
    file = str(await asyncio.to_thread(write_config, tmp_path / "validator.yaml", config))
    broken = {**config, "control": {"token": CONTROL.core[:8]}, "session": {"keys": [RIGHT.core]}}
    broken_file = str(await asyncio.to_thread(write_config, tmp_path / "broken.yaml", broken))
    token = idp.token("orders")
    echo = Fault.oauth_error("invalid_client", f"{RIGHT.secret} {WRONG.secret}", status=401)
    explain = ("explain", "--config", file, "--service", "svc")
    runs: list[tuple[tuple[str, ...], str, Fault | None, str]] = [
        (("check", "--config", file), "", None, "no mistakes"),
        (("check", "--config", file, "--online"), "", Fault.garbage(MINTED.plain.encode()), "NOT REACHED"),
        (("check", "--config", broken_file), "", None, "control.token"),
        (explain, basic("orders", RIGHT.secret)["Authorization"], None, "200 allowed"),
        (explain, f"Basic orders:{WRONG.secret}", echo, "401 credentials_rejected"),
        (explain, token, None, "200 allowed"),
        (explain, f"Bearer {BEARER.plain}", None, "401 token_malformed"),
        (explain, f"{BEARER.plain} {BEARER.plain}", None, "401 method_not_enabled"),
        (explain, f"Cookie: __Host-session={COOKIE.plain}", None, "401 session_invalid"),
    ]
    for arguments, stdin, fault, expected in runs:
        idp.heal()
        if fault is not None:
            idp.fail(fault, *(() if fault is not echo else (Endpoint.TOKEN,)))
        ran = await asyncio.to_thread(command, *arguments, stdin=stdin.encode())
        assert expected in ran.out + ran.err
        assert "Traceback" not in ran.err
        assert not leaks(ran.out + ran.err, [*CORES, KEY, token.rpartition(".")[2][:24]])
