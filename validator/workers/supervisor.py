"""A sidecar of several processes: what keeps the truth is in this one.

Law of this file: composition alone. What can fail for a configuration's sake fails here first, before any worker
hears of it.
"""

import secrets
import socket

import structlog
from prometheus_client import CollectorRegistry

from validator.adapters.clock import SystemClock
from validator.core.sealing import KEY_BYTES
from validator.ports import Clock
from validator.registry.index import MemoryRegistry
from validator.server.metrics import IdpCalls, process_collectors
from validator.settings import Settings
from validator.wiring.control import ControlSide
from validator.wiring.data import tls_context
from validator.wiring.parts import trusted_places
from validator.wiring.providers import Providers
from validator.wiring.reloads import tell_reloaded, tell_warnings
from validator.wiring.sockets import Sockets, shown
from validator.workers.pool import Pool
from validator.workers.process import CannotStartError, WorkerGoneError

log = structlog.get_logger(__name__)


class _NoCaches:
    """``ports.Epoch`` where nothing is cached."""

    def touch_client(self, strategy: str, client_id: str) -> None: ...

    def touch_id(self, identifier: str) -> None: ...

    def touch_all(self) -> None: ...


class Supervisor:
    """As ``wiring.Sidecar``: ``start``, then ``reload`` at will, then ``stop``.

    Args:
        workers: how many processes judge.

    Attributes:
        data_address: where the data plane listens; known once started.
    """

    def __init__(self, settings: Settings, *, workers: int, clock: Clock | None = None) -> None:
        self._settings = self._started = settings
        clock = clock or SystemClock()
        self._sockets = Sockets()
        self._data: list[socket.socket] = []
        metrics = CollectorRegistry(auto_describe=False)
        process_collectors(metrics)
        self._meter = IdpCalls(metrics)
        registry = MemoryRegistry(clock=clock, epoch=_NoCaches(), strategies=tuple(settings.strategies))
        self._providers = Providers(clock, changed=lambda: None)
        self._pool = Pool(
            settings,
            workers=workers,
            registry=registry,
            session_key=secrets.token_bytes(KEY_BYTES),
            monotonic=clock.monotonic,
            own=lambda: list(metrics.collect()),
        )
        self._control = ControlSide(
            settings,
            registry=registry,
            follower=self._pool,
            providers=self._providers,
            meter=self._meter,
            clock=clock,
            sockets=self._sockets,
        )
        self.data_address = ""

    async def start(self) -> None:
        """Opens the store, listens, and starts the workers; returns once all of them serve.

        Raises:
            StoreError: the store cannot be used.
            OSError: an address cannot be listened on, or no process be started.
            ValueError: a ``ca_file`` or the files of ``listen.data_tls`` cannot be used.
        """
        settings = self._settings
        await self._control.open(own=True)
        await self._rehearse(settings)
        await self._control.catch_up()
        self._data = self._sockets.listen(settings.listen.data)
        await self._control.listen()
        try:
            await self._pool.start([listener.fileno() for listener in self._data])
        except CannotStartError as error:
            raise ValueError(str(error)) from None
        except WorkerGoneError as error:
            raise OSError(f"a worker does not start: {error}") from None
        self.data_address = shown(settings.listen.data, self._data)
        tell_warnings(settings)
        control, dcr = self._control.control_address, self._control.dcr_address
        log.info("listening", data=self.data_address, control=control, dcr=dcr or None)

    async def reload(self, settings: Settings) -> None:
        """Puts another configuration in force in all workers without dropping a request.

        Raises:
            ValueError: as ``start``, or the file's applications contradict each other; nothing has changed then.
        """
        try:
            await self._rehearse(settings)
            await self._control.adopt(settings)
        except ValueError:
            self._providers.retire_unused(self._settings)
            raise
        self._providers.retire_unused(settings)
        old, self._settings = self._settings, settings
        await self._pool.reload(_until_restart(self._started, settings))
        tell_reloaded(old, settings)

    async def stop(self) -> None:
        """Stops listening, has the workers answer what was accepted, and closes everything, within
        ``limits.drain_s``."""
        stopping = self._pool.stop(self._settings.limits.drain_s)
        for listener in self._data:
            listener.close()  # each worker closes its own
        await stopping
        await self._control.end_listening()
        await self._providers.close()
        await self._control.close()
        await self._sockets.remove_files()

    async def _rehearse(self, settings: Settings) -> None:
        """Whether the workers will find nothing wrong with the files that it names. Raises ``ValueError``."""
        await tls_context(settings)
        for strategy in settings.strategies.values():
            for trusted in trusted_places(strategy):
                await self._providers.get(strategy, trusted.place, settings, self._meter)


def _until_restart(started: Settings, settings: Settings) -> Settings:
    """What a worker goes by, also one that begins later than the others: what lasts until the next start is that
    of the last one."""
    listen = settings.listen
    if (listen.data_tls is None) != (started.listen.data_tls is None):
        listen = listen.model_copy(update={"data_tls": started.listen.data_tls})
    return settings.model_copy(update={"listen": listen, "redis": started.redis})
