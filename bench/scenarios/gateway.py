"""What the plugin adds to a proxied request.

Law of this file: gateway and sidecar share the measured core and their CPU time is summed; the upstream is on the
other core and is not counted. Before anything is measured, the plugin must have refused and cleared as it should.

With ``--kong URL`` the same runs against a real Kong, whose processes may be anywhere, so that it is measured by
what wrk sees: requests a second and latency. Keep the machine that it runs on otherwise idle, and give it one
worker (``nginx_worker_processes = 1``). Its routes, all to one upstream that answers at once:

======================  ===============================================  ======================================
path                    plugin                                           file with one header a line
======================  ===============================================  ======================================
``/plain``              none                                             none needed
``/validator``          ``credential-validator``                         ``validator``
``/cached``             the same with ``decision_cache_ttl_s: 60``       ``validator``
``/jwt``                ``jwt`` with a key that signs RS256              ``jwt``
``/key-auth``           ``key-auth``                                     ``key-auth``
======================  ===============================================  ======================================

The files are looked for in the folder that the environment variable ``BENCH_KONG_HEADERS`` names; each line is a
whole header that the route must answer with 200, such as ``Authorization: Bearer ...`` or ``apikey: ...``.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bench import nginx_gateway, subjects
from bench.contest import Contender, contest, measure, span, table
from bench.findings import Findings, Plot, Table, Target
from bench.load import Counted, closed_loop
from bench.nginx_gateway import Route
from bench.stage import Stage, ask
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

QUESTION = "What does the plugin add to a proxied request, sidecar included?"
PLAIN, EMPTY, ASKED, CACHED = "plain proxy", "stand-in, no plugin", "plugin, asked every time", "plugin, cached"
PATHS = {PLAIN: "/plain", EMPTY: "/empty", ASKED: "/validator", CACHED: "/cached"}
SPOOFED = {"X-Application-Id": "evil", "X_Application_Id": "evil", "X-Consumer-Username": "evil"}
KONG_ROUTES = {"plain": "", "validator": "validator", "cached": "validator", "jwt": "jwt", "key-auth": "key-auth"}
KONG_HEADERS = "BENCH_KONG_HEADERS"
NOTE = (
    f"“{PLAIN}” is nginx without any Lua; “{EMPTY}” runs what stands in for Kong, and no plugin. The plugin's "
    "rows are charged with both. Of what it costs to ask every time, {sidecar:.1f} µs are the sidecar's. The "
    "upstream is an nginx on the other core."
)
NO_KONG = (
    "A real Kong: `--kong http://HOST:PORT`, with the routes that bench/scenarios/gateway.py describes and "
    f"{KONG_HEADERS} naming the folder with their credentials."
)


async def run(stage: Stage) -> Findings:
    try:
        findings = await _nginx(stage)
    except nginx_gateway.GatewayError as error:
        findings = Findings(targets=_targets(None, None), not_run=[f"The test gateway: {error}"])
    if stage.kong_url:
        findings.tables.append(await _kong(stage))
    else:
        findings.not_run.append(NO_KONG)
    return findings


async def _nginx(stage: Stage) -> Findings:
    async with contextlib.AsyncExitStack() as running:
        idp = await running.enter_async_context(FakeIdp(clock=SystemClock(), audience=subjects.AUDIENCE))
        data = f"unix:{stage.folder}/data.sock"
        config = subjects.configuration(idp.issuer)
        sidecar = await running.enter_async_context(subjects.sidecar(stage, config, data=data))
        _, upstream_port = await running.enter_async_context(subjects.nginx(stage, core=stage.load_core))
        asked = {"validator_url": data, "strategy": subjects.STRATEGY}
        routes = [
            Route(PATHS[PLAIN], subjects.SERVICE, bare=True),
            Route(PATHS[EMPTY], subjects.SERVICE),
            Route(PATHS[ASKED], subjects.SERVICE, asked),
            Route(PATHS[CACHED], subjects.SERVICE, {**asked, "decision_cache_ttl_s": 60}),
        ]
        tokens = subjects.tokens(idp)
        async with nginx_gateway.running(stage, routes) as gateway:
            wrong = await _behaves(gateway.port, tokens[0])
            if wrong:
                stage.say(gateway.error_log()[-1000:])
                return Findings(targets=_targets(None, None), wrong=wrong)

        upstream_url = f"http://127.0.0.1:{upstream_port}"
        gateway = await running.enter_async_context(
            nginx_gateway.running(stage, routes, upstream_url=upstream_url)
        )
        headers = subjects.header_file(stage.folder / "bearers", map(subjects.bearer, tokens))
        contenders = {
            name: Contender(name, [gateway.pid, sidecar.pid], gateway.port, path, headers)
            for name, path in PATHS.items()
        }
        await contest(stage, list(contenders.values()))
        alone = dataclasses.replace(contenders[ASKED], pids=[sidecar.pid], cpu_us=[], counted=[])
        sidecar_us, _ = await measure(stage, alone, stage.seconds)
    plain = contenders[PLAIN]
    extras = {name: _extra(each, plain) for name, each in contenders.items() if each is not plain}
    medians = {name: statistics.median(times) for name, times in extras.items()}
    rows = [
        (
            name,
            f"{statistics.median(a - b for a, b in zip(contenders[name].cpu_us, plain.cpu_us, strict=True)):.2f}",
            f"{medians[name]:.2f}",
            span(times),
        )
        for name, times in extras.items()
    ]
    return Findings(
        targets=_targets(medians[ASKED], medians[CACHED]),
        tables=[
            table("Gateway and sidecar, CPU time per request", list(contenders.values()), plain),
            Table("On top of a plain proxy", ("", "CPU µs/request", "× plain proxy", "min..max"), rows),
        ],
        plots=[
            Plot(
                "gateway",
                "Gateway and sidecar, CPU per proxied request",
                "",
                "µs",
                {name: [(0, statistics.median(each.cpu_us))] for name, each in contenders.items()},
                bars=True,
            )
        ],
        notes=[NOTE.format(sidecar=sidecar_us)],
    )


def _extra(contender: Contender, plain: Contender) -> list[float]:
    """What came on top of a plain proxy, in times of it, round by round."""
    return [mine / its - 1 for mine, its in zip(contender.cpu_us, plain.cpu_us, strict=True)]


def _targets(asked: float | None, cached: float | None) -> list[Target]:
    return [
        Target("the plugin's extra, asked on every request", "≤ 2 × plain proxy", asked, 2),
        Target("the plugin's extra, with the decision cache", "≤ 0.5 × plain proxy", cached, 0.5),
    ]


async def _behaves(port: int, token: str) -> list[str]:
    """What the plugin does wrong, in front of an upstream that tells what it was sent."""
    wrong = []
    right, bad = ({"Authorization": f"Bearer {each}"} for each in (token, subjects.spoiled(token)))
    for path in (PATHS[ASKED], PATHS[CACHED]):
        for what, headers, expected in (
            ("no credential", {}, 401),
            ("a wrong signature", bad, 401),
            ("a wrong signature again", bad, 401),
            ("spoofed headers and a right token", {**right, **SPOOFED}, 200),
            ("the same again", {**right, **SPOOFED}, 200),
        ):
            status, body, _ = await asyncio.to_thread(ask, port, path, headers)
            if status != expected:
                wrong.append(f"{path}, {what}: {status} where {expected} is right")
            elif status == 200:
                wrong += [f"{path}, {what}: {why}" for why in _spoofed(body)]
    return wrong


def _spoofed(body: bytes) -> list[str]:
    seen: list[tuple[str, str]] = json.loads(body)["headers"]
    ids = [value for name, value in seen if name.lower().replace("_", "-") == "x-application-id"]
    found = [f"the upstream saw {name}: {value}" for name, value in seen if value == "evil"]
    if ids != [subjects.application(subjects.CLIENT)["id"]]:
        found.append(f"the upstream saw the application ids {ids}")
    return found


async def _kong(stage: Stage) -> Table:
    """Raises ``SystemExit``: a route that cannot be asked, or an answer that is no 200."""
    url = urlsplit(stage.kong_url)
    host, port = url.hostname or "127.0.0.1", url.port or 80
    folder = Path(os.environ.get(KONG_HEADERS, "."))
    none = subjects.header_file(stage.folder / "none", ["Accept: */*"])
    files = {name: folder / file if file else none for name, file in KONG_ROUTES.items()}
    for name, file in files.items():
        if not file.is_file():
            raise SystemExit(f"/{name} of Kong: no file {file}; {NO_KONG}")
    counted: Mapping[str, list[Counted]] = {name: [] for name in files}
    for number in range(stage.rounds + 1):
        stage.say(f"Kong, {f'round {number} of {stage.rounds}' if number else 'warming up'}: {', '.join(files)}")
        for name, file in files.items():
            found = await closed_loop(stage, port, f"/{name}", file, stage.seconds, host=host)
            if found.refused or found.broken or not found.requests:
                raise SystemExit(f"/{name} of Kong: not every answer was right: {found}")
            if number:
                counted[name].append(found)
    medians = {
        name: [
            statistics.median(each.requests / each.duration_s for each in runs),
            statistics.median(each.p50_us for each in runs),
            statistics.median(each.p99_us for each in runs),
        ]
        for name, runs in counted.items()
    }
    plain_us = 1e6 / medians["plain"][0]
    rows = [
        (name, f"{rate:,.0f}", f"{1e6 / rate:.1f}", f"{1e6 / rate - plain_us:+.1f}", f"{p50:,.0f}", f"{p99:,.0f}")
        for name, (rate, p50, p99) in medians.items()
    ]
    head = ("route", "requests/s", "µs/request", "on top of plain", "p50 µs", "p99 µs")
    return Table(f"A real Kong at {stage.kong_url}, as wrk saw it", head, rows)
