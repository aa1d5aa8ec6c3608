"""What a cached decision costs beside nginx's own ``return 200``, an aiohttp route that looks up the same, and
HAProxy checking the token each time; and what it costs to judge again when the epoch has moved.

Law of this file: all contenders run on one core and are sent the same headers by the same generator.
"""

import asyncio
import contextlib
import statistics

from bench import subjects
from bench.contest import WARM_UP_S, Contender, contest, measure, ratio, table
from bench.findings import Findings, Plot, Table, Target
from bench.rivals import aiohttp_route, haproxy, in_process, tokens
from bench.stage import Stage, ask
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

QUESTION = "What does a cached decision cost beside nginx's `return 200`, on the same core?"
PAIRS = 100  # Basic clients
REJUDGED_NOTE = (
    "the data plane's protocol handed whole requests in one process on the measured core, the epoch moved before "
    "each; what a request over the wire took above that (kernel, event loop) is added to both sides"
)


async def run(stage: Stage) -> Findings:
    async with contextlib.AsyncExitStack() as running:
        clients = {f"{subjects.CLIENT}-{n}": f"{n}-".ljust(700, "s") for n in range(PAIRS)}
        idp = await running.enter_async_context(FakeIdp(clients, clock=SystemClock(), audience=subjects.AUDIENCE))
        strategy = subjects.configuration(idp.issuer)["strategies"][subjects.STRATEGY]
        config = subjects.configuration(
            idp.issuer,
            strategies={
                subjects.STRATEGY: strategy,
                "all": {**strategy, "auth_methods": ["bearer", "client_credentials", "session"]},
            },
            applications=[
                subjects.application(subjects.CLIENT),
                *({**subjects.application(client, n), "strategy": "all"} for n, client in enumerate(clients, 2)),
            ],
            session={"idle_ttl_s": 36_000},
        )
        nginx, nginx_port = await running.enter_async_context(subjects.nginx(stage))
        sidecar = await running.enter_async_context(subjects.sidecar(stage, config))
        bearer_tokens = subjects.tokens(idp, **tokens.valid_since())
        bearers = subjects.header_file(stage.folder / "bearers", map(subjects.bearer, bearer_tokens))
        bad = subjects.header_file(
            stage.folder / "bad", map(subjects.bearer, map(subjects.spoiled, bearer_tokens))
        )
        pairs = [subjects.pair(*pair) for pair in clients.items()]
        basics = subjects.header_file(stage.folder / "basics", pairs)
        path = f"/v1/authorize/all/{subjects.SERVICE}"
        cookies = subjects.header_file(
            stage.folder / "cookies", [await _session(sidecar.port, path, pair) for pair in pairs]
        )

        pids = [sidecar.pid]
        base = Contender("nginx return 200", [nginx.pid], nginx_port, subjects.PATH, bearers)
        measured = [
            Contender("cached bearer", pids, sidecar.port, subjects.PATH, bearers),
            Contender("cached Basic", pids, sidecar.port, path, basics),
            Contender("cached session", pids, sidecar.port, path, cookies),
            Contender("cached denial", pids, sidecar.port, subjects.PATH, bad, status=401),
        ]
        rivals = []
        route, port = await running.enter_async_context(aiohttp_route.started(stage, bearers))
        rivals.append(Contender("aiohttp route", [route.pid], port, subjects.PATH, bearers))
        if haproxy.is_here():
            checker, port = await running.enter_async_context(haproxy.started(stage, idp))
            rivals.append(Contender("HAProxy jwt_verify", [checker.pid], port, subjects.PATH, bearers))
        if stage.quick:  # what the sidecar has to see first; others have nothing to learn
            for each in measured:
                await measure(stage, each, WARM_UP_S)
        await contest(stage, [base, *measured, *rivals], warm_up=not stage.quick)
        stage.say("judging again after the epoch moved, in one process")
        config = {**config, "applications": config["applications"][:1]}
        again = await in_process.measured(stage, "rejudge", config, str(bearers), str(stage.rounds))
    cached = measured[0]
    rejudged, rejudged_table = _rejudged(again, statistics.median(cached.cpu_us))
    everyone = [base, *measured, *rivals]
    return Findings(
        targets=[
            *(Target(each.name, "≤ 1.4 × nginx", ratio(each, base), 1.4) for each in measured),
            Target(
                "aiohttp route against the cached bearer",
                "≥ 4 × a cached decision",
                ratio(rivals[0], cached),
                4,
                at_most=False,
            ),
            Target("re-judging after the epoch moved", "≤ 2 × cached", rejudged, 2, note=REJUDGED_NOTE),
        ],
        tables=[table("CPU time per request", everyone, base), rejudged_table],
        plots=[
            Plot(
                "hot",
                "CPU per request, times nginx's return 200",
                "",
                "× nginx return 200",
                {each.name: [(0, ratio(each, base))] for each in everyone},
                bars=True,
            )
        ],
        not_run=[] if haproxy.is_here() else [haproxy.ABSENT],
    )


def _rejudged(found: dict[str, list[float]], whole_us: float) -> tuple[float, Table]:
    """The ratio of whole requests, and where it comes from."""
    cached, again = (statistics.median(found[name]) for name in ("cached", "re-judged"))
    rest_us = whole_us - cached
    ratio_of_wholes = (rest_us + again) / whole_us
    rows = [
        (
            name,
            f"{judged:.2f}",
            f"{rest_us:.2f}",
            f"{rest_us + judged:.2f}",
            f"{(rest_us + judged) / whole_us:.2f}",
        )
        for name, judged in (("cached", cached), ("re-judged", again))
    ]
    head = (
        "",
        "protocol and pipeline, CPU µs",
        "kernel and event loop, CPU µs",
        "whole request, CPU µs",
        "× cached",
    )
    return ratio_of_wholes, Table("Judging again after the epoch moved", head, rows)


async def _session(port: int, path: str, pair: str) -> str:
    name, _, value = pair.partition(": ")
    _, _, headers = await asyncio.to_thread(ask, port, path, {name: value})
    return f"Cookie: {headers['Set-Cookie'].partition(';')[0]}"
