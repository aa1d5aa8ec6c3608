"""What a cached decision costs beside nginx's own ``return 200``, for each kind of credential.

Law of this file: all contenders run on one core and are sent the same headers by the same generator.
"""

import asyncio
import contextlib

from bench import subjects
from bench.contest import Contender, contest, ratio, table
from bench.findings import Findings, Plot, Target
from bench.stage import Stage, ask
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

QUESTION = "What does a cached decision cost beside nginx's `return 200`, on the same core?"
PAIRS = 100  # Basic clients


async def run(stage: Stage) -> Findings:
    async with contextlib.AsyncExitStack() as running:
        clients = {f"{subjects.CLIENT}-{n}": f"{n}-".ljust(700, "s") for n in range(PAIRS)}
        idp = await running.enter_async_context(
            FakeIdp(clients, clock=SystemClock(), audience=subjects.AUDIENCE)
        )
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
        tokens = subjects.tokens(idp)
        bearers = subjects.header_file(stage.folder / "bearers", map(subjects.bearer, tokens))
        bad = subjects.header_file(stage.folder / "bad", (subjects.bearer(subjects.spoiled(t)) for t in tokens))
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
        await contest(stage, [base, *measured])
    return Findings(
        targets=[Target(each.name, "≤ 1.4 × nginx", ratio(each, base), 1.4) for each in measured],
        tables=[table("CPU time per request", [base, *measured], base)],
        plots=[
            Plot(
                "hot",
                "CPU per request, times nginx's return 200",
                "",
                "× nginx return 200",
                {each.name: [(0, ratio(each, base))] for each in measured},
                bars=True,
            )
        ],
    )


async def _session(port: int, path: str, pair: str) -> str:
    name, _, value = pair.partition(": ")
    _, _, headers = await asyncio.to_thread(ask, port, path, {name: value})
    return f"Cookie: {headers['Set-Cookie'].partition(';')[0]}"
