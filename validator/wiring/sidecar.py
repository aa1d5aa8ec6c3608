"""The whole program in one process: what keeps the truth, and what judges by it.

Law of this file: composition alone. Both sides share one index, one set of issuers and one clock.
"""

import secrets

import structlog

from validator.adapters.clock import SystemClock
from validator.caching import Caches
from validator.core.sealing import KEY_BYTES
from validator.core.telling import Tell, nobody
from validator.pipeline import Strategy
from validator.ports import Clock
from validator.registry.index import MemoryRegistry
from validator.server.dataplane import Plane
from validator.server.metrics import Metrics
from validator.settings import Settings
from validator.wiring.control import ControlSide
from validator.wiring.data import DataSide, tls_context
from validator.wiring.reloads import tell_reloaded, tell_warnings
from validator.wiring.sockets import Sockets, shown

log = structlog.get_logger(__name__)


class Sidecar:
    """The whole program but for its command line: ``start``, then ``reload`` at will, then ``stop``.

    Args:
        tell: hears of every step of every judgement; for ``explain``.

    Attributes:
        data_address: where the data plane listens; known once started.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None, tell: Tell = nobody) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._sockets = Sockets()
        self._data = DataSide(settings, clock=self._clock, session_key=secrets.token_bytes(KEY_BYTES), tell=tell)
        self._control = ControlSide(
            settings,
            registry=self._data.registry,
            follower=self._data,
            providers=self._data.providers,
            meter=self._data.metrics,
            clock=self._clock,
            sockets=self._sockets,
        )
        self.data_address = ""

    @property
    def control_address(self) -> str:
        """Where the control plane listens; known once started."""
        return self._control.control_address

    @property
    def dcr_address(self) -> str:
        """The same of the bridge; "" where it has none of its own."""
        return self._control.dcr_address

    @property
    def registry(self) -> MemoryRegistry:
        return self._data.registry

    @property
    def strategies(self) -> dict[str, Strategy]:
        return self._data.strategies

    @property
    def plane(self) -> Plane | None:
        return self._data.plane

    @property
    def metrics(self) -> Metrics:
        return self._data.metrics

    @property
    def caches(self) -> Caches:
        return self._data.caches

    def now(self) -> float:
        """Seconds since the epoch, by the clock that everything here is judged by."""
        return self._clock.now()

    def check_clock(self) -> None:
        """See ``DataSide.check_clock``."""
        self._data.check_clock()

    async def prepare(self) -> None:
        """Instead of ``start``: enough to judge one credential by hand, beside a sidecar that has the same store,
        and without what others have found out.

        Raises:
            StoreError: the store cannot be used.
            ValueError: an issuer's ``ca_file`` cannot be used.
        """
        await self._control.open(own=False)
        await self._data.prepare()

    async def start(self) -> None:
        """Opens the store, listens, and begins to fetch keys; does not wait for any issuer.

        Raises:
            StoreError: the store cannot be used.
            OSError: an address cannot be listened on.
            ValueError: the files of ``listen.data_tls`` cannot be served with.
        """
        await self._control.open(own=True)
        await self._data.join_fleet()
        await self._data.prepare()
        settings = self._settings
        context = await tls_context(settings)
        await self._control.catch_up()
        data = self._sockets.listen(settings.listen.data)
        await self._data.serve(data, context)
        self.data_address = shown(settings.listen.data, data)
        await self._control.listen()
        tell_warnings(settings)
        log.info("listening", data=self.data_address, control=self.control_address, dcr=self.dcr_address or None)

    async def reload(self, settings: Settings) -> None:
        """Puts another configuration in force without dropping a request. What is bound to sockets, files and
        table sizes stays as it was until the next start, and the log says so.

        Raises:
            ValueError: the file's applications contradict each other, or a ``ca_file`` or the files of
                ``listen.data_tls`` cannot be used; nothing has changed then.
        """
        rehearsed = await self._data.rehearse(settings)
        try:
            await self._control.adopt(settings)
        except ValueError:
            self._data.abandon()
            raise
        self._data.adopt(rehearsed)
        old, self._settings = self._settings, settings
        tell_reloaded(old, settings)

    async def stop(self) -> None:
        """Stops listening, answers what was accepted, and closes everything, within ``limits.drain_s``."""
        await self._data.drain(self._settings.limits.drain_s)
        await self._control.end_listening()
        await self._data.close()
        await self._control.close()
        await self._sockets.remove_files()
