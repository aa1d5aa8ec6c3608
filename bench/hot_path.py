"""What a cached decision costs beside nginx's ``return 200``: CPU per request, same core, alternating runs.

Law of this file: it measures the program as it is shipped, by its command line and HTTP alone, takes the CPU
time from the kernel's accounting of the server's processes, and prints no number when an answer was wrong.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

TOKENS = 1000  # distinct, so that the cache is looked up in earnest; few enough to be warm after a second
CONNECTIONS = 32  # a gateway's keep-alive pool
WARM_UP_S = 1.0
START_WITHIN_S = 15.0
STOP_WITHIN_S = 10.0
FILLER = "reports:read reports:write orders:read orders:write invoices:read invoices:write customers:read "
TOKEN_BYTES = 1100  # what Entra ID, Okta and Auth0 issue is 0.8 to 1.6 kB

NGINX_CONF = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }}
}}
"""


@dataclass
class Target:
    """One row of the table: who is asked, with which tokens, and what must come back."""

    name: str
    pid: int
    port: int
    tokens: Path
    status: int
    cpu_us: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)


async def main() -> int:
    args = arguments()
    cores = sorted(os.sched_getaffinity(0))
    missing = [tool for tool in ("nginx", "wrk", "taskset") if shutil.which(tool) is None]
    if missing or len(cores) < 2:
        print(f"needs two cores (has {len(cores)}) and {', '.join(missing) or 'nothing else'}", file=sys.stderr)
        return 1
    server_core, load_core = cores[-1], cores[0]
    os.sched_setaffinity(0, {load_core})  # this program and its identity provider stay off the measured core
    with tempfile.TemporaryDirectory(prefix="hot-path-") as name:
        folder = Path(name)
        async with FakeIdp(clock=SystemClock(), audience="bench") as idp:
            good, bad = write_tokens(folder, idp)
            nginx_port, data_port, control_port = free_ports(3)
            nginx_conf = folder / "nginx.conf"
            nginx_conf.write_text(NGINX_CONF.format(folder=folder, port=nginx_port))
            config = folder / "validator.yaml"
            config.write_text(
                json.dumps(sidecar_config(idp.issuer, data_port, control_port, folder))
            )  # JSON is YAML
            async with (
                server(server_core, folder, "nginx", "-e", f"{folder}/nginx.log", "-c", str(nginx_conf)) as nginx,
                server(server_core, folder, args.validator, "serve", "--config", str(config)) as sidecar,
            ):
                await until_ready(nginx, nginx_port, folder)
                await until_ready(sidecar, control_port, folder)
                targets = [
                    Target("nginx, return 200", nginx.pid, nginx_port, good, 200),
                    Target("sidecar, cached 200", sidecar.pid, data_port, good, 200),
                    Target("sidecar, cached 401", sidecar.pid, data_port, bad, 401),
                ]
                for target in targets:
                    await measure(target, load_core, WARM_UP_S)
                for number in range(1, args.rounds + 1):
                    print(f"round {number} of {args.rounds}", file=sys.stderr)
                    for target in targets:
                        await record(target, load_core, args.seconds)
    report(targets, args)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="CPU per request of a cached decision beside nginx on the same core."
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each server, alternating (default: 5)")
    parser.add_argument("--seconds", type=float, default=3, help="length of one run (default: 3)")
    parser.add_argument("--json", type=Path, help="also write every run there")
    parser.add_argument(
        "--validator",
        default=str(Path(sys.executable).with_name("validator")),
        help="the command to measure, such as that of another checkout (default: this one's)",
    )
    return parser.parse_args()


# -- what is sent --------------------------------------------------------------------------------------------


def write_tokens(folder: Path, idp: FakeIdp) -> tuple[Path, Path]:
    """Two files with a token a line: valid ones, and the same with a signature that is not right."""
    bare = len(idp.token("bench-app", scope=""))
    scope = (FILLER * 20)[: (TOKEN_BYTES - bare) * 3 // 4]  # base64 makes four characters of three
    tokens = [idp.token("bench-app", scope=scope) for _ in range(TOKENS)]
    good, bad = folder / "good", folder / "bad"
    good.write_text("\n".join(tokens) + "\n")
    bad.write_text("\n".join(spoiled(token) for token in tokens) + "\n")
    return good, bad


def spoiled(token: str) -> str:
    """The same token with another character in the middle of its signature."""
    at = len(token) - 100
    return f"{token[:at]}{'B' if token[at] == 'A' else 'A'}{token[at + 1 :]}"


def sidecar_config(issuer: str, data_port: int, control_port: int, folder: Path) -> dict[str, Any]:
    """The shipped defaults, but for lifetimes that outlast the run: only cached decisions are measured."""
    return {
        "listen": {"data": f"127.0.0.1:{data_port}", "control": f"127.0.0.1:{control_port}"},
        "strategies": {
            "bench": {
                "idp": "generic",
                "issuer": issuer,
                "credential_claim": ["client_id"],
                "audience": ["bench"],
                "auth_methods": ["bearer"],
            }
        },
        "applications": [
            {
                "id": "00000000-0000-4000-8000-000000000001",
                "name": "Bench",
                "strategy": "bench",
                "client_id": "bench-app",
                "registrations": ["orders"],
            }
        ],
        "cache": {"decision_ttl_s": 3600, "negative_ttl_s": 300},
        "store": {"path": str(folder / "state.db")},
    }


# -- servers -------------------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextlib.asynccontextmanager
async def server(core: int, folder: Path, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs the command on that core alone, and stops it in the end, gently first."""
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "taskset", "--cpu-list", str(core), *command, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def until_ready(process: asyncio.subprocess.Process, port: int, folder: Path) -> None:
    """Polls ``/readyz``, which nginx answers like any other path.

    Raises:
        SystemExit: the server ended, or is not ready in time; with the end of the logs.
    """
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.returncode is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if (await asyncio.to_thread(ask, port, "/readyz", None))[0] == http.HTTPStatus.OK:
                return
        await asyncio.sleep(0.05)
    raise SystemExit(f"the server on port {port} is not ready\n{ends_of_logs(folder)}")


def ends_of_logs(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.log")))


def ask(port: int, path: str, token: str | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        reply = connection.getresponse()
        return reply.status, reply.read(2000)
    finally:
        connection.close()


# -- measuring -----------------------------------------------------------------------------------------------


def cpu_ns(pid: int) -> int:
    """CPU time, in the kernel and out of it, of a process, its threads and its children that live, in ns."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
        total += sum(cpu_ns(int(child)) for child in (task / "children").read_text().split())
    return total


async def measure(target: Target, core: int, seconds: float) -> tuple[float, dict[str, float]]:
    """One run of load: CPU µs per request, and what wrk counted.

    Raises:
        SystemExit: an answer was not what it must be, or a connection broke.
    """
    script = Path(__file__).with_name("requests.lua")
    path = "/v1/authorize/bench/orders"
    status, body = await asyncio.to_thread(ask, target.port, path, target.tokens.read_text().split()[0])
    if status != target.status:
        raise SystemExit(
            f"{target.name}: {status} where {target.status} is right: {body.decode(errors='replace')}"
        )
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", str(script)]
    before = cpu_ns(target.pid)
    wrk = await asyncio.create_subprocess_exec(
        *("taskset", "--cpu-list", str(core), "wrk", *options),
        *(f"http://127.0.0.1:{target.port}{path}", "--", str(target.tokens)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(wrk.communicate(), seconds + 30)
    spent = cpu_ns(target.pid) - before
    counted: dict[str, float] = json.loads(output.decode().strip().splitlines()[-1])
    wrong = counted["refused"] if target.status < 400 else counted["requests"] - counted["refused"]
    if wrong or counted["broken"] or not counted["requests"]:
        raise SystemExit(f"{target.name}: {wrong:g} wrong answers; {counted}")
    return spent / 1000 / counted["requests"], counted


async def record(target: Target, core: int, seconds: float) -> None:
    cpu_us, counted = await measure(target, core, seconds)
    target.cpu_us.append(cpu_us)
    target.per_second.append(counted["requests"] / counted["duration_s"])
    target.p99_us.append(counted["p99_us"])


def report(targets: list[Target], args: argparse.Namespace) -> None:
    base = targets[0].cpu_us
    print(
        f"{TOKENS} tokens of {TOKEN_BYTES} bytes, {CONNECTIONS} connections, "
        f"{args.rounds} runs of {args.seconds:g} s each"
    )
    print(
        f"{'':22}{'CPU µs/request':>16}{'min..max':>16}"
        f"{'x nginx':>9}{'min..max':>13}{'requests/s':>12}{'p99 µs':>8}"
    )
    for target in targets:
        ratios = [mine / its for mine, its in zip(target.cpu_us, base, strict=True)]
        print(
            f"{target.name:22}{statistics.median(target.cpu_us):16.2f}{span(target.cpu_us):>16}"
            f"{statistics.median(ratios):9.2f}{span(ratios):>13}"
            f"{statistics.median(target.per_second):12,.0f}{statistics.median(target.p99_us):8,.0f}"
        )
    if args.json:
        rows = [{k: v for k, v in vars(t).items() if k not in {"pid", "port", "tokens"}} for t in targets]
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


def span(values: list[float]) -> str:
    return f"{min(values):.2f}..{max(values):.2f}"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
