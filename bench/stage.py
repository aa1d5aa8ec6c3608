"""Where a scenario runs: its two cores, its folder, how long it may take, and the programs that it starts.

Law of this file: what is measured has a core of its own; load, identity providers and this program share the
other one. Every program that is started is stopped again, gently first.
"""

import asyncio
import contextlib
import http.client
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

START_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0


@dataclass
class Stage:
    """One run's circumstances.

    Attributes:
        folder: empty at the start, removed in the end.
        cores: the one for load, and the measured one.
        quick: two minutes for all scenarios together: fewer and shorter runs, smaller tables.
        rounds: alternating runs of each contender.
        seconds: length of one run.
    """

    folder: Path
    cores: tuple[int, int]
    quick: bool = False
    rounds: int = 5
    seconds: float = 3.0
    soak_minutes: float = 0.0
    kong_url: str = ""
    validator: str = field(default_factory=lambda: str(Path(sys.executable).with_name("validator")))

    @property
    def load_core(self) -> int:
        return self.cores[0]

    @property
    def server_core(self) -> int:
        return self.cores[1]

    def say(self, line: str) -> None:
        """Progress, for whoever waits."""
        print(f"  {line}", file=sys.stderr, flush=True)

    @contextlib.asynccontextmanager
    async def program(
        self, *command: str, core: int | None = None, env: Mapping[str, str] | None = None
    ) -> AsyncIterator["Program"]:
        """Runs a command on one core, by default the measured one; what it says goes to a log in the folder."""
        log_path = self.folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *("taskset", "--cpu-list", str(self.server_core if core is None else core)),
                *command,
                stdout=log,
                stderr=log,
                env={**os.environ, **env} if env else None,
            )
        program = Program(process, log_path)
        try:
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
            except TimeoutError:
                process.kill()
                await process.wait()


@dataclass
class Program:
    """One running command."""

    process: asyncio.subprocess.Process
    log_path: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ready(self, port: int, path: str = "/readyz") -> Self:
        """Polls until ``path`` is answered 200.

        Raises:
            SystemExit: it ended, or is not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline and self.process.returncode is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if (await asyncio.to_thread(ask, port, path))[0] == http.HTTPStatus.OK:
                    return self
            await asyncio.sleep(0.02)
        raise SystemExit(f"the server on port {port} is not ready\n{self.log_end()}")

    def log_end(self) -> str:
        return self.log_path.read_text(errors="replace")[-2000:]


def ask(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes, Mapping[str, str]]:
    """One request over a connection of its own: status, the first bytes of the body, headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        reply = connection.getresponse()
        return reply.status, reply.read(100_000), dict(reply.getheaders())
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
