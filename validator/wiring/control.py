"""What keeps the truth: the store, who writes to it, and the listeners by which people and Konnect do.

Law of this file: it judges no request. What it writes it passes on to the follower, which does, and a write is
acknowledged when the follower goes by it.
"""

from collections.abc import Callable, Collection, Sequence

import structlog
from aiohttp import web
from prometheus_client.core import GaugeMetricFamily

from validator.dcr.bridge import Bridge
from validator.ports import Clock
from validator.registry.index import MemoryRegistry
from validator.server.bridge import bridge_application
from validator.server.control import control_application
from validator.server.merging import merge
from validator.server.metrics import IdpMeter, rendered
from validator.server.runner import ControlRunner
from validator.settings import Address, Settings
from validator.wiring.bridge import DcrBridge
from validator.wiring.follower import Follower
from validator.wiring.providers import Providers
from validator.wiring.sockets import Sockets, shown
from validator.wiring.truth import Truth

log = structlog.get_logger(__name__)


class ControlSide:
    """``open``, ``catch_up``, then ``listen``, then ``adopt`` at will, then ``end_listening`` and ``close``.

    Args:
        registry: the index that writes are judged by; it is filled here.
        follower: judges requests, in this process by the same index, elsewhere by its own.
        providers: where the bridge's registrars are reached.
        sockets: what is listened on is opened here.

    Attributes:
        control_address: where the control plane listens; known once it does.
        dcr_address: the same of the bridge; "" where it has none of its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        registry: MemoryRegistry,
        follower: Follower,
        providers: Providers,
        meter: IdpMeter,
        clock: Clock,
        sockets: Sockets,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._follower = follower
        self._providers = providers
        self._meter = meter
        self._clock = clock
        self._sockets = sockets
        self._bridge: DcrBridge | None = None
        self._runners: list[ControlRunner] = []
        self._truth: Truth | None = None
        self.control_address = ""
        self.dcr_address = ""

    async def open(self, *, own: bool) -> None:
        """Opens the store and fills the index.

        Args:
            own: whether no other sidecar may have the store at the same time.

        Raises:
            StoreError: the store cannot be used.
            ValueError: the files for Redis's TLS cannot be used.
        """
        self._truth = await Truth.open(
            self._settings, registry=self._registry, follower=self._follower, clock=self._clock, own=own
        )
        self._load_file(self._settings)

    async def catch_up(self) -> None:
        """Knows what others have written when it returns, or has waited for it long enough."""
        assert self._truth is not None  # noqa: S101 - opened before
        await self._truth.catch_up()

    async def listen(self) -> None:
        """People, Prometheus and Konnect are served from here on.

        Raises:
            OSError: an address cannot be listened on.
            ValueError: an identity provider's ``ca_file`` cannot be used.
        """
        assert self._truth is not None  # noqa: S101 - opened before
        settings, writer = self._settings, self._truth.writer
        if settings.dcr is not None:
            self._bridge = DcrBridge(settings.dcr, store=writer, clock=self._clock, vouch=self._follower.vouch)
            await self._bridge.configure(settings, self._providers, self._meter)
        application = control_application(
            registry=writer,
            clock=self._clock,
            strategies=lambda: tuple(self._settings.strategies),
            ready=self._missing,
            metrics=self._exposition,
            clear_cache=writer.forget_cached,
            token=self._control_token,
            session_ttl_s=lambda: self._settings.session.absolute_ttl_s,
            bridge=self._bridge_here(),
        )
        self.control_address = await self._run(application, settings.listen.control)
        if self._bridge is not None and settings.listen.dcr is not None:
            alone = bridge_application(self._bridge.bridge, self._bridge.api_keys, clock=self._clock)
            self.dcr_address = await self._run(alone, settings.listen.dcr)

    async def adopt(self, settings: Settings) -> None:
        """Goes by another configuration from now on.

        Raises:
            ValueError: the file's applications contradict each other; nothing has changed then. That each
                ``ca_file`` can be used is for the caller to find out before.
        """
        self._load_file(settings)
        if self._bridge is not None:
            await self._bridge.configure(settings, self._providers, self._meter)
        self._settings = settings

    async def end_listening(self) -> None:
        """Answers what was asked, and serves nobody any more."""
        while self._runners:
            await self._runners.pop().cleanup()
        if self._bridge is not None:
            await self._bridge.bridge.close()

    async def close(self) -> None:
        """Closes the store. To be called after ``end_listening``."""
        if self._truth is not None:
            await self._truth.close()

    async def _run(self, application: web.Application, address: Address) -> str:
        runner = ControlRunner(application)
        self._runners.append(runner)
        await runner.setup()
        listeners = self._sockets.listen(address)
        for listener in listeners:
            await web.SockSite(runner, listener).start()
        return shown(address, listeners)

    def _bridge_here(self) -> tuple[Bridge, Callable[[], Sequence[str]]] | None:
        if self._bridge is None or self._settings.listen.dcr is not None:
            return None
        return self._bridge.bridge, self._bridge.api_keys

    def _load_file(self, settings: Settings) -> None:
        self._registry.load_file(settings.file_applications(), strategies=tuple(settings.strategies))
        for shadowed in self._registry.shadowed():
            log.warning(
                "application shadowed",
                stored=shadowed.stored.id,
                by=shadowed.by.id,
                detail="the configuration file holds its id or its client id; the stored one is out of force",
            )

    # What the control plane asks

    def _control_token(self) -> str | None:
        token = self._settings.control.token
        return token.get_secret_value() if token is not None else None

    async def _missing(self, excluded: Collection[str]) -> Sequence[str]:
        assert self._truth is not None  # noqa: S101 - as above
        return [*await self._follower.missing(), *await self._truth.missing(excluded)]

    async def _exposition(self) -> tuple[bytes, str]:
        assert self._truth is not None  # noqa: S101 - as above
        is_ready = not await self._missing(())
        ready = GaugeMetricFamily("validator_ready", "Whether /readyz answers 200", float(is_ready))
        return rendered(merge([await self._follower.report(), [ready], self._truth.families()]))
