"""How long a start takes: from the command to an answer of ``/readyz``.

Law of this file: by the clock on the wall, since that is what an operator waits for; the identity provider
answers at once and runs on the other core.
"""

import asyncio
import contextlib
import http.client
import statistics
import time

import yaml

from bench import subjects
from bench.accounting import cpu_ns
from bench.contest import span
from bench.findings import Findings, Table, Target
from bench.stage import START_WITHIN_S, Stage, ask, free_ports
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

QUESTION = "How long does a start take, until the sidecar says that it is ready?"
STARTS, QUICK_STARTS = 10, 5
POLL_S = 0.004
LIMIT_S = 1.0


async def run(stage: Stage) -> Findings:
    walls, cpus = [], []
    async with FakeIdp(clock=SystemClock(), audience=subjects.AUDIENCE) as idp:
        await _start(stage, idp)  # makes the store and fills the page cache
        for number in range(1, 1 + (QUICK_STARTS if stage.quick else STARTS)):
            wall_s, cpu_s = await _start(stage, idp)
            stage.say(f"start {number}: ready after {wall_s * 1000:.0f} ms, {cpu_s * 1000:.0f} ms of CPU")
            walls.append(wall_s)
            cpus.append(cpu_s)
    rows = [
        (name, f"{statistics.median(times):.3f}", span(times)) for name, times in (("ready", walls), ("CPU", cpus))
    ]
    return Findings(
        targets=[Target("start", "ready in under 1 s", statistics.median(walls), LIMIT_S, unit="s")],
        tables=[Table(f"{len(walls)} starts", ("", "median s", "min..max"), rows)],
    )


async def _start(stage: Stage, idp: FakeIdp) -> tuple[float, float]:
    """Seconds from the command to 200 on ``/readyz``, and the CPU time that they took.

    Raises:
        SystemExit: it ended, or was not ready in time.
    """
    port, control_port = free_ports(2)
    config = {
        "listen": {"data": f"127.0.0.1:{port}", "control": f"127.0.0.1:{control_port}"},
        "store": {"path": str(stage.folder / "start.db")},
        **subjects.configuration(idp.issuer),
    }
    path = stage.folder / "start.yaml"
    path.write_text(yaml.safe_dump(config))
    began = time.monotonic()
    async with stage.program(stage.validator, "serve", "--config", str(path)) as program:
        while program.process.returncode is None and time.monotonic() < began + START_WITHIN_S:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, _, _ = await asyncio.to_thread(ask, control_port, "/readyz")
                if status == http.HTTPStatus.OK:
                    return time.monotonic() - began, cpu_ns(program.pid) / 1e9
            await asyncio.sleep(POLL_S)
        raise SystemExit(f"not ready within {START_WITHIN_S:.0f} s\n{program.log_end()}")
