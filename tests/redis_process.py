"""A real Redis server on loopback, as a process of its own.

Law of this file: every server has a directory and a port of its own and is gone again when its ``with`` ends.
Waiting is asking until a deadline. No pytest. Everything here blocks, most of it for milliseconds: inside an event
loop call what waits (``restart``, ``wait_for_...``) through ``asyncio.to_thread`` where that matters.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tls_support import Files

from validator.core.redis_url import RedisEndpoint

READY_WITHIN_S = 15.0  # a busy machine with two cores
_TRIES = 5
# Below what Linux gives to outgoing connections: a port stays free while its server is down.
_PORTS = range(15_000, 31_000)


class RedisServerError(Exception):
    """It did not do what was expected in time; the message holds what it said."""


def wait_until(reached: Callable[[], bool], what: str, within_s: float = READY_WITHIN_S) -> None:
    """Asks until it is so; a server that does not answer has not reached anything."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.RedisError, OSError):
            if reached():
                return
        time.sleep(0.01)
    raise RedisServerError(f"not within {within_s:g} s: {what}")


class RedisServer:
    """One process. ``start`` and ``stop`` it, or use ``one()``.

    Args:
        password: of the default user, and for a replica that of its master.
        acl: users, as lines of an ACL file.
        tls: certificate and key; then TLS is all it speaks.
        tls_ca: clients must show a certificate that this authority signed.
        appendonly: every write is on the disk before it is answered.
        settings: further lines of its configuration.
        sentinel: it is a Sentinel.
    """

    def __init__(
        self,
        directory: Path,
        *,
        password: str | None = None,
        acl: Sequence[str] = (),
        tls: Files | None = None,
        tls_ca: Path | None = None,
        appendonly: bool = False,
        save: str = "",
        maxmemory: str | None = None,
        settings: Mapping[str, str] | None = None,
        sentinel: bool = False,
    ) -> None:
        self.directory = directory
        self.password = password
        self.port = 0
        self.cluster_port = 0
        self.unix_path = directory / "redis.sock"
        self._acl = acl
        self._tls = tls
        self._tls_ca = tls_ca
        self._settings = {
            "save": f'"{save}"',
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "always",
        }
        if maxmemory is not None:
            self._settings["maxmemory"] = maxmemory
        self._settings |= settings or {}
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """With the default user's password."""
        scheme = "rediss" if self._tls is not None else "redis"
        userinfo = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"{scheme}://{userinfo}{self.host}/0"

    @property
    def endpoint(self) -> RedisEndpoint:
        return RedisEndpoint.parse(self.url)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self, **options: object) -> redis.Redis:
        """To look inside, as the default user; close it."""
        options["retry"] = Retry(NoBackoff(), 0)  # its own would wait for seconds
        if self._tls is not None:
            options |= {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
        return redis.Redis(host="127.0.0.1", port=self.port, password=self.password, socket_timeout=5.0, **options)

    def ask(self, *words: str | bytes | int) -> object:
        """One command, and its answer."""
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*words)

    def raw(self, *words: str | bytes | int) -> Any:
        """One command, and its answer as it came."""
        with contextlib.closing(self.client()) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)

    def start(self) -> None:
        """On a free port; answers when this returns."""
        program = shutil.which("redis-server")
        if program is None:
            raise RedisServerError("there is no redis-server on this machine: scripts/bootstrap test installs it")
        for _ in range(_TRIES):
            self.port, self.cluster_port = free_port(), free_port()
            self._write_configuration()
            if self._run():
                return
        raise RedisServerError(f"it does not start: {self.said()}")

    def restart(self) -> None:
        """On the same port, with what it has saved."""
        self.kill()
        if not self._run():
            raise RedisServerError(f"it does not start again: {self.said()}")

    def kill(self) -> None:
        """SIGKILL; its end is awaited."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    stop = kill

    def stall(self) -> None:
        """SIGSTOP: connections are accepted, by the kernel, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def flush(self) -> None:
        """Everything is lost, scripts too."""
        self.ask("FLUSHALL")
        self.ask("SCRIPT", "FLUSH")

    def config_set(self, name: str, value: str) -> None:
        self.ask("CONFIG", "SET", name, value)

    def info(self, section: str) -> Mapping[str, object]:
        with contextlib.closing(self.client()) as client:
            return client.info(section)

    def said(self) -> str:
        """The end of its log."""
        file = self.directory / "log"
        return file.read_text()[-2000:] if file.exists() else ""

    def _write_configuration(self) -> None:
        lines = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "logfile": str(self.directory / "log"),
        }
        if not self._sentinel:
            lines |= {
                "unixsocket": str(self.unix_path),
                "repl-diskless-sync-delay": "0",
                "repl-ping-replica-period": "1",
                **self._settings,
            }
        if "cluster-enabled" in self._settings:
            lines["cluster-port"] = str(self.cluster_port)
        if self.password is not None:
            lines |= {"requirepass": f'"{self.password}"', "masterauth": f'"{self.password}"'}
        if self._tls is not None:
            lines |= {"port": "0", "tls-port": str(self.port), "tls-cert-file": str(self._tls.certificate)}
            lines |= {"tls-key-file": str(self._tls.key), "tls-auth-clients": "yes" if self._tls_ca else "no"}
            lines |= {"tls-ca-cert-file": str(self._tls_ca or self._tls.certificate)}
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        text += "".join(f"{line}\n" for line in self._acl)
        if self._sentinel:
            text += "".join(f"sentinel {name} {value}\n" for name, value in self._settings.items() if " " in value)
        (self.directory / "redis.conf").write_text(text)

    def _run(self) -> bool:
        """Whether it answers; ``False``: it has ended, as it does when its port is taken."""
        arguments = [
            "redis-server",
            str(self.directory / "redis.conf"),
            *(["--sentinel"] if self._sentinel else []),
        ]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process = self._process
        wait_until(lambda: process.poll() is not None or self._answers(), f"redis-server answers: {self.said()}")
        return process.poll() is None

    def _answers(self) -> bool:
        try:
            return self.ask("PING") in (True, b"PONG")
        except redis.BusyLoadingError:
            return False
        except (redis.AuthenticationError, redis.ResponseError):
            return True  # it speaks, though not to us
        except redis.ConnectionError as error:
            # Where client certificates are asked for, ours is missing.
            return self._tls_ca is not None and "refused" not in str(error)


def free_port() -> int:
    """Nobody listens there now."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="redis-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def one(**options: object) -> Iterator[RedisServer]:
    """One server; the arguments are those of ``RedisServer``."""
    with _directory() as directory, _running(RedisServer(directory, **options)) as server:
        yield server


@contextlib.contextmanager
def _running(server: RedisServer) -> Iterator[RedisServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()
