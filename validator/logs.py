"""Structured logs: one line an event, on standard error.

Law of this file: format, level, and that a line never makes anybody wait or fail. Lines go through a bounded
queue to a thread of their own; who reads them too slowly loses lines, and is told how many. No local variables
of a traceback are ever rendered: they hold secrets.
"""

import atexit
import contextlib
import logging
import queue
import sys
import threading
from typing import TextIO

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_MAX_WAITING = 10_000  # lines
_FLUSH_WITHIN_S = 2.0


class QueuedLines:
    """A text stream whose ``write`` never blocks and never raises."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: queue.Queue[str | None] = queue.Queue(_MAX_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread flushes each line."""

    def close(self) -> None:
        """Writes what waits, for two seconds at most."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_FLUSH_WITHIN_S)

    def _write_all(self) -> None:
        while (text := self._waiting.get()) is not None:
            lost, self._lost = self._lost, 0
            if lost:
                text += f'{{"event": "log lines lost", "level": "warning", "lines": {lost}}}\n'
            with contextlib.suppress(OSError, ValueError):  # a closed stream: there is nobody to tell
                self._stream.write(text)
                self._stream.flush()


def configure(level: str, form: str, *, queued: bool = False, **bound: object) -> None:
    """``form``: ``json`` for machines, ``console`` for people. ``queued``: for a program that serves. ``bound``:
    stands in every line."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if bound:
        processors.append(lambda _logger, _method, event: {**event, **bound})
    if form == "json":
        processors.append(structlog.processors.format_exc_info)
    stream: TextIO | QueuedLines = sys.stderr
    if queued:
        stream = QueuedLines(sys.stderr)
        atexit.register(stream.close)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),  # type: ignore[arg-type]  # write and flush do
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(_LEVELS[level], logging.WARNING), format="%(levelname)s %(name)s %(message)s")
