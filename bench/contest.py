"""Contenders measured in turn, round by round, so that what else the machine does hits all alike.

Law of this file: a cost is CPU time by the kernel's accounting over answered requests, and it is compared within
its round only. A wrong answer ends the contest without a number.
"""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.accounting import cpu_ns
from bench.findings import Table
from bench.load import GATEWAY_CONNECTIONS, Counted, closed_loop
from bench.stage import Stage, ask

WARM_UP_S = 1.0


@dataclass
class Contender:
    """Who is asked, for what, and what must come back.

    Attributes:
        pids: the processes whose time is counted.
        headers: a file with one request's header a line.
        status: of every answer.
        once: no line of ``headers`` is sent twice: for what must not have been seen before.
    """

    name: str
    pids: Sequence[int]
    port: int
    path: str
    headers: Path
    status: int = 200
    connections: int = GATEWAY_CONNECTIONS
    once: bool = False
    cpu_us: list[float] = field(default_factory=list)
    counted: list[Counted] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return statistics.median(run.requests / run.duration_s for run in self.counted)


async def contest(stage: Stage, contenders: Sequence[Contender], *, warm_up: bool = True) -> None:
    """Runs every contender ``stage.rounds`` times, alternating; the results are kept in them."""
    for contender in contenders if warm_up else ():
        await measure(stage, contender, WARM_UP_S)
    for number in range(1, stage.rounds + 1):
        stage.say(f"round {number} of {stage.rounds}: {', '.join(each.name for each in contenders)}")
        for contender in contenders:
            cpu_us, counted = await measure(stage, contender, stage.seconds)
            contender.cpu_us.append(cpu_us)
            contender.counted.append(counted)


async def measure(stage: Stage, contender: Contender, seconds: float) -> tuple[float, Counted]:
    """One run: CPU µs per request, and what the load generator counted.

    Raises:
        SystemExit: an answer was not what it must be, or a connection broke.
    """
    with contender.headers.open() as file:
        name, _, value = file.readline().rstrip("\n").partition(": ")
    status, body, _ = await asyncio.to_thread(ask, contender.port, contender.path, {name: value})
    if status != contender.status:
        said = body[:500].decode(errors="replace")
        raise SystemExit(f"{contender.name}: {status} where {contender.status} is right: {said}")
    before = cpu_ns(*contender.pids)
    counted = await closed_loop(
        stage,
        contender.port,
        contender.path,
        contender.headers,
        seconds,
        connections=contender.connections,
        once=contender.once,
    )
    spent = cpu_ns(*contender.pids) - before
    wrong = counted.refused if contender.status < 400 else counted.requests - counted.refused
    if wrong or counted.broken or not counted.requests:
        raise SystemExit(f"{contender.name}: {wrong} wrong answers; {counted}")
    return spent / 1000 / counted.requests, counted


def ratio(contender: Contender, base: Contender) -> float:
    """The median over the rounds of what one cost against the other in the same round."""
    return statistics.median(ratios(contender, base))


def ratios(contender: Contender, base: Contender) -> list[float]:
    return [mine / its for mine, its in zip(contender.cpu_us, base.cpu_us, strict=True)]


def table(title: str, contenders: Sequence[Contender], base: Contender) -> Table:
    """One row a contender: medians, and how far the runs lay apart."""
    rows = [
        (
            each.name,
            f"{statistics.median(each.cpu_us):.2f}",
            span(each.cpu_us),
            f"{ratio(each, base):.2f}",
            span(ratios(each, base)),
            f"{each.per_second:,.0f}",
        )
        for each in contenders
    ]
    head = ("", "CPU µs/request", "min..max", f"× {base.name}", "min..max", "requests/s on its core")
    return Table(title, head, rows)


def span(values: Sequence[float]) -> str:
    return f"{min(values):.2f}..{max(values):.2f}"
