"""One place among the workers, and whoever fills it.

Law of this file: whoever ends is replaced, unless it was told to end, after the time that ``Backoff`` says; what
it had counted is not lost.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from prometheus_client.metrics_core import Metric

from validator.core.changes import Change
from validator.server.merging import absorb
from validator.settings import Settings
from validator.workers import messages
from validator.workers.backoff import Backoff
from validator.workers.messages import Drain, FailedElsewhere, Hello, Report
from validator.workers.process import CannotStartError, WorkerGoneError, WorkerProcess

_POLL_S: Final = 2.0  # what a crash loses of the metrics at most
_SILENT_S: Final = 10.0  # a worker that says nothing for so long hangs
_REPORT_S: Final = 1.0
_ALSO_S: Final = 0.2
_END_S: Final = 2.0  # beyond the time to drain, until it is killed

log = structlog.get_logger(__name__)


class Slot:
    """``fill`` it, then ``empty`` it.

    Args:
        number: of the place, from 1.
        hello: what its worker is told first, as it stands now.
        known: everything that is known now.
        descriptors: what its worker inherits.
        failed: told of each try that failed there.
        gone: called when whoever was there is dead.

    Attributes:
        worker: who is there now; ``None`` between two.
        filled: once a worker serves for the first time; raises what keeps the first one from it.
        restarts: how many were started after the first.
        missing: what is missing there before requests can be judged, by its last word.
    """

    def __init__(
        self,
        number: int,
        hello: Callable[[], Hello],
        known: Callable[[], Iterable[Change]],
        *,
        descriptors: Sequence[int],
        failed: Callable[[WorkerProcess, FailedElsewhere], None],
        gone: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self.number = number
        self._hello = hello
        self._known = known
        self._descriptors = descriptors
        self._failed = failed
        self._gone = gone
        self._backoff = Backoff(monotonic)
        self._ending = asyncio.Event()
        self._filling: asyncio.Task[None] | None = None
        self._retired: list[Metric] = []
        self._last: list[Metric] = []
        self.worker: WorkerProcess | None = None
        self.filled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.restarts = 0
        self.missing: list[str] = []

    @property
    def serving(self) -> bool:
        return self.worker is not None and self.worker.serving

    @property
    def counted(self) -> tuple[Sequence[Metric], Sequence[Metric]]:
        """What those that are gone had counted, and the last word of who is there."""
        return self._retired, self._last

    def fill(self) -> None:
        """From now on there is always a worker here, or soon."""
        self._filling = asyncio.create_task(self._keep_filled())

    async def empty(self, drain_s: float) -> None:
        """Has who is there answer what it has accepted, and puts nobody in its place."""
        self._ending.set()
        worker = self.worker
        if worker is not None and worker.serving:
            worker.tell(Drain(drain_s, rest=True))
        elif worker is not None:
            worker.kill()
        if self._filling is not None:
            await asyncio.wait([self._filling], timeout=drain_s + _END_S)
            if self.worker is not None:
                log.warning("worker does not end", worker=self.number, detail="killed")
                self.worker.kill()
            await asyncio.gather(self._filling, return_exceptions=True)

    async def look(self) -> None:
        """Asks who is there for its report, for a second at most."""
        if self.worker is not None and self.worker.serving:
            try:
                await self._ask_report(self.worker, _REPORT_S)
            except WorkerGoneError:
                self.missing = ["it does not answer"]

    async def reload(self, settings: Settings, packed: bytes | None = None) -> None:
        """Has who serves go by another configuration; whoever cannot is replaced by one that begins with it.

        Args:
            packed: the same, where it was written already.
        """
        worker = self.worker
        if worker is None or not worker.serving or self._ending.is_set():
            return  # it is told before it serves, or serves no more
        try:
            if packed is None:
                packed = await asyncio.to_thread(messages.packed, settings)
            await worker.reload(packed)
        except CannotStartError as error:
            log.error("worker cannot reload", worker=self.number, detail=str(error))  # noqa: TRY400 - for a person
            worker.tell(Drain(settings.limits.drain_s, rest=False))
        except WorkerGoneError as error:
            if self._ending.is_set():
                return
            log.error("worker does not reload", worker=self.number, detail=str(error))  # noqa: TRY400 - as above
            worker.kill()

    async def _keep_filled(self) -> None:
        while not self._ending.is_set():
            self._backoff.started()
            how = await self._one()
            if self._ending.is_set():
                return
            wait_s = self._backoff.ended()
            tell = log.warning if how.get("exit_code") == 0 else log.error
            tell("worker ended", worker=self.number, again_in_s=wait_s, **how)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), wait_s)
            self.restarts += 1

    async def _one(self) -> dict[str, object]:
        """From the beginning of one worker to its end; how that was."""
        try:
            self.worker = worker = await WorkerProcess.spawn(self._descriptors, self._failed)
        except OSError as error:
            self._not_filled(error)
            return {"detail": f"cannot be started: {error}"}
        except Exception as error:
            log.exception("starting a worker failed", worker=self.number)
            self._not_filled(_our_own(error))
            return {"detail": f"cannot be started: {type(error).__name__}"}
        if self._ending.is_set():
            worker.kill()
        why: Exception | None = None
        served = False
        try:
            await self._begin(worker)
            served = True
            await self._watch(worker)
        except (CannotStartError, WorkerGoneError) as error:
            why = error
            await worker.end(_END_S)
        except Exception as error:
            log.exception("watching a worker failed", worker=self.number)
            why = _our_own(error)
            worker.kill()
        code = await worker.ended()
        self.worker = None
        self._gone()
        self._retired, self._last, self.missing = absorb(self._retired, self._last), [], []
        if why is not None and not served:
            await self._also_told(code)
            self._not_filled(why)
        detail = {"detail": str(why)} if why is not None else {}
        return {"pid": worker.pid, **_how(code), **detail}

    async def _also_told(self, code: int) -> None:
        """What ended a worker that starts may be on its way to this process: an init system tells them all."""
        if code in {-signal.SIGTERM, 0}:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _ALSO_S)

    async def _begin(self, worker: WorkerProcess) -> None:
        hello = self._hello()
        settings = hello.settings
        await worker.begin(hello, self._known())
        while (latest := self._hello().settings) is not settings:  # nobody serves by what is out of force
            settings = latest
            await worker.reload(await asyncio.to_thread(messages.packed, settings))
        await worker.serve()
        if not self.filled.done():
            self.filled.set_result(None)
        if (latest := self._hello().settings) is not settings:
            await self.reload(latest)

    async def _watch(self, worker: WorkerProcess) -> None:
        """Until it ends, or hangs."""
        while True:
            try:
                await self._ask_report(worker, _SILENT_S)
            except WorkerGoneError:
                if not (worker.live and worker.reloading):  # reading a large configuration takes its time
                    raise
            await worker.ends_within(_POLL_S)

    async def _ask_report(self, worker: WorkerProcess, within_s: float) -> None:
        answer = await worker.ask(Report(), within_s=within_s)
        try:
            families, missing = messages.read_report(answer)
        except ValueError as error:
            raise WorkerGoneError(f"it does not speak as it should: {error}") from None
        if self.worker is worker:
            self._last, self.missing = families, missing

    def _not_filled(self, error: Exception) -> None:
        if not self.filled.done():
            self.filled.set_exception(error)
            self.filled.exception()  # seen, also where nobody waits for it


def _our_own(error: Exception) -> WorkerGoneError:
    return WorkerGoneError(f"an error of our own: {type(error).__name__}")


def _how(code: int) -> dict[str, object]:
    if code >= 0:
        return {"exit_code": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:  # one without a name
        return {"signal": -code}
