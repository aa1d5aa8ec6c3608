"""Load, by programs that people trust: wrk for closed loops, oha for open ones.

Law of this file: it runs them on the load core and reads what they counted; a broken connection or an answer of
another kind than the one that is right is never a number.
"""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.stage import Stage

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
GATEWAY_CONNECTIONS = 32  # a gateway's keep-alive pool


@dataclass(frozen=True)
class Counted:
    """What one run came to. Latencies in microseconds, as the generator saw them."""

    requests: int
    duration_s: float
    refused: int  # answers from 400 up
    broken: int  # connections refused, reset or timed out
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    percentiles_us: Mapping[str, float] = field(default_factory=dict)  # ``p99.9`` -> µs; open loop only


async def closed_loop(
    stage: Stage,
    port: int,
    path: str,
    headers: Path,
    seconds: float,
    *,
    connections: int = GATEWAY_CONNECTIONS,
    once: bool = False,
    host: str = "127.0.0.1",
) -> Counted:
    """wrk: every connection sends its next request when it has its answer.

    Args:
        headers: a file with one request's header a line, such as ``Authorization: Bearer ...``; sent in turn.
        once: no line is sent twice, and the first not at all; the load ends early when they run out, so that
            ``duration_s`` says nothing then.

    Raises:
        SystemExit: wrk failed.
    """
    options = [
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "10s",
        "-s",
        str(WRK_SCRIPT),
    ]
    output = await _run(
        stage,
        seconds,
        "wrk",
        *options,
        f"http://{host}:{port}{path}",
        "--",
        str(headers),
        *(["once"] if once else []),
    )
    return Counted(**json.loads(output.strip().splitlines()[-1]))


async def open_loop(
    stage: Stage,
    port: int,
    path: str | Sequence[str],
    header: str,
    rate: float,
    seconds: float,
    *,
    connections: int = GATEWAY_CONNECTIONS,
    skip_s: float = 0.0,
) -> tuple[Counted, dict[str, int]]:
    """oha at a fixed rate, each latency counted from the moment at which the request was due, so that a stall
    is felt by every request it delayed (no coordinated omission). Also the statuses and how often each came.

    Args:
        path: several are asked for at random.
        skip_s: what was due in the first so many seconds is in no latency. oha gets going late, the later the
            longer it is to run, and then sends all that is due at once.

    Raises:
        SystemExit: oha failed.
    """
    kept = stage.folder / f"open-loop-{time.monotonic_ns()}.db"
    options = ["--no-tui", "--latency-correction", "--output-format", "json", "--worker-threads", "1", "-w"]
    origin = f"http://127.0.0.1:{port}"
    target = [f"{origin}{path}"]
    if not isinstance(path, str):
        urls = stage.folder / f"urls-{port}"
        urls.write_text("".join(f"{origin}{each}\n" for each in path))
        target = ["--urls-from-file", str(urls)]
    output = await _run(
        stage,
        seconds,
        *(oha() or "oha", *options, "-q", f"{rate:.0f}", "-c", str(connections), "-z", f"{seconds:g}s"),
        *(("--db-url", str(kept)) if skip_s else ()),
        *("-H", header, *target),
    )
    said = json.loads(output[output.index("{") : output.rindex("}") + 1])
    statuses: dict[str, int] = said["statusCodeDistribution"]
    broken = sum(said["errorDistribution"].values())
    percentiles, slowest = said["latencyPercentiles"], said["summary"]["slowest"]
    if skip_s:
        percentiles, slowest = await asyncio.to_thread(_percentiles, kept, skip_s, percentiles)
    return Counted(
        requests=sum(statuses.values()),
        duration_s=said["summary"]["total"],
        refused=sum(count for status, count in statuses.items() if int(status) >= 400),
        broken=broken,
        p50_us=percentiles["p50"] * 1e6,
        p99_us=percentiles["p99"] * 1e6,
        p999_us=percentiles["p99.9"] * 1e6,
        max_us=slowest * 1e6,
        percentiles_us={name: seconds * 1e6 for name, seconds in percentiles.items()},
    ), statuses


def _percentiles(kept: Path, skip_s: float, names: Iterable[str]) -> tuple[dict[str, float], float]:
    """Of every single latency that oha wrote down, in seconds; and the longest."""
    with contextlib.closing(sqlite3.connect(kept)) as store:
        rows = store.execute(
            "SELECT end - start_latency_correction FROM oha WHERE start_latency_correction >= ?", (skip_s,)
        )
        latencies = np.fromiter((seconds for (seconds,) in rows), float)
    kept.unlink()
    ranks = [float(name.removeprefix("p")) for name in names]
    return dict(zip(names, map(float, np.percentile(latencies, ranks)), strict=True)), float(latencies.max())


def oha() -> str | None:
    """The open-loop generator, if this machine has it; ``scripts/bench`` builds it where there is a cargo."""
    own = Path(__file__).parents[1] / ".cache/bench/bin/oha"
    return str(own) if own.exists() else shutil.which("oha")


async def _run(stage: Stage, seconds: float, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("taskset", "--cpu-list", str(stage.load_core)),
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, complaint = await asyncio.wait_for(process.communicate(), seconds + 60)
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {complaint.decode(errors='replace')[-1000:]}")
    return output.decode()
