"""The sidecar as a process of its own, as ``validator serve`` runs it.

Law of this file: it writes a configuration, starts, signals and ends one process, and remembers what that said
on standard error. No pytest. Everything here blocks: inside an event loop use ``running``, or call it through
``asyncio.to_thread``.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

START_WITHIN_S = 20.0  # a cold start of Python on a busy machine takes seconds
STOP_WITHIN_S = 15.0

ROOT = Path(__file__).resolve().parents[1]
Config = Mapping[str, Any]


class SidecarProcessError(Exception):
    """It did not do what was expected in time; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str


def configuration(issuer: str, **sections: Any) -> dict[str, Any]:
    """One strategy ``plain`` at ``issuer`` and one application ``orders``; ``sections`` replace or add."""
    return {
        "listen": {"data": "127.0.0.1:0", "control": "127.0.0.1:0"},
        "strategies": {"plain": {"idp": "generic", "issuer": issuer, "audience": ["api://default"]}},
        "applications": [
            {"id": "app-1", "name": "Orders", "strategy": "plain", "client_id": "orders", "registrations": ["svc"]}
        ],
        **sections,
    }


def write_config(path: Path, config: Config | str) -> Path:
    """A mapping as JSON, which is YAML; a text as it stands."""
    path.write_text(config if isinstance(config, str) else json.dumps(config, indent=2))
    return path


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VALIDATOR_")}
    return {**inherited, **changes}


def command(*arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Ran:
    """Runs ``validator`` with these arguments to its end."""
    ran = subprocess.run(
        [sys.executable, "-m", "validator", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=_environment(environment or {}),
        timeout=START_WITHIN_S,
    )
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


class SidecarProcess:
    """Use it as ``with SidecarProcess(config, tmp_path) as sidecar:``, or ``async with running(...)``.

    Args:
        config: written into ``directory``; a mapping, or a text as it stands.
        arguments: further ones for ``serve``.
        environment: added to this process's own.

    Attributes:
        data: address of the data plane, once started: ``host:port`` or ``unix:/path``.
        control: the same of the control plane.
        dcr: the same of the bridge.
        lines: what it has said so far.
    """

    data: str
    control: str
    dcr: str

    def __init__(
        self,
        config: Config | str,
        directory: Path,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.config_file = directory / "validator.yaml"
        self._config = config
        self._arguments = list(arguments)
        self._environment = _environment(environment or {})
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._heard = threading.Condition()
        self._ended = False
        self.lines: list[str] = []

    def start(self, config: Config | str | None = None, *, within_s: float = START_WITHIN_S) -> Self:
        """Returns once it listens; may be called again after it has ended, with another configuration.

        Raises:
            SidecarProcessError: it ended, or did not listen in time.
        """
        self._config = self._config if config is None else config
        self.launch()
        try:
            listening = self.wait_for(lambda event: event.get("event") == "listening", within_s)
        except BaseException:
            self.kill()
            raise
        self.data, self.control = listening["data"], listening["control"]
        self.dcr = listening.get("dcr") or self.control
        return self

    def launch(self) -> None:
        """Starts it, and waits for nothing."""
        write_config(self.config_file, self._config)
        self.lines, self._ended = [], False
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "validator", "serve", "--config", str(self.config_file), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self._environment,
        )
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()

    def wait_for(
        self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 10.0, *, after: int = 0
    ) -> dict[str, Any]:
        """The first line beyond ``after`` lines that ``wanted`` accepts.

        Raises:
            SidecarProcessError: none came in time, or the process ended before.
        """

        def found() -> dict[str, Any] | None:
            return next((event for event in self.events(after) if wanted(event)), None)

        with self._heard:
            self._heard.wait_for(lambda: self._ended or found() is not None, timeout_s)
            event = found()
        if event is None:
            raise SidecarProcessError("not said by the sidecar, which said:\n" + "\n".join(self.lines))
        return event

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """The lines beyond the first ``after`` ones that are JSON."""
        parsed = []
        for line in self.lines[after:]:
            with contextlib.suppress(ValueError):
                parsed.append(json.loads(line))
        return parsed

    def said(self) -> str:
        """All that it has said."""
        return "\n".join(self.lines)

    def reconfigure(self, config: Config | str) -> int:
        """Writes another configuration and sends SIGHUP; the number of lines said until then."""
        before = len(self.lines)
        self._config = config
        write_config(self.config_file, config)
        self.signal(signal.SIGHUP)
        return before

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = STOP_WITHIN_S) -> int:
        """The exit code, once it has ended and everything it said is read."""
        process, reader = self._process, self._reader
        assert process is not None
        assert reader is not None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SidecarProcessError("it did not end:\n" + "\n".join(self.lines)) from None
        reader.join(timeout_s)
        return code

    def terminate(self) -> int:
        """SIGTERM, then the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, whatever it does; safe to call twice."""
        process, reader = self._process, self._reader
        if process is not None and reader is not None:
            process.kill()
            process.wait(STOP_WITHIN_S)
            reader.join(STOP_WITHIN_S)

    def stop(self) -> None:
        """Ends it gently, then whatever it does; safe to call when it has ended."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(SidecarProcessError):
                self.terminate()
        self.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr
        with process.stderr:
            for line in process.stderr:
                with self._heard:
                    self.lines.append(line.rstrip("\n"))
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()


@asynccontextmanager
async def running(config: Config | str, directory: Path, **options: Any) -> AsyncIterator[SidecarProcess]:
    """A started sidecar, without blocking the loop."""
    sidecar = SidecarProcess(config, directory, **options)
    await asyncio.to_thread(sidecar.start)
    try:
        yield sidecar
    finally:
        await asyncio.to_thread(sidecar.stop)
