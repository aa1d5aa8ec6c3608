"""One worker: it judges by what its supervisor tells it.

Law of this file: what is told is done in the order in which it was told. Without a supervisor nothing more is
allowed, and the process ends.
"""

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Sequence
from typing import assert_never

import structlog
import uvloop

from validator import logs
from validator.adapters.clock import SystemClock
from validator.core.changes import ApplicationChange, Change, Forgotten, RevocationChange
from validator.model import Knowledge
from validator.ports import Clock
from validator.server.sharing import Board
from validator.wiring.data import DataSide, Siblings, tls_context
from validator.workers import messages
from validator.workers.hearing import Hearing
from validator.workers.link import MAX_DOWN, Link, LinkLostError
from validator.workers.messages import (
    Apply,
    Complete,
    Down,
    Drain,
    FailedElsewhere,
    Hello,
    Know,
    Reload,
    Report,
    Serve,
    Snapshot,
    Vouch,
)

DONE, FAILED = 0, 1
_LAST_ANSWERS_S = 1.0  # of a worker without a supervisor
_LISTENED_S = 1.0
_WORD_S = 0.2  # for a supervisor's own, after a signal
_AT_A_TURN = 200  # changes; a millisecond or two

log = structlog.get_logger(__name__)


def run(end: socket.socket) -> int:
    """Works until its supervisor says that it is enough, or says nothing any more; its exit code.

    Args:
        end: this worker's of the socket pair.
    """
    # A terminal sends these to supervisor and workers alike, and it is the supervisor who says what they mean.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work(end))


async def _work(end: socket.socket) -> int:
    end.set_inheritable(False)
    link = await Link.over(end, max_bytes=MAX_DOWN)
    try:
        _, hello = messages.read_down(await link.receive())
    except LinkLostError:
        return FAILED
    assert isinstance(hello, Hello)  # noqa: S101 - the protocol's first message
    logs.configure(hello.settings.log.level, hello.settings.log.format, queued=True, worker=hello.number + 1)
    return await Worker(hello, link, SystemClock()).work()


class Worker:
    """``work`` until it ends."""

    def __init__(self, hello: Hello, link: Link, clock: Clock) -> None:
        self._hello = hello
        self._link = link
        self._hearing = Hearing(hello.settings.redis, hello.knowledge, clock.monotonic)
        self._settings = hello.settings
        siblings = Siblings(hello.workers, Board(hello.board).seat(hello.number), self._failed)
        self._data = DataSide(hello.settings, clock=clock, session_key=hello.session_key, siblings=siblings)
        self._snapshot: list[Change] = []
        self._told = asyncio.Event()  # to end
        self._drain_s = 0.0
        self._rest = False
        self._alone = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()  # one after the other, in the order in which they were told
        self._context: ssl.SSLContext | None = None

    async def work(self) -> int:
        gc.disable()  # what is made while starting stays
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._asked_to_end)
        following = asyncio.create_task(self._follow())
        noticing = asyncio.create_task(self._notice_silence())
        try:
            await self._told.wait()
            await self._data.drain(self._drain_s, rest=self._rest, at_once=self._alone)
        finally:
            for task in (following, noticing, *self._tasks):
                task.cancel()
            await asyncio.gather(following, noticing, *self._tasks, return_exceptions=True)
            await self._data.close()
            self._link.close()
        return FAILED if self._alone else DONE

    def _asked_to_end(self) -> None:
        """By somebody. An init system asks the supervisor as well, and that one knows whether anybody is left to
        take what waits in the kernel."""
        asyncio.get_running_loop().call_later(_WORD_S, lambda: self._end(self._settings.limits.drain_s))

    def _end(self, drain_s: float) -> None:
        if not self._told.is_set():
            self._drain_s = drain_s
            self._told.set()

    async def _follow(self) -> None:
        try:
            while True:
                frame = await self._link.receive()
                self._hearing.heard()
                await self._obey(*messages.read_down(frame))
        except LinkLostError:
            log.error(  # noqa: TRY400 - for a person; a traceback says less
                "supervisor lost", detail="nobody would tell of what is revoked: this worker ends"
            )
            self._leave()
        except Exception:
            log.exception("worker failed", detail="what it was told may not be in force: it ends")
            self._leave()

    def _leave(self) -> None:
        self._alone = True
        self._know()
        self._end(_LAST_ANSWERS_S)

    async def _notice_silence(self) -> None:
        """A supervisor that is held up follows nobody who shares the truth."""
        silent = False
        while True:
            await asyncio.sleep(_LISTENED_S)
            if (self._hearing.silent_since is not None) is not silent:
                silent = not silent
                if silent:
                    log.error("supervisor silent", detail="others may have written what is not known here")
                else:
                    log.warning("supervisor heard again")
            self._know()

    def _know(self) -> None:
        knowledge = Knowledge.REFUSED if self._alone else self._hearing.knowledge
        if knowledge is not self._data.registry.knowledge:
            self._data.know(knowledge)

    async def _obey(self, number: int, message: Down) -> None:
        match message:
            case Apply(changes):
                await self._apply(changes)
                self._done(number)
            case Know(knowledge):
                self._hearing.told(knowledge)
                self._know()
            case Vouch(strategy, pair):
                self._data.vouch(strategy, pair)
            case Report():
                missing, families = await self._data.missing(), await self._data.report()
                self._done(number, missing=missing, families=messages.plain_families(families))
            case Reload():
                task = asyncio.create_task(self._reload(number, message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case FailedElsewhere():
                self._data.failed_elsewhere(message.strategy, message.client_id, message.registered)
            case Drain(seconds, rest):
                if not self._told.is_set():
                    self._rest = rest
                self._end(seconds)
            case _:
                await self._begin(number, message)

    async def _apply(self, changes: Sequence[Change]) -> None:
        """Others have their turns meanwhile."""
        for start in range(0, len(changes), _AT_A_TURN):
            await self._data.apply(changes[start : start + _AT_A_TURN])
            await asyncio.sleep(0)

    async def _begin(self, number: int, message: Hello | Snapshot | Complete | Serve) -> None:
        match message:
            case Snapshot(changes):
                self._snapshot += changes
            case Complete():
                await self._get_ready()
            case Serve():
                await self._serve(number)
            case Hello():
                raise RuntimeError("a second hello")
            case _:
                assert_never(message)

    def _failed(self, strategy: str, client_id: str, registered: bool) -> None:
        """A try, here."""
        self._link.send(
            messages.up(messages.FAILED_TRY, strategy=strategy, client_id=client_id, registered=registered)
        )

    def _done(self, number: int, **more: object) -> None:
        self._link.send(messages.up(messages.DONE, number, **more))

    async def _get_ready(self) -> None:
        data, settings = self._data, self._settings
        try:
            self._load()
            await data.join_fleet()
            await data.prepare()
            self._context = await tls_context(settings)
        except ValueError as error:
            self._link.send(messages.up(messages.FAILED, why=str(error)))
            return
        self._link.send(messages.up(messages.READY))

    def _load(self) -> None:
        registry, settings = self._data.registry, self._settings
        known, self._snapshot = self._snapshot, []
        registry.load_stored(
            [c.application for c in known if isinstance(c, ApplicationChange) and c.application is not None],
            [c.entry for c in known if isinstance(c, RevocationChange)],
            [c for c in known if isinstance(c, Forgotten)],
        )
        registry.load_file(settings.file_applications(), strategies=tuple(settings.strategies))
        registry.set_knowledge(self._hearing.knowledge)

    async def _serve(self, number: int) -> None:
        sockets = [socket.socket(fileno=descriptor) for descriptor in self._hello.sockets]
        for listener in sockets:
            listener.set_inheritable(False)
        try:
            await self._data.serve(sockets, self._context)
        except OSError as error:
            self._link.send(messages.up(messages.REFUSED, number, why=f"cannot listen: {error.strerror or error}"))
            return
        # A full collection would walk it all, modules and applications included, and every request would wait.
        gc.freeze()
        gc.enable()
        self._done(number)

    async def _reload(self, number: int, message: Reload) -> None:
        """Changes are applied and acknowledged meanwhile, as far as the interpreter lets two things go on."""
        data = self._data
        async with self._reloading:
            settings = await asyncio.to_thread(messages.unpacked, message.packed)
            applications = await asyncio.to_thread(settings.file_applications)
            try:
                rehearsed = await data.rehearse(settings)
                data.registry.load_file(applications, strategies=tuple(settings.strategies))
            except ValueError as error:
                data.abandon()
                self._link.send(messages.up(messages.REFUSED, number, why=str(error)))
                return
            data.adopt(rehearsed)
            self._settings, self._context = settings, rehearsed.context
            self._done(number)
