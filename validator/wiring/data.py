"""What judges: caches, the index, issuers, the pipeline, and the connections that requests come over.

Law of this file: it decides nothing about a request, and knows nothing of stores, of other processes, or of who
writes. What survives a reload (caches, index, issuers whose configuration stayed) is kept here; everything else is
built anew and swapped in.
"""

import asyncio
import secrets
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from prometheus_client.metrics_core import Metric

from validator.authn.basic import BasicAuthenticator
from validator.authn.throttle import Failed, Throttle
from validator.caching import Caches
from validator.core.changes import Change, Forgotten
from validator.core.sessions import KeyRing
from validator.core.telling import Tell, nobody
from validator.model import ClientCredentials, Knowledge, Method, Proof
from validator.pipeline import Lifetimes, Pipeline, Strategy
from validator.ports import Clock
from validator.registry.index import MemoryRegistry
from validator.server.dataplane import Plane
from validator.server.metrics import Metrics, PlaneState
from validator.server.sharing import Seat
from validator.server.tls import Listeners, TlsFiles
from validator.settings import Settings
from validator.singleflight import SingleFlight
from validator.wiring import parts
from validator.wiring.providers import Providers
from validator.wiring.redis import FleetProofs, RedisCalls, open_link
from validator.wiring.strategies import Shared, build

_SECRET_BYTES = 32
_SWEEP_S = 1.0
_ACCEPT_TURNS = 5
_CLOCK_STEP_S = 0.5  # more than slewing does between two sweeps

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A configuration, and everything that is built from it and could have failed."""

    settings: Settings
    strategies: dict[str, Strategy]
    throttle: Throttle
    context: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Siblings:
    """The processes that judge the requests of the same addresses.

    Attributes:
        count: how many, this one included.
        seat: this one's place among them.
        failed: told of each failed try, for them to count.
    """

    count: int
    seat: Seat
    failed: Failed


class DataSide:
    """``Follower`` in this process: ``prepare``, then ``serve``, then ``rehearse`` and ``adopt`` at will, then
    ``stop``.

    Args:
        session_key: seals sessions where no keys are configured.
        siblings: ``None``: there are none.
        tell: hears of every step of every judgement; for ``explain``.

    Attributes:
        registry: the index that requests are judged by; whoever builds this fills it.
        plane: what the connections share, once it serves.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        session_key: bytes,
        siblings: Siblings | None = None,
        tell: Tell = nobody,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._own_session_key = session_key
        self._siblings = siblings
        self._tell = tell
        self.caches = Caches(secrets.token_bytes(_SECRET_BYTES), max_entries=settings.cache.max_entries)
        self.registry = MemoryRegistry(clock=clock, epoch=self.caches.epoch, strategies=tuple(settings.strategies))
        self.providers = Providers(clock, changed=self.caches.epoch.touch_all)
        self.metrics = Metrics(
            self.caches,
            issuers=self.providers.states,
            plane=self._plane_state,
        )
        self._flight: SingleFlight[bytes, Proof] = SingleFlight()
        self._throttle = self._new_throttle(settings)
        self._clock_offset = clock.now() - clock.monotonic()
        self._redis_calls = RedisCalls()
        self._fleet: FleetProofs | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._listeners: Listeners | None = None
        self.strategies: dict[str, Strategy] = {}
        self.plane: Plane | None = None

    async def join_fleet(self) -> None:
        """Shares what is found out about credentials, where the configuration names a Redis; before ``prepare``.

        Raises:
            ValueError: the files for its TLS cannot be used.
        """
        redis = self._settings.redis
        if redis is not None:
            self._fleet = FleetProofs(await open_link(redis, self._redis_calls), redis, self._clock)

    async def prepare(self) -> None:
        """Everything but listening and fetching: enough to judge one credential by hand.

        Raises:
            ValueError: an issuer's ``ca_file`` cannot be used.
        """
        self.strategies = await self._strategies(self._settings, self._throttle)

    async def serve(self, sockets: Sequence[socket.socket], context: ssl.SSLContext | None) -> None:
        """Accepts connections, and begins to fetch keys; does not wait for any issuer.

        Args:
            context: of ``tls_context``.

        Raises:
            OSError: the system has no more descriptors.
        """
        settings = self._settings
        self.plane = Plane(
            self._pipeline(settings, self.strategies),
            settings.session.cookie_name,
            bounds=parts.bounds(settings),
            clock=self._clock,
            seat=self._siblings.seat if self._siblings is not None else None,
        )
        self.providers.tend()
        self._sweeping = asyncio.create_task(self._sweep(self.plane))
        self._listeners = Listeners(self.plane, sockets)
        await self._listeners.serve(context, settings.limits.header_timeout_s)

    # Another configuration

    async def rehearse(self, settings: Settings) -> Rehearsed:
        """Builds all that ``adopt`` puts in force; until then nothing has changed.

        Raises:
            ValueError: a ``ca_file`` or the files of ``listen.data_tls`` cannot be used.
        """
        listeners = self._listeners
        context = await tls_context(settings) if listeners is None or listeners.secured else None
        throttle = self._throttle
        if settings.throttle != self._settings.throttle:
            throttle = self._new_throttle(settings)
        try:
            strategies = await self._strategies(settings, throttle)
        except ValueError:
            self.abandon()
            raise
        return Rehearsed(settings, strategies, throttle, context)

    def abandon(self) -> None:
        """What was rehearsed is not to be."""
        self.providers.retire_unused(self._settings)

    def adopt(self, rehearsed: Rehearsed) -> None:
        """Puts it in force without dropping a request; also before anything is served. What is bound to sockets,
        files and table sizes stays as it was until the next start."""
        settings = rehearsed.settings
        self._settings = settings
        self._throttle = rehearsed.throttle
        self.strategies = rehearsed.strategies
        if self.plane is not None:
            self.plane.bounds = parts.bounds(settings)
            self.plane.replace(self._pipeline(settings, self.strategies), settings.session.cookie_name)
        self.caches.begin_anew()
        self.providers.retire_unused(settings)
        if self.plane is not None:
            self.providers.tend()
        if rehearsed.context is not None and self._listeners is not None:
            self._listeners.renew(rehearsed.context, settings.limits.header_timeout_s)

    # The end

    async def drain(self, timeout_s: float, *, rest: bool = True, at_once: bool = False) -> None:
        """Accepts no more, and answers what was accepted.

        Args:
            rest: also what waits in the kernel; not to be where siblings go on.
            at_once: no connection is left open for the next request.
        """
        if self.plane is not None:
            self.plane.begin_to_drain()
            for _ in range(_ACCEPT_TURNS):  # what the kernel has accepted already is not to be reset
                await asyncio.sleep(0)
        if self._listeners is not None:
            self._listeners.close(rest=rest)
            await self._listeners.finish(timeout_s)
        if self.plane is not None:
            await self.plane.drain(timeout_s, at_once=at_once)

    async def close(self) -> None:
        """Ends everything that runs in the background, and every call."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await self._flight.close()
        await self.providers.close()
        if self._fleet is not None:
            await self._fleet.close()

    # As a follower

    async def apply(self, changes: Sequence[Change]) -> None:
        """Before anything is awaited."""
        self.registry.apply_changes([c for c in changes if not isinstance(c, Forgotten)])
        for change in changes:
            if isinstance(change, Forgotten):
                self._forget(change)

    def know(self, knowledge: Knowledge) -> None:
        self.registry.set_knowledge(knowledge)

    def failed_elsewhere(self, strategy: str, client_id: str, registered: bool) -> None:
        """A sibling tells of a failed try."""
        self._throttle.failed_elsewhere(strategy, client_id, registered)

    def vouch(self, strategy: str, pair: ClientCredentials) -> None:
        known = self.strategies.get(strategy)
        basic = known.authenticators[Method.CLIENT_CREDENTIALS] if known is not None else None
        if isinstance(basic, BasicAuthenticator):
            basic.vouch(pair)

    async def missing(self) -> list[str]:
        return self.providers.missing(self._settings)

    async def report(self) -> list[Metric]:
        return [*self.metrics.families(), *self._redis_calls.families()]

    def _forget(self, change: Forgotten) -> None:
        strategy, client = change.strategy, change.client_key
        before = self.registry.forgotten_mark(strategy or "", client or "")
        self.registry.apply_changes([change])
        if self.registry.forgotten_mark(strategy or "", client or "") == before:
            return  # told once more
        if strategy is None or client is None:
            self.caches.forget()
        else:
            self.caches.forget_client(strategy, client)

    # Building

    def _pipeline(self, settings: Settings, strategies: dict[str, Strategy]) -> Pipeline:
        return Pipeline(
            strategies,
            registry=self.registry,
            revocations=self.registry,
            caches=self.caches,
            lifetimes=Lifetimes(settings.cache.decision_ttl_s, settings.cache.negative_ttl_s),
            clock=self._clock,
            tallies=self.metrics.tallies,
            flight=self._flight,
            observe=self.metrics.judged,
        )

    async def _strategies(self, settings: Settings, throttle: Throttle) -> dict[str, Strategy]:
        keys = [key.get_secret_value() for key in settings.session.keys] or [self._own_session_key]
        shared = Shared(
            settings,
            self._clock,
            self.caches,
            self.registry,
            throttle,
            self.metrics,
            self._tell,
            proofs=self._fleet.proofs if self._fleet is not None else None,
            workers=self._siblings.count if self._siblings is not None else 1,
            forgotten_mark=self.registry.forgotten_mark,
        )
        return {
            name: build(
                name,
                strategy,
                [
                    await self.providers.get(strategy, trusted.place, settings, self.metrics)
                    for trusted in parts.trusted_places(strategy)
                ],
                KeyRing(keys, bound_to=parts.session_binding(strategy)),
                shared,
            )
            for name, strategy in settings.strategies.items()
        }

    def _new_throttle(self, settings: Settings) -> Throttle:
        bounds = settings.throttle.model_dump(exclude={"max_inactive_tokens"})
        if self._siblings is None:
            return Throttle(self._clock, **bounds)
        return Throttle(self._clock, **bounds, workers=self._siblings.count, failed=self._siblings.failed)

    # Running

    async def _sweep(self, plane: Plane) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, plane.bounds.header_timeout_s, plane.bounds.idle_timeout_s))
            plane.sweep()
            self.check_clock()

    def check_clock(self) -> None:
        """Forgets everything when the machine's clock was set back: deadlines are moments of that clock, and
        what was to last seconds would last as long as the step was."""
        offset = self._clock.now() - self._clock.monotonic()
        if offset < self._clock_offset - _CLOCK_STEP_S:
            log.warning("clock set back", seconds=round(self._clock_offset - offset, 3), detail="caches forgotten")
            self.caches.forget()
        self._clock_offset = offset

    def _plane_state(self) -> PlaneState:
        plane, listeners = self.plane, self._listeners
        if plane is None or listeners is None:
            return PlaneState(0, 0, 0, {})
        return PlaneState(plane.count, plane.refused_connections, plane.bad_requests, listeners.failures)


async def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What the data plane serves TLS with; ``None``: clear text.

    Raises:
        ValueError: the files of ``listen.data_tls`` cannot be served with.
    """
    section = settings.listen.data_tls
    if section is None:
        return None
    files = TlsFiles(section.certificate_file, section.key_file, section.client_ca_file)
    return await asyncio.to_thread(files.context)
