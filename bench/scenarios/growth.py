"""Whether a cached decision costs the same however much there is of everything else.

Law of this file: a point is compared with its base in the same round, with the same load, on the same core. What
runs beside the requests (writes, a flood) has its own cost, which is measured alone and shown; a row says whether
it is in the number.
"""

import asyncio
import contextlib
import dataclasses
import json
import random
import secrets
import statistics
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import many, subjects
from bench.accounting import cpu_ns
from bench.contest import Contender, contest, measure, ratios, span
from bench.findings import Findings, Plot, Table, Target
from bench.scenarios.memory import cache_metric
from bench.stage import Stage
from bench.subjects import Sidecar
from validator.adapters.clock import SystemClock
from validator.adapters.sqlite_file import connect
from validator.adapters.sqlite_rows import save
from validator.model import Application, RegistrationStatus
from validator.testing import FakeIdp

QUESTION = "Does a cached decision cost the same as everything else grows?"
LIMIT = 1.10
BASE_TOKENS = 1000
SAMPLE = 200_000  # so many of the cached credentials are sent at most; far more than a processor's cache holds
CREDENTIALS, QUICK_CREDENTIALS = (1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000)
APPLICATIONS, QUICK_APPLICATIONS = (10, 1_000, 100_000, 1_000_000), (10, 10_000)
CONNECTIONS, QUICK_CONNECTIONS = (1, 32, 500, 2_000), (1, 32, 200)
WRITES, QUICK_WRITES = (0, 10, 100), (0, 100)
FLOOD, QUICK_FLOOD = (0, 500, 2_000), (0, 2_000)
WRITTEN_APPLICATIONS = 1_000
SETUP_S = 1.0
OTHER_SERVICE = "billing"
RSA_BYTES = 256
_PICK = random.Random  # seeded, so that two runs send the same; nothing secret is drawn from it


@dataclass(frozen=True)
class Row:
    """One thing that grows: CPU µs per request at each size, and the ratio to the base in every round.

    Attributes:
        own_us: what ran beside the requests cost for each request; taken off in ``ratios``.
    """

    name: str
    x: str
    sizes: Sequence[int]
    cpu_us: Sequence[float]
    ratios: Sequence[Sequence[float]]
    own_us: Sequence[float] = ()
    note: str = ""

    @property
    def medians(self) -> list[float]:
        return [statistics.median(each) for each in self.ratios]

    def table(self) -> Table:
        own = [f"{each:.2f}" for each in self.own_us] or ["0.00"] * len(self.sizes)
        rows = [
            (f"{size:,}", f"{cpu:.2f}", beside, f"{middle:.3f}", span(each))
            for size, cpu, beside, middle, each in zip(
                self.sizes, self.cpu_us, own, self.medians, self.ratios, strict=True
            )
        ]
        head = (self.x, "CPU µs/request, all in", "of it what ran beside", "× base, without that", "min..max")
        return Table(self.name, head, rows)

    def target(self) -> Target:
        return Target(self.name, "≤ 1.10 × the base", max(self.medians), LIMIT, note=self.note)

    def plot(self) -> Plot:
        ends = [(size, LIMIT) for size in (self.sizes[0], self.sizes[-1])]
        measured = list(zip(self.sizes, self.medians, strict=True))
        return Plot(
            "growth-" + self.name.replace(" ", "-"),
            f"Cost of a cached decision: {self.name}",
            self.x,
            "× the base point",
            {"measured": measured, "limit": ends},
            log_x=self.sizes[0] > 0,
        )


async def run(stage: Stage) -> Findings:
    if stage.quick:
        stage = dataclasses.replace(stage, rounds=1)
    findings = Findings()
    for measured in (_credentials, _applications, _connections, _writes, _flood):
        row, tables = await measured(stage, findings.wrong)
        findings.targets.append(row.target())
        findings.tables += [row.table(), *tables]
        findings.plots.append(row.plot())
    findings.notes.append(
        "The base is the first line of each table. Where the base is a sidecar of its own, that line compares it "
        "with a second one of the same size: what two equal ones differ by here."
    )
    return findings


# -- cached credentials, applications: two sidecars beside each other ----------------------------------------


async def _credentials(stage: Stage, wrong: list[str]) -> tuple[Row, list[Table]]:
    sizes = QUICK_CREDENTIALS if stage.quick else CREDENTIALS
    points: list[tuple[Contender, Contender]] = []
    async with contextlib.AsyncExitStack() as running:
        idp = await running.enter_async_context(many.quick_idp())
        config = subjects.configuration(idp.issuer, cache={"max_entries": 4 * sizes[-1]})
        small, big = [
            await running.enter_async_context(subjects.sidecar(stage, config, name=name))
            for name in ("few", "many")
        ]
        tokens = many.Tokens(idp)
        await many.send_all(small.port, many.gets(subjects.PATH, tokens.bearers(range(BASE_TOKENS))))
        few = subjects.header_file(stage.folder / "few", tokens.bearers(range(BASE_TOKENS)))
        held = 0
        for size in sizes:
            stage.say(f"{size:,} cached credentials")
            await many.send_all(big.port, many.gets(subjects.PATH, tokens.bearers(range(held, size))))
            held = size
            sample = _PICK(size).sample(range(size), min(size, SAMPLE))
            lines = subjects.header_file(stage.folder / "many", tokens.bearers(sample))
            base = Contender("few", [small.pid], small.port, subjects.PATH, few)
            grown = Contender(f"{size:,}", [big.pid], big.port, subjects.PATH, lines)
            with_all = await _misses(big)
            await contest(stage, [base, grown], warm_up=not stage.quick)
            if await _misses(big) != with_all:
                wrong.append(f"{size:,} cached credentials: some had to be judged again")
            points.append((base, grown))
        metrics = await big.metrics()
        if (kept := cache_metric(metrics, "entries", "replies")) != held:
            wrong.append(f"{kept:,} replies are held where {held:,} were put")
    note = f"{min(sizes[-1], SAMPLE):,} of the {sizes[-1]:,} are sent, at random" if sizes[-1] > SAMPLE else ""
    return _row("cached credentials", "cached credentials", sizes, points, note), []


async def _applications(stage: Stage, wrong: list[str]) -> tuple[Row, list[Table]]:
    sizes = QUICK_APPLICATIONS if stage.quick else APPLICATIONS
    points: list[tuple[Contender, Contender]] = []
    async with many.quick_idp() as idp, contextlib.AsyncExitStack() as running:
        small, few = await running.enter_async_context(_registry_of(stage, idp, sizes[0], "base"))
        for size in sizes[1:] if stage.quick else sizes:
            stage.say(f"{size:,} applications")
            async with _registry_of(stage, idp, size, f"of-{size}") as (big, lines):
                base = Contender("few", [small.pid], small.port, subjects.PATH, few)
                grown = Contender(f"{size:,}", [big.pid], big.port, subjects.PATH, lines)
                with_all = await _misses(big)
                await contest(stage, [base, grown], warm_up=not stage.quick)
                if await _misses(big) != with_all:
                    wrong.append(f"{size:,} applications: a cached decision was judged again")
            points.append((base, grown))
    if stage.quick:
        points.insert(0, (points[0][0], points[0][0]))
    return _row("applications", "applications in the registry", sizes, points), []


@contextlib.asynccontextmanager
async def _registry_of(stage: Stage, idp: FakeIdp, count: int, name: str) -> AsyncIterator[tuple[Sidecar, Path]]:
    """A sidecar with so many stored applications, and the headers of credentials spread over them, all cached."""
    await asyncio.to_thread(_store, stage.folder / f"{name}.db", count)
    clients = _PICK(count).sample(range(count), min(count, BASE_TOKENS))
    tokens = many.Tokens(idp)
    bearers = [
        f"Authorization: Bearer {tokens.token(n, _client(clients[n % len(clients)]))}" for n in range(BASE_TOKENS)
    ]
    async with subjects.sidecar(stage, subjects.configuration(idp.issuer), name=name) as sidecar:
        await many.send_all(sidecar.port, many.gets(subjects.PATH, bearers))
        yield sidecar, subjects.header_file(stage.folder / f"{name}.headers", bearers)


def _store(path: Path, count: int) -> None:
    """A registry's file with so many applications, as the control plane would have left it."""
    opened = connect(path)
    opened.connection.execute("BEGIN")
    for number in range(count):
        application = Application(
            _id(number),
            f"Stored {number}",
            subjects.STRATEGY,
            _client(number),
            {subjects.SERVICE: RegistrationStatus.APPROVED},
        )
        for sql, values in save(application):
            opened.connection.execute(sql, values)
    opened.connection.execute("COMMIT")
    opened.connection.close()


def _id(number: int) -> str:
    return f"10000000-0000-4000-8000-{number:012}"


def _client(number: int) -> str:
    return f"stored-{number}"


# -- connections: one sidecar --------------------------------------------------------------------------------


async def _connections(stage: Stage, _: list[str]) -> tuple[Row, list[Table]]:
    sizes = QUICK_CONNECTIONS if stage.quick else CONNECTIONS
    async with many.quick_idp() as idp:
        config = subjects.configuration(idp.issuer)
        async with subjects.sidecar(stage, config, name="connections") as sidecar:
            lines = subjects.header_file(stage.folder / "few", many.Tokens(idp).bearers(range(BASE_TOKENS)))
            contenders = [
                Contender(f"{size:,}", [sidecar.pid], sidecar.port, subjects.PATH, lines, connections=size)
                for size in sizes
            ]
            await measure(stage, contenders[1], 1)
            for number in range(1, stage.rounds + 1):
                stage.say(
                    f"round {number} of {stage.rounds}: {', '.join(f'{size:,}' for size in sizes)} connections"
                )
                for each in contenders:
                    each.cpu_us.append(await _steady(stage, each))
    base = contenders[0]
    note = "one connection: each request is a wake-up of its own, so the base is the dearest point"
    points = [(base, each) for each in contenders]
    from_32 = max(statistics.median(ratios(each, contenders[1])) for each in contenders[1:])
    return _row("connections", "connections", sizes, points, f"{note}; from 32 up: {from_32:.2f} × that of 32"), []


async def _steady(stage: Stage, contender: Contender) -> float:
    """CPU µs per request once all connections are there: a long run, less a short one that opens as many."""
    if stage.quick:
        return (await measure(stage, contender, stage.seconds))[0]
    (short_us, short), (long_us, long) = [
        await measure(stage, contender, seconds) for seconds in (SETUP_S, SETUP_S + stage.seconds)
    ]
    spent = long_us * long.requests - short_us * short.requests
    return spent / (long.requests - short.requests)


# -- what runs beside the requests ---------------------------------------------------------------------------


async def _writes(stage: Stage, _: list[str]) -> tuple[Row, list[Table]]:
    rates = QUICK_WRITES if stage.quick else WRITES
    async with many.quick_idp() as idp, _registry_of(stage, idp, WRITTEN_APPLICATIONS, "written") as found:
        sidecar, lines = found
        reads = Contender("reads", [sidecar.pid], sidecar.port, subjects.PATH, lines)

        def beside(rate: float) -> many.Stream:
            return many.Stream(sidecar.control_port, _puts(), rate)

        return await _beside(
            stage,
            ("registry writes", "writes a second"),
            reads,
            rates,
            beside,
            "the applications that are written to are those whose credentials are read",
        )


def _puts() -> Iterator[bytes]:
    """Registrations of one application after another for another service, approved and not in turn."""
    number = 0
    while True:
        status = "approved" if number // WRITTEN_APPLICATIONS % 2 else "pending"
        body = f'{{"status": "{status}"}}'
        path = f"/v1/applications/{_id(number % WRITTEN_APPLICATIONS)}/registrations/{OTHER_SERVICE}"
        head = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        yield f"PUT {path} HTTP/1.1\r\n{head}\r\n\r\n{body}".encode()
        number += 1


async def _flood(stage: Stage, wrong: list[str]) -> tuple[Row, list[Table]]:
    rates = QUICK_FLOOD if stage.quick else FLOOD
    async with contextlib.AsyncExitStack() as running:
        idp = await running.enter_async_context(
            FakeIdp(clock=SystemClock(), audience=subjects.AUDIENCE, lifetime_s=many.LIFETIME_S)
        )
        config = subjects.configuration(idp.issuer)
        sidecar = await running.enter_async_context(subjects.sidecar(stage, config, name="flood"))
        lines = subjects.header_file(stage.folder / "good", map(subjects.bearer, subjects.tokens(idp)))
        good = Contender("good ones", [sidecar.pid], sidecar.port, subjects.PATH, lines)
        await measure(stage, good, 1)
        with_all = await _misses(sidecar)

        def beside(rate: float) -> many.Stream:
            return many.Stream(sidecar.port, many.gets(subjects.PATH, _bad(idp)), rate, status=401)

        found = await _beside(
            stage,
            ("flood of bad credentials", "bad credentials a second, none seen before"),
            good,
            rates,
            beside,
            "half of them have a wrong signature, half are no tokens",
        )
        metrics = await sidecar.metrics()
        if evicted := cache_metric(metrics, "evictions_total", "replies"):
            wrong.append(f"the flood evicted {evicted:,} good replies")
        if await _misses(sidecar) != with_all:
            wrong.append("a good credential had to be judged again beside the flood")
        return found


def _bad(idp: FakeIdp) -> Iterator[str]:
    """Never the same twice: tokens whose signature is random, and random text, in turn."""
    forged = idp.mint.current
    header = json.dumps({"alg": forged.alg, "kid": forged.kid, "typ": "at+jwt"}).encode()
    claims = idp.mint.claims({"sub": subjects.CLIENT, "client_id": subjects.CLIENT})
    while True:
        payload = json.dumps({**claims, "jti": secrets.token_hex(16)}).encode()
        # A zero in front: a number below any modulus, so that the signature is really computed.
        signature = b"\0" + secrets.token_bytes(RSA_BYTES - 1)
        yield subjects.bearer(idp.mint.mint_raw(header, payload, signature=signature))
        yield subjects.bearer(secrets.token_urlsafe(800))


async def _beside(
    stage: Stage,
    names: tuple[str, str],
    reads: Contender,
    rates: Sequence[int],
    beside: Callable[[float], many.Stream],
    note: str,
) -> tuple[Row, list[Table]]:
    """The cost of the reads with a stream of other requests at each rate; its own cost is measured alone."""
    alone_us = await _alone(stage, reads, beside(rates[-1]))
    totals: dict[int, list[float]] = {rate: [] for rate in rates}
    owns: dict[int, list[float]] = {rate: [] for rate in rates}
    latencies: dict[int, list[tuple[float, float, float]]] = {rate: [] for rate in rates}
    for number in range(1, stage.rounds + 1):
        stage.say(
            f"round {number} of {stage.rounds}: {names[0]}, {', '.join(f'{rate:,}' for rate in rates)} a second"
        )
        for rate in rates:
            async with contextlib.AsyncExitStack() as running:
                stream = await running.enter_async_context(beside(rate)) if rate else None
                before = stream.answered if stream else 0
                total, counted = await measure(stage, reads, stage.seconds)
                done = stream.answered - before if stream else 0
            totals[rate].append(total)
            owns[rate].append(done * alone_us / counted.requests)
            latencies[rate].append((counted.p50_us, counted.p99_us, done / counted.duration_s))
    netto = {rate: [t - o for t, o in zip(totals[rate], owns[rate], strict=True)] for rate in rates}
    all_in = statistics.median(a / b for a, b in zip(totals[rates[-1]], totals[rates[0]], strict=True))
    row = Row(
        names[0],
        names[1],
        rates,
        [statistics.median(each) for each in totals.values()],
        [[a / b for a, b in zip(netto[rate], netto[rates[0]], strict=True)] for rate in rates],
        [statistics.median(each) for each in owns.values()],
        f"without their own cost, {alone_us:,.0f} µs each measured alone; with it {all_in:.2f} ×; {note}",
    )
    seen = [
        (f"{rate:,}", *(f"{statistics.median(column):,.0f}" for column in zip(*latencies[rate], strict=True)))
        for rate in rates
    ]
    head = (names[1], "p50 µs", "p99 µs", "of the others answered a second")
    return row, [Table(f"Latency at saturation beside: {names[0]}", head, seen)]


async def _alone(stage: Stage, reads: Contender, stream: many.Stream) -> float:
    """CPU µs of one request of the stream while nothing else is asked."""
    async with stream:
        await asyncio.sleep(0.3)  # the first ones are dearer
        before, done = cpu_ns(*reads.pids), stream.answered
        await asyncio.sleep(max(1.0, stage.seconds))
        return (cpu_ns(*reads.pids) - before) / 1000 / max(1, stream.answered - done)


def _row(
    name: str, x: str, sizes: Sequence[int], points: Sequence[tuple[Contender, Contender]], note: str = ""
) -> Row:
    cpu_us = [statistics.median(grown.cpu_us) for _, grown in points]
    return Row(name, x, sizes, cpu_us, [ratios(grown, base) for base, grown in points], note=note)


async def _misses(sidecar: Sidecar) -> int:
    return cache_metric(await sidecar.metrics(), "misses_total", "replies")
