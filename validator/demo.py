"""``validator demo``: the whole thing on one machine, with nothing to set up.

Law of this file: everything it shows really happened: a development identity provider and the sidecar run, each
request goes over HTTP, and every figure in the table was read from what they counted. A row that does not come
out as it should is marked, and the exit code is 1.
"""

import asyncio
import base64
import contextlib
import shlex
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from validator import logs
from validator.adapters.clock import SystemClock
from validator.settings import Settings
from validator.testing import FakeIdp
from validator.wiring import Sidecar

STRATEGY = "plain"
COOKIE = "__Host-session"
SERVICES = ("orders", "billing", "reports")
_CONTROL_TOKEN = "demo-control-token-0123456789"  # noqa: S105 - for the demo alone, on loopback
_SECRET = "s3cr3t:with%odd+signs"  # noqa: S105 - as above
_READY_WITHIN_S = 10.0
_OK = 200

Send = Callable[[str, dict[str, str]], Awaitable["Answer"]]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the demo's requests go in: the sidecar itself, or a gateway before it.

    Attributes:
        url: of a service's name, the URL to call.
        via: what is shown as the requests' way.
        close: called at the end.
    """

    url: Callable[[str], str]
    via: str
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    reason: str
    cookie: str
    identity: str


@dataclass(slots=True)
class Row:
    """One line of the table."""

    sent: str
    service: str
    headers: dict[str, str]
    expected: int
    reason: str = ""
    before: Callable[[], Awaitable[None]] | None = None
    answer: Answer | None = None
    cost: str = ""

    @property
    def right(self) -> bool:
        return self.answer is not None and (self.answer.status, self.answer.reason) == (self.expected, self.reason)


@dataclass(slots=True)
class Stage:
    """Everything that runs."""

    idp: FakeIdp
    sidecar: Sidecar
    entry: Entry
    http: aiohttp.ClientSession
    rows: list[Row] = field(default_factory=list)

    async def send(self, service: str, headers: dict[str, str]) -> Answer:
        async with self.http.get(self.entry.url(service), headers=headers) as reply:
            body = await reply.json(content_type=None) if reply.content_length != 0 else {}
            cookie = reply.headers.get("Set-Cookie", "").partition(";")[0]
            identity = reply.headers.get("X-Application-Name", "") or _echoed(body, "x-application-name")
            return Answer(reply.status, str(body.get("reason", "")), cookie, identity)

    async def control(self, method: str, path: str, body: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {_CONTROL_TOKEN}"}
        url = f"http://{self.sidecar.control_address}{path}"
        async with self.http.request(method, url, json=body, headers=headers) as reply:
            reply.raise_for_status()


def _echoed(body: dict[str, Any], name: str) -> str:
    """A header as the demo gateway's upstream saw it; it answers with all of them."""
    lines = body.get("headers")
    if isinstance(lines, list):
        for pair in lines:
            if isinstance(pair, list) and len(pair) == 2 and str(pair[0]).lower() == name:  # noqa: PLR2004 - a pair
                return str(pair[1])
    return ""


def run(*, stay: bool, open_gateway: Callable[[str], Entry] | None = None) -> int:
    """Runs the demo; returns the exit code.

    Args:
        stay: leave everything up until interrupted, and print curl lines.
        open_gateway: starts a gateway before the sidecar at the given address; by default none.
    """
    logs.configure("error", "console")
    return asyncio.run(_run(stay=stay, open_gateway=open_gateway))


async def _run(*, stay: bool, open_gateway: Callable[[str], Entry] | None) -> int:
    clients = {"orders-mobile": _SECRET, "orders-batch": "another-secret", "unregistered": "a-secret"}
    with tempfile.TemporaryDirectory(prefix="validator-demo-") as folder:
        async with FakeIdp(clients, clock=SystemClock()) as idp:
            sidecar = Sidecar(_settings(idp, Path(folder)))
            try:
                await sidecar.start()
                await _ready(sidecar)
                return await _play(idp, sidecar, stay=stay, open_gateway=open_gateway)
            finally:
                await sidecar.stop()


async def _play(idp: FakeIdp, sidecar: Sidecar, *, stay: bool, open_gateway: Callable[[str], Entry] | None) -> int:
    entry = (
        await asyncio.to_thread(open_gateway, sidecar.data_address)
        if open_gateway
        else Entry(
            lambda service: f"http://{sidecar.data_address}/v1/authorize/{STRATEGY}/{service}", "client -> sidecar"
        )
    )
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            stage = Stage(idp, sidecar, entry, http)
            _say(f"identity provider {idp.issuer}   sidecar {sidecar.data_address}   {entry.via}\n")
            await _perform(stage)
            _print_table(stage.rows)
            if stay:
                await _stay(stage)
            wrong = sum(not row.right for row in stage.rows)
            _say(f"\n{len(stage.rows)} requests, {wrong} not answered as they should be")
            return int(wrong > 0)
    finally:
        await asyncio.to_thread(entry.close)


def _settings(idp: FakeIdp, folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "listen": {"data": "127.0.0.1:0", "control": "127.0.0.1:0"},
            "control": {"token": _CONTROL_TOKEN},
            "strategies": {STRATEGY: {"idp": "generic", "issuer": idp.issuer, "audience": ["api://default"]}},
            "applications": [
                {
                    "id": "app-mobile",
                    "name": "Orders mobile",
                    "strategy": STRATEGY,
                    "client_id": "orders-mobile",
                    "registrations": ["orders", {"service": "reports", "status": "pending"}],
                }
            ],
            "store": {"path": str(folder / "state.db")},
        }
    )


async def _ready(sidecar: Sidecar) -> None:
    async with asyncio.timeout(_READY_WITHIN_S), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"http://{sidecar.control_address}/readyz") as reply:
                if reply.status == _OK:
                    return
            await asyncio.sleep(0.02)


async def _perform(stage: Stage) -> None:
    await stage.control(
        "POST",
        "/v1/applications",
        {
            "id": "app-batch",
            "name": "Orders batch",
            "strategy": STRATEGY,
            "client_id": "orders-batch",
            "registrations": ["orders"],
        },
    )
    cookie = ""
    for row in _rows(stage):
        if row.before is not None:
            await row.before()
        if row.headers.get("Cookie") == "":
            row.headers["Cookie"] = f"theme=dark; {cookie}"
        elif row.headers.get("Cookie") == "altered":
            row.headers["Cookie"] = cookie[:-2] + ("A" if cookie[-2] != "A" else "B") + cookie[-1]
        counted = _counted(stage)
        row.answer = await stage.send(row.service, row.headers)
        row.cost = _cost(counted, _counted(stage))
        cookie = cookie or row.answer.cookie
        stage.rows.append(row)


def _rows(stage: Stage) -> Iterator[Row]:
    idp, mint = stage.idp, stage.idp.mint
    good = {"Authorization": f"Bearer {idp.token('orders-mobile')}"}
    batch = {"Authorization": f"Bearer {idp.token('orders-batch')}"}
    pair = {"Authorization": "Basic " + base64.b64encode(f"orders-mobile:{_SECRET}".encode()).decode()}
    now = stage.sidecar.now()

    async def register(status: str) -> None:
        await stage.control("PUT", "/v1/applications/app-batch/registrations/orders", {"status": status})

    async def revoke() -> None:
        await register("revoked")

    async def heal() -> None:
        await register("approved")
        await idp.bring_back()

    yield Row("nothing", "orders", {}, 401, "no_credential")
    yield Row("bearer token, first sight", "orders", good, 200)
    yield Row("the same again", "orders", good, 200)
    yield Row("client id and secret (Basic)", "orders", pair, 200)
    yield Row("the same again", "orders", pair, 200)
    yield Row(
        "Basic as the documents print it", "orders", {"Authorization": f"Basic orders-mobile:{_SECRET}"}, 200
    )
    yield Row("session cookie among others", "orders", {"Cookie": ""}, 200)
    yield Row("session cookie, one bit flipped", "orders", {"Cookie": "altered"}, 401, "session_invalid")
    yield Row(
        "wrong secret", "orders", {"Authorization": "Basic orders-mobile:guess"}, 401, "credentials_rejected"
    )
    stale = idp.token("orders-mobile", iat=int(now) - 7200, exp=int(now) - 3600)
    yield Row("expired token", "orders", {"Authorization": f"Bearer {stale}"}, 401, "token_expired")
    unsigned = mint.mint_alg_none({"client_id": "orders-mobile"})
    yield Row(
        "token with alg none", "orders", {"Authorization": f"Bearer {unsigned}"}, 401, "algorithm_not_allowed"
    )
    confused = mint.mint_key_confused({"client_id": "orders-mobile"})
    yield Row(
        "HS256 with the public key",
        "orders",
        {"Authorization": f"Bearer {confused}"},
        401,
        "algorithm_not_allowed",
    )
    stranger = idp.token("orders-mobile", header={"kid": "nobody-has-this"})
    yield Row("unknown key", "orders", {"Authorization": f"Bearer {stranger}"}, 401, "key_unknown")
    alien = idp.token("unregistered")
    yield Row(
        "client without application", "orders", {"Authorization": f"Bearer {alien}"}, 403, "application_unknown"
    )
    yield Row("service not registered for", "billing", good, 403, "not_registered")
    yield Row("registration still pending", "reports", good, 403, "not_registered")
    yield Row("another application", "orders", batch, 200)
    yield Row("its registration just revoked", "orders", batch, 403, "not_registered", before=revoke)
    yield Row("provider down, known token", "orders", good, 200, before=idp.take_down)
    fresh = {"Authorization": f"Bearer {idp.token('orders-mobile', jti='unseen')}"}
    yield Row("provider down, new token", "orders", fresh, 200)
    unseen = {"Authorization": "Basic orders-batch:another-secret"}
    yield Row("provider down, new secret", "orders", unseen, 503, "idp_unavailable")
    yield Row("provider back, registered again", "orders", unseen, 200, before=heal)


def _counted(stage: Stage) -> tuple[int, int, int, int, int]:
    tallies = list(stage.sidecar.metrics.tallies.values())
    return (
        sum(tally.replayed for tally in tallies),
        sum(tally.judged for tally in tallies),
        stage.sidecar.caches.proof_hits,
        sum(stage.sidecar.metrics.verifications.values()),
        sum(stage.idp.calls.values()),
    )


def _cost(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    replayed, judged, proven, verified, asked = (b - a for a, b in zip(before, after, strict=True))
    parts = ["hit" if replayed else "miss" if judged else "not asked"]
    if proven:
        parts.append("proven before")
    if verified:
        parts.append(f"{verified} signature")
    if asked:
        parts.append(f"{asked} IdP call" + ("s" if asked > 1 else ""))
    return ", ".join(parts)


def _print_table(rows: list[Row]) -> None:
    cells = [("sent", "service", "answer", "reason", "application", "cache and cost")]
    cells += [
        (
            row.sent,
            row.service,
            str(row.answer.status if row.answer else "-") + ("" if row.right else f" (!) not {row.expected}"),
            (row.answer.reason if row.answer else "") or "-",
            (row.answer.identity if row.answer else "") or "-",
            row.cost,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for number, line in enumerate(cells):
        _say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            _say("  ".join("-" * width for width in widths))


async def _stay(stage: Stage) -> None:
    url = stage.entry.url("orders")
    token = stage.idp.token("orders-mobile")
    answer = await stage.send("orders", {"Authorization": f"Bearer {token}"})
    control = f"http://{stage.sidecar.control_address}"
    form = "grant_type=client_credentials&client_id=orders-batch&client_secret=another-secret"
    lines = (
        ("a bearer token", f"curl -i {url} -H {shlex.quote(f'Authorization: Bearer {token}')}"),
        ("client credentials", f"curl -i {url} -u {shlex.quote(f'orders-mobile:{_SECRET}')}"),
        ("a session cookie", f"curl -i {url} -H {shlex.quote(f'Cookie: {answer.cookie}')}"),
        ("a token of your own", f"curl -s {stage.idp.token_endpoint} -d {shlex.quote(form)}"),
        ("the applications", f"curl -s {control}/v1/applications -H 'Authorization: Bearer {_CONTROL_TOKEN}'"),
        ("the metrics", f"curl -s {control}/metrics -H 'Authorization: Bearer {_CONTROL_TOKEN}'"),
    )
    _say("\nIt stays up until you press Ctrl-C. To paste:")
    for what, line in lines:
        _say(f"\n# {what}\n{line}")
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, told.set)
    await told.wait()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is what a person reads
