"""All workers, as what keeps the truth sees them.

Law of this file: an index of what is known stands here, and changes first; whoever starts is told what it holds,
and whoever lives is told each change. A change is in force when every worker that may be serving has said so; one
that does not say so in time says nothing any more.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from validator.core.changes import Change
from validator.model import ClientCredentials, Knowledge
from validator.registry.index import MemoryRegistry
from validator.server.merging import merge
from validator.server.sharing import Board
from validator.settings import Settings
from validator.workers import messages
from validator.workers.messages import Apply, Down, FailedElsewhere, Hello, Know, Up, Vouch
from validator.workers.process import WorkerProcess
from validator.workers.slot import Slot

_PORTION: Final = 1000  # changes in one message
_IN_FORCE_S: Final = 1.0
_RELOADING_S: Final = 10.0  # more, for one that is reading a large configuration
_TURN_S: Final = 0.05

log = structlog.get_logger(__name__)


class Pool:
    """``wiring.follower.Follower`` for all workers: ``start``, then ``reload`` at will, then ``stop``.

    Args:
        registry: what is known; changed here, and read by those who plan changes.
        session_key: seals sessions where no keys are configured.
        own: what the supervisor itself counts.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int,
        registry: MemoryRegistry,
        session_key: bytes,
        monotonic: Callable[[], float],
        own: Callable[[], list[Metric]],
    ) -> None:
        self._settings = settings
        self._workers = workers
        self._registry = registry
        self._session_key = session_key
        self._monotonic = monotonic
        self._own = own
        self._slots: list[Slot] = []
        self._board: Board | None = None
        self._applying = asyncio.Lock()

    async def start(self, sockets: Sequence[int]) -> None:
        """Returns once all serve.

        Args:
            sockets: descriptors of the data plane's listening sockets.

        Raises:
            CannotStartError: one of them says why it cannot serve.
            WorkerGoneError, OSError: one of them does not start.
        """
        self._board = board = Board.create(self._workers)
        self._slots = [
            Slot(
                number + 1,
                partial(self._hello, number, sockets, board.fd),
                self._registry.stored,
                descriptors=(*sockets, board.fd),
                failed=self._failed,
                gone=partial(board.clear, number),
                monotonic=self._monotonic,
            )
            for number in range(self._workers)
        ]
        for slot in self._slots:
            slot.fill()
        await asyncio.gather(*(slot.filled for slot in self._slots))

    async def reload(self, settings: Settings) -> None:
        """Has all go by another configuration, which was found good."""
        self._settings = settings
        packed = await asyncio.to_thread(messages.packed, settings)
        await asyncio.gather(*(slot.reload(settings, packed) for slot in self._slots))

    async def stop(self, drain_s: float) -> None:
        """Has all answer what they have accepted, and end."""
        await asyncio.gather(*(slot.empty(drain_s) for slot in self._slots))
        if self._board is not None:
            self._board.close()
            self._board = None

    # As a follower

    async def apply(self, changes: Sequence[Change]) -> None:
        # Each portion has its own time: how many there are is nobody's fault.
        async with self._applying:  # in one order: of one key, the last one is the truth
            for start in range(0, len(changes), _PORTION):
                await self._apply(changes[start : start + _PORTION])

    async def _apply(self, changes: Sequence[Change]) -> None:
        self._registry.apply_changes(changes)
        message = Apply(changes)
        told = [(worker, worker.asked(message)) for worker in self._everybody()]
        # Who is not live yet has done it before it serves.
        waited = {answer: worker for worker, answer in told if worker.live}
        late = await _not_done(waited, _IN_FORCE_S)
        busy = {answer for answer in late if waited[answer].reloading}
        await self._give_up({answer: waited[answer] for answer in late - busy}, _IN_FORCE_S)
        late = await _not_done(busy, _RELOADING_S)
        await self._give_up({answer: waited[answer] for answer in late}, _RELOADING_S)

    async def _give_up(self, late: "Mapping[asyncio.Future[Up], WorkerProcess]", after_s: float) -> None:
        for worker in late.values():
            log.error("worker does not follow", pid=worker.pid, seconds=after_s, detail="killed")
            worker.kill()
        await _not_done(late, _IN_FORCE_S)

    def know(self, knowledge: Knowledge) -> None:
        self._registry.set_knowledge(knowledge)
        self._tell(Know(knowledge))

    def vouch(self, strategy: str, pair: ClientCredentials) -> None:
        self._tell(Vouch(strategy, pair))

    async def missing(self) -> list[str]:
        await asyncio.gather(*(slot.look() for slot in self._slots))
        serving = [slot for slot in self._slots if slot.serving]
        if not serving:
            return ["no worker serves"]
        return [f"worker {slot.number}: {why}" for slot in serving for why in slot.missing]

    async def report(self) -> list[Metric]:
        await asyncio.gather(*(slot.look() for slot in self._slots))
        counted = [part for slot in self._slots for part in slot.counted]
        serving = GaugeMetricFamily(
            "validator_workers", "Worker processes that serve", sum(slot.serving for slot in self._slots)
        )
        configured = GaugeMetricFamily(
            "validator_workers_configured", "Worker processes that are to serve", self._workers
        )
        restarts = CounterMetricFamily(
            "validator_worker_restarts",
            "Worker processes started in the place of another",
            sum(slot.restarts for slot in self._slots),
        )
        return merge([*counted, self._own(), [serving, configured, restarts]])

    def _tell(self, message: Down) -> None:
        for worker in self._everybody():
            worker.tell(message)

    def _everybody(self) -> list[WorkerProcess]:
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def _failed(self, where: WorkerProcess, message: FailedElsewhere) -> None:
        for worker in self._everybody():
            if worker is not where:
                worker.tell(message)

    def _hello(self, number: int, sockets: Sequence[int], board: int) -> Hello:
        return Hello(
            number, self._workers, sockets, board, self._settings, self._session_key, self._registry.knowledge
        )


async def _not_done(answers: "Collection[asyncio.Future[Up]]", within_s: float) -> "set[asyncio.Future[Up]]":
    """Those without an answer in time. Time in which this process was itself held up, and may have neither sent
    nor read anything, does not count."""
    late = set(answers)
    for _ in range(math.ceil(within_s / _TURN_S)):
        if not late:
            break
        _, late = await asyncio.wait(late, timeout=_TURN_S)
    return late
