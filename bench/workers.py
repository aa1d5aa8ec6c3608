"""One sidecar with more than one worker: what it answers in a second, and how evenly it accepts.

Law of this file: the load shares the cores with what it asks, so the numbers say how two workers compare with one,
and not what a machine can do.
"""

import asyncio
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.findings import Findings, Table
from bench.fleets import fleet_processes
from bench.load import closed_loop
from bench.stage import Stage
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

TOKENS = 500
CONNECTIONS = 64
OPENED = 400
FAIR_WORKERS = 4


async def measure(stage: Stage, found: Findings) -> None:
    async with FakeIdp({"c": "secret"}, clock=SystemClock(), audience="api://default") as idp:
        config = fleet_processes.configuration(idp.issuer, {}, ["c"], cache={"decision_ttl_s": 3600})
        del config["redis"]
        headers = stage.folder / "tokens"
        headers.write_text("".join(f"Authorization: Bearer {idp.token('c', jti=str(n))}\n" for n in range(TOKENS)))
        await _throughput(stage, found, config, headers)
        await _fairness(stage, found, config)


async def _throughput(stage: Stage, found: Findings, config: Mapping[str, Any], headers: Path) -> None:
    rounds = 1 if stage.quick else 5
    rates: dict[int, list[float]] = {1: [], 2: []}
    latencies: dict[int, list[float]] = {1: [], 2: []}
    for count, counted in rates.items():
        stage.say(f"throughput: --workers {count}")
        async with fleet_processes.fleet(
            config, stage.folder / f"workers-{count}", size=1, workers=count
        ) as running:
            for number in range(rounds + 1):
                port = running.members[0].data
                came = await closed_loop(
                    stage, port, fleet_processes.AUTHORIZE, headers, stage.seconds, connections=CONNECTIONS
                )
                if came.refused or came.broken:
                    found.wrong.append(f"--workers {count}: {came.refused} refused, {came.broken} broken")
                if number:  # the first one warms the caches
                    counted.append(came.requests / came.duration_s)
                    latencies[count].append(came.p99_us)
    rows = [
        (
            f"--workers {count}",
            f"{statistics.median(counted):,.0f}",
            f"{min(counted):,.0f}–{max(counted):,.0f}",
            f"{statistics.median(latencies[count]) / 1000:.1f}",
        )
        for count, counted in rates.items()
    ]
    gain = statistics.median(rates[2]) / statistics.median(rates[1])
    found.tables.append(
        Table(
            f"Cached bearer tokens over {CONNECTIONS} connections, both cores",
            ("what", "requests/s, median", "runs", "p99, ms"),
            rows,
        )
    )
    found.notes.append(
        f"Two workers answered {gain:.2f} times what one did. wrk runs on one of the two cores, so that the "
        "second worker has only what wrk leaves of it: this says little about two workers with a core each."
    )


async def _fairness(stage: Stage, found: Findings, config: Mapping[str, Any]) -> None:
    stage.say(f"fairness: --workers {FAIR_WORKERS}")
    folder, rows = stage.folder / "fair", []
    async with fleet_processes.fleet(config, folder, size=1, workers=FAIR_WORKERS) as running:
        member = running.members[0]
        for what, at_once in (("at once", True), ("one after the other", False)):
            before = [_sockets(pid) for pid in member.worker_pids()]
            opened = await _opened(member.data, at_once=at_once)
            shares = [_sockets(pid) - were for pid, were in zip(member.worker_pids(), before, strict=True)]
            for writer in opened:
                writer.transport.abort()
            while [_sockets(pid) for pid in member.worker_pids()] != before:  # noqa: ASYNC110 - read from the kernel
                await asyncio.sleep(0.01)
            rows.append(
                (f"{OPENED} opened {what}", " ".join(map(str, sorted(shares))), str(OPENED // FAIR_WORKERS))
            )
    found.tables.append(
        Table(f"Connections of each of {FAIR_WORKERS} workers", ("load", "each has", "a fair share"), rows)
    )


async def _opened(port: int, *, at_once: bool) -> list[asyncio.StreamWriter]:
    """All accepted: each has answered one request."""

    async def one() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {fleet_processes.AUTHORIZE} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        return writer

    if at_once:
        return list(await asyncio.gather(*(one() for _ in range(OPENED))))
    return [await one() for _ in range(OPENED)]


def _sockets(pid: int) -> int:
    count = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += each.readlink().name.startswith("socket:")
        except OSError:  # closed meanwhile
            continue
    return count
