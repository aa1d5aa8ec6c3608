"""The command line: arguments, exit codes, what a person reads.

Exit codes: 0 done, 1 the answer is no (a bad file, a denied credential), 2 wrong usage.
"""

import argparse
import asyncio
import contextlib
import functools
import gc
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TextIO, get_args

import structlog
import uvloop

from validator import __version__, checking, demo, explain, importing, logs
from validator.adapters.sqlite import StoreError
from validator.settings import Settings, SettingsError, read
from validator.settings.strategies import ProviderName
from validator.wiring import Sidecar
from validator.workers import MAX_WORKERS, Supervisor, worker

DONE, NO = 0, 1

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    _open_standard_streams()
    arguments = _parser().parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        return int(arguments.run(arguments))
    return NO


def _open_standard_streams() -> None:
    """Where one was closed, the next file or socket would get its number, and libuv aborts the process when such
    a number is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="validator",
        description="Judges bearer tokens, client credentials and session cookies for Kong.",
    )
    parser.add_argument("--version", action="version", version=f"validator {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the sidecar until SIGTERM; SIGHUP re-reads the file")
    _takes_config(serve)
    serve.add_argument(
        "--workers",
        type=_workers,
        default=1,
        metavar="N",
        help=f"processes that judge requests, 1 to {MAX_WORKERS}; more than 1 are supervised by one more",
    )
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", help="print every mistake in the file at once")
    _takes_config(check)
    check.add_argument("--online", action="store_true", help="also reach each issuer and say what it found")
    check.set_defaults(run=_check)

    explained = commands.add_parser(
        "explain", help="read one credential on standard input and explain the decision"
    )
    _takes_config(explained)
    explained.add_argument("--strategy", metavar="S", help="needed where the file has several; S,T as on a route")
    explained.add_argument("--service", metavar="V", help="also judge the registration for this service")
    explained.set_defaults(run=_explain)

    imported = commands.add_parser("import", help="print strategies that are configured elsewhere as YAML")
    sources = imported.add_subparsers(title="from", required=True, metavar="SOURCE")
    konnect = sources.add_parser("konnect", help="bodies of Konnect's POST /v2/application-auth-strategies")
    konnect.add_argument(
        "files", nargs="+", metavar="FILE", help="a JSON body, or a curl line with it; - for stdin"
    )
    konnect.add_argument("--idp", choices=get_args(ProviderName), help="whose ways apply, if not what is found")
    konnect.add_argument("--name", metavar="NAME", help="the strategy's name, if not the body's own")
    konnect.set_defaults(run=functools.partial(_import, konnect))

    shown = commands.add_parser("demo", help="the whole thing on this machine, with nothing to set up")
    shown.add_argument("--stay", action="store_true", help="leave it up and print curl lines to paste")
    shown.set_defaults(run=lambda arguments: demo.run(stay=arguments.stay))

    # What `serve --workers` starts; without a help text it is not listed.
    working = commands.add_parser("worker", description="Started by `validator serve --workers`, never by hand.")
    working.add_argument("descriptor", type=int)
    working.add_argument("version", nargs="?", default="")
    working.set_defaults(run=functools.partial(_work, working))
    return parser


def _takes_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the YAML configuration")


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_WORKERS}")
    return int(text)


def _read(path: Path, out: TextIO | None = None) -> Settings | None:
    try:
        return read(path, os.environ)
    except SettingsError as error:
        print(error, file=out or sys.stderr)
        return None


def _check(arguments: argparse.Namespace) -> int:
    settings = _read(arguments.config, sys.stdout)  # the mistakes are what was asked for
    if settings is None:
        return NO
    logs.configure("error", "console")
    return asyncio.run(checking.report(settings, arguments.config, online=arguments.online))


def _explain(arguments: argparse.Namespace) -> int:
    settings = _read(arguments.config)
    if settings is None:
        return NO
    logs.configure("error", "console")
    return asyncio.run(
        explain.report(settings, sys.stdin.buffer, strategy=arguments.strategy, service=arguments.service)
    )


def _import(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if arguments.name and len(arguments.files) > 1:
        parser.error("--name is for one FILE")
    return importing.konnect(arguments.files, sys.stdin.buffer, idp=arguments.idp, name=arguments.name)


def _work(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    try:
        end = socket.socket(fileno=arguments.descriptor)
    except OSError:
        parser.error("this is what `validator serve --workers N` starts")
    if arguments.version != __version__:  # it was installed while the other one ran
        parser.error(f"this is version {__version__}, its supervisor is {arguments.version}: restart the service")
    return worker.run(end)


def _serve(arguments: argparse.Namespace) -> int:
    settings = _read(arguments.config)
    if settings is None:
        return NO
    logs.configure(settings.log.level, settings.log.format, queued=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve_until_told(settings, arguments.config, arguments.workers))


async def _serve_until_told(settings: Settings, path: Path, workers: int) -> int:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    sidecar = Sidecar(settings) if workers == 1 else Supervisor(settings, workers=workers)
    reloads: set[asyncio.Task[None]] = set()
    lock = asyncio.Lock()

    def reload() -> None:
        task = loop.create_task(_reload(sidecar, path, lock))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    gc.disable()  # what is made while starting stays
    try:
        async with lock:  # a reload waits for it
            started = await _unless(told, sidecar.start())
    except (StoreError, OSError, ValueError) as error:
        if not told.is_set():
            log.error("cannot start", detail=str(error))  # noqa: TRY400 - for a person; a traceback says less
            await sidecar.stop()
            return NO
        started = False  # what it lacks may be what the same signal has ended
    finally:
        # A full collection would walk it all, modules and applications included, and every request would wait.
        gc.freeze()
        gc.enable()
    if started:
        await told.wait()
    log.info("stopping")
    await sidecar.stop()
    log.info("stopped")
    return DONE


async def _unless(told: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Whether it was done before one was told to end; raises what it raises. It is cut off otherwise."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(told.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        working.cancel()  # nothing where it is done
        await asyncio.wait({working})
    if working.cancelled():
        return False
    working.result()
    return True


async def _reload(sidecar: Sidecar | Supervisor, path: Path, lock: asyncio.Lock) -> None:
    async with lock:
        try:
            settings = await asyncio.to_thread(read, path, os.environ)
            await sidecar.reload(settings)
        except SettingsError as error:
            log.error(  # noqa: TRY400 - as above
                "configuration refused", detail="the one in force stays", mistakes=[str(m) for m in error.mistakes]
            )
        except Exception:
            log.exception("reload failed", detail="the configuration in force stays")
