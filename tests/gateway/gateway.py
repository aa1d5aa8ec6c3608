"""A gateway that runs the Kong plugin's own Lua: nginx with its Lua module and a stand-in for Kong's PDK.

Law of this file: it starts, reloads and stops one nginx that listens on loopback, and leaves nothing behind.
It knows nothing of pytest, so a script can use it as well.
"""

import contextlib
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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
PLUGIN_ROOT = HERE.parents[1] / "kong-plugin"

_START_TRIES = 5  # another process may take the free port between finding and binding it
_DEADLINE_S = 10.0
_POLL_S = 0.02
_MAX_UNIX_PATH = 107

INSTALL = (
    "the test gateway needs Debian's nginx with its Lua module: "
    "apt-get install nginx libnginx-mod-http-lua luajit2 "
    "(the package luajit conflicts with that module and removes it; luajit2 gives the same command)"
)


class GatewayError(Exception):
    """The gateway could not do what it was asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the gateway.

    Attributes:
        path: every request whose path begins with it takes this route.
        service: the name of the matched Gateway Service; ``None`` for one without a name.
        config: the plugin's configuration as an operator writes it; ``None`` for no plugin on this route.
        authenticated: what another plugin before this one has set: ``credential``, ``consumer``, ``headers``.
        bare: no Lua at all runs on this route: what nginx itself takes to proxy.
    """

    path: str
    service: str | None
    config: Mapping[str, Any] | None = None
    authenticated: Mapping[str, Any] | None = None
    plugin_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    bare: bool = False


def _lua(value: object) -> str:
    """``value`` as a Lua literal."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
    if isinstance(value, Mapping):
        return "{" + ",".join(f"[{_lua(key)}]={_lua(member)}" for key, member in value.items()) + "}"
    if isinstance(value, Iterable):
        return "{" + ",".join(_lua(member) for member in value) + "}"
    msg = f"cannot be written as Lua: {type(value).__name__}"
    raise TypeError(msg)


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


def _location(number: int, route: Route) -> str:
    lua = (
        ""
        if route.bare
        else f'      access_by_lua_block {{ require("gateway").access({number}) }}\n'
        f'      header_filter_by_lua_block {{ require("gateway").header_filter() }}\n'
    )
    return f'    location "{route.path}" {{\n{lua}      proxy_pass http://service;\n    }}\n'


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
        command: what nginx is run by, such as ``taskset``; it must become nginx.
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
        command: Sequence[str] = (),
    ) -> None:
        self._routes = list(routes)
        self._consumers = list(consumers)
        self._upstream_url = upstream_url
        self._own_directory = directory is None
        self._directory = directory or Path(tempfile.mkdtemp(prefix="gateway-"))
        self._plugin_root = plugin_root
        self._log_level = log_level
        self._command = tuple(command)
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

    def _render(self, modules: Path) -> None:
        upstream = f"unix:{self._directory}/echo.sock"
        if self._upstream_url is not None:
            upstream = urlsplit(self._upstream_url).netloc
        locations = [_location(number, route) for number, route in enumerate(self._routes, start=1)]
        template = string.Template((HERE / "nginx.conf.template").read_text())
        # A worker of root's nginx would run as somebody who may not write here.
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        (self._directory / "nginx.conf").write_text(
            template.substitute(
                user=user,
                directory=self._directory,
                log_level=self._log_level,
                modules=modules,
                plugin_root=self._plugin_root,
                lua_root=HERE / "lua",
                port=self.port,
                token=self._token,
                upstream=upstream,
                locations="".join(locations),
            )
        )
        setup = {
            "consumers": self._consumers,
            "routes": [
                {
                    "paths": [route.path],
                    "service": {"name": route.service},
                    "config": route.config,
                    "plugin_id": route.plugin_id,
                    "authenticated": route.authenticated,
                }
                for route in self._routes
            ],
        }
        (self._directory / "setup.lua").write_text(f"return {_lua(setup)}\n")

    def _worker(self) -> str | None:
        """The process id of the worker that answers, if it is one of ours."""
        request = b"GET /.gateway/worker HTTP/1.0\r\nHost: localhost\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(request)
                with connection.makefile("rb") as stream:
                    reply = stream.read().decode(errors="replace")
        except OSError:
            return None
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
