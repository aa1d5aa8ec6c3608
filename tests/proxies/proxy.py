"""nginx, Envoy and Traefik as processes, each with its own file from ``deploy/``.

Law of this file: a file of ``deploy/`` runs as it stands but for addresses and folders, and each of these must
occur in it as often as is said here. No pytest.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.gateway import find_nginx

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
START_WITHIN_S = 20.0
POLL_S = 0.02

# Around the file, as the distributions' own nginx.conf has it.
NGINX_CONF = """
{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {directory}/client_body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  include {directory}/credential-validator.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: ``unix:/path`` or ``host:port``."""

    text: str

    @property
    def path(self) -> str | None:
        return self.text.removeprefix("unix:") if self.text.startswith("unix:") else None

    @property
    def host(self) -> str:
        return self.text.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.text.rpartition(":")[2])

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.path is not None:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection(self.host, self.port)

    @property
    def envoy(self) -> str:
        if self.path is not None:
            return f"pipe: {{path: {self.path}}}"
        return f"socket_address: {{address: {self.host}, port_value: {self.port}}}"


class Proxy:
    """One kind of proxy: its program, its file, and what it can do.

    Attributes:
        name: as the tests show it.
        unix: whether it can reach a sidecar on a Unix socket.
        one_503: whether everything that is no decision becomes the same 503.
        gives_up_after_s: how long it waits for a sidecar that says nothing.
        passes_reason_of_503: whether the client learns why the sidecar could not judge.
        cuts_cookies: whether our cookie alone is taken out of the Cookie header.
        asks_also_with: headers of its own to the sidecar.
        adds: headers of its own to the service.
    """

    name: str
    unix = True
    one_503 = True
    gives_up_after_s = 3.0
    passes_reason_of_503 = False
    cuts_cookies = True
    asks_also_with: frozenset[str] = frozenset()
    adds: frozenset[str] = frozenset()

    @staticmethod
    def program() -> str | None:
        """What is run; ``None`` where this machine has none."""
        raise NotImplementedError

    def command(self, directory: Path, front: Address, sidecar: Address, service: Address) -> Sequence[str]:
        """Writes its files into ``directory``."""
        raise NotImplementedError

    def front(self, directory: Path) -> Address:
        """Where it is to listen: on a Unix socket, since no other process can take that."""
        return Address(f"unix:{directory}/front.sock")

    def log(self, directory: Path) -> str:
        """All that it has said."""
        return "".join(path.read_text(errors="replace") for path in sorted(directory.glob("*.log")))


def substituted(text: str, *replacements: tuple[str, str]) -> str:
    """The text with every pair replaced, each of which must occur once."""
    for old, new in replacements:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    return text


class Nginx(Proxy):
    name = "nginx"
    passes_reason_of_503 = True

    @staticmethod
    def program() -> str | None:
        return find_nginx()[0]

    def command(self, directory: Path, front: Address, sidecar: Address, service: Address) -> Sequence[str]:
        text = (DEPLOY / "nginx" / "credential-validator.conf").read_text()
        (directory / "credential-validator.conf").write_text(
            substituted(
                text,
                ("server 127.0.0.1:8100;", f"server {sidecar.text};"),
                ("server 127.0.0.1:8080;", f"server {service.text};"),
                ("listen 127.0.0.1:8000;", f"listen {front.text};"),
                ("/var/cache/nginx-credential-validator", f"{directory}/refusals"),
            )
        )
        # A worker of root's nginx would run as somebody who may not write here.
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        main = directory / "nginx.conf"
        main.write_text(NGINX_CONF.format(user=user, directory=directory))
        return [find_nginx()[0], "-p", str(directory), "-c", str(main)]


class Envoy(Proxy):
    name = "envoy"
    asks_also_with = frozenset({"x-envoy-internal", "x-forwarded-for", "x-envoy-expected-rq-timeout-ms"})
    adds = frozenset({"x-request-id", "x-envoy-expected-rq-timeout-ms", "x-envoy-external-address"})

    @staticmethod
    def program() -> str | None:
        return shutil.which("envoy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")

    def command(self, directory: Path, front: Address, sidecar: Address, service: Address) -> Sequence[str]:
        text = (DEPLOY / "envoy" / "envoy.yaml").read_text()
        config = directory / "envoy.yaml"
        config.write_text(
            substituted(
                text,
                ("socket_address: {address: 127.0.0.1, port_value: 8100}", sidecar.envoy),
                ("socket_address: {address: 127.0.0.1, port_value: 8080}", service.envoy),
                ("socket_address: {address: 127.0.0.1, port_value: 8000}", front.envoy),
            )
        )
        program = self.program()
        assert program is not None
        # No shared memory for hot restarts: several may run at once.
        return [
            program,
            "-c",
            str(config),
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ]


class Traefik(Proxy):
    """Where it is on the PATH: no package manager of the tests carries it."""

    name = "traefik"
    unix = False
    one_503 = False
    gives_up_after_s = 30.0
    passes_reason_of_503 = True
    cuts_cookies = False
    asks_also_with = frozenset(
        {"user-agent", "accept-encoding", "x-forwarded-for", "x-forwarded-host", "x-forwarded-method"}
        | {"x-forwarded-proto", "x-forwarded-uri", "x-forwarded-port", "x-forwarded-server", "x-real-ip"}
    )
    adds = frozenset({"x-real-ip"})

    @staticmethod
    def program() -> str | None:
        return shutil.which("traefik")

    def front(self, directory: Path) -> Address:  # noqa: ARG002 - it listens on TCP alone
        with socket.create_server(("127.0.0.1", 0)) as probe:
            return Address(f"127.0.0.1:{probe.getsockname()[1]}")

    def command(self, directory: Path, front: Address, sidecar: Address, service: Address) -> Sequence[str]:
        static = (DEPLOY / "traefik" / "traefik.yaml").read_text()
        config = directory / "traefik.yaml"
        config.write_text(
            substituted(
                static,
                ("address: 127.0.0.1:8000", f"address: {front.text}"),
                ("filename: dynamic.yaml", f"filename: {directory}/dynamic.yaml"),
            )
        )
        dynamic = (DEPLOY / "traefik" / "dynamic.yaml").read_text()
        (directory / "dynamic.yaml").write_text(
            substituted(
                dynamic,
                ("http://127.0.0.1:8100/", f"http://{sidecar.text}/"),
                ("http://127.0.0.1:8080", f"http://{service.text}"),
            )
        )
        program = self.program()
        assert program is not None
        return [program, f"--configFile={config}"]


@asynccontextmanager
async def running_proxy(proxy: Proxy, directory: Path, sidecar: str, service: str) -> AsyncIterator[Address]:
    """A started proxy; the address that it listens on."""
    front = proxy.front(directory)
    arguments = proxy.command(directory, front, Address(sidecar), Address(service))
    with (directory / "said.log").open("wb") as said:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            list(arguments), stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=directory
        )
    try:
        await _accepting(front, process, proxy, directory)
        yield front
    finally:
        await asyncio.to_thread(_end, process)


async def _accepting(front: Address, process: subprocess.Popen[bytes], proxy: Proxy, directory: Path) -> None:
    """Returns once it has its routes; before that Traefik answers 404."""
    async with asyncio.timeout(START_WITHIN_S):
        while True:
            assert process.poll() is None, f"{proxy.name} did not start: {proxy.log(directory)}"
            with contextlib.suppress(OSError):
                reader, writer = await front.connect()
                writer.write(b"GET / HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
                if answer and not answer.startswith(b"HTTP/1.1 404 "):
                    return
            await asyncio.sleep(POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
            return


PROXIES: tuple[Proxy, ...] = tuple(
    kind() for kind in (Nginx, Envoy, Traefik) if kind.program() or kind is not Traefik
)
