"""How long an answer takes when requests come as they come, and not when the last one was answered.

Law of this file: an open loop, counted from the moment each request was due; and beside it, at the same rate and
with the same disturbances, nginx's bare answer, so that what the machine and the generator add can be told apart.
"""

import asyncio
import contextlib
import os
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import subjects
from bench.findings import Findings, Plot, Table, Target
from bench.load import Counted, closed_loop, oha, open_loop
from bench.scraping import samples
from bench.stage import Stage
from bench.subjects import Sidecar
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp, SigningKey

QUESTION = "How long does an answer take at half of saturation, while keys, caches and metrics are at work?"
SERVICES = 200  # one token for each is an entry of its own, so that the generator's one header meets many
NEW_PER_S = 50
PIPELINED = 50  # the sidecar takes 64 at once
SHOWN = ("p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99")
STEADY = 0.98  # of the rate that was asked for
CALM_MS = 5.0  # nginx's own 99.9th percentile; beyond it the generator, or the machine, is what is measured
TRIES = 4
SWAMPED_US = 5_000  # at the median: it falls behind


@dataclass(frozen=True)
class Run:
    """The sidecar's and nginx's, and the sidecar's metrics around its own."""

    ours: Counted
    control: Counted
    before: Mapping[str, float]
    after: Mapping[str, float]
    kept_waiting_ms: float  # for its core, by whatever else ran there

    def grown(self, *parts: str) -> float:
        """By how much the samples grew whose names hold all of ``parts``."""
        names = [name for name in self.after if all(part in name for part in parts)]
        return sum(self.after[name] - self.before.get(name, 0.0) for name in names)


async def run(stage: Stage) -> Findings:
    if oha() is None:
        return Findings(not_run=["oha is absent: `cargo install oha --root .cache/bench`, or put it on the PATH"])
    entries = 4_000 if stage.quick else 100_000
    seconds = 2.0 if stage.quick else 20.0
    services = [subjects.SERVICE, *(f"s{n}" for n in range(SERVICES))]
    async with contextlib.AsyncExitStack() as running:
        idp = await running.enter_async_context(FakeIdp(clock=SystemClock(), audience=subjects.AUDIENCE))
        idp.jwks_cache_control = "max-age=2"  # so that many fetches fall into a run
        quickly = idp.mint.add_key("ES256")  # published before the sidecar starts
        config = subjects.configuration(
            idp.issuer,
            applications=[{**subjects.application(subjects.CLIENT), "registrations": services}],
            # So full in the beginning that new tokens make a generation of entries go while it is measured.
            cache={"max_entries": entries},
            keys={"min_refresh_s": 1},
        )
        _, nginx_port = await running.enter_async_context(subjects.nginx(stage))
        sidecar = await running.enter_async_context(subjects.sidecar(stage, config))
        header = subjects.bearer(subjects.tokens(idp, 1)[0])
        paths = [f"/v1/authorize/{subjects.STRATEGY}/{service}" for service in services[1:]]
        # A generation goes when new tokens have come for as long as it takes until the sidecar's first run is on.
        until = NEW_PER_S * (4 if stage.quick else 25)
        filled = await _fill(stage, idp, quickly, sidecar, entries - 2 * SERVICES - until)
        hot = subjects.header_file(stage.folder / "hot", map(subjects.bearer, subjects.tokens(idp, 200)))
        # All are seen before anything is measured.
        await closed_loop(stage, sidecar.port, subjects.PATH, hot, 1)
        await open_loop(stage, sidecar.port, paths, header, 2000, 1)
        closed = await closed_loop(stage, sidecar.port, subjects.PATH, hot, stage.seconds)
        saturation = await _saturation(stage, sidecar.port, paths, header, closed.requests / closed.duration_s)
        rate = saturation / 2
        async with _disturbances(stage, idp, sidecar):
            rate, lowered = await _bearable(stage, nginx_port, paths, header, rate)
            runs = []
            for number in range(1 if stage.quick else min(2, stage.rounds)):
                stage.say(f"run {number + 1}: {rate:,.0f} requests/s")
                control = await _measured(stage, nginx_port, paths, header, rate, seconds)
                before, waited = samples(await sidecar.metrics()), _waited_ms(sidecar.pid)
                ours = await _measured(stage, sidecar.port, paths, header, rate, seconds)
                waited = _waited_ms(sidecar.pid) - waited
                runs.append(Run(ours, control, before, samples(await sidecar.metrics()), waited))
    return _findings(runs, rate, lowered, filled)


async def _fill(stage: Stage, idp: FakeIdp, key: SigningKey, sidecar: Sidecar, count: int) -> int:
    """So many entries. ES256 is signed twenty times faster than RS256; entries are the same."""
    stage.say(f"filling the cache with {count:,} answers")
    made = await asyncio.to_thread(lambda: [idp.token(subjects.CLIENT, key=key) for _ in range(count)])
    reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port)
    with contextlib.closing(writer):
        for start in range(0, count, PIPELINED):
            await _ask(reader, writer, made[start : start + PIPELINED])
    return int(samples(await sidecar.metrics())['validator_cache_entries{cache="replies"}'])


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tokens: Sequence[str]) -> None:
    """Bare streams: an HTTP client's time on the generator's core would be measured as our latency.

    Raises:
        SystemExit: one was not let in.
    """
    start = f"GET {subjects.PATH} HTTP/1.1\r\nHost: bench\r\n"
    writer.write("".join(f"{start}{subjects.bearer(token)}\r\n\r\n" for token in tokens).encode())
    for _ in tokens:
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"a new token: {answer.decode(errors='replace')[:200]}")


def _waited_ms(pid: int) -> float:
    """How long the main thread was ready to run and something else had its core, by the kernel's accounting."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e6


@contextlib.asynccontextmanager
async def _disturbances(stage: Stage, idp: FakeIdp, sidecar: Sidecar) -> AsyncIterator[None]:
    """A scrape every second, and tokens that were never seen; keys are fetched without being asked to.

    Raises:
        SystemExit: such a token was not let in.
    """
    fresh = await asyncio.to_thread(subjects.tokens, idp, NEW_PER_S * (25 if stage.quick else 180))

    async def scrape() -> None:
        while True:
            await sidecar.metrics()
            await asyncio.sleep(1)

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port)
        with contextlib.closing(writer):
            for token in fresh:
                await _ask(reader, writer, [token])
                await asyncio.sleep(1 / NEW_PER_S)

    # This program gives way to the generator at once; what it starts does not inherit that.
    os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    tasks = [asyncio.create_task(scrape()), asyncio.create_task(send())]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))


async def _saturation(stage: Stage, port: int, paths: Sequence[str], header: str, closed: float) -> float:
    """The highest rate that is answered as fast as it comes. In an open loop requests come one by one, each wakes
    the server up, and so it is lower than in a closed loop, where they come by the dozen."""
    held = 0.3 * closed
    for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        seen = await _measured(stage, port, paths, header, share * closed, 1)
        if seen.requests / seen.duration_s < STEADY * share * closed or seen.p50_us > SWAMPED_US:
            break
        held = share * closed
    return held


async def _bearable(
    stage: Stage, nginx_port: int, paths: Sequence[str], header: str, rate: float
) -> tuple[float, int]:
    """A rate that the generator can hold against nginx, and how often it was lowered for that."""
    for lowered in range(tries := 2 if stage.quick else TRIES):
        seen = await _measured(stage, nginx_port, paths, header, rate, 1 if stage.quick else 3)
        if seen.requests / seen.duration_s >= STEADY * rate and seen.p999_us / 1000 <= CALM_MS:
            return rate, lowered
        rate *= 0.75
    return rate, tries


async def _measured(
    stage: Stage, port: int, paths: Sequence[str], header: str, rate: float, seconds: float
) -> Counted:
    counted, statuses = await open_loop(stage, port, paths, header, rate, seconds, skip_s=min(1.0, seconds / 4))
    if counted.refused or counted.broken or not counted.requests:
        raise SystemExit(f"open loop: {statuses}, {counted.broken} broken")
    return counted


def _findings(runs: Sequence[Run], rate: float, lowered: int, filled: int) -> Findings:
    def median(counted: Sequence[Counted], name: str) -> float:
        return statistics.median(each.percentiles_us[name] for each in counted)

    ours, control = [run.ours for run in runs], [run.control for run in runs]
    share = f"half of saturation, {rate:,.0f}/s"
    if lowered:
        share = f"{0.75**lowered / 2:.0%} of saturation, {rate:,.0f}/s: beyond it nginx itself was not steady here"
    p50, p99, p999 = (median(ours, name) for name in ("p50", "p99", "p99.9"))
    beside = f"nginx: {median(control, 'p99') / median(control, 'p50'):.1f} times"
    found = Findings(
        targets=[
            Target("p99 at half of saturation", "≤ 3 × p50", p99 / p50, 3, note=f"{share}; {beside}"),
            Target(
                "p99.9 at half of saturation",
                "≤ 10 ms",
                p999 / 1000,
                10,
                unit="ms",
                note=f"{share}; nginx: {median(control, 'p99.9') / 1000:.2f} ms",
            ),
        ]
    )
    head = ("open loop, ms", *SHOWN, "slowest", "requests", "of the rate asked for")
    found.tables.append(
        Table(
            f"Latency at {rate:,.0f} requests/s, counted from when each was due",
            head,
            [
                row
                for number, each in enumerate(runs, 1)
                for row in (
                    _row(f"sidecar, run {number}", each.ours, rate),
                    _row("nginx, same", each.control, rate),
                )
            ],
        )
    )
    found.plots.append(
        Plot(
            "latency",
            f"Latency at {rate:,.0f} requests/s, open loop (medians of {len(runs)})",
            "one request in so many is slower",
            "milliseconds",
            {
                name: [(_one_in(each), median(counted, each) / 1000) for each in SHOWN]
                for name, counted in (("sidecar", ours), ("nginx return 200", control))
            },
            log_x=True,
            log_y=True,
        )
    )
    meanwhile = [
        f"{run.grown('validator_signature_verifications_total'):.0f} tokens first seen, keys fetched "
        f"{run.grown('validator_idp_requests_total', 'jwks'):.0f} times, "
        f"{run.grown('validator_cache_evictions_total', 'replies'):,.0f} answers evicted, "
        f"{run.grown('python_gc_collections_total', '2'):.0f} full garbage collections, "
        f"{run.kept_waiting_ms:,.0f} ms kept waiting for its core by other programs"
        for run in runs
    ]
    found.notes.append(
        f"{filled:,} answers were kept. During the sidecar's runs: {'; '.join(meanwhile)}; and a scrape of the "
        "metrics every second. The same goes on while nginx is measured, on the same core. The generator has the "
        "other core, and what scrapes and sends new tokens gives way to it."
    )
    return found


def _row(name: str, counted: Counted, rate: float) -> tuple[str, ...]:
    percentiles = [f"{counted.percentiles_us[each] / 1000:.2f}" for each in SHOWN]
    held = f"{counted.requests / counted.duration_s / rate:.1%}"
    return name, *percentiles, f"{counted.max_us / 1000:.2f}", f"{counted.requests:,}", held


def _one_in(percentile: str) -> float:
    return 100 / (100 - float(percentile[1:]))
