"""A gateway that runs the Kong plugin's own Lua: nginx with its Lua module and a stand-in for Kong's PDK.

Law of this file: it starts, reloads and stops one nginx that listens on loopback, and leaves nothing behind.
It knows nothing of pytest, so a script can use it as well.
"""

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from gateway.routes import Neighbour, Route, as_lua, location

__all__ = ["KONG_VERSION", "Gateway", "GatewayError", "Neighbour", "Route", "find_nginx"]

HERE = Path(__file__).resolve().parent
PLUGIN_ROOT = HERE.parents[1] / "kong-plugin"

_START_TRIES = 5  # another process may take the free port between finding and binding it
_DEADLINE_S = 10.0
_POLL_S = 0.02
_MAX_UNIX_PATH = 107

KONG_VERSION = "3.9.1"

INSTALL = (
    "the test gateway needs Debian's nginx with its Lua module: "
    "apt-get install nginx libnginx-mod-http-lua luajit2 "
    "(the package luajit conflicts with that module and removes it; luajit2 gives the same command)"
)


class GatewayError(Exception):
    """The gateway could not do what it was asked; the message says why and what to do."""


def find_nginx() -> tuple[str, Path]:
    """The nginx program and the directory of its modules.

    Raises:
        GatewayError: nginx or its Lua module is missing; the message says what to install.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise GatewayError(f"nginx is missing: {INSTALL}")
    version = subprocess.run([program, "-V"], capture_output=True, text=True, check=False, timeout=10).stderr
    found = re.search(r"--modules-path=(\S+)", version)
    modules = Path(found[1] if found else "/usr/lib/nginx/modules")
    for name in ("ndk_http_module.so", "ngx_http_lua_module.so"):
        if not (modules / name).exists():
            raise GatewayError(f"{modules / name} is missing: {INSTALL}")
    return program, modules


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Gateway:
    """One nginx on loopback.

    Args:
        routes: tried by the longest path first, as nginx does.
        consumers: what ``kong.client.load_consumer`` finds: ``id``, ``username``, ``custom_id``.
        upstream_url: ``http://host:port``; by default the gateway's own echo, which answers with JSON that
            holds every header line it was sent.
        directory: for configuration, logs and temporary files; by default one that ``stop`` removes.
        plugin_root: the directory that holds ``kong/plugins/credential-validator``.
        log_level: of nginx's error log; at ``info`` it has a line for every connection that is closed.
        worker_connections: how many connections nginx may hold, those to sidecars and upstreams included.
        command: what nginx is run by, such as ``taskset``; it must become nginx.
        kong_version: which Kong it behaves like, where versions differ.
        sandboxed: ``handler.lua`` and ``schema.lua`` of ``plugin_root`` are one chunk each, which Kong has
            streamed and runs with what its sandbox gives them.
        everywhere: the path of the route whose plugin is there for all routes: its ``header_filter`` sees even
            what nginx answers before there is a route.
        trusted_certificates: a PEM file of those CAs that certificates are verified against.
        header_bytes: the longest line of a request's head.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        consumers: Sequence[Mapping[str, str]] = (),
        upstream_url: str | None = None,
        directory: Path | None = None,
        plugin_root: Path = PLUGIN_ROOT,
        log_level: str = "info",
        worker_connections: int = 4096,
        command: Sequence[str] = (),
        kong_version: str = KONG_VERSION,
        sandboxed: bool = False,
        everywhere: str | None = None,
        trusted_certificates: Path | None = None,
        header_bytes: int = 16384,
    ) -> None:
        self._routes = list(routes)
        self._consumers = list(consumers)
        self._upstream_url = upstream_url
        self._own_directory = directory is None
        self._directory = directory or Path(tempfile.mkdtemp(prefix="gateway-"))
        self._plugin_root = plugin_root
        self._log_level = log_level
        self._worker_connections = worker_connections
        self._command = tuple(command)
        self._kong_version = kong_version
        self._sandboxed = sandboxed
        self._everywhere = everywhere
        self._trusted_certificates = trusted_certificates
        self._header_bytes = header_bytes
        self._token = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        if len(str(self._directory / "echo.sock")) > _MAX_UNIX_PATH:
            raise GatewayError(f"{self._directory} is too long a path for a Unix socket: give a shorter directory")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def http2_socket(self) -> Path:
        """A Unix socket on which the same routes are served over HTTP/2 without TLS, as for gRPC."""
        return self._directory / "h2.sock"

    @property
    def pid(self) -> int:
        """Of nginx's master process.

        Raises:
            GatewayError: it is not running.
        """
        if self._process is None:
            raise GatewayError("the gateway is not running: call start() first")
        return self._process.pid

    def start(self) -> None:
        """Returns once requests are accepted.

        Raises:
            GatewayError: nginx is missing or did not start; the message holds its own words.
        """
        program, modules = find_nginx()
        self._directory.mkdir(parents=True, exist_ok=True)
        for _ in range(_START_TRIES):
            self.port = _free_port()
            self._render(modules)
            self._process = subprocess.Popen(
                [*self._command, program, "-p", str(self._directory), "-c", str(self._directory / "nginx.conf")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            if self._wait_for_worker(other_than=None):
                return
            self._end_process()
            if "Address already in use" not in self.error_log():
                break
        said = self.error_log() or "nothing was logged"
        self._remove_directory()
        raise GatewayError(f"nginx did not start: {said}")

    def reload(self, routes: Sequence[Route] | None = None) -> None:
        """Returns once only a new worker takes connections; those of the old one end by themselves.

        Raises:
            GatewayError: nginx kept the old configuration.
        """
        if self._process is None:
            raise GatewayError("the gateway is not running: call start() first")
        if routes is not None:
            self._routes = list(routes)
        self._render(find_nginx()[1])
        before = self._worker()
        self._process.send_signal(signal.SIGHUP)
        if not (self._wait_for_worker(other_than=before) and self._wait_for_leave(before)):
            raise GatewayError(f"nginx did not reload: {self.error_log()[-2000:]}")

    def stop(self) -> None:
        """Lets requests finish for a moment, then ends nginx whatever it does. Safe to call twice."""
        self._end_process()
        self._remove_directory()

    def error_log(self) -> str:
        """All that nginx and the plugin have logged."""
        log = self._directory / "error.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def logged(self, at_least: int = 0) -> list[dict[str, Any]]:
        """What Kong's logging plugins were given, a request of a route with ``log`` each.

        The client has its answer before that: this waits until there are ``at_least`` so many.

        Raises:
            GatewayError: there are fewer.
        """
        return self._lines("requests.jsonl", at_least)

    def spans(self, at_least: int = 0) -> list[dict[str, Any]]:
        """The spans of all requests so far of routes with ``sampled``, those of the gateway itself included.

        Raises:
            GatewayError: there are fewer than ``at_least``.
        """
        return self._lines("spans.jsonl", at_least)

    def break_database(self, error: str | None) -> None:
        """From now on every look-up in ``kong.db`` fails with ``error``; ``None`` mends it."""
        query = "" if error is None else "?error=" + quote(error)
        self._ask(f"/.gateway/database{query}")

    def _lines(self, name: str, at_least: int) -> list[dict[str, Any]]:
        written = self._directory / name
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            text = written.read_text() if written.exists() else ""
            lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
            if len(lines) >= at_least:
                return lines
            if time.monotonic() > deadline:
                msg = f"{len(lines)} of {at_least} lines in {name}: {self.error_log()[-2000:]}"
                raise GatewayError(msg)
            time.sleep(_POLL_S)

    def _render(self, modules: Path) -> None:
        upstream = f"unix:{self._directory}/echo.sock"
        if self._upstream_url is not None:
            upstream = urlsplit(self._upstream_url).netloc
        locations = [location(number, route) for number, route in enumerate(self._routes, start=1)]
        trusted = self._trusted_certificates
        template = string.Template((HERE / "nginx.conf.template").read_text())
        # A worker of root's nginx would run as somebody who may not write here.
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        (self._directory / "nginx.conf").write_text(
            template.substitute(
                user=user,
                directory=self._directory,
                log_level=self._log_level,
                worker_connections=self._worker_connections,
                modules=modules,
                plugin_root=self._plugin_root,
                lua_root=HERE / "lua",
                port=self.port,
                token=self._token,
                upstream=upstream,
                header_bytes=self._header_bytes,
                trusted=f'lua_ssl_trusted_certificate "{trusted}";' if trusted else "",
                locations="".join(locations),
            )
        )
        paths = [route.path for route in self._routes]
        setup = {
            "version": self._kong_version,
            "directory": str(self._directory),
            "plugin_root": str(self._plugin_root),
            "sandboxed": self._sandboxed,
            "everywhere": None if self._everywhere is None else paths.index(self._everywhere) + 1,
            "consumers": self._consumers,
            "routes": [route.setup for route in self._routes],
        }
        (self._directory / "setup.lua").write_text(f"return {as_lua(setup)}\n")

    def _ask(self, target: str) -> str | None:
        """All that the gateway answers, or ``None`` where it does not."""
        request = f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(request.encode())
                with connection.makefile("rb") as stream:
                    return stream.read().decode(errors="replace")
        except OSError:
            return None

    def _worker(self) -> str | None:
        """The process id of the worker that answers, if it is one of ours."""
        reply = self._ask("/.gateway/worker") or ""
        found = re.search(rf"{self._token} (\d+)", reply)
        return found[1] if found else None

    def _wait_for_worker(self, *, other_than: str | None) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            worker = self._worker()
            if worker is not None and worker != other_than:
                return True
            time.sleep(_POLL_S)
        return False

    def _wait_for_leave(self, worker: str | None) -> bool:
        """For a moment after a reload both workers accept; the old one changes its title when it stops to."""
        title = Path(f"/proc/{worker}/cmdline")
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            try:
                if b"shutting down" in title.read_bytes():
                    return True
            except OSError:
                return True
            time.sleep(_POLL_S)
        return False

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for number, patience_s in ((signal.SIGQUIT, 4.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
            if process.poll() is not None:
                break
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
        # A worker outlives a master that was killed.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    def _remove_directory(self) -> None:
        if self._own_directory:
            shutil.rmtree(self._directory, ignore_errors=True)
