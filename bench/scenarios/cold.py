"""What a credential costs when it is seen for the first time: tokens beside HAProxy's full check and the bare
verify, Basic pairs beside the identity provider's own 50 ms.

Law of this file: every credential is sent once; one that was seen before is never counted as new.
"""

import asyncio
import contextlib
import statistics
from typing import Any

from bench import subjects
from bench.accounting import cpu_ns
from bench.contest import Contender, measure, ratio, ratios, span
from bench.findings import Findings, Plot, Table, Target
from bench.load import GATEWAY_CONNECTIONS, closed_loop
from bench.rivals import haproxy, in_process, tokens
from bench.rivals.slow_tokens import LATENCY_S, SlowTokens
from bench.stage import Stage, ask
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

QUESTION = "What does a credential cost that was never seen before?"
TOKENS_A_RUN, TOKENS_A_QUICK_RUN = 8000, 2500
RUN_S = 1.0  # at most: a run ends with its tokens
TOKENS_A_CHUNK, TOKENS_A_QUICK_CHUNK = 400, 150  # of the measurement in one process
CLIENTS = 100
BASIC_PATH = f"/v1/authorize/basic/{subjects.SERVICE}"
WRONG_SECRET = "not-its-secret"  # noqa: S105 - nobody's
SPARE = 1.5  # more pairs than can be sent, so that they do not run out


async def run(stage: Stage) -> Findings:
    findings = Findings()
    async with contextlib.AsyncExitStack() as running:
        idp = await running.enter_async_context(FakeIdp(clock=SystemClock(), audience=subjects.AUDIENCE))
        await _whole_requests(stage, idp, findings)
        await _in_process(stage, idp, findings)
        await _basic(stage, idp, findings)
    return findings


async def _whole_requests(stage: Stage, idp: FakeIdp, findings: Findings) -> None:
    """Both are sent the same tokens, never seen before, over HTTP."""
    count = TOKENS_A_QUICK_RUN if stage.quick else TOKENS_A_RUN
    warm_up, *files = await tokens.unseen_files(stage, idp, stage.rounds + 1, count)
    async with contextlib.AsyncExitStack() as running:
        sidecar = await running.enter_async_context(subjects.sidecar(stage, subjects.configuration(idp.issuer)))
        contenders = [Contender("first sight", [sidecar.pid], sidecar.port, subjects.PATH, warm_up, once=True)]
        if haproxy.is_here():
            program, port = await running.enter_async_context(haproxy.started(stage, idp))
            name = "HAProxy, all checks"
            contenders.append(Contender(name, [program.pid], port, subjects.PATH, warm_up, once=True))
        for contender in contenders:
            await measure(stage, contender, RUN_S)
        for number, file in enumerate(files, 1):
            stage.say(f"round {number} of {len(files)}: {', '.join(each.name for each in contenders)}")
            for contender in contenders:
                contender.headers = file
                cpu_us, counted = await measure(stage, contender, RUN_S)
                if counted.requests >= count:
                    raise SystemExit(f"{contender.name}: {counted.requests} answers to {count} tokens")
                contender.cpu_us.append(cpu_us)
                contender.counted.append(counted)
        hits = _hits(await sidecar.metrics())
    # When a run's tokens are out, each connection may send the one for trying once more before the load stops.
    if hits > (len(files) + 1) * GATEWAY_CONNECTIONS:
        raise SystemExit(f"{hits:.0f} of the tokens had been seen before")
    first, *rival = contenders
    findings.targets.append(
        Target(
            "first sight, whole request",
            "≤ HAProxy checking signature, alg, iss, aud, exp, nbf",
            ratio(first, rival[0]) if rival else None,
            1,
            unit="× HAProxy",
        )
    )
    if not rival:
        findings.not_run.append(haproxy.ABSENT)
    base = rival[0] if rival else first
    rows = [
        (
            each.name,
            f"{statistics.median(each.cpu_us):.2f}",
            span(each.cpu_us),
            f"{ratio(each, base):.2f}",
            span(ratios(each, base)),
            f"{1e6 / statistics.median(each.cpu_us):,.0f}",
            f"{sum(run.requests for run in each.counted):,}",
        )
        for each in contenders
    ]
    head = ("", "CPU µs/request", "min..max", f"× {base.name}", "min..max", "requests per CPU second", "tokens")
    findings.tables.append(Table("RS256 tokens never seen before, whole requests over HTTP", head, rows))


def _hits(metrics: str) -> float:
    """Answers that any cache gave; for a stream of new tokens, none."""
    lines = [line for line in metrics.splitlines() if line.startswith("validator_cache_hits_total{")]
    if not lines:
        raise SystemExit("the sidecar's metrics no longer count cache hits")
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def _in_process(stage: Stage, idp: FakeIdp, findings: Findings) -> None:
    chunk = TOKENS_A_QUICK_CHUNK if stage.quick else TOKENS_A_CHUNK
    (lines,) = await tokens.unseen_files(stage, idp, 1, chunk * in_process.CHUNKS * (stage.rounds + 1))
    key = stage.folder / "key.pem"
    key.write_bytes(idp.mint.current.public_pem)
    stage.say("first sight and the bare verify, in one process")
    found = await in_process.measured(
        stage,
        "first_sight",
        subjects.configuration(idp.issuer),
        *(str(lines), str(stage.rounds), str(key)),
    )
    bare, first = found["bare verify"], found["first sight"]
    each_round = [mine / its for mine, its in zip(first, bare, strict=True)]
    findings.targets.append(
        Target(
            "first sight, keys known",
            "≤ 2.5 × the bare verify through cryptography",
            statistics.median(each_round),
            2.5,
            unit="× bare verify",
            note="one process on the measured core: what the pipeline takes for an answer, without HTTP",
        )
    )
    rows = [
        ("bare verify, RSA-2048 and SHA-256", f"{statistics.median(bare):.2f}", span(bare), "1.00", ""),
        (
            "first sight, without HTTP",
            f"{statistics.median(first):.2f}",
            span(first),
            f"{statistics.median(each_round):.2f}",
            span(each_round),
        ),
    ]
    head = ("", "CPU µs", "min..max", "× bare verify", "min..max")
    findings.tables.append(Table("The same without HTTP, in one process", head, rows))


async def _basic(stage: Stage, idp: FakeIdp, findings: Findings) -> None:
    """Pairs never seen before: each has to be asked about."""
    clients = [f"{subjects.CLIENT}-{number}" for number in range(CLIENTS)]
    granted = {client: idp.token(client, **tokens.valid_since()) for client in clients}
    rows: list[tuple[str, ...]] = []
    lines: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": []}
    alone: list[tuple[float, float]] = []
    for connections in (8, 32) if stage.quick else (8, 32, 128, 256):
        row = await _basic_row(stage, idp, granted, connections, findings)
        rows.append(row[0])
        alone.append((connections, LATENCY_S * 1000))
        for name, milliseconds in zip(lines, row[1], strict=True):
            lines[name].append((connections, milliseconds))
    head = (
        "connections",
        "pairs/s",
        "possible in 50 ms",
        "p50 ms",
        "p99 ms",
        "CPU µs/pair",
        "of its core",
        "pairs",
        "calls a pair",
    )
    findings.tables.append(Table("Basic pairs never seen before, the identity provider 50 ms away", head, rows))
    findings.plots.append(
        Plot(
            "cold-basic",
            "Basic pairs never seen before, the identity provider 50 ms away",
            "connections, each waiting for its answer",
            "latency, ms",
            {**lines, "the identity provider alone": alone},
        )
    )
    findings.notes.append(
        "The sidecar's own bound on calls in flight (`outbound.max_concurrent`, by default 32) is set to the "
        "number of connections here where that is more; the identity provider and the load share the other core, "
        "which is the limit where the sidecar leaves most of its own idle."
    )


async def _basic_row(
    stage: Stage, idp: FakeIdp, granted: dict[str, str], connections: int, findings: Findings
) -> tuple[tuple[str, ...], tuple[float, float]]:
    possible = connections / LATENCY_S
    seconds = max(1, round(stage.seconds))
    secrets = range(round(possible * seconds * SPARE / CLIENTS) + 1)
    pairs = [(client, f"{client}/{number}") for number in secrets for client in granted]
    headers = subjects.header_file(stage.folder / f"pairs-{connections}", (subjects.pair(*each) for each in pairs))
    stage.say(f"Basic pairs never seen before, {connections} connections")
    async with SlowTokens(granted) as endpoint:
        config = _basic_configuration(idp, endpoint, list(granted), connections)
        async with subjects.sidecar(stage, config, name=f"basic-{connections}") as sidecar:
            refused = await _ask_wrong_pair(sidecar.port, next(iter(granted)))
            before = cpu_ns(sidecar.pid)
            counted = await closed_loop(
                stage, sidecar.port, BASIC_PATH, headers, seconds, connections=connections, once=True
            )
            cpu_us = (cpu_ns(sidecar.pid) - before) / 1000 / counted.requests
        endpoint.asked.pop((next(iter(granted)), WRONG_SECRET), None)
    twice = sum(1 for calls in endpoint.asked.values() if calls > 1)
    unasked = counted.requests - len(endpoint.asked)
    for many, what in (
        (counted.refused, "right pairs refused"),
        (counted.broken, "connections broken"),
        (twice, "pairs asked about more than once"),
        (max(0, unasked), "answers without asking the identity provider"),
        (int(refused != 401), f"a wrong secret was answered {refused}"),
    ):
        if many:
            findings.wrong.append(f"Basic, {connections} connections: {what}: {many}")
    per_second = counted.requests / counted.duration_s
    p50, p99 = counted.p50_us / 1000, counted.p99_us / 1000
    calls = sum(endpoint.asked.values()) / len(endpoint.asked)
    return (
        str(connections),
        f"{per_second:,.0f}",
        f"{possible:,.0f}",
        f"{p50:.1f}",
        f"{p99:.1f}",
        f"{cpu_us:.0f}",
        f"{cpu_us * per_second / 1e4:.0f} %",
        f"{counted.requests:,}",
        f"{calls:.3f}",
    ), (p50, p99)


async def _ask_wrong_pair(port: int, client: str) -> int:
    name, _, value = subjects.pair(client, WRONG_SECRET).partition(": ")
    return (await asyncio.to_thread(ask, port, BASIC_PATH, {name: value}))[0]


def _basic_configuration(
    idp: FakeIdp, endpoint: SlowTokens, clients: list[str], connections: int
) -> dict[str, Any]:
    strategy = subjects.configuration(idp.issuer)["strategies"][subjects.STRATEGY]
    return subjects.configuration(
        idp.issuer,
        strategies={
            "basic": {
                **strategy,
                "auth_methods": ["client_credentials"],
                "token_endpoint": endpoint.token_endpoint,
                "token_endpoint_auth_method": "client_secret_post",
            }
        },
        applications=[
            {**subjects.application(client, number), "strategy": "basic"}
            for number, client in enumerate(clients, 1)
        ],
        outbound={"max_concurrent": max(32, connections)},
    )
